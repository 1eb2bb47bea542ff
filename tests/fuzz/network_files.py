"""Blends, plans, ratings and boards of evidence as strategies, and the small networks that they are of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from fuzzing import NAMES
from hypothesis import strategies as st
from small_networks import Mixed, OptionA, conv4, images, randomised
from torch import Tensor, nn

from blendsearch.blending import Blend
from blendsearch.config import BLEND_UNITS
from blendsearch.criteria import score_groups
from blendsearch.statistics import gather
from blendsearch.structure import Plan, Structure

CRITERIA = ("l1", "l2", "fpgm", "random")
"""Of weights alone, so that nothing has to be run through a network."""


@dataclass(frozen=True)
class Case:
    """A small network with its structure, and its filters' scores under CRITERIA."""

    network: nn.Module
    structure: Structure
    scores: dict[str, dict[str, Tensor]]


@cache
def case(number: int) -> Case:
    """Return one of three networks: plain, with a residual stream, with everything that couples channels."""
    network = randomised((conv4, OptionA, Mixed)[number]())
    structure = Structure.of(network, images())
    return Case(network, structure, score_groups(structure, gather(network, structure, [], ["weights"]), CRITERIA))


CASES = st.integers(0, 2).map(case)
FACTORS = st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.integers(1, 9).map(float))
SHARES = st.floats(0, 1)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)),
    max_leaves=4,
)


@st.composite
def blends(draw: st.DrawFn, units: dict[str, dict[str, list[str]]] | None = None, nested: bool = True) -> Blend:
    """Draw a valid blend; units: unit -> its parts -> their groups, else of no network."""
    unit = draw(st.sampled_from(BLEND_UNITS))
    if units is not None:
        groups = units[unit]
    else:
        names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        groups = {"network": names} if unit == "network" else {name: [name] for name in names}
    members = draw(st.dictionaries(NAMES, blends(units, False), max_size=2)) if nested and units is None else {}
    terms = [*(CRITERIA if units is not None else draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))), *members]
    weights = {
        part: _heard(draw(st.dictionaries(st.sampled_from(terms), FACTORS, min_size=1)), terms) for part in groups
    }
    alpha = {} if units is not None else {part: draw(SHARES) for part in weights if draw(st.booleans())}
    keep = draw(st.dictionaries(NAMES, st.floats(1e-3, 1e3), max_size=2))
    return Blend(
        unit,
        weights,
        {part: tuple(own) for part, own in groups.items()},
        draw(st.dictionaries(NAMES, PLAIN, max_size=2)),
        keep,
        members,
        alpha,
    )


def _heard(factors: dict[str, float], terms: list[str]) -> dict[str, float]:
    """Give one term a say where none has any."""
    return factors if any(factors.values()) else {**factors, terms[0]: 1.0}


@st.composite
def fitting_blends(draw: st.DrawFn) -> tuple[Case, Blend]:
    """Draw a network and a blend that covers it."""
    chosen = draw(CASES)
    units = {
        unit: {part: list(groups) for part, groups in chosen.structure.units(unit).items()} for unit in BLEND_UNITS
    }
    return chosen, draw(blends(units))


@st.composite
def plans(draw: st.DrawFn, widths: dict[str, int] | None = None) -> Plan:
    """Draw a valid plan; widths: of the groups of a network, else of no network."""
    if widths is None:
        widths = draw(st.dictionaries(NAMES, st.integers(1, 9), max_size=4))
    keep = {
        group: tuple(sorted(draw(st.sets(st.integers(0, width - 1), min_size=1)))) for group, width in widths.items()
    }
    return Plan(keep, widths)


@st.composite
def fitting_plans(draw: st.DrawFn) -> tuple[Case, Plan]:
    """Draw a network and a plan of it."""
    chosen = draw(CASES)
    return chosen, draw(plans(chosen.structure.widths))


MARKS = st.one_of(st.sampled_from(["keep", "unsure", "drop"]), SHARES, st.sampled_from([0, 1]))
RATED = st.dictionaries(
    st.text(max_size=6), st.dictionaries(st.integers(0, 999_999_999).map(str), MARKS, max_size=3), max_size=3
)
RATINGS = st.one_of(
    st.builds(lambda groups: {"schema": 1, "groups": groups}, RATED),
    st.dictionaries(st.text(max_size=6), st.builds(lambda groups: {"groups": groups}, RATED), max_size=3).map(
        lambda raters: {"schema": 2, "raters": raters}
    ),
)


def as_json(data: Any) -> bytes:
    """Return data as JSON, with what is no JSON in it: NaN, and whole numbers of any length."""
    return json.dumps(data).encode()


def kept_channels(structure: Structure, network: nn.Module) -> dict[str, int]:
    """Return how many output channels the first convolution of every group has."""
    modules = dict(network.named_modules())
    return {group.name: int(modules[group.name].out_channels) for group in structure.groups}


def runs(network: nn.Module) -> bool:
    """Tell whether a network takes images and gives finite numbers."""
    with torch.no_grad():
        return bool(torch.isfinite(network(images())).all())
