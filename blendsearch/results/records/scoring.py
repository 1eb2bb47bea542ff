"""How a network was scored."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from blendsearch.results.records.common import Number, Record


class ScoresRecord(Record):
    """records/scores.json: the criteria that scored, why others could not, from how many images and how long.

    scales: criterion -> group -> which scale its scores have, in words; blends have none.
    """

    seconds: Number = None
    criteria: list[str]
    left_out: dict[str, str] = Field(default_factory=dict)
    samples: int | None = None
    scales: dict[str, dict[str, str]] = Field(default_factory=dict)


class MemberRecord(Record):
    """A found blend among the criteria: its file, the rule by which it was adapted, and what came of that."""

    file: str
    rule: str
    blend: dict[str, Any]


class RatersRecord(Record):
    """Whose ratings were used: rater -> filters rated, filters that all rated, Fleiss' kappa, what stands in."""

    raters: dict[str, int]
    shared: int
    kappa: Number = None
    fallback: str | None = None
