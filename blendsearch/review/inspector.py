"""The network under inspection: what its filters respond to, how the criteria rank them, as numbers and pictures."""

from __future__ import annotations

import copy
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor, nn

from blendsearch.blending import Blend, Scores, rank_all
from blendsearch.blending.blend import NO_LOSSES
from blendsearch.compute import Compute
from blendsearch.criteria import DropLosses
from blendsearch.criteria.ranking import rank
from blendsearch.experiment.members import blend_scores
from blendsearch.progress import Progress, silent
from blendsearch.results.words import DROP_LOSS
from blendsearch.review import pictures
from blendsearch.review.responses import BATCH, feature_maps, observed_site, summaries
from blendsearch.review.sample_images import SampleImages
from blendsearch.structure import Group, Structure

BLEND = "blend"
TOP = 6
MOST_INPUTS, LARGEST_KERNEL = 4, 11
T = TypeVar("T")


class Cache:
    """Keeps the values used last; threads may ask at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key, made where it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]  # type: ignore[return-value]
        value = make()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value


class Inspector:
    """One network to look at. Everything about its groups goes by their number in forward order.

    ranks: criterion (and "blend" where there is one) -> group -> [C] in [0, 1]. edition: new for every inspector, so
    that a browser never shows pictures of another one.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        structure: Structure,
        scores: Scores,
        sample_images: SampleImages,
        compute: Compute,
        blend: Blend | None = None,
        losses: DropLosses = NO_LOSSES,
        progress: Progress = silent,
    ) -> None:
        self.structure, self.sample_images, self.compute = structure, sample_images, compute
        self.network = compute.place(copy.deepcopy(network)).eval()
        self.criteria = list(scores)
        self.ranks = rank_all(scores)
        if blend is not None:
            found = blend_scores(blend, scores, losses)
            self.ranks = {BLEND: {group: rank(values) for group, values in found.items()}, **self.ranks}
            if blend.set_aware:
                self.ranks |= rank_all({DROP_LOSS: Blend.elimination().score({}, losses)})
        self.edition = secrets.token_hex(4)
        self.summaries = summaries(
            self.network,
            structure,
            sample_images.split.batches(BATCH),
            classes=len(sample_images.classes),
            compute=compute,
            top=TOP,
            images=len(sample_images),
            progress=progress,
        )
        self._maps, self._pictures = Cache(6), Cache(4096)
        self._mapping = threading.Lock()
        self._draw = {
            "maps": self._map_row,
            "overlay": self._overlay_row,
            "top": self._top_row,
            "weights": self._weights,
        }

    def group(self, number: int) -> Group:
        """Return a group by its number."""
        return self.structure.groups[number]

    def filters(self, number: int) -> tuple[int, ...]:
        """Return the group's filters by their indices in the unpruned network, in the order they stand in here."""
        return self.structure.left.keep[self.group(number).name]

    def spread(self, number: int) -> Tensor:
        """Return how far the criteria disagree on each filter: the standard deviation of its ranks, float32 [C]."""
        name = self.group(number).name
        return torch.stack([self.ranks[criterion][name] for criterion in self.criteria]).std(dim=0, correction=0)

    def weights_of(self, number: int) -> Tensor | None:
        """Return the first convolution's weights [C, C_in, H, W] where they are small enough to look at."""
        module = self.network.get_submodule(self.group(number).convolutions[0])
        if not isinstance(module, nn.Conv2d):
            return None
        weights = module.weight.detach().float().cpu()
        kernel = weights.shape[2:]
        small = weights.shape[1] <= MOST_INPUTS and 1 < max(kernel) <= LARGEST_KERNEL
        return weights if small else None

    def picture(self, kind: str, number: int, position: int, seed: int) -> bytes | None:
        """Return a PNG about the filter at a position in its group; None for what there is not.

        kind: "maps", "overlay", "top" or "weights".
        """
        if kind not in self._draw or not 0 <= number < len(self.structure.groups):
            return None
        if not 0 <= position < self.group(number).width or (kind == "weights" and self.weights_of(number) is None):
            return None
        return self._pictures.get((kind, number, position, seed), lambda: self._draw[kind](number, position, seed))

    def sample_picture(self, seed: int) -> bytes:
        """Return the PNG of the images that the maps are of."""
        return self._pictures.get(seed, lambda: pictures.image_row(self._thumbnails(seed)))

    def _thumbnails(self, seed: int) -> Tensor:
        return self.sample_images.thumbnails[self.sample_images.sample(seed)]

    def _maps_of(self, number: int, seed: int) -> Tensor:
        """Return [N, C, H, W] of one group; computed once for all its filters."""
        with self._mapping:  # the first picture of a page computes, the others wait for it
            return self._maps.get((number, seed), lambda: self._compute_maps(number, seed))

    def _compute_maps(self, number: int, seed: int) -> Tensor:
        site = observed_site(self.group(number))
        images = self.sample_images.images(self.sample_images.sample(seed))
        return feature_maps(self.network, [site], images, self.compute)[site].float().cpu()

    def _map_row(self, number: int, position: int, seed: int) -> bytes:
        return pictures.map_row(self._maps_of(number, seed)[:, position], self._thumbnails(seed))

    def _overlay_row(self, number: int, position: int, seed: int) -> bytes:
        return pictures.overlay_row(self._maps_of(number, seed)[:, position], self._thumbnails(seed))

    def _top_row(self, number: int, position: int, seed: int) -> bytes:
        return pictures.image_row(self.sample_images.thumbnails[self.summaries[self.group(number).name].top[position]])

    def _weights(self, number: int, position: int, seed: int) -> bytes:
        weights = self.weights_of(number)
        assert weights is not None
        return pictures.weight_row(weights[position])
