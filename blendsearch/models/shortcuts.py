"""The parameter-free shortcut of CIFAR ResNets, as a module whose channels can be sliced."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ZeroPadShortcut(nn.Module):
    """Option-A shortcut: subsample by `stride` and pad with zero channels, as a table of sources.

    Output channel `j` is input channel `source[j]`, or zero where `source[j]` is -1. Written as a table, the
    padding does not tie the two residual streams together: either may lose channels without the other.
    Shapes: [N, C_in, H, W] -> [N, C_out, ceil(H / stride), ceil(W / stride)].
    Source: He et al., CVPR 2016, section 4.2, option A.
    """

    source: Tensor

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        pad = (out_channels - in_channels) // 2
        source = torch.full((out_channels,), -1, dtype=torch.long)
        source[pad : pad + in_channels] = torch.arange(in_channels)
        self.register_buffer("source", source, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        # Indexing then masking keeps one traceable operation per step for the dependency graph.
        picked = x.index_select(1, self.source.clamp(min=0))
        return picked * (self.source >= 0).to(x.dtype).view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"
