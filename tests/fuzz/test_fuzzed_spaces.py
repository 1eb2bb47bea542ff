"""Space and board files of every form: a space that reads again as the same, or all mistakes in a line each."""

from __future__ import annotations

import json

import pytest
import yaml
from fuzzing import ANYTHING, TEXTS, amounts, as_bytes, damaged, damaged_bytes, for_all, outcome
from hypothesis import strategies as st
from space_files import FILES, VALID_BOARDS, VALID_SPACES, WRITTEN_BOARDS, WRITTEN_SPACES

from blendsearch.config import Board, Space, board_from_dict, load_board, load_space, space_from_dict
from blendsearch.config.mistakes import key_paths
from blendsearch.config.yaml_text import to_yaml
from blendsearch.validation.board import load_checked_board, load_checked_space_or_board
from blendsearch.validation.quick import load_by_names
from blendsearch.validation.space import load_checked


def as_yaml(data):
    """Return data as YAML; what it has no words for, as such a text that is none."""
    try:
        return as_bytes(to_yaml(data))
    except yaml.YAMLError:
        return as_bytes(repr(data))


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "space.yaml"


def reads_again(found, file, load):
    file.write_text(found.to_yaml())
    assert load(file) == found


def survives(cases, file, values, load, from_dict):
    """Read drawn settings, and what was read once more, from YAML and from JSON."""

    def check(data):
        file.write_text(to_yaml(data))
        found = load(file)
        reads_again(found, file, load)
        assert from_dict(json.loads(json.dumps(found.to_dict()))) == found

    for_all(cases, check, values)


@amounts("valid spaces")
def test_a_valid_space_reads_again_as_the_same(cases, file):
    survives(cases, file, VALID_SPACES, load_space, space_from_dict)


@amounts("valid boards")
def test_a_valid_board_reads_again_as_the_same(cases, file):
    survives(cases, file, VALID_BOARDS, load_board, board_from_dict)


@amounts("damaged spaces")
def test_a_damaged_space_is_told_in_lines(cases, file):
    def check(data):
        file.write_bytes(as_yaml(data))
        space = outcome(lambda: load_checked(file), file.parent)
        outcome(lambda: load_by_names(file), file.parent)
        if space is not None:
            reads_again(space, file, load_space)

    for_all(cases, check, damaged(WRITTEN_SPACES))


@amounts("damaged boards")
def test_a_damaged_board_is_told_in_lines(cases, file):
    def check(data):
        file.write_bytes(as_yaml(data))
        board = outcome(lambda: load_checked_board(file), file.parent)
        if board is not None:
            reads_again(board, file, load_board)

    for_all(cases, check, damaged(WRITTEN_BOARDS))


CHUNKS = st.sampled_from(
    ["name: x\n", "data: ", "{name: digits}", "\n", "  ", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: "]
)
SIGNS = st.sampled_from(
    ["!!int ", "? ", ": ", ">\n", "---\n", "%YAML 1.2\n", "'", '"', "#", "\t", "1e3", "2020-01-01", "=", ","]
)
TEXTS_OF_SPACES = st.one_of(
    damaged_bytes(st.sampled_from([file.read_bytes() for file in FILES])),
    st.lists(st.one_of(CHUNKS, SIGNS, TEXTS), max_size=12).map("".join).map(as_bytes),
    st.binary(max_size=40),
)


@amounts("texts of spaces")
def test_any_text_is_a_space_or_told_in_lines(cases, file):
    def check(content):
        file.write_bytes(content)
        found = outcome(lambda: load_checked_space_or_board(file), file.parent)
        if found is not None:
            reads_again(found, file, load_board if isinstance(found, Board) else load_space)

    for_all(cases, check, TEXTS_OF_SPACES)


ODD = st.sampled_from(
    ["true", "-1", "0x" + "f" * 5000, "1" * 5000, '"\\0"', "/", "~", ".nan", "1e999", "[]", "{}", "''", "a" * 300]
)
KEYS = st.sampled_from([".".join(path) for path in key_paths(Space)])
VALUES = st.one_of(ANYTHING.map(as_yaml).map(lambda text: text.decode("utf-8", "replace")), TEXTS, ODD)
OVERRIDES = st.one_of(
    st.builds("{}={}".format, KEYS, VALUES),
    st.builds("{}={}".format, st.lists(st.one_of(KEYS, TEXTS, st.just("0")), min_size=1).map(".".join), VALUES),
    TEXTS,
)


@amounts("overrides")
def test_any_override_is_taken_or_told_in_lines(cases, file):
    written = FILES[[one.name for one in FILES].index("digits.yaml")].read_text()

    def check(overrides):
        file.write_text(written)
        space = outcome(lambda: load_checked(file, overrides), file.parent)
        if space is not None:
            reads_again(space, file, load_space)

    for_all(cases, check, st.lists(OVERRIDES, min_size=1, max_size=3))
