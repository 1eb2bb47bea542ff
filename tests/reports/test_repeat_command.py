"""Pages say from where their commands must be typed."""

from __future__ import annotations

import pytest
from fake_run import SPACE, make_run
from page_reading import words

from blendsearch.reports.repeat_command import place_commands, relative_paths
from blendsearch.reports.report import write_report


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
    place = place_commands([{"data": {"name": "digits"}}])
    assert (place.words, place.folder, place.path("space.yaml")) == ("in this folder", ".", "space.yaml")


def test_several_spaces_name_each_key_once():
    place = place_commands([{"data": {"root": "x"}}, {"data": {"root": "y"}, "model": {"weights": "w.pt"}}])
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
