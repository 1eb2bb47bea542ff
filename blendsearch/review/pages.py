"""What the template of a layer's page is filled with, and the state that a page asks for again and again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blendsearch.review.inspector import BLEND, Desk
from blendsearch.review.review import Review
from blendsearch.review.sample_images import HANDFUL

BAR_WIDTH, BAR_HEIGHT, MOST_BARS = 8, 26, 20


def layer_page(review: Review, number: int, seed: int) -> dict[str, Any]:
    """Return the words of a layer's page. seed: of the handful of images."""
    desk, name = review.desk, review.desk.group(number).name
    index = desk.gallery.handful(seed)
    return {
        "title": review.title,
        "data": review.data,
        "rater": review.book.rater if review.book is not None else "",
        "mode": _mode(review),
        "number": number,
        "layer": name,
        "layers": _layers(review),
        "coupled": [conv for conv in desk.group(number).convolutions if conv != name],
        "stage": desk.group(number).stage,
        "seed": seed,
        "edition": desk.edition,
        "pictures": _sizes(desk, number),
        "has_weights": desk.weights_of(number) is not None,
        "shown_classes": [desk.gallery.classes[int(label)] for label in desk.gallery.labels[index]],
        "looked_at": len(desk.gallery),
        "bars": _bar_classes(desk),
        "votes": _votes(review, number),
        "cards": _cards(review, number),
        "markable": review.markable(number),
        "proxy": review.estimator.name if review.estimator is not None else "",
        "rule": review.rule,
        "facts": _facts(review, number, seed),
    }


def state(review: Review, number: int) -> dict[str, Any]:
    """Return what changes while a page is open: marks of its layer, counts of all, cost, agreement, the loop."""
    result: dict[str, Any] = {"cost": review.cost(), "edition": review.desk.edition}
    if review.book is not None:
        name, counts = review.whole.groups[number].name, review.book.counts()
        ratings = review.book.ratings()
        result |= {
            "version": review.book.version,
            "marks": {str(i): word for i, word in review.book.marks(name).items()},
            "rated": [counts.get(group.name, 0) for group in review.whole.groups],
            "raters": len(ratings.raters),
            "kappa": ratings.kappa,
            "shared": len(ratings.shared),
        }
    if review.loop is not None:
        result["loop"] = review.loop.status()
    return result


def _mode(review: Review) -> str:
    return "explain" if review.choice is not None else "loop" if review.loop is not None else "review"


def _layers(review: Review) -> list[dict[str, Any]]:
    counts = review.plan().counts
    return [
        {"name": group.name, "width": group.width, "kept": counts[group.name], "number": number}
        for number, group in enumerate(review.whole.groups)
    ]


def _sizes(desk: Desk, number: int) -> dict[str, tuple[int, int]]:
    """Return the sizes of the pictures in pixels, so that a page does not jump while they come."""
    side = max(32, *desk.gallery.shown.shape[2:])
    row = min(HANDFUL, len(desk.gallery))
    weights = desk.weights_of(number)
    top = desk.summaries[desk.group(number).name].top.shape[1]
    return {
        "maps": (row * (side + 2) - 2, side),
        "top": (top * (side + 2) - 2, side),
        "weights": (weights.shape[1] * 34 - 2, 32) if weights is not None else (0, 0),
    }


def _bar_classes(desk: Desk) -> list[str]:
    return list(desk.gallery.classes[:MOST_BARS])


def _votes(review: Review, number: int) -> list[dict[str, Any]]:
    if review.choice is None:
        return []
    return review.choice.votes(review.desk.group(number).name, review.desk.ranks)


def _cards(review: Review, number: int) -> list[dict[str, Any]]:
    desk, name = review.desk, review.desk.group(number).name
    summary, votes = desk.summaries[name], _votes(review, number)
    marks = review.book.marks(name) if review.book is not None else {}
    kept = review.choice.kept(name) if review.choice is not None else set()
    ticks = _ticks(torch.stack([desk.ranks[criterion][name] for criterion in desk.criteria]))
    cards = []
    for place, original in enumerate(desk.filters(number)):
        card = {
            "place": place,
            "filter": original,
            "mark": marks.get(original, ""),
            "silent": bool(summary.silent[place]),
            "bars": _bars(summary.class_means[place]),
            "strongest": _strongest(desk, summary.class_means[place]),
            "ticks": ticks[place],
        }
        if review.choice is not None:
            card["kept"] = original in kept
            card["share"] = sum(vote["share"] for vote in votes if original in vote["keeps"])
            card["for"] = [vote["name"] for vote in votes if original in vote["keeps"]]
            card["against"] = [vote["name"] for vote in votes if original not in vote["keeps"]]
        cards.append(card)
    return cards


def _ticks(ranks: Tensor) -> list[str]:
    """Return for each filter the path of one tick a criterion, from ranks [K, C], on a line of 100."""
    places = (ranks * 100).round().long().T.tolist()
    return ["".join(f"M{place} 0v8" for place in row) for row in places]


def _bars(means: Tensor) -> str:
    """Return the path of one bar a class, negative means as none, the highest as high as there is room."""
    shown = means[:MOST_BARS].clamp(min=0)
    heights = (shown / float(shown.max()) * BAR_HEIGHT if float(shown.max()) > 0 else shown).round().long().tolist()
    parts = (f"M{i * BAR_WIDTH} {BAR_HEIGHT}v-{h}h{BAR_WIDTH - 2}v{h}z" for i, h in enumerate(heights) if h)
    return "".join(parts)


def _strongest(desk: Desk, means: Tensor) -> str:
    return desk.gallery.classes[int(means.argmax())]


def _facts(review: Review, number: int, seed: int) -> dict[str, Any]:
    """Return what the page's script sorts and filters by; ranks in percent, in the order of the cards."""
    desk, name = review.desk, review.desk.group(number).name
    names = [*([BLEND] if BLEND in desk.ranks else []), *desk.criteria]
    return {
        "number": number,
        "seed": seed,
        "mode": _mode(review),
        "edition": desk.edition,
        "width": desk.group(number).width,
        "ranks": {criterion: (desk.ranks[criterion][name] * 100).round().long().tolist() for criterion in names},
        "spread": (desk.spread(number) * 100).round().long().tolist(),
        "state": state(review, number),
    }
