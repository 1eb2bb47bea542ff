"""Networks of torchvision and timm are read, scored, pruned, trained, saved and exported right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load_script():
    spec = importlib.util.spec_from_file_location("check_architectures", ROOT / "scripts" / "check_architectures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_architectures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()
REFUSED = {"torchvision:shufflenet_v2_x0_5"}
"""Networks that cannot be followed at all, as the page says."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCRIPT.network_names())
def test_it_is_pruned_right(name):
    pytest.importorskip("timm")
    row = SCRIPT.examine(name)
    if name in REFUSED:
        assert row.groups == 0
        assert "Torch-Pruning's dependency graph cannot follow" in row.refused["the network"]
        return
    assert row.wrong == []
    assert row.groups > 0
    assert row.criteria > 20
    assert row.budget <= 0.95


def test_the_page_lists_every_network():
    text = SCRIPT.PAGE.read_text()
    assert len(SCRIPT.network_names()) >= 45
    for name in SCRIPT.network_names():
        assert f"| {name} |" in text


@pytest.mark.filterwarnings("ignore")
def test_one_small_network_is_checked_as_all_are(monkeypatch):
    monkeypatch.setattr(SCRIPT, "names", lambda: ["l1", "taylor"])
    row = SCRIPT.examine("torchvision:mobilenet_v3_small")
    assert (row.wrong, row.refused, row.budget) == ([], {}, 0.5)
    assert all(0.49 <= ratio <= 0.5 for ratio in row.ratios)
    assert SCRIPT.cells(row).startswith("| torchvision:mobilenet_v3_small | yes | 26 + 0 | 2 | 50% |")
