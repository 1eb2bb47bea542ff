"""Pages say from where their commands must be typed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import SPACE, make_run
from page_reading import words

from blendsearch.reports.pages.search import tell_search
from blendsearch.reports.repeat_command import place_commands, relative_paths
from blendsearch.reports.report import write_report
from blendsearch.results.runs import read_search_run


@pytest.mark.parametrize(
    ("space", "keys"),
    [
        ({"data": {"name": "digits", "root": None}, "model": {"name": "conv4", "weights": None}, "ratings": None}, []),
        ({"data": {"root": "/x"}, "model": {"name": "timm:x", "weights": "~/x.pt"}, "blends": [{"file": "/b"}]}, []),
        ({"data": "digits", "model": None, "search": [], "blends": {}, "networks": 3}, []),
        ({"data": {"root": "data/x"}, "model": {"name": "mine:build"}}, ["data.root", "model.name"]),
        ({"model": {"weights": "x.pt"}, "ratings": {"file": "ratings.json"}}, ["model.weights", "ratings"]),
        ({"ratings": "marks.json", "search": {"start_from": ["/a", "b.json"]}}, ["ratings", "search.start_from"]),
        ({"networks": [{"data": {"root": "x"}}, {"data": {"root": "y"}}], "blends": ["b"]}, ["data.root", "blends"]),
    ],
)
def test_what_is_found_from_the_folder_of_the_start(space, keys):
    assert list(dict.fromkeys(relative_paths(space))) == keys


def test_a_run_without_relative_paths_is_repeated_in_its_folder():
    place = place_commands([{"data": {"name": "digits"}}], Path("nowhere"))
    assert (place.words, place.folder, place.path("space.yaml")) == ("in this folder", ".", "space.yaml")


def test_several_spaces_name_each_key_once():
    place = place_commands(
        [{"data": {"root": "x"}}, {"data": {"root": "y"}, "model": {"weights": "w.pt"}}], Path("nowhere")
    )
    assert place.words == (
        "in the folder where the run was started (from there the settings name data.root, model.weights; "
        "RUN stands for the path of this folder)"
    )
    assert place.path("blend.json") == "RUN/blend.json"


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_the_page_of_a_campaign_says_it(tmp_path):
    text = words(write_report(make_run(tmp_path)))
    assert "same versions, in this folder: blendsearch search space.yaml --run-dir again" in text
    assert "blendsearch report . " in text
    (tmp_path / "space.yaml").write_text(SPACE.replace("{name: digits, c", "{name: folder, root: images, c"))
    text = words(write_report(tmp_path))
    assert "in the folder where the run was started (from there the settings name data.root; RUN stands for" in text
    assert "blendsearch search RUN/space.yaml --run-dir again" in text
    assert "blendsearch prune RUN/space.yaml --by RUN/blend.json" in text
    assert "blendsearch report RUN " in text
    assert "sqlite:///RUN/trials.db" in text


def test_a_run_that_notes_where_it_was_started_goes_there_first(tmp_path):
    run = tmp_path / "my project" / "runs" / "one"
    run.mkdir(parents=True)
    spaces = [{"data": {"root": "images"}}]
    (run / "job.json").write_text(json.dumps({"job": "search", "started_in": str(tmp_path / "my project")}))
    place = place_commands(spaces, run)
    assert (place.cd, place.path("space.yaml")) == (f"cd '{tmp_path}/my project'\n", "runs/one/space.yaml")
    (run / "job.json").write_text(json.dumps({"job": "search", "started_in": str(run / "no such")}))
    assert place_commands(spaces, run).folder == "RUN"
    (run / "job.json").write_text(json.dumps({"job": "search", "started_in": "/"}))
    assert place_commands([{"data": {"name": "digits"}}], run).cd == ""


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_the_command_of_a_page_runs_as_it_is_printed_with_a_relative_root(tmp_path, monkeypatch):
    """The command is typed in a shell elsewhere, with `train` in the place of the search, which takes long."""
    start = tmp_path / "some where"
    (start / "images").mkdir(parents=True)
    run = make_run(start / "runs" / "one")
    (run / "space.yaml").write_text(SPACE.replace("{name: digits, c", "{name: folder, root: images, c"))
    (run / "job.json").write_text(json.dumps({"job": "search", "started_in": str(start)}))
    monkeypatch.chdir(run)
    text = words(write_report(Path(".")))
    command = text[text.index("cd '") : text.index(" --run-dir again")]
    typed = command.replace("blendsearch search", f"&& ls images && {shlex.quote(sys.executable)} -m blendsearch train")
    monkeypatch.chdir("/")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    result = subprocess.run(f"{typed} data.image_size=8", shell=True, capture_output=True, text=True, check=False)
    # The folder is found; that it holds no class is what it then says.
    assert result.returncode == 2
    assert "is not a tree of class folders" in result.stderr


@pytest.mark.usefixtures("only_the_front_is_drawn")
@pytest.mark.parametrize("name", ["my run", "it's mine; really"])
def test_a_run_folder_with_a_space_in_its_name_is_one_word_of_each_command(tmp_path, name):
    run = make_run(tmp_path / name)
    (run / "space.yaml").write_text(SPACE.replace("{name: digits, c", "{name: folder, root: images, c"))
    (run / "job.json").write_text(json.dumps({"job": "search", "started_in": str(tmp_path)}))
    text = words(write_report(run))
    report = text[text.index("blendsearch report ") :].partition("#")[0]
    assert shlex.split(report) == ["blendsearch", "report", name]
    shell, python = tell_search(read_search_run(run))["ship_code"].splitlines()[1:]
    assert shlex.split(shell, comments=True) == ["blendsearch", "export", name, "--to", "onnx"]
    assert python.startswith(f'network = blendsearch.load("{name}")')
