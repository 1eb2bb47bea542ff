"""What pages list by hand is what there is: public names, extras, floors."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import blendsearch

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_every_public_name_is_in_the_reference():
    named = set(re.findall(r"^::: blendsearch\.(\w+)$", page("reference/python.md"), re.MULTILINE))
    assert set(blendsearch.__all__) - {"__version__", "criteria"} <= named


def test_every_extra_is_explained():
    listed = set(re.findall(r"^\| `(\w+)` \|", page("installing.md"), re.MULTILINE))
    assert listed == set(SETTINGS["project"]["optional-dependencies"])


def test_the_floors_are_those_that_are_checked():
    checked = [
        re.findall(r"blendsearch\.(\w+)", layer) for layer in SETTINGS["tool"]["importlinter"]["contracts"][0]["layers"]
    ]
    told = [
        re.findall(r"`(\w+)`", row)
        for row in re.findall(r"^\| \d+ \| ([^|]+) \|", page("how-it-is-built.md"), re.MULTILINE)
    ]
    assert [set(rooms) for rooms in told] == [set(rooms) for rooms in checked]
