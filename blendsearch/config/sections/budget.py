"""What remains after pruning."""

from __future__ import annotations

from pydantic import model_validator

from blendsearch.config.sections.types import BelowOne, Count, Ratio, Section, broken_rule

BUDGET_KINDS = ("flops", "params", "filters", "latency")


class BudgetConfig(Section):
    """What remains after pruning, as a share of exactly one kind, and the least share a group keeps.

    latency_images: how many images a forward pass takes when latency is measured for a latency budget.
    """

    flops: Ratio | None = None
    params: Ratio | None = None
    filters: Ratio | None = None
    latency: Ratio | None = None
    latency_images: Count = 1
    min_keep: BelowOne = 0.1

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> BudgetConfig:
        given = [kind for kind in BUDGET_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise broken_rule(
                f"a budget has exactly one kind (given {' and '.join(given) or 'none'}, "
                f"allowed one of {', '.join(BUDGET_KINDS)}; set a kind to null to take it back)"
            )
        return self

    @property
    def kind(self) -> str:
        """The kind that was given: flops, params, filters or latency."""
        return next(kind for kind in BUDGET_KINDS if getattr(self, kind) is not None)

    @property
    def ratio(self) -> float:
        """The share that remains, in (0, 1)."""
        return float(getattr(self, self.kind))
