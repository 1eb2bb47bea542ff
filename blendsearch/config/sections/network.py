"""The network, and which of its channels may go."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from blendsearch.config.sections.types import Section, Text


class ModelConfig(Section):
    """The network and its weights.

    name: one of `blendsearch list models`, `torchvision:NAME`, `timm:NAME`, or your own as `package.module:callable`.
    weights: a .pt, .pth, .th, .ckpt or .safetensors file, relative to where the command is started; null starts at
    random.
    arguments: passed to the function that builds the network.
    """

    name: Text
    weights: Text | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)


class StructureConfig(Section):
    """Which channels may be pruned, and how coupled ones are scored.

    scope: all channels, or the inner ones, which no residual addition ties.
    ignore: paths of modules (or of modules around them) whose filters are left alone, with all that are coupled
    to them.
    ignore_inputs: modules that keep what they read, so that the layers before them stay whole as well.
    group_rule: how the scores of coupled convolutions, as in a residual stream, become one.
    """

    scope: Literal["all", "inner"] = "all"
    ignore: list[Text] = Field(default_factory=list)
    ignore_inputs: list[Text] = Field(default_factory=list)
    group_rule: Literal["mean_rank", "mean", "sum", "max"] = "mean_rank"
