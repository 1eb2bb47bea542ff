"""What remains after pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from blendsearch.config.sections.types import Allowed, BelowOne, Count, Ratio, Section, broken_rule
from blendsearch.errors import quoted

BUDGET_KINDS = ("flops", "params", "filters", "latency")
BOUND_FORMS = "a share, a pair [least, most], or a mapping with min and max, from 0 to 1 and the most above 0"


def read_bound(given: object) -> tuple[float | None, float] | None:
    """Return the least (None where it is not said) and the most share of `0.8`, `[0.3, 0.9]` or `{max: 0.9}`.

    None for anything else, or limits that leave nothing.
    """
    low: object = given
    high: object = given
    if isinstance(given, Mapping):
        if not given or not given.keys() <= {"min", "max"}:
            return None
        low, high = given.get("min"), given.get("max", 1.0)
    elif isinstance(given, list | tuple):
        if len(given) != 2:
            return None
        low, high = given
    if not _is_number(high) or not (low is None or _is_number(low)):
        return None
    if not 0 <= (low or 0) <= high <= 1 or not high > 0:  # type: ignore[operator]
        return None
    return None if low is None else float(low), float(high)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_known_form(keep: dict[str, Any]) -> dict[str, Any]:
    for pattern, given in keep.items():
        if read_bound(given) is None:
            raise broken_rule(f"'{pattern}': {quoted(given)} given, allowed: {BOUND_FORMS}")
    return keep


Bounds = Annotated[
    dict[str, Any], AfterValidator(_of_known_form), Allowed("a mapping of layers' names or patterns to shares")
]


class Kinds(Section):
    """Shares of the unpruned network that may remain, by the kind of cost.

    flops: share of the multiply-accumulates of convolutions and matrix products.
    params: share of the parameters.
    filters: share of the filters.
    latency: share of the measured time of a forward pass, by a table that is measured once, layer by layer.
    """

    flops: Ratio | None = None
    params: Ratio | None = None
    filters: Ratio | None = None
    latency: Ratio | None = None

    @property
    def ratios(self) -> dict[str, float]:
        """The kinds that are given, with their shares in (0, 1)."""
        given = {kind: getattr(self, kind) for kind in BUDGET_KINDS}
        return {kind: float(ratio) for kind, ratio in given.items() if ratio is not None}


class BudgetConfig(Kinds):
    """What remains after pruning, as a share of exactly one kind, and the least share a group keeps.

    latency_images: how many images a forward pass takes when latency is measured for a latency budget.
    min_keep: the share of its filters that each group keeps in any case (one filter at least).
    also: shares of further kinds, which hold at the same time; reports speak of the first.
    round_to: groups keep a multiple of so many filters, or all of them; null for any number.
    keep: shares of single layers, `{layer1.*: 0.8, conv1: [0.3, 0.9]}`: names or patterns of groups, convolutions or
    modules around them; they come before min_keep, and upper ones before the budget.
    """

    latency_images: Count = 1
    min_keep: BelowOne = 0.1
    also: Annotated[Kinds | None, Allowed(f"a mapping of {', '.join(BUDGET_KINDS)}, or null")] = None
    round_to: Count | None = None
    keep: Bounds | None = None

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> BudgetConfig:
        given = list(self.ratios)
        if len(given) != 1:
            raise broken_rule(
                f"a budget has exactly one kind (given {' and '.join(given) or 'none'}, "
                f"allowed one of {', '.join(BUDGET_KINDS)}; set a kind to null to take it back, "
                "or put those that hold beside it below also)"
            )
        if self.also is not None and self.kind in self.also.ratios:
            raise broken_rule(f"{self.kind} stands in also as well (allowed once; also is for further kinds)")
        return self

    @property
    def kind(self) -> str:
        """The kind that was given: flops, params, filters or latency."""
        return next(iter(self.ratios))

    @property
    def ratio(self) -> float:
        """The share that remains, in (0, 1)."""
        return self.ratios[self.kind]

    @property
    def options(self) -> dict[str, Any]:
        """What is said beside the kind and its share, as plain values; keys at their defaults are left out."""
        given = self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        return {key: value for key, value in given.items() if key not in BUDGET_KINDS}

    @property
    def all_ratios(self) -> dict[str, float]:
        """Every kind that is limited, the first one first, and its share."""
        return {**self.ratios, **(self.also.ratios if self.also is not None else {})}
