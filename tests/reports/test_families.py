"""Many criteria are told as families of those that rank alike."""

from __future__ import annotations

import numpy as np
import pytest

from blendsearch.reports.families import MOST, find_families, within_groups
from blendsearch.reports.figures.agreement import agreement_caption, draw_mean_agreement
from blendsearch.reports.figures.style import LIGHT, NotDrawn
from blendsearch.reports.pages.families_table import families_table
from blendsearch.results.records.common import AgreementRecord


def agreeing(sizes, inside=0.8, between=0.1):
    """Return the agreement of families of given sizes; the first of each agrees best with the others of its own."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    matrix = np.where(owner[:, None] == owner[None, :], inside, between)
    for first in np.cumsum([0, *sizes[:-1]]):
        own = owner == owner[first]
        matrix[first, own] = matrix[own, first] = inside + 0.1
    np.fill_diagonal(matrix, 1)
    names = [f"{chr(97 + family)}{place}" for family, size in enumerate(sizes) for place in range(size)]
    rows = matrix.tolist()
    return AgreementRecord(criteria=names, groups={"conv1": rows, "conv2": rows}, mean=rows)


def test_families_are_those_that_rank_alike_named_after_the_most_central_member():
    found = find_families(agreeing([9, 6, 1]))
    families = {family.name: family for family in found.all}
    assert families.keys() == {"a0", "b0", "c0"}
    assert {family.label for family in found.all} == {"a0 and 8 more", "b0 and 5 more", "c0"}
    assert set(families["b0"].members) == {f"b{place}" for place in range(6)}
    assert families["b0"].within == pytest.approx(0.8 + 0.1 * 5 / 15)
    assert families["c0"].within is None
    assert families["c0"].nearest_rho == pytest.approx(0.1)
    assert found.alike == 0.6


def test_the_order_of_the_criteria_does_not_matter():
    given = agreeing([9, 6, 1])
    order = np.random.default_rng(3).permutation(16)
    shuffled = AgreementRecord(
        criteria=[given.criteria[at] for at in order],
        groups={},
        mean=np.array(given.mean)[np.ix_(order, order)].tolist(),
    )
    members = {frozenset(family.members) for family in find_families(given).all}
    assert {frozenset(family.members) for family in find_families(shuffled).all} == members


def test_there_are_no_more_families_than_can_be_read():
    given = agreeing([1] * 40, between=0.45)
    found = find_families(given)
    assert len(found.all) == 1 <= MOST
    assert found.alike == 0.4
    with pytest.raises(NotDrawn, match="All 40 criteria rank alike"):
        draw_mean_agreement(given, LIGHT)


def test_a_criterion_that_scores_all_filters_alike_stands_alone():
    given = agreeing([9, 7])
    rows = [
        [None if 0 in (one, other) else value for other, value in enumerate(row)] for one, row in enumerate(given.mean)
    ]
    found = find_families(AgreementRecord(criteria=given.criteria, groups={}, mean=rows))
    (alone,) = [family for family in found.all if family.members == ("a0",)]
    assert (alone.within, alone.nearest, alone.nearest_rho) == (None, None, None)


def test_up_to_fifteen_criteria_every_pair_is_drawn_above_that_families():
    few, many = agreeing([8, 7]), agreeing([8, 8])
    cells = draw_mean_agreement(few, LIGHT).figure.axes[1]
    assert len(cells.get_yticklabels()) == 15
    assert len(cells.texts) == 15 * 14
    drawing = draw_mean_agreement(many, LIGHT)
    assert {text.get_text() for text in drawing.figure.axes[1].get_yticklabels()} == {"a0 and 7 more", "b0 and 7 more"}
    assert "2 families of 16 criteria" in drawing.alt
    assert "at least 0.6" in agreement_caption(many)
    assert "tree joins criteria" in agreement_caption(few)
    assert not families_table(few)
    first, second = families_table(many)
    assert (first.name, first.within, first.nearest, first.nearest_rho) == ("a0", "0.83", "b0", "0.10")
    assert second.members == "b0, b1, b2, b3, b4, b5, b6, b7"


def test_a_family_is_told_layer_by_layer():
    family = find_families(agreeing([9, 7])).all[0]
    assert within_groups(agreeing([9, 7]), family) == {
        "conv1": pytest.approx(family.within),
        "conv2": pytest.approx(family.within),
    }
