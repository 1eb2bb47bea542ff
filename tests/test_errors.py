"""Whatever an error quotes, it is lines that can be printed, of a length that can be read."""

from __future__ import annotations

import pickle

import pytest

from blendsearch.errors import (
    LONGEST_LINE,
    LONGEST_WORD,
    BlendsearchError,
    ConfigError,
    DataError,
    listed,
    quoted,
    shortened,
    unknown_name,
)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("a\nb", "a b"),
        (
            "colour \x1b[31m, line \u2028, half \ud800, bell \x07",
            r"colour \x1b[31m, line \u2028, half \ud800, bell \x07",
        ),
        ("two words, é and 日本", "two words, é and 日本"),
        ("", ""),
    ],
)
def test_an_error_is_one_line_of_text(message, said):
    assert str(DataError(message)) == said
    assert str(pickle.loads(pickle.dumps(DataError(message)))) == said


def test_a_spaces_error_keeps_its_lines_and_cleans_each():
    assert str(ConfigError("a\x00\nb\rc")) == "a\\x00\nb\\rc"


def test_what_is_too_long_loses_its_middle():
    path, text = "/" + "x" * 5000 + "/y", "word " * 5000
    assert str(BlendsearchError(f"{path}: gone")).startswith("/xxx")
    assert str(BlendsearchError(f"{path}: gone")).endswith("x/y: gone")
    assert len(str(BlendsearchError(path))) == LONGEST_WORD
    assert len(str(BlendsearchError(text))) == LONGEST_LINE
    assert shortened("x" * 200) == "x" * 200
    assert len(shortened("x" * 201)) == 200
    assert "..." in shortened("x" * 201)


def test_a_value_that_cannot_be_written_out_is_told_all_the_same():
    assert quoted("a") == "'a'"
    assert quoted(10**5000) == "(a value of type int that cannot be written out)"
    assert len(quoted(["x"] * 1000)) == 200


def test_of_very_many_names_the_first_are_listed():
    assert listed(["a", "b"]) == "a, b"
    told = listed([f"name{number}" for number in range(1000)])
    assert told.startswith("name0, name1, ")
    assert told.endswith(" more")
    assert len(told) < 600
    assert len(str(unknown_name("thing", "y" * 1000, ["a"]))) < 300
