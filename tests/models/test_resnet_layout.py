"""The CIFAR ResNets, counted and named by the rule of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.models.zoo import MODELS

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def resnet(depth: int, classes: int = 10) -> nn.Module:
    return MODELS.get(f"resnet{depth}")(num_classes=classes, in_channels=3, image_size=32)


def expected_shapes(depth: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes written out from the rule: 6n + 2 layers, widths 16, 32, 64, shortcuts without parameters."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(prefix: str, number: str, inside: int, out: int) -> None:
        shapes[f"{prefix}conv{number}.weight"] = (out, inside, 3, 3)
        for name in NORM:
            shapes[f"{prefix}bn{number}.{name}"] = () if name == "num_batches_tracked" else (out,)

    layer("", "1", 3, 16)
    inside = 16
    for stage, out in enumerate((16, 32, 64), start=1):
        for block in range((depth - 2) // 6):
            layer(f"layer{stage}.{block}.", "1", inside, out)
            layer(f"layer{stage}.{block}.", "2", out, out)
            inside = out
    shapes["linear.weight"], shapes["linear.bias"] = (classes, 64), (classes,)
    return shapes


@pytest.mark.parametrize(("depth", "classes"), [(20, 10), (20, 100), (32, 10), (56, 10), (110, 10)])
def test_keys_and_shapes_follow_the_rule(depth, classes):
    found = {key: tuple(tensor.shape) for key, tensor in resnet(depth, classes).state_dict().items()}
    assert found == expected_shapes(depth, classes)


def expected_shapes_of_resnet18(classes: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes written out: four stages of two blocks, 64 to 512 filters, 1x1 shortcuts from the second on."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(conv: str, norm: str, inside: int, out: int, size: int) -> None:
        shapes[f"{conv}.weight"] = (out, inside, size, size)
        for name in NORM:
            shapes[f"{norm}.{name}"] = () if name == "num_batches_tracked" else (out,)

    layer("conv1", "bn1", 3, 64, 3)
    inside = 64
    for stage, out in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            prefix = f"layer{stage}.{block}"
            layer(f"{prefix}.conv1", f"{prefix}.bn1", inside, out, 3)
            layer(f"{prefix}.conv2", f"{prefix}.bn2", out, out, 3)
            if inside != out:
                layer(f"{prefix}.shortcut.0", f"{prefix}.shortcut.1", inside, out, 1)
            inside = out
    shapes["linear.weight"], shapes["linear.bias"] = (classes, 512), (classes,)
    return shapes


@pytest.mark.parametrize("classes", [10, 100])
def test_resnet18_has_the_keys_and_shapes_in_common_use(classes):
    found = {key: tuple(tensor.shape) for key, tensor in resnet(18, classes).state_dict().items()}
    assert found == expected_shapes_of_resnet18(classes)


@pytest.mark.parametrize(("depth", "count"), [(18, 11_173_962), (20, 269_722), (56, 853_018)])
def test_parameters_to_the_last_one(depth, count):
    assert sum(parameter.numel() for parameter in resnet(depth).parameters()) == count


def test_the_option_a_shortcut_is_subsampling_and_zero_padding():
    x = torch.randn(2, 16, 7, 8)
    expected = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    assert torch.equal(ZeroPadShortcut(16, 32, 2)(x), expected)
