"""The marks on the server: in the file before they count, apart by rater, nothing lost between threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from blendsearch.errors import DataError
from blendsearch.review.marks import Marks
from blendsearch.statistics.ratings import read_ratings


@pytest.fixture
def group(structure):
    return structure.groups[0].name


def test_raters_are_kept_apart_and_go_on_where_they_were(folder, structure, group):
    Marks(folder, structure, "ann").mark(group, 0, "keep")
    bob = Marks(folder, structure, "bob")
    assert bob.of(group) == {}
    bob.mark(group, 0, "drop")
    bob.mark(group, 1, "unsure")
    assert Marks(folder, structure, "ann").of(group) == {0: "keep"}
    assert bob.counts() == {group: 2}
    ratings = read_ratings(folder / "ratings.json")
    assert ratings.raters == {"ann": {group: {0: 1.0}}, "bob": {group: {0: 0.0, 1: 0.5}}}


def test_a_rater_without_marks_is_none(folder, structure, group):
    Marks(folder, structure, "ann").mark(group, 0, "keep")
    assert list(Marks(folder, structure, "bob").ratings().raters) == ["ann"]


def test_a_rater_who_takes_back_all_marks_leaves_the_agreement_of_the_others(folder, structure, group):
    for rater, word in (("ann", "keep"), ("bob", "drop")):
        Marks(folder, structure, rater).mark(group, 0, word)
    before = read_ratings(folder / "ratings.json")
    assert before.kappa is not None
    carl = Marks(folder, structure, "carl")
    carl.mark(group, 1, "keep")
    carl.undo()
    assert read_ratings(folder / "ratings.json") == before
    assert carl.of(group) == {}
    carl.mark(group, 0, "keep")
    assert list(read_ratings(folder / "ratings.json").raters) == ["ann", "bob", "carl"]


def test_files_by_hand_are_taken_up(folder, structure, group):
    folder.write_json("ratings.json", {"schema": 1, "groups": {group: {"0": 0.2, "1": 0.8}}})
    marks = Marks(folder, structure, "rater")
    assert marks.of(group) == {0: "drop", 1: "keep"}
    marks.mark(group, 2, "unsure")
    saved = folder.read_json("ratings.json")
    assert saved["raters"]["rater"]["groups"][group] == {"0": 0.2, "1": 0.8, "2": "unsure"}


def test_ratings_of_another_network_are_refused(folder, structure):
    folder.write_json("ratings.json", {"schema": 1, "groups": {"other": {"0": 1}}})
    with pytest.raises(DataError, match="the network has no group 'other'"):
        Marks(folder, structure, "ann")


def test_many_at_once(folder, structure, group):
    marks = Marks(folder, structure, "ann")
    filters = [(name, i) for name, width in structure.widths.items() for i in range(width)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: marks.mark(*one, "keep"), filters))
    assert marks.version == len(filters)
    read = read_ratings(folder / "ratings.json").raters["ann"]
    assert sorted((name, i) for name, rated in read.items() for i in rated) == sorted(filters)


def test_a_mark_that_cannot_be_saved_does_not_count(folder, structure, group, monkeypatch):
    marks = Marks(folder, structure, "ann")
    marks.mark(group, 0, "keep")

    def full(*given):
        raise OSError("no space left on device")

    monkeypatch.setattr(folder, "write_json", full)
    with pytest.raises(OSError, match="no space"):
        marks.mark(group, 1, "drop")
    assert marks.of(group) == {0: "keep"}
    assert marks.version == 1


def test_the_plan_leaves_one_filter_of_each_group(folder, structure, group):
    marks = Marks(folder, structure, "ann")
    for i in range(structure.widths[group]):
        marks.mark(group, i, "drop")
    plan = marks.plan(structure.widths)
    assert plan.keep[group] == (0,)
    assert all(plan.counts[name] == width for name, width in structure.widths.items() if name != group)
