"""What a long list shows before it is unfolded."""

from __future__ import annotations

from blendsearch.reports.selection import KNOWN, fold_of, select

MANY = [f"criterion_{place}" for place in range(30)]


def test_a_short_list_is_shown_whole():
    assert select(MANY[:18]) == MANY[:18]
    assert select(MANY[:19]) == MANY[:5]
    assert fold_of(18, 18, "places") is None


def test_nothing_is_folded_for_the_sake_of_three_lines():
    named = MANY[5:12]
    assert select([*MANY[:15], *KNOWN], named) == [*MANY[:15], *KNOWN]
    assert select([*MANY[:16], *KNOWN], named) == [*MANY[:12], *KNOWN]


def test_the_first_the_named_and_the_well_known_are_shown_in_the_lists_order():
    ranked = [*MANY[:20], "taylor", *MANY[20:], "l1"]
    assert select(ranked, {"criterion_9", "not there"}) == [*MANY[:5], "criterion_9", "taylor", "l1"]


def test_the_fold_says_how_many_there_are_and_what_is_shown():
    fold = fold_of(42, 12, "places", "the blend")
    assert fold.summary == "Show all 42 places"
    assert fold.note == "Shown: the first 5, the blend, well-known criteria."
    assert fold_of(42, 12, "criteria").note == "Shown: the first 5, well-known criteria."
