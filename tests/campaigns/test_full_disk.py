"""A campaign on a disk that fills up ends in one line, and goes on to the same end when there is room."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from tiny_campaign import TINIER
from typer.testing import CliRunner

from blendsearch.campaigns.search.run import run_search
from blendsearch.cli import app
from blendsearch.validation.space import checked_from_dict

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_report")]


@pytest.fixture
def disk(tmp_path):
    """What mounts a disk of a size in a folder, and makes it larger: for root on Linux alone."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip("this user cannot mount a disk")
        return place

    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_search(checked_from_dict(TINIER), tmp_path_factory.mktemp("run") / "run").summary.to_dict()


# Full while training, in the ledger, in a worker's checkpoint: what follows takes about 500 kB in all.
@pytest.mark.parametrize(("size", "workers"), [("48k", 1), ("220k", 1), ("300k", 2)])
def test_it_ends_in_one_line_and_goes_on(tmp_path, disk, undisturbed, size, workers):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(TINIER))
    place = disk(f"size={size}")
    command = ["search", str(tmp_path / "space.yaml"), f"compute.workers={workers}", "--run-dir", str(place / "run")]
    ended = CliRunner().invoke(app, [*command, "-q"])
    assert ended.exit_code == 2, ended.output
    (line,) = ended.stderr.strip().splitlines()
    assert "--resume" in line
    assert "No space left on device" in line or "disk is full" in line
    assert not list(place.rglob("*.part"))
    disk("remount,size=200m")
    assert CliRunner().invoke(app, [*command, "-q", "--resume"]).exit_code == 0
    again = run_search(checked_from_dict(TINIER), place / "run", resume=True).summary.to_dict()
    for part in ("trials", "fidelity"):
        assert again[part] == undisturbed[part]
    for name, one in undisturbed["criteria"].items():
        assert again["criteria"][name]["test_accuracy"] == one["test_accuracy"]
    assert again["blend"]["proxy"] == undisturbed["blend"]["proxy"]
