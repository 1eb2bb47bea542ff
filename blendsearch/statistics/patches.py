"""What convolutions and linear layers see of their input, as matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from blendsearch.statistics.contributions import FUNCTIONS
from blendsearch.structure.groups import Member
from blendsearch.structure.slicing import channels_first

WIDE, BANDS = 64, 4
"""Rows from which a Gram matrix is worked out in so many bands, each up to its diagonal: 5/8 of the products."""


class _Seen(TorchFunctionMode):
    """Keeps the arguments of the last convolution inside this context."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") == "conv2d":
            self.arguments = dict(zip(FUNCTIONS["conv2d"], args, strict=False)) | (kwargs or {})
        return func(*args, **(kwargs or {}))


def padded(module: nn.Conv2d, images: Tensor) -> Tensor:
    """Return the images with the border the convolution adds, of its own kind and size.

    A subclass may do so in its `forward`, as for padding that depends on the image's size: then that is asked.
    """
    if _has_own_forward(module):
        arguments = _arguments(module, images)
        border = arguments.get("padding", 0)
        if arguments and not isinstance(border, str):
            down, right = (border, border) if isinstance(border, int) else (border[0], border[-1])
            return F.pad(arguments["input"], (right, right, down, down))
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(images, module._reversed_padding_repeated_twice, mode=mode)


