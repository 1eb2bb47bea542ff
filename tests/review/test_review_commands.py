"""The review command, with stand-ins for what opens and serves the page."""

from __future__ import annotations

import contextlib
import shlex
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blendsearch.cli import app
from blendsearch.review import serving, sessions

GOOD = """\
name: small
data: {name: digits}
model: {name: conv4}
schedule: progressive
training: {epochs: 1}
retraining: {epochs: 1}
budget: {flops: 0.5}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(GOOD)
    return lambda *arguments: CliRunner().invoke(app, ["review", "space.yaml", *arguments])


@pytest.fixture
def asked(monkeypatch):
    """Open nothing and note the options; serving is stopped at once, as by Ctrl-C."""
    noted = []

    @contextlib.contextmanager
    def opened(settings, options, progress):
        noted.append(options)
        Path("runs/small-review").mkdir(parents=True, exist_ok=True)
        yield types.SimpleNamespace(rule="as it was found")

    def serve(review, port, ready):
        noted.append(port)
        raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "open_review", opened)
    monkeypatch.setattr(sessions, "open_loop", opened)
    monkeypatch.setattr(serving, "serve", serve)
    return noted


@pytest.mark.parametrize(
    "options",
    [
        ["--rater", "ann", "--layer", "conv3", "--blend", "my blend.json", "--port", "0"],
        ["--progressive", "--rater", "rater", "--port", "80"],
        ["--rater", "rater"],
    ],
)
def test_the_line_that_continues_keeps_every_option(run, asked, options):
    result = run(*options, "seed=3")
    assert result.exit_code == 130
    line = shlex.join(["blendsearch", "review", "space.yaml", *options, "seed=3", "--resume"])
    assert result.stderr == f"stopped; continue with: {line}\n"
    again = run(*shlex.split(line)[3:])
    options, port, resumed, same_port = asked
    assert (again.stderr, same_port) == (result.stderr, port)
    assert (resumed.rater, resumed.layer, resumed.by) == (options.rater, options.layer, options.by)


def test_the_rule_of_the_blend_is_told(run, asked):
    assert "blend: as it was found\n" in run("--blend", "blend.json").stdout


@pytest.mark.parametrize("options", [["--layer", "conv3"], ["--blend", "blend.json"]])
def test_the_loop_refuses_layer_and_blend_in_one_line(run, tmp_path, options):
    result = run("--progressive", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{options[0]}: not with --progressive")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
