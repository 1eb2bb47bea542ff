"""What the jobs beside the search look at: the audit of the proxies, and curves with few images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from blendsearch.config.sections.types import Allowed, Count, Counts, Named, NamedSection, Ratios, Section

AUDITED = ("zero_shot", "bn_recalibrated", "compensated", "agreement", "compensated_finetune", "short_finetune")


class AuditConfig(Section):
    """The audit: how well each proxy predicts the accuracy after retraining.

    plans: how many are drawn: of base criteria, of random blends, and of what a search comes upon.
    seeds: how often each plan is retrained; two or more tell what noise allows.
    proxies: which ones estimate the plans.
    """

    plans: Annotated[int, Field(ge=6)] = 24
    seeds: Annotated[int, Field(ge=2)] = 2
    proxies: Annotated[list[Named], Field(min_length=1), Allowed("a list of proxies, each a name or a mapping")] = (
        Field(default_factory=lambda: [NamedSection(name=name) for name in AUDITED])
    )


class CurvesConfig(Section):
    """The scarce-data scenario: accuracy against the share removed, with few images behind the scores.

    samples_per_class: images of each class that the criteria look at.
    removed: shares of what the budget counts.
    draws: how often the images are drawn anew.
    images: how many test images are read; null for all.
    """

    samples_per_class: Counts = Field(default_factory=lambda: [1, 5, 10, 50])
    removed: Ratios = Field(default_factory=lambda: [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6])
    draws: Count = 5
    images: Count | None = None
