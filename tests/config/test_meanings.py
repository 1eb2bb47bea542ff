"""Meanings of keys, read from docstrings: every key has one, and prose is not taken for one."""

from __future__ import annotations

import pytest

from blendsearch.config import Board, RetrainingConfig, Space
from blendsearch.config.meanings import explain, key_meanings
from blendsearch.config.sections.types import Section


def sections(base: type[Section] = Section) -> list[type[Section]]:
    """Return all sections of space and board files."""
    return [found for one in base.__subclasses__() for found in (one, *sections(one))]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_key_of_a_section_is_explained_in_its_docstring(section):
    unexplained = set(section.model_fields) - set(key_meanings(section))
    assert not unexplained, f"{section.__name__}: add lines 'KEY: what it means' to the docstring"


def test_inherited_keys_keep_their_meaning():
    assert key_meanings(RetrainingConfig)["lr"] == "the highest learning rate."
    assert "how often" in key_meanings(RetrainingConfig)["seeds"]


def test_names_stand_at_the_start_of_a_line_or_a_sentence():
    text = """Do a thing.

    size: how large, in
    pixels. mean, std: one number a channel, such as size: 3. other: is no name.
    depth and width: as above.

    Here depth means nothing. Returns a size: no name. Raises ValueError.
    """
    found = explain(text, ["size", "mean", "std", "depth", "width"])
    assert found.meanings == {
        "size": "how large, in pixels.",
        "mean": "one number a channel, such as size: 3. other: is no name.",
        "std": "one number a channel, such as size: 3. other: is no name.",
        "depth": "as above.",
        "width": "as above.",
    }
    assert found.whole == "Do a thing.\n\nHere depth means nothing. Returns a size: no name. Raises ValueError."


def test_what_is_returned_ends_a_meaning():
    found = explain("Do it.\n\nsize: how large. Returns nothing.\n", ["size"])
    assert found.meanings == {"size": "how large."}
    assert found.whole.endswith("Returns nothing.")


def test_a_text_without_names_is_left_as_it_is():
    assert explain("One line: no name.", []).whole == "One line: no name."
    assert explain(None, ["size"]).meanings == {}


@pytest.mark.parametrize("model", [Space, Board])
def test_the_json_schema_has_the_meanings(model):
    schema = model.model_json_schema()
    assert schema["properties"]["seed"]["description"] == key_meanings(model)["seed"]
    assert "seed:" not in schema["description"]
    for section in (schema, *schema["$defs"].values()):
        assert all("description" in one for one in section["properties"].values())
