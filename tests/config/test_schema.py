"""The JSON Schema allows the files that we ship, with names in the place of mappings, and refuses mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from blendsearch.cli import app
from blendsearch.config import is_board, json_schema

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_shipped_files_are_allowed(file):
    jsonschema.validate(yaml.safe_load(file.read_text()), json_schema("board" if is_board(file) else "space"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sead", 3),
        ("seed", "3"),
        ("budget", {"flops": 1.5}),
        ("search", {"algorithm": 3}),
        ("blend", {"unit": "layers"}),
        ("training", {"epochs": -1}),
    ],
)
def test_mistakes_are_refused(key, value):
    digits = yaml.safe_load(next(file for file in SPACES if file.stem == "digits").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**digits, key: value}, json_schema("space"))


@pytest.mark.parametrize("value", [None, "genetic", {"name": "cma_es", "sigma": 0.2}])
def test_a_name_may_stand_for_a_mapping(value):
    digits = yaml.safe_load(next(file for file in SPACES if file.stem == "digits").read_text())
    jsonschema.validate({**digits, "search": {"algorithm": value}, "ratings": "a.json"}, json_schema("space"))


def test_the_command_prints_it():
    assert json.loads(CliRunner().invoke(app, ["schema", "board"]).stdout) == json_schema("board")


def test_another_kind_is_told():
    result = CliRunner().invoke(app, ["schema", "boar"])
    assert result.exit_code == 2
    assert "did you mean 'board'?" in result.output
