"""Figures and tables of a leaderboard, from a made-up record: many criteria, one criterion, one budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_board import made_up

from blendsearch.reports.figures.board import draw_accuracy, draw_means, draw_ranks
from blendsearch.reports.figures.style import LIGHT, NotDrawn
from blendsearch.reports.pages.leaderboard import choices, key_numbers, standing_row, wins_rows


@pytest.mark.parametrize("count", [2, 3, 40])
def test_figures_name_every_criterion_or_the_best_of_many(count):
    run = made_up(count)
    ranks = draw_ranks(run, LIGHT)
    shown = " ".join(text.get_text() for text in ranks.figure.axes[0].texts)
    assert all(name in shown for name in run.summary.ranked)
    assert "critical difference 2.0" in shown
    assert "criterion_0 has the best" in ranks.alt
    # The blend and the first five of forty, none of which is well known.
    assert len(draw_means(run, LIGHT).figure.axes[0].get_yticklabels()) == (6 if count == 40 else count)
    named = [text.get_text() for text in draw_accuracy(run, LIGHT).figure.axes[0].texts]
    assert len(named) == min(count, 14)
    assert "criterion_0" in named


def test_all_with_the_best_mean_rank_are_marked():
    run = made_up(4)
    run = replace(run, summary=run.summary.model_copy(update={"ranks": [1.5, 1.5, 3.0, 4.0]}))
    assert run.best == {"criterion_0", "criterion_1"}
    assert "criterion_0 and criterion_1 have the best mean rank, 1.5" in draw_ranks(run, LIGHT).alt
    assert "in bold: criterion_0, criterion_1" in draw_accuracy(run, LIGHT).alt


@pytest.mark.parametrize(
    ("count", "budgets", "words"),
    [
        (1, (0.5,), "1 blend, 1 column × 2 seeds"),
        (2, (0.5, 0.3), "1 criterion and 1 blend, 2 columns × 2 seeds"),
        (4, (0.5,), "3 criteria and 1 blend, 1 column × 2 seeds"),
    ],
)
def test_the_size_of_a_board_in_words(count, budgets, words):
    assert key_numbers(made_up(count, budgets))[0].detail == words


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(NotDrawn, match="three criteria"):
        draw_ranks(made_up(2, test=False), LIGHT)
    with pytest.raises(NotDrawn, match="two budgets"):
        draw_accuracy(made_up(3, budgets=(0.5,)), LIGHT)


def test_a_line_joins_budgets_that_differ_in_their_shares_alone():
    run = made_up(3, budgets=(0.5, 0.3, 0.5))
    first, second, third = run.summary.columns
    other = third.model_copy(update={"budget_options": "round_to: 4"})

    def of(*columns):
        return replace(run, summary=run.summary.model_copy(update={"columns": columns}))

    panels = draw_accuracy(of(first, second, other), LIGHT).figure.axes
    assert [axes.get_title() for axes in panels] == [
        "small, uniform, one_shot", "small, uniform, one_shot, round_to: 4",
    ]  # fmt: skip
    assert [len(axes.lines[0].get_xdata()) for axes in panels] == [2, 1]
    with pytest.raises(NotDrawn, match="differ in their shares alone"):
        draw_accuracy(of(first, other), LIGHT)


def test_budgets_of_different_kinds_are_not_joined_by_a_line():
    run = made_up(3, budgets=(0.5, 0.3, 0.5, 0.3))
    *flops, one, two = run.summary.columns
    params = [column.model_copy(update={"budget_kind": "params"}) for column in (one, two)]
    mixed = replace(run, summary=run.summary.model_copy(update={"columns": [*flops, *params]}))
    panels = draw_accuracy(mixed, LIGHT).figure.axes
    assert [panel.get_title("left") or panel.get_title() for panel in panels] == [
        "small, uniform, one_shot, FLOPs limited", "small, uniform, one_shot, parameters limited",
    ]  # fmt: skip
    curves = [line for panel in panels for line in panel.lines if line.get_marker() == "o"]
    assert {len(line.get_xdata()) for line in curves} == {2}
    with pytest.raises(NotDrawn, match="two budgets that differ in their shares alone"):
        draw_accuracy(replace(run, summary=run.summary.model_copy(update={"columns": [flops[0], params[1]]})), LIGHT)


def test_tables_hold_texts_and_what_to_sort_by():
    run = made_up(3)
    first = run.summary.criteria[0]
    assert standing_row(run, 1, first).css == "best"
    assert not standing_row(run, 1, first).rest
    assert standing_row(made_up(40), 6, made_up(40).summary.criteria[5]).rest
    assert ("90.00 %", 0.9) in standing_row(run, 1, first).cells
    assert standing_row(run, 3, run.summary.criteria[2]).css == "blend"
    assert wins_rows(run)[0] == ("criterion_0", [("–", 0), ("4", 100), ("4", 100)])
    assert choices(run.summary.columns)["budget"] == ["50 % FLOPs", "30 % FLOPs"]
    assert key_numbers(run)[1].value == "95.00 %"
