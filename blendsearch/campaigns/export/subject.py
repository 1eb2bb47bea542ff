"""What is exported: a network with what is known of it, and the images that it is tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.errors import BlendsearchError, DataError, StructureError, first_line
from blendsearch.experiment.loading import Opened, open_network
from blendsearch.results.records.shipping import Figures, NetworkRecord
from blendsearch.structure import Plan
from blendsearch.structure.copying import copy_with
from blendsearch.structure.example import FAILURES
from blendsearch.structure.given import check_network

DYNAMIC_BATCHES = (1, 3)
"""Sizes that a network with a dynamic batch is tried with, beside that of the example."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network on the CPU in evaluation mode; whole: its unpruned class, None where no instance is at hand.

    trials: batches [N, C, H, W] that an export is tried on; the first is the one that it is made with.
    """

    network: nn.Module
    plan: Plan | None
    whole: nn.Module | None
    about: NetworkRecord
    figures: Figures
    name: str
    trials: tuple[Tensor, ...]
    dynamic: bool

    @property
    def example(self) -> Tensor:
        """The batch that the export is made with."""
        return self.trials[0]

    def outputs(self) -> list[Tensor]:
        """Return the network's outputs on all trials; StructureError where it cannot take them."""
        with torch.no_grad():
            try:
                found = [self.network(images) for images in self.trials]
            except FAILURES as error:
                kind, shape = type(self.network).__name__, "x".join(str(size) for size in self.example.shape)
                raise StructureError(
                    f"export: {kind} cannot take images of {shape} (NxCxHxW): {first_line(error)}"
                ) from None
        if not all(isinstance(one, Tensor) for one in found):
            raise StructureError(
                f"export: {type(self.network).__name__} gives a {type(found[0]).__name__}, allowed: one tensor"
            )
        return found


def read_subject(
    given: Any, example: Any, model: nn.Module | None, contender: str | None, *, dynamic: bool, trust_code: bool
) -> Subject:
    """Return what a user names for export; BlendsearchError in one line for what cannot be.

    given: a network, what `prune` or `search` returned, a run folder, or a file of a saved network. trust_code: see
    `load`.
    """
    opened = _opened(given, model, contender, trust_code)
    return Subject(
        network=opened.network,
        plan=opened.plan,
        whole=opened.whole,
        about=opened.about,
        figures=opened.figures,
        name=opened.name,
        trials=_trials(example, opened.about, opened.network, dynamic),
        dynamic=dynamic,
    )


def _opened(given: Any, model: nn.Module | None, contender: str | None, trust_code: bool) -> Opened:
    source = getattr(given, "run_dir", given)  # a finished campaign has its folder
    if isinstance(source, str | Path):
        return open_network(source, model or getattr(given, "unpruned", None), contender, trust_code)
    if contender is not None:
        raise BlendsearchError(f"contender: '{contender}' given, which only a run folder has")
    network = getattr(given, "network", None) if not isinstance(given, nn.Module) else given
    if not isinstance(network, nn.Module):
        raise BlendsearchError(
            f"export: {type(given).__name__} given, allowed: a run folder, a saved file, a network, or what prune or "
            "search returned"
        )
    check_network(network)
    alone = copy_with(network, lambda path, name, tensor, module: tensor.to("cpu", copy=True)).eval()
    ratios = {name: getattr(given, name, None) for name in ("flops_ratio", "params_ratio")}
    plan = getattr(given, "plan", None)
    return Opened(
        network=alone,
        plan=plan if isinstance(plan, Plan) else None,
        whole=model,
        about=NetworkRecord(),
        figures=Figures(**ratios) if not isinstance(given, nn.Module) else Figures(),
        name=type(network).__name__.lower(),
    )


def _trials(example: Any, about: NetworkRecord, network: nn.Module, dynamic: bool) -> tuple[Tensor, ...]:
    """Return the batches to try: the example's own, and with a dynamic batch random ones of other sizes.

    Random images have the spread of normalised ones. Each size is there once, the first is of two or more where the
    batch is dynamic: a program that is made with one image takes that number for a constant.
    """
    images = _example(example, about)
    dtype = next((one.dtype for one in network.parameters() if one.is_floating_point()), torch.float32)
    images = images.detach().to("cpu", dtype)
    if not dynamic:
        return (images,)
    draws = torch.Generator().manual_seed(0)
    others = [torch.randn(size, *images.shape[1:], generator=draws).to(dtype) for size in DYNAMIC_BATCHES]
    first = images if len(images) > 1 else torch.cat([images, others[0]])
    return (first, *others)


def _example(example: Any, about: NetworkRecord) -> Tensor:
    if example is None:
        if about.shape is None:
            raise DataError("example: not given, and the size of the images is not known; give a batch [N, C, H, W]")
        return torch.randn(1, *about.shape, generator=torch.Generator().manual_seed(1))
    if isinstance(example, Sequence) and len(example) and isinstance(example[0], Tensor):
        example = example[0]  # a batch of images and labels
    if not isinstance(example, Tensor) or example.dim() < 2 or not len(example) or not example.is_floating_point():
        given = f"a tensor {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise DataError(f"example: {given} given, allowed: a batch of images [N, C, H, W] of floats")
    return example
