"""Networks for small images: Conv-4, CIFAR ResNets with option-A or (ResNet-18) B shortcuts, VGG-16 with batch norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.registry import Registry

MODELS: Registry[Callable[..., nn.Module]] = Registry("model", "models")


def _convolution(inside: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(inside, out, 3, padding=1, bias=False)


class Conv4(nn.Module):
    """Four 3x3 convolutions with batch norm, two poolings, global average pooling, a linear classifier.

    Filters: width, width, 2 width, 2 width. For images from 8x8 pixels up.
    """

    def __init__(self, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(in_channels, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, 2 * width), nn.BatchNorm2d(2 * width)
        self.conv4, self.bn4 = _convolution(2 * width, 2 * width), nn.BatchNorm2d(2 * width)
        self.linear = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.max_pool2d(F.relu(self.bn4(self.conv4(x))), 2)
        return self.linear(x.mean((2, 3)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        same = stride == 1 and inside == out
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(inside, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """The ResNet for CIFAR: 6n + 2 layers, three stages of n blocks with 16, 32 and 64 filters.

    State-dict keys are those in common use (conv1, bn1, layer1.0.conv1, ..., linear).
    Source: He et al., CVPR 2016, section 4.2.
    """

    def __init__(self, blocks: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inside: int, out: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(inside, out, stride)
        return nn.Sequential(first, *(BasicBlock(out, out, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class ProjectionBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: a 1x1 convolution (option B) where the shape changes."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != out:
            self.shortcut.append(nn.Conv2d(inside, out, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet18(nn.Module):
    """ResNet-18 in the form for 32x32 images: a 3x3 stem, no pooling, stages of two blocks, 64 to 512 filters.

    State-dict keys are those in common use (conv1, bn1, layer1.0.conv1, layer2.0.shortcut.0, ..., linear).
    Source: He et al., CVPR 2016, table 1, with the stem of their CIFAR networks.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._stage(64, 64, 1)
        self.layer2 = self._stage(64, 128, 2)
        self.layer3 = self._stage(128, 256, 2)
        self.layer4 = self._stage(256, 512, 2)
        self.linear = nn.Linear(512, num_classes)

    @staticmethod
    def _stage(inside: int, out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(ProjectionBlock(inside, out, stride), ProjectionBlock(out, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
VGG19 = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4)


class CifarVGG(nn.Module):
    """VGG with batch norm for 32x32 images: the convolutions of a plan ("M" halves the size), one linear classifier.

    `width_mult` multiplies the filters of every layer (rounded, at least one each), as torchvision has it.
    Source: Simonyan & Zisserman, ICLR 2015; the CIFAR form of Li et al., ICLR 2017.
    """

    def __init__(self, plan: Sequence[int | str], num_classes: int, in_channels: int, width_mult: float = 1.0) -> None:
        super().__init__()
        if not 0 < width_mult <= 16:
            raise ValueError(f"width_mult={width_mult}: allowed is more than 0 and at most 16")
        layers: list[nn.Module] = []
        for size in plan:
            if isinstance(size, str):
                layers.append(nn.MaxPool2d(2))
                continue
            filters = max(1, round(size * width_mult))
            layers += [nn.Conv2d(in_channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            in_channels = filters
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, C, H, W] (at least 16x16) to logits [N, classes]."""
        return self.linear(self.features(x).mean((2, 3)))


@MODELS.register("conv4")
def conv4(*, num_classes: int, in_channels: int, image_size: int, width: int = 32) -> nn.Module:
    """Conv-4: four 3x3 convolutions with batch norm; `width` filters in the first two, twice as many after."""
    return Conv4(num_classes, in_channels, width)


@MODELS.register("vgg16_bn")
def vgg16_bn(*, num_classes: int, in_channels: int, image_size: int, width_mult: float = 1.0) -> nn.Module:
    """VGG-16 with batch norm in the form for 32x32 images; `width_mult` times as many filters in every layer."""
    return CifarVGG(VGG16, num_classes, in_channels, width_mult)


@MODELS.register("vgg19_bn")
def vgg19_bn(*, num_classes: int, in_channels: int, image_size: int, width_mult: float = 1.0) -> nn.Module:
    """VGG-19 with batch norm in the form for 32x32 images; `width_mult` times as many filters in every layer."""
    return CifarVGG(VGG19, num_classes, in_channels, width_mult)


@MODELS.register("resnet18")
def resnet18(*, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """ResNet-18 in the form for 32x32 images, with 1x1 (option-B) shortcuts."""
    return CifarResNet18(num_classes, in_channels)


def _resnet(blocks: int, *, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return CifarResNet(blocks, num_classes, in_channels)


def _resnet_of(depth: int) -> Callable[..., nn.Module]:
    builder = partial(_resnet, (depth - 2) // 6)
    builder.__doc__ = f"ResNet-{depth} for CIFAR with parameter-free (option-A) shortcuts."
    return builder


MODELS.register("resnet20")(_resnet_of(20))
MODELS.register("resnet32")(_resnet_of(32))
MODELS.register("resnet44")(_resnet_of(44))
MODELS.register("resnet56")(_resnet_of(56))
MODELS.register("resnet110")(_resnet_of(110))
