"""Numbers as pages, tables and text files write them."""

from __future__ import annotations

import pytest

from blendsearch.results import words


def test_shares_and_differences():
    assert words.percent(0.97251) == "97.25 %"
    assert words.in_percent(0.4962, 1) == "49.6"
    assert words.percent_range((0.9612, 0.973)) == "96.12 to 97.30"
    assert words.mean_and_deviation(0.9725, 0.0012) == "97.25 ± 0.12"
    assert words.mean_and_deviation(0.9725, None) == "97.25"
    assert words.points_and_interval(-0.0111, (-0.0222, 0.0)) == "−1.11 [−2.22, 0.00]"
    assert words.points_and_interval(0.0095, None) == "+0.95"
    assert words.plain_range((-0.0034, 0.0156)) == "-0.34 to +1.56"


def test_what_is_not_there_is_a_dash_or_what_a_table_wants():
    for made in (words.percent, words.in_percent, words.percent_range, words.decimal, words.points, words.duration):
        assert made(None) == "–"
    assert words.mean_and_deviation(None, None, otherwise="") == ""
    assert words.decimal_range(None, otherwise="") == ""
    assert words.interval(None) == ""


def test_other_numbers():
    assert words.decimal(-0.12345, 4) == "−0.1235"
    assert words.decimal_range((-0.5, 0.25)) == "−0.50 to 0.25"
    assert words.budget_words("flops", 0.07) == "7 % of FLOPs"
    assert (words.plural(1, "seed"), words.plural(3, "seed")) == ("1 seed", "3 seeds")
    assert (words.rank_words(3, None), words.rank_words(3, (3, 3)), words.rank_words(3, (2, 5))) == ("3", "3", "2 to 5")
    assert words.part_name({"name": "compensated", "images": 64}) == "compensated"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (42.3, "42 s"), (60, "1 minute"), (150, "2.5 minutes"), (730, "12 minutes"), (3600, "1 hour"),
     (9000, "2.5 hours"), (400_000, "4.6 days")],
)  # fmt: skip
def test_an_estimate_has_no_more_figures_than_it_deserves(seconds, text):
    assert words.about_seconds(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (1250, "1,250"), (9999, "9,999"), (10_000, "10 k"), (40_560, "40.6 k"), (999_400, "999 k"),
     (999_600, "1 M"), (1_000_000, "1 M"), (40_560_000, "40.6 M"), (999_600_000, "1 G"), (1_824_000_000, "1.82 G"),
     (999_600_000_000, "1,000 G"), (15_480_000_000_000, "15,480 G")],
)  # fmt: skip
def test_counts_have_their_natural_size_and_no_exponent(number, text):
    assert words.count(number) == text
