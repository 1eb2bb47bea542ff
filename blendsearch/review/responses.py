"""What filters respond to: their feature maps on a few images, and what excites them most among many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.progress import Progress, silent
from blendsearch.structure import Group, Structure
from blendsearch.structure.trace import CallCounter, Site

BATCH = 100


@dataclass(frozen=True)
class Summary:
    """What the filters of one group do over all looked-at images.

    top: int64 [C, T], the images with the highest peaks, the highest first. class_means: float32 [C, K], the mean
    response to the images of each class, 0 for classes without one. silent: bool [C], no image gives a response
    above 0.
    """

    top: Tensor
    class_means: Tensor
    silent: Tensor


def observed_site(group: Group) -> Site:
    """Return where a group's filters are looked at: in a residual stream after the last addition."""
    return group.sites[-1]


class MapTaker(CallCounter):
    """Takes the feature maps [N, C, H, W] of some sites out of a forward pass."""

    def __init__(self, network: nn.Module, sites: Iterable[Site]) -> None:
        super().__init__()
        self.maps: dict[Site, Tensor] = {}
        wanted = set(sites)
        self._by_call = {site.index: site for site in wanted if site.index >= 0}
        self._hooks = [
            network.get_submodule(site.module).register_forward_hook(self._hook(site))
            for site in wanted
            if site.index < 0
        ]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, site: Site) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._take(site, output)

        return hook

    def on_activation(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if index in self._by_call:
            self._take(self._by_call[index], output)
        return output

    def _take(self, site: Site, output: Tensor) -> None:
        with self.paused():
            self.maps[site] = output.detach().clone()  # the network may go on to change it in place


def feature_maps(network: nn.Module, sites: Iterable[Site], images: Tensor, compute: Compute) -> dict[Site, Tensor]:
    """Return the feature maps of images [N, ...] at the sites, site -> [N, C, H, W] on the compute's device.

    network: in evaluation mode, on that device.
    """
    taker = MapTaker(network, sites)
    try:
        with torch.no_grad(), taker:
            network(compute.images(images))
    finally:
        taker.close()
    return taker.maps


def summaries(
    network: nn.Module,
    structure: Structure,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    classes: int,
    compute: Compute,
    top: int,
    images: int,
    progress: Progress = silent,
) -> dict[str, Summary]:
    """Return every group's summary from one pass over `images` images."""
    sites = {group.name: observed_site(group) for group in structure.groups}
    peaks: dict[str, list[Tensor]] = {name: [] for name in sites}
    means: dict[str, list[Tensor]] = {name: [] for name in sites}
    seen: list[Tensor] = []
    for batch, labels in batches:
        maps = feature_maps(network, set(sites.values()), batch, compute)
        for name, site in sites.items():
            peaks[name].append(maps[site].amax(dim=(2, 3)).float().cpu())
            means[name].append(maps[site].mean(dim=(2, 3)).float().cpu())
        seen.append(labels)
        progress("responses", sum(len(some) for some in seen), images, "")
    every = torch.cat(seen)
    return {name: _summary(torch.cat(peaks[name]), torch.cat(means[name]), every, classes, top) for name in sites}


def _summary(peaks: Tensor, means: Tensor, labels: Tensor, classes: int, top: int) -> Summary:
    """peaks, means: [N, C]."""
    sums = torch.zeros(classes, means.shape[1]).index_add_(0, labels, means)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1).unsqueeze(1)
    best = peaks.topk(min(top, len(peaks)), dim=0).indices
    return Summary(best.T.contiguous(), (sums / counts).T.contiguous(), peaks.amax(dim=0) <= 0)
