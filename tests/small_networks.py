"""Small networks with every kind of coupling, shared by the tests of several rooms."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import MobileNetV2

from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.models.zoo import MODELS, BasicBlock
from blendsearch.structure.latency import LatencyTable, LayerTable


def randomised(network, seed=0):
    """Give every tensor a value of its own, batch-norm statistics included, so that no symmetry hides a mistake."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.copy_(torch.randn(module.num_features, generator=draw) * 0.2)
                module.running_var.copy_(torch.rand(module.num_features, generator=draw) + 0.5)
                if module.weight is not None:
                    module.weight.copy_(torch.rand(module.num_features, generator=draw) + 0.5)
                    module.bias.copy_(torch.randn(module.num_features, generator=draw) * 0.2)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                scale = (module.weight[0].numel()) ** -0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=draw) * 1.4 * scale)
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=draw) * 0.1)
    return network.eval()


def images(count=2, size=8, channels=3, seed=0):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def conv4(width=4):
    return MODELS.get("conv4")(num_classes=3, in_channels=3, image_size=8, width=width)


def resnet20():
    return MODELS.get("resnet20")(num_classes=3, in_channels=3, image_size=16)


def mobilenet():
    """Torchvision's MobileNetV2, shallow and narrow."""
    return MobileNetV2(3, width_mult=0.25, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]])


def priced(structure):
    """Give a structure a latency table that is made up: steps and slopes, as measured ones have, and no clock."""
    points = (0.0, 0.25, 0.5, 0.75, 1.0)
    layers = {}
    for path, sides in structure.cost.layers.items():
        sizes = [sides[side].count(structure.widths) if side in sides else 1 for side in ("in", "out")]
        inputs, outputs = (tuple(sorted({max(1, round(share * size)) for share in points})) for size in sizes)
        rows = tuple(tuple(3000 + 40 * i * o + 500 * (o // 4) for o in outputs) for i in inputs)
        layers[path] = LayerTable(inputs, outputs, rows)
    whole = 5000 + sum(layer.nanoseconds[-1][-1] for layer in layers.values())
    structure.cost.latency_table = LatencyTable(layers, 5000, whole, 1, "cpu")
    return structure


class NormWithActivation(nn.BatchNorm2d):
    """A batch norm that holds its activation, as timm's do."""

    def __init__(self, width, activation=None):
        super().__init__(width)
        self.act = activation or nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(super().forward(x))


class OptionA(nn.Module):
    """Two residual blocks, the second behind a zero-padding shortcut."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.block1, self.block2 = BasicBlock(6, 6, 1), BasicBlock(6, 10, 2)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        return self.head(self.block2(self.block1(x)).mean((2, 3)))


class Mixed(nn.Module):
    """Residual addition of two convolutions, concatenation, depthwise convolution, flatten into a linear layer."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.norm_left, self.norm_right = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.branch, self.norm_branch = nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.depthwise, self.norm_both = nn.Conv2d(10, 10, 3, padding=1, groups=10), nn.BatchNorm2d(10)
        self.last, self.norm_last = nn.Conv2d(10, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(5 * 16, 3)

    def forward(self, x):
        x = F.relu(self.norm_left(self.left(x)) + self.norm_right(self.right(x)))
        y = self.relu(self.norm_branch(self.branch(x)))
        x = self.relu(self.norm_both(self.depthwise(torch.cat([x, y], 1))))
        x = self.relu(self.norm_last(self.last(x)))
        return self.head(x.flatten(1))


class Dense(nn.Module):
    """A DenseNet-like block: every layer reads all maps before it, norm and activation come first."""

    def __init__(self, growth=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        widths = [6 + i * growth for i in range(4)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(nn.Conv2d(width, growth, 3, padding=1, bias=False) for width in widths[:3])
        self.head = nn.Linear(widths[3], 3)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return self.head(F.relu(self.norms[3](x)).mean((2, 3)))


class Tail(nn.Module):
    """convolution - norm - relu, then whatever a test puts in the middle, pooling, linear."""

    def __init__(self, *middle, width=6, last=None):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.middle = nn.Sequential(*middle)
        self.head = nn.Linear(last or width, 3)

    def forward(self, x):
        return self.head(self.middle(F.relu(self.norm(self.first(x)))).mean((2, 3)))


class Shared(nn.Module):
    """One convolution is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Conv2d(6, 5, 1),
        )
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.again(F.relu(self.first(x))))
        return self.head(F.relu(self.last(F.relu(self.again(x)))).mean((2, 3)))


class FullyConvolutional(nn.Module):
    """The last convolution's channels are the classes."""

    def __init__(self):
        super().__init__()
        self.first, self.classify = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        return self.classify(F.relu(self.first(x))).mean((2, 3))


class Shuffled(nn.Module):
    """A ShuffleNet-like channel shuffle by reshaping."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class AddInPlace(nn.Module):
    """A residual sum written as a statement, `x.add_(y)`, whose result is not assigned."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.silu(self.stem(x))
        y = self.norm(self.conv(x))
        y.add_(x)
        return self.head(F.relu(y).mean((2, 3)))


__all__ = [
    "AddInPlace",
    "Dense",
    "FullyConvolutional",
    "Mixed",
    "NormWithActivation",
    "OptionA",
    "Shared",
    "Shuffled",
    "Tail",
    "ZeroPadShortcut",
    "conv4",
    "images",
    "mobilenet",
    "randomised",
    "resnet20",
]
