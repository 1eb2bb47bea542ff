"""The families of criteria that rank alike as a table, the largest first."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.reports.families import MANY, Family, find_families
from blendsearch.results.records.common import AgreementRecord
from blendsearch.results.words import DASH, decimal


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """A family in words."""

    name: str
    members: str
    within: str
    nearest: str
    nearest_rho: str


def families_table(agreement: AgreementRecord | None) -> list[FamilyRow]:
    """Return a line for each family; none where so few criteria agree that every pair is shown."""
    if agreement is None or len(agreement.criteria) <= MANY:
        return []
    found = sorted(find_families(agreement).all, key=lambda family: -len(family.members))
    return [_row(family) for family in found]


def _row(family: Family) -> FamilyRow:
    return FamilyRow(
        name=family.name,
        members=", ".join(family.members) if len(family.members) > 1 else "on its own",
        within=decimal(family.within),
        nearest=family.nearest or DASH,
        nearest_rho=decimal(family.nearest_rho),
    )
