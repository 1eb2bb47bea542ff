"""What convolutions and linear layers see of their input, as matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.structure.groups import Member
from blendsearch.structure.slicing import channels_first


def padded(module: nn.Conv2d, images: Tensor) -> Tensor:
    """Return the images with the border the convolution adds, of its own kind and size."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(images, module._reversed_padding_repeated_twice, mode=mode)


def weight_gradients(module: Any, given: Tensor, gradient: Tensor, at_most: int = 2**20) -> Iterator[Tensor]:
    """Yield each sample's own gradient of a convolution's weight, [n, *weight.shape], a few samples at a time.

    given: the input [N, C_in, H, W]. gradient: of each sample's loss with respect to the output.
    at_most: numbers held at once, for patches and gradients each.
    """
    if isinstance(module, nn.ConvTranspose2d):
        # The roles of input and output are swapped; only one group can be pruned, so only one is met here.
        border = [int(module.padding[axis]) for axis in (1, 1, 0, 0)]
        image, other, groups = F.pad(gradient, border), given, 1
    else:
        image, other, groups = padded(module, given), gradient, module.groups
    size = max(module.weight.numel(), image[0].numel() * module.weight[0, 0].numel())
    for part, out in zip(*(t.split(max(at_most // size, 1)) for t in (image, other)), strict=True):
        columns = F.unfold(part, module.kernel_size, dilation=module.dilation, stride=module.stride)
        columns = columns.unflatten(1, (groups, -1))
        rows = out.flatten(2).unflatten(1, (groups, -1))
        yield (rows @ columns.mT).reshape(len(part), *module.weight.shape)


def at_positions(module: nn.Module, given: Tensor, places: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """Return a layer's weights [C_in, kernel, outputs] and the patches [C_in, kernel, samples] they meet.

    places: how many output positions an image has -> the ones to take. A linear layer has a kernel of one and as
    many positions as its input has vectors per image.
    """
    if isinstance(module, nn.Linear):
        vectors = given.flatten(1, -2) if given.dim() > 2 else given[:, None]
        taken = vectors[:, places(vectors.shape[1]).to(given.device)]
        return channels_first(module, module.weight.detach(), "in")[:, None], taken.flatten(0, 1).T[:, None]
    assert isinstance(module, nn.Conv2d)
    image = padded(module, given)
    spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    high, wide = ((n - s - 1) // t + 1 for n, s, t in zip(image.shape[2:], spans, module.stride, strict=True))
    chosen = places(high * wide).to(given.device)
    rows = _reach(chosen // wide, 0, module)[:, :, None]  # [P, k, 1]
    columns = _reach(chosen % wide, 1, module)[:, None, :]
    patches = image[:, :, rows, columns].flatten(3)  # [N, C_in, P, kernel]
    weights = channels_first(module, module.weight.detach(), "in").flatten(2).transpose(1, 2)
    return weights, patches.permute(1, 3, 0, 2).flatten(2)


def _reach(place: Tensor, axis: int, module: nn.Conv2d) -> Tensor:
    taps = torch.arange(module.kernel_size[axis], device=place.device) * module.dilation[axis]
    return place[:, None] * module.stride[axis] + taps


def filter_rows(tensor: Tensor, member: Member, width: int) -> Tensor:
    """Bring together what belongs to one filter: [C_in, ...] -> [width, readings of each filter, ...]."""
    order = torch.tensor(member.root).argsort(stable=True)
    index = torch.tensor(member.index)[order]
    return tensor[index.to(tensor.device)].unflatten(0, (width, -1))
