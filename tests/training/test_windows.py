"""Moments over windows are those of the patches at the windows' positions, formed one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blendsearch.compute import generator
from blendsearch.training import windows as windows_module
from blendsearch.training.compensation import patches
from blendsearch.training.moments import RowSquares
from blendsearch.training.windows import Windows, WindowSquares, windows_for


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Let layers of few channels take windows, too."""
    monkeypatch.setattr(windows_module, "WIDE", 1)


def output_size(layer: nn.Conv2d, x: torch.Tensor) -> tuple[int, int]:
    height, width = layer(x).shape[2:]
    return height, width


LAYERS = {
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "3 x 3 without border": {"kernel_size": 3},
    "5 x 5, border of one": {"kernel_size": 5, "padding": 1},
    "border wider than the kernel needs": {"kernel_size": 3, "padding": 3},
    "5 x 3": {"kernel_size": (5, 3), "padding": (2, 0)},
    "1 x 4, same size": {"kernel_size": (1, 4), "padding": "same"},
    "2 x 2": {"kernel_size": 2, "padding": 1},
    "reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "circular": {"kernel_size": 3, "padding": 2, "padding_mode": "circular"},
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize(("size", "positions"), [((4, 4), 9999), ((2, 3), 9999), ((7, 6), 100), ((19, 11), 300)])
def test_moments_over_windows_are_those_of_the_patches(name, offset, size, positions):
    draws = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(3, 4, **LAYERS[name])
    padding = layer._reversed_padding_repeated_twice
    if size[0] + padding[2] + padding[3] < layer.kernel_size[0]:
        pytest.skip("the kernel does not fit")
    x = torch.randn(6, 3, *size, generator=draws)
    out = output_size(layer, x)
    windows = windows_for(layer, len(x), out, positions, draws)
    index = windows.index(*out)
    assert len(set(index.tolist())) == len(index) or min(out) > windows_module.SIDE  # the last tiles may overlap
    wanted = torch.randn(len(index), 5, generator=draws)
    rows = patches(layer, x, index)
    plain, found = RowSquares(rows.clone(), wanted, offset), WindowSquares(layer, x, windows, wanted, offset)
    assert (found.positions, found.inputs) == rows.shape
    weights = torch.randn(found.inputs, 5, generator=draws)
    pairs = [
        *zip(vars(found.moments).values(), vars(plain.moments).values(), strict=True),
        (found.applied(weights), rows @ weights),
        (found.transposed(wanted), rows.T @ wanted),
        (found.kernel(), rows @ rows.T),
    ]
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


def test_all_positions_are_taken_where_there_are_no_more_than_wanted():
    layer = nn.Conv2d(8, 4, 3, padding=1)
    windows = windows_for(layer, 10, (4, 4), 160, generator(0))
    assert windows.whole
    assert sorted(windows.index(4, 4).tolist()) == list(range(160))


def test_windows_hold_more_positions_than_wanted_and_tile_larger_maps():
    layer = nn.Conv2d(8, 4, 3, padding=1)
    windows = windows_for(layer, 10, (16, 24), 640, generator(0))
    index = windows.index(16, 24)
    assert (windows.height, windows.width, windows.whole) == (8, 8, False)
    assert len(index) == 1024
    assert len(set(index.tolist())) == 1024
    assert set(windows.top.tolist()) <= {0, 8}
    assert set(windows.left.tolist()) <= {0, 8, 16}
    again, other = (windows_for(layer, 10, (16, 24), 640, generator(seed)) for seed in (0, 1))
    assert torch.equal(again.index(16, 24), index)
    assert not torch.equal(other.index(16, 24), index)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(900, 4, 1),
        nn.Conv2d(90, 4, 3, stride=2),
        nn.Conv2d(90, 4, 3, dilation=2),
        nn.Linear(900, 4),
    ],
)
def test_layers_that_cannot_share_products_go_without(layer):
    assert windows_for(layer, 10, (16, 16), 1000, generator(0)) is None


def test_narrow_layers_go_without(monkeypatch):
    monkeypatch.setattr(windows_module, "WIDE", 512)
    assert windows_for(nn.Conv2d(56, 4, 3), 10, (16, 16), 1000, generator(0)) is None
    assert isinstance(windows_for(nn.Conv2d(57, 4, 3), 10, (16, 16), 1000, generator(0)), Windows)
