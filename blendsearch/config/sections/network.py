"""The network, and which of its channels may go."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from blendsearch.config.sections.types import Section, Text


class ModelConfig(Section):
    """The network: a zoo name, `torchvision:NAME`, `timm:NAME` or `module.path:callable`, and its weights."""

    name: Text
    weights: Text | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)


class StructureConfig(Section):
    """Which channels may be pruned: all, or those inside residual blocks; `ignore` names modules to leave.

    ignore_inputs: modules that keep what they read, so that the layers before them stay whole as well.
    group_rule: how the scores of coupled convolutions, as in a residual stream, become one.
    """

    scope: Literal["all", "inner"] = "all"
    ignore: list[Text] = Field(default_factory=list)
    ignore_inputs: list[Text] = Field(default_factory=list)
    group_rule: Literal["mean_rank", "mean", "sum", "max"] = "mean_rank"