def _has_own_forward(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and type(module).forward is not nn.Conv2d.forward


def _arguments(module: nn.Module, images: Tensor) -> dict[str, Any]:
    """Return with what a convolution's own `forward` calls the function; nothing where it does not."""
    with _Seen() as seen, torch.no_grad():
        module.forward(images)
    return seen.arguments


def weight_gradients(module: Any, given: Tensor, gradient: Tensor, at_most: int = 2**20) -> Iterator[Tensor]:
    """Yield each sample's own gradient of a convolution's weight, [n, *weight.shape], a few samples at a time.

    Of one that makes the weight it uses of its own, as weight standardisation does, of its own.
    given: the input [N, C_in, H, W]. gradient: of each sample's loss with respect to the output.
    at_most: numbers held at once, for patches and gradients each.
    """
    if isinstance(module, nn.ConvTranspose2d):
        # The roles of input and output are swapped; only one group can be pruned, so only one is met here.
        border = [int(module.padding[axis]) for axis in (1, 1, 0, 0)]
        image, other, groups = F.pad(gradient, border), given, 1
    else:
        image, other, groups = padded(module, given), gradient, module.groups
    taps = module.weight[0, 0].numel()
    dense = isinstance(module, nn.ConvTranspose2d) or tuple(module.stride) != (1, 1)
    size = max(module.weight.numel(), image[0].numel() * (taps if dense else 1))
    of_some = _by_columns if dense else _by_shifts
    for part, out in zip(*(t.split(max(at_most // size, 1)) for t in (image, other)), strict=True):
        found = of_some(module, part, out, groups).reshape(len(part), *module.weight.shape)
        yield _of_parameter(module, given[:1], found) if _has_own_forward(module) else found


def _of_parameter(module: Any, given: Tensor, gradients: Tensor) -> Tensor:
    """Return gradients [n, ...] of the weight that a convolution makes in its `forward` as those of its parameter."""
    with torch.enable_grad(), _Seen() as seen:
        module.forward(given)
    made = seen.arguments.get("weight", module.weight)
    if made is module.weight or made.shape != module.weight.shape or not made.requires_grad:
        return gradients
    return torch.stack([torch.autograd.grad(made, module.weight, one, retain_graph=True)[0] for one in gradients])


def _by_columns(module: Any, image: Tensor, out: Tensor, groups: int) -> Tensor:
    """Return what each sample's weights of each tap get, from all patches laid out."""
    columns = F.unfold(image, module.kernel_size, dilation=module.dilation, stride=module.stride)
    columns = columns.unflatten(1, (groups, -1))
    rows = out.flatten(2).unflatten(1, (groups, -1))
    return rows @ columns.mT


def _by_shifts(module: Any, image: Tensor, out: Tensor, groups: int) -> Tensor:
    """Do as `_by_columns` does where the stride is one: each tap then sees the image from another pixel on.

    On rows as long as the image's, with zeros at their ends, the outputs lie as the pixels do, and nothing is copied.
    """
    wide = image.shape[3]
    rows = F.pad(out, (0, wide - out.shape[3])).flatten(2)[:, :, : (out.shape[2] - 1) * wide + out.shape[3]]
    rows = rows.unflatten(1, (groups, -1)).flatten(0, 1)  # [N x groups, outputs, pixels]
    pixels = image.flatten(2).unflatten(1, (groups, -1)).flatten(0, 1)
    starts = [
        down * module.dilation[0] * wide + right * module.dilation[1]
        for down in range(module.kernel_size[0])
        for right in range(module.kernel_size[1])
    ]
    return torch.stack([rows @ pixels[:, :, start : start + rows.shape[2]].mT for start in starts], dim=3)


def at_positions(module: nn.Module, given: Tensor, places: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """Return a layer's weights [C_in, kernel, outputs] and the patches [C_in, kernel, samples] they meet.

    places: how many output positions an image has -> the ones to take, row by row. A linear layer has a kernel of one
    and as many positions as its input has vectors per image. Samples: the first position of all images, then the next.
    """
    if isinstance(module, nn.Linear):
        vectors = given.flatten(1, -2) if given.dim() > 2 else given[:, None]
        taken = vectors[:, places(vectors.shape[1]).to(given.device)]
        return input_weights(module, given[:1]), taken.transpose(0, 1).flatten(0, 1).T[:, None]
    transposed = isinstance(module, nn.ConvTranspose2d)
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    image = _spread(module, given) if isinstance(module, nn.ConvTranspose2d) else padded(module, given)
    stride = (1, 1) if transposed else module.stride
    spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    high, wide = ((n - s - 1) // t + 1 for n, s, t in zip(image.shape[2:], spans, stride, strict=True))
    chosen = places(high * wide).to(given.device)
    rows = _reach(chosen // wide, stride[0], module.kernel_size[0], module.dilation[0])[:, :, None]  # [P, k, 1]
    columns = _reach(chosen % wide, stride[1], module.kernel_size[1], module.dilation[1])[:, None, :]
    pixels = (rows * image.shape[3] + columns).flatten(1).T  # [kernel, P]
    return input_weights(module, given[:1]), _picked(image, pixels)


def _picked(image: Tensor, pixels: Tensor) -> Tensor:
    """Return pixels [kernel, P], counted row by row, of images [N, C, H, W]: [C, kernel, P x N].

    Whole rows of numbers are moved, several times as fast as number by number: of all pixels with the images beside
    each other, where that is less than what is picked.
    """
    flat, kernel = image.flatten(2), len(pixels)
    if pixels.numel() < flat.shape[2]:
        picked = flat.index_select(2, pixels.flatten()).permute(1, 2, 0)
    else:
        picked = flat.permute(1, 2, 0).contiguous().index_select(1, pixels.flatten())
    return picked.reshape(len(picked), kernel, -1)


def gram(rows: Tensor) -> Tensor:
    """Return the inner products [D, D] of rows [D, samples], of which one half is the other's mirror image."""
    edges = [len(rows) * part // BANDS for part in range(BANDS + 1)] if len(rows) >= WIDE else [0, len(rows)]
    found = rows.new_empty(len(rows), len(rows))
    for start, stop in itertools.pairwise(edges):
        found[start:stop, :stop] = rows[start:stop] @ rows[:stop].T
        found[:start, start:stop] = found[start:stop, :start].T
    return found


def input_weights(module: nn.Module, given: Tensor) -> Tensor:
    """Return the weights that a layer multiplies by as [C_in, kernel, outputs]; taps as its patches have them.

    given: an input, of which the numbers do not matter. A convolution of a kind of its own may make them of its
    parameter, as in weight standardisation: then they are those with which it calls the function.
    """
    own = module.get_parameter("weight").detach()
    called = _arguments(module, given).get("weight", own).detach() if _has_own_forward(module) else own
    weight = channels_first(module, called if called.shape == own.shape else own, "in")
    if isinstance(module, nn.Linear):
        return weight[:, None]
    if isinstance(module, nn.ConvTranspose2d):
        weight = weight.flip(2, 3)  # as a convolution it runs over its kernel backwards
    return weight.flatten(2).transpose(1, 2)


def _spread(module: nn.ConvTranspose2d, given: Tensor) -> Tensor:
    """Return the image over which a plain convolution with the flipped kernel gives what the transposed one does."""
    (high, wide), (down, right) = given.shape[2:], module.stride
    spread = given.new_zeros(*given.shape[:2], (high - 1) * down + 1, (wide - 1) * right + 1)
    spread[:, :, ::down, ::right] = given
    border = []
    for axis in (1, 0):
        before = module.dilation[axis] * (module.kernel_size[axis] - 1) - int(module.padding[axis])
        border += [before, before + module.output_padding[axis]]
    return F.pad(spread, border)


def _reach(place: Tensor, stride: int, taps: int, dilation: int) -> Tensor:
    return place[:, None] * stride + torch.arange(taps, device=place.device) * dilation


def filter_rows(tensor: Tensor, member: Member, width: int) -> Tensor:
    """Bring together what belongs to one filter: [C_in, ...] -> [width, readings of each filter, ...]."""
    order = torch.tensor(member.root).argsort(stable=True)
    index = torch.tensor(member.index)[order]
    return tensor[index.to(tensor.device)].unflatten(0, (width, -1))
