"""What `blendsearch.score` returns: the scores, and what else there is to know, see, keep and compare of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from torch import Tensor

from blendsearch.blending import rank_all
from blendsearch.campaigns.score_files import COLUMNS, Content, Row, read_scores_file, write_scores_file
from blendsearch.campaigns.score_words import as_html, as_text
from blendsearch.criteria import ApplicableScores
from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.experiment.scoring import measure_agreement
from blendsearch.reports.figures.agreement import draw_mean_agreement
from blendsearch.reports.figures.scores import CriterionScores, GroupScores, draw_scores
from blendsearch.reports.figures.style import draw_light
from blendsearch.results.records.common import AgreementRecord

if TYPE_CHECKING:
    from pandas import DataFrame

NOT_RECORDED = "not recorded"
MOST_PANELS = 24


class Scores(dict[str, dict[str, Tensor]]):
    """criterion -> group -> float32 [C], higher = more important: a dict, with what is to be known of its numbers.

    left_out: criterion -> why it cannot score this network. samples: how many images were looked at, None where that
    is not known.
    """

    left_out: dict[str, str]
    samples: int | None

    def __init__(
        self,
        scores: Mapping[str, Mapping[str, Tensor]],
        *,
        left_out: Mapping[str, str] | None = None,
        samples: int | None = None,
        scales: Mapping[str, Mapping[str, str]] | None = None,
        parts: Mapping[str, Mapping[str, Mapping[str, Tensor]]] | None = None,
    ) -> None:
        """Take scores, and what is known of them.

        scales: criterion -> group -> which scale the numbers have, in words. parts: criterion -> group -> convolution
        -> float32 [C], what the group's score was made of.
        """
        super().__init__({name: dict(groups) for name, groups in scores.items()})
        self.left_out, self.samples = dict(left_out or {}), samples
        self._scales = {name: dict(groups) for name, groups in (scales or {}).items()}
        self._parts = {name: dict(groups) for name, groups in (parts or {}).items()}

    @classmethod
    def of(cls, found: ApplicableScores) -> Scores:
        """Return the scores of a network with what scoring knows of them."""
        parts = {
            name: {group: dict(made.scores) for group, made in groups.items()} for name, groups in found.parts.items()
        }
        return cls(found.scores, left_out=found.left_out, samples=found.samples, scales=found.scales, parts=parts)

    def __missing__(self, criterion: str) -> dict[str, Tensor]:
        why = self.left_out.get(criterion)
        raise KeyError(criterion if why is None else f"'{criterion}' cannot score this network: {why}")

    def __eq__(self, other: object) -> bool:
        """Tell whether another mapping has the same criteria, groups and scores."""
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return False
        return all(
            isinstance(other[name], Mapping)
            and groups.keys() == other[name].keys()
            and all(values.equal(other[name][group]) for group, values in groups.items())
            for name, groups in self.items()
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return as_text(self, self.scales, self.left_out, self.samples)

    def _repr_html_(self) -> str:
        return as_html(self, self.scales, self.left_out, self.samples)

    @property
    def groups(self) -> list[str]:
        """The names of the groups, in forward order."""
        return list(next(iter(self.values()), {}))

    @property
    def scales(self) -> dict[str, dict[str, str]]:
        """Criterion -> group -> which scale its numbers have, see `scale`."""
        return {name: {group: self.scale(name, group) for group in groups} for name, groups in self.items()}

    def scale(self, criterion: str, group: str) -> str:
        """Return which scale a group's numbers have, such as "l1 of its one convolution".

        Convolutions of a residual stream differ in fan-in and scale; by default the mean of their ranks is the score,
        a "mean rank of 4 convolutions, 0 to 1". `of_convolutions` has the numbers before that.
        """
        self._check(criterion, group)
        return self._scales.get(criterion, {}).get(group, NOT_RECORDED)

    def of_convolutions(self, criterion: str, group: str) -> dict[str, Tensor]:
        """Return convolution -> float32 [C], what the group's score was made of, on the criterion's own scale.

        Criteria that look at feature maps or batch norms have those of the convolution. Empty where a criterion scores
        the group as a whole, and for scores from a CSV file.
        """
        self._check(criterion, group)
        return dict(self._parts.get(criterion, {}).get(group, {}))

    def ranks(self) -> dict[str, dict[str, Tensor]]:
        """Return criterion -> group -> float32 [C]: the place within its group, from 0 (least) to 1 (most)."""
        return rank_all(self)

    def agreement(self) -> AgreementRecord:
        """Return Spearman's rho between the criteria: .criteria, .mean (matrix, mean over the groups) and .groups."""
        if not self:
            raise BlendsearchError("scores: no criterion to compare")
        return measure_agreement(self)

    def rows(self) -> Iterator[Row]:
        """Yield criterion, group, filter, score and rank of every filter."""
        ranks = self.ranks()
        for name, groups in self.items():
            for group, values in groups.items():
                for index, row in enumerate(zip(values.tolist(), ranks[name][group].tolist(), strict=True)):
                    yield name, group, index, *row

    def to_frame(self) -> DataFrame:
        """Return a pandas DataFrame with a row for each filter: criterion, group, filter, score, rank.

        Raises BlendsearchError where pandas is missing.
        """
        try:
            import pandas
        except ImportError:
            raise BlendsearchError(
                "to_frame: pandas is not installed; install it by: pip install 'blendsearch[pandas]'"
            ) from None
        return pandas.DataFrame.from_records(list(self.rows()), columns=list(COLUMNS))

    def plot(self, criterion: str | None = None, groups: Sequence[str] | str | None = None) -> Figure:
        """Draw the scores of every group under a criterion, or, without one, how far the criteria agree.

        groups: their names, by default all (24 of them where there are more). Raises UnknownNameError for a criterion
        or group that is not there.
        """
        chosen = self._chosen(groups)
        if criterion is None and len(self) > 1:
            agreement = measure_agreement({name: {g: own[g] for g in chosen} for name, own in self.items()})
            return draw_light(draw_mean_agreement, agreement)
        name = next(iter(self), "") if criterion is None else criterion
        self._check(name)
        step = -(-len(chosen) // MOST_PANELS) if groups is None else 1
        drawn = [GroupScores(group, self[name][group].tolist(), self.scale(name, group)) for group in chosen[::step]]
        return draw_light(draw_scores, CriterionScores(name, drawn, len(chosen) - len(drawn)))

    def save(self, path: str | Path) -> Path:
        """Write all of it to a file: safetensors, or, ending in .csv, the columns of `to_frame` and the scale."""
        content = Content(dict(self), self.scales, self.left_out, self.samples, self._parts)
        return write_scores_file(Path(path), content, self.rows())

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote, or the file scores.safetensors of a run folder; BlendsearchError for another."""
        read = read_scores_file(Path(path))
        return cls(read.scores, left_out=read.left_out, samples=read.samples, scales=read.scales, parts=read.parts)

    def _chosen(self, groups: Sequence[str] | str | None) -> list[str]:
        chosen = self.groups if groups is None else [groups] if isinstance(groups, str) else list(groups)
        for group in chosen:
            if group not in self.groups:
                raise unknown_name("group", group, self.groups, "scores")
        if not chosen:
            raise BlendsearchError("scores: no group to draw")
        return chosen

    def _check(self, criterion: str, group: str | None = None) -> None:
        if criterion in self.left_out and criterion not in self:
            raise BlendsearchError(f"scores: '{criterion}' cannot score this network: {self.left_out[criterion]}")
        if criterion not in self:
            raise unknown_name("criterion", criterion, self, "scores")
        if group is not None and group not in self[criterion]:
            raise unknown_name("group", group, self[criterion], "scores")
