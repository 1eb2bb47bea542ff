"""What the template of a layer's page is filled with, and the state that a page asks for again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blendsearch.review.decision import Vote
from blendsearch.review.inspector import BLEND, Inspector
from blendsearch.review.review import Review
from blendsearch.review.sample_images import SAMPLE_SIZE

BAR_WIDTH, BAR_HEIGHT, MOST_BARS = 8, 26, 20


@dataclass(frozen=True, kw_only=True)
class Card:
    """One filter on the page. position: in its group as it stands now; filter: its index in the unpruned network.

    bars, ticks: paths of SVG. strongest: the class it responds to most. kept and votes: of a decision to be explained.
    """

    position: int
    filter: int
    mark: str
    silent: bool
    bars: str
    strongest: str
    ticks: str
    kept: bool
    votes_to_keep: list[Vote]
    votes_to_drop: list[Vote]

    @property
    def share(self) -> float:
        """The share of the say that is for keeping the filter."""
        return sum(vote.share for vote in self.votes_to_keep)


def layer_page(review: Review, number: int, seed: int) -> dict[str, Any]:
    """Return the words of a layer's page. seed: of the sample of images."""
    inspector, name = review.inspector, review.inspector.group(number).name
    index = inspector.sample_images.sample(seed)
    return {
        "title": review.title,
        "data": review.data,
        "rater": review.marks.rater if review.marks is not None else "",
        "mode": _mode(review),
        "number": number,
        "layer": name,
        "layers": _layers(review),
        "coupled": [conv for conv in inspector.group(number).convolutions if conv != name],
        "stage": inspector.group(number).stage,
        "seed": seed,
        "edition": inspector.edition,
        "pictures": _sizes(inspector, number),
        "has_weights": inspector.weights_of(number) is not None,
        "shown_classes": [
            inspector.sample_images.classes[int(label)] for label in inspector.sample_images.labels[index]
        ],
        "looked_at": len(inspector.sample_images),
        "bars": _bar_classes(inspector),
        "votes": _votes(review, number),
        "cards": _cards(review, number),
        "markable": review.markable(number),
        "proxy": review.estimator.name if review.estimator is not None else "",
        "rule": review.rule,
        "facts": _facts(review, number, seed),
    }


def state(review: Review, number: int) -> dict[str, Any]:
    """Return what changes while a page is open: marks of its layer, counts of all, cost, agreement, the loop."""
    result: dict[str, Any] = {"cost": review.cost(), "edition": review.inspector.edition}
    if review.marks is not None:
        name, counts = review.whole.groups[number].name, review.marks.counts()
        ratings = review.marks.ratings()
        result |= {
            "version": review.marks.version,
            "marks": {str(i): word for i, word in review.marks.of(name).items()},
            "rated": [counts.get(group.name, 0) for group in review.whole.groups],
            "raters": len(ratings.raters),
            "kappa": ratings.kappa,
            "shared": len(ratings.shared),
        }
    if review.loop is not None:
        result["loop"] = review.loop.status().to_dict()
    return result


def _mode(review: Review) -> str:
    return "explain" if review.decision is not None else "loop" if review.loop is not None else "review"


def _layers(review: Review) -> list[dict[str, Any]]:
    counts = review.plan().counts
    return [
        {"name": group.name, "width": group.width, "kept": counts[group.name], "number": number}
        for number, group in enumerate(review.whole.groups)
    ]


def _sizes(inspector: Inspector, number: int) -> dict[str, tuple[int, int]]:
    """Return the sizes of the pictures in pixels, so that a page does not jump while they come."""
    side = max(32, *inspector.sample_images.thumbnails.shape[2:])
    row = min(SAMPLE_SIZE, len(inspector.sample_images))
    weights = inspector.weights_of(number)
    top = inspector.summaries[inspector.group(number).name].top.shape[1]
    return {
        "maps": (row * (side + 2) - 2, side),
        "top": (top * (side + 2) - 2, side),
        "weights": (weights.shape[1] * 34 - 2, 32) if weights is not None else (0, 0),
    }


def _bar_classes(inspector: Inspector) -> list[str]:
    return list(inspector.sample_images.classes[:MOST_BARS])


def _votes(review: Review, number: int) -> list[Vote]:
    if review.decision is None:
        return []
    return review.decision.votes(review.inspector.group(number).name, review.inspector.ranks)


def _cards(review: Review, number: int) -> list[Card]:
    inspector, name = review.inspector, review.inspector.group(number).name
    summary, votes = inspector.summaries[name], _votes(review, number)
    marks = review.marks.of(name) if review.marks is not None else {}
    kept = review.decision.kept(name) if review.decision is not None else set()
    ticks = _ticks(torch.stack([inspector.ranks[criterion][name] for criterion in inspector.criteria]))
    return [
        Card(
            position=position,
            filter=index,
            mark=marks.get(index, ""),
            silent=bool(summary.silent[position]),
            bars=_bars(summary.class_means[position]),
            strongest=_strongest(inspector, summary.class_means[position]),
            ticks=ticks[position],
            kept=index in kept,
            votes_to_keep=[vote for vote in votes if index in vote.keeps],
            votes_to_drop=[vote for vote in votes if index not in vote.keeps],
        )
        for position, index in enumerate(inspector.filters(number))
    ]


def _ticks(ranks: Tensor) -> list[str]:
    """Return for each filter the path of one tick a criterion, from ranks [K, C], on a line of 100."""
    percents = (ranks * 100).round().long().T.tolist()
    return ["".join(f"M{percent} 0v8" for percent in row) for row in percents]


def _bars(means: Tensor) -> str:
    """Return the path of one bar a class, negative means as none, the highest as high as there is room."""
    shown = means[:MOST_BARS].clamp(min=0)
    heights = (shown / float(shown.max()) * BAR_HEIGHT if float(shown.max()) > 0 else shown).round().long().tolist()
    parts = (f"M{i * BAR_WIDTH} {BAR_HEIGHT}v-{h}h{BAR_WIDTH - 2}v{h}z" for i, h in enumerate(heights) if h)
    return "".join(parts)


def _strongest(inspector: Inspector, means: Tensor) -> str:
    return inspector.sample_images.classes[int(means.argmax())]


def _facts(review: Review, number: int, seed: int) -> dict[str, Any]:
    """Return what the page's script sorts and filters by; ranks in percent, in the order of the cards."""
    inspector, name = review.inspector, review.inspector.group(number).name
    names = [*([BLEND] if BLEND in inspector.ranks else []), *inspector.criteria]
    return {
        "number": number,
        "seed": seed,
        "mode": _mode(review),
        "edition": inspector.edition,
        "width": inspector.group(number).width,
        "ranks": {criterion: (inspector.ranks[criterion][name] * 100).round().long().tolist() for criterion in names},
        "spread": (inspector.spread(number) * 100).round().long().tolist(),
        "state": state(review, number),
    }
