"""The space that scripts/quickstart.sh runs: what it needs is installed by that script, and it runs to its report."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blendsearch.campaigns.search.run import run_search
from blendsearch.cli.commands import app
from blendsearch.validation.space import load_checked

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "search_spaces" / "mnist_5k.yaml"
SHRUNK = [
    "criteria=[l1, next_layer, activation_l2, random]",
    "training.epochs=2",
    "retraining.seeds=2",
    "search.population=4",
    "search.generations=2",
    "search.random_search=false",
    "compensation.images=200",
    "compute={device: cpu, workers: 1}",
]


def test_the_script_installs_what_its_space_reads():
    script = (ROOT / "scripts" / "quickstart.sh").read_text()
    assert f"blendsearch search {SPACE.relative_to(ROOT)} " in script
    (extra,) = re.findall(r"^scripts/setup\.sh (\w+)", script, re.MULTILINE)
    extras = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    assert re.search(rf"^{extra} = \[\"mlxtend\b", extras, re.MULTILINE)


def test_who_has_not_installed_it_is_told_so_in_one_line_and_finds_no_run_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["search", str(SPACE)], catch_exceptions=False)
    assert result.exit_code == 2
    assert "`pip install mlxtend`" in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend is not installed")
def test_shrunk_it_runs_to_its_report(tmp_path):
    campaign = run_search(load_checked(SPACE, SHRUNK), tmp_path / "run")
    assert campaign.report.is_file()
    summary = campaign.summary
    found = {"blend": summary.blend, **summary.criteria}
    assert summary.unpruned.test_accuracy > 0.6
    assert set(found) == {"blend", "l1", "next_layer", "activation_l2", "random"}
    assert summary.blend.proxy == max(one.proxy for one in found.values())  # the criteria are in the first generation
    for one in found.values():
        assert 0.05 < one.flops_ratio <= 0.1
        assert one.steps == 0
        assert one.test_accuracy > 0.2  # refitted; as it was cut the network guesses
