"""A sum of products that was put together, against the products one by one."""

from __future__ import annotations

import random

from blendsearch.structure.polynomial import Channels, Polynomial, Term


def test_its_value_is_the_sum_of_the_terms():
    draw = random.Random(0)
    groups = ["a", "b", "c"]

    def channels():
        owners = draw.sample(groups, draw.randint(0, 3))
        return Channels(draw.choice([0, 0, 3]), tuple((group, draw.randint(1, 4)) for group in owners))

    for _ in range(50):
        sides = [tuple(channels() for _ in range(draw.randint(0, 3))) for _ in range(6)]
        terms = [Term(draw.randint(1, 10**12), draw.choice(sides)) for _ in range(20)]
        polynomial = Polynomial(terms)
        counts = {group: draw.randint(1, 2048) for group in groups}
        assert polynomial.value(counts) == sum(term.value(counts) for term in terms)
        assert len(polynomial.single) + len(polynomial.others) <= len(set(sides))


def test_a_value_is_a_product_by_hand():
    term = Term(5, (Channels(1, (("a", 2), ("b", 3))), Channels(0, (("c", 4),)), Channels(7, ())))
    counts = {"a": 10, "b": 100, "c": 2}
    assert term.value(counts) == 5 * (1 + 20 + 300) * 8 * 7
    assert Polynomial([term, term]).value(counts) == 2 * term.value(counts)
