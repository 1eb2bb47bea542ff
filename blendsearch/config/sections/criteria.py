"""What filters are scored by: found blends and people's ratings beside the criteria, their clusters, and the blend."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from blendsearch.config.sections.types import Allowed, Count, Section, TableName, Text, broken_rule, file_as_mapping

BLEND_UNITS = ("network", "stage", "layer")


class BlendFile(Section):
    """A found blend that stands among the criteria; a path alone is the file.

    file: `blend.json` of a campaign, or a copy of it.
    name: what it stands under in tables; null takes that of the file, or of its folder for `blend.json`.
    """

    file: Text
    name: TableName | None = None

    @property
    def label(self) -> str:
        """The name in tables."""
        path = Path(self.file)
        return self.name or (path.resolve().parent.name if path.stem == "blend" else path.stem)


BlendGiven = Annotated[
    BlendFile,
    BeforeValidator(file_as_mapping, json_schema_input_type=Text | BlendFile),
    Allowed("a file, or a mapping with file"),
]


class RatingsConfig(Section):
    """People's marks of filters, for the criterion `subjective`; a path alone is the file.

    file: ratings.json, as `blendsearch review` writes it.
    fallback: the criterion that stands in for filters that nobody rated; null gives them 0.5.
    """

    file: Text
    fallback: Text | None = None


RatingsGiven = Annotated[
    RatingsConfig | None,
    BeforeValidator(file_as_mapping, json_schema_input_type=Text | RatingsConfig | None),
    Allowed("a path, a mapping with file and fallback, or null"),
]


class ClustersConfig(Section):
    """How criteria that rank alike are put together, unit by unit; a blend takes one criterion of each cluster.

    count: how many clusters; auto takes the number with the greatest silhouette, from 2 to max_count; each makes one of
    every criterion, but for those that rank exactly alike.
    method: agglomerative (average linkage on 1 - Spearman's rho) or kmeans (on the ranks).
    max_count: the most clusters that auto considers.
    """

    count: Count | Literal["auto", "each"] = "auto"
    method: Literal["agglomerative", "kmeans"] = "agglomerative"
    max_count: Annotated[int, Field(ge=2)] = 6


def _ever_finer(units: list[str]) -> list[str]:
    places = [BLEND_UNITS.index(unit) for unit in units]
    if any(left >= right for left, right in pairwise(places)):
        raise broken_rule(
            f"expected from coarse to fine, each once: {', '.join(BLEND_UNITS)} (given {', '.join(units)})"
        )
    return units


Unit = Literal["network", "stage", "layer"]
Units = Annotated[list[Unit], Field(min_length=1), AfterValidator(_ever_finer)]


class BlendConfig(Section):
    """Where genes are shared, and what a blend is made of.

    unit: one blend for the network, one for each stage, or one for each layer; several, from coarse to fine, make a
    search in phases that begins with the first and ends with the last.
    set_aware: also search an exponent for each unit, by which the loss that dropping one more filter causes counts,
    given those already dropped.
    """

    unit: Annotated[Unit | Units, Allowed("'network', 'stage', 'layer', or a list of them from coarse to fine")] = (
        "stage"
    )
    set_aware: bool = False

    @property
    def units(self) -> tuple[str, ...]:
        """The units of the search's phases, from coarse to fine; the blend that results has the last."""
        return (self.unit,) if isinstance(self.unit, str) else tuple(self.unit)
