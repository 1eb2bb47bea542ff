"""Whatever an error quotes, it is lines that can be printed, of a length that can be read."""

from __future__ import annotations

import pickle

import pytest
from typer.testing import CliRunner

from blendsearch.cli import app
from blendsearch.errors import (
    LONGEST_LINE,
    LONGEST_WORD,
    BlendsearchError,
    ConfigError,
    DataError,
    blame,
    listed,
    own_place,
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
        ("a\u202etxt.exe", "a\\u202etxt.exe"),  # from here on from right to left
        ("\udcff", "\\udcff"),  # a byte of a file's name that is no UTF-8
        ("two words, é and 日本", "two words, é and 日本"),
        ("", ""),
    ],
)
def test_an_error_is_one_line_of_text(message, said):
    assert str(DataError(message)) == said
    assert str(pickle.loads(pickle.dumps(DataError(message)))) == said


def test_lines_that_were_given_apart_stay_apart():
    error = DataError("a\nb", "c\x07")
    assert str(error) == "a b\nc\\x07"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(DataError()) == ""


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


def test_the_place_of_an_error_is_that_in_the_users_code(tmp_path):
    code = compile("def fail():\n    import json\n    json.loads('{')\n", str(tmp_path / "mine.py"), "exec")
    space: dict = {}
    exec(code, space)
    with pytest.raises(ValueError, match="Expecting") as caught:
        space["fail"]()
    assert own_place(caught.value) == f"{tmp_path / 'mine.py'}:3"
    assert blame(caught.value).startswith("JSONDecodeError: Expecting property name")


@pytest.mark.timeout(30)
def test_the_command_line_shows_one_line_of_what_it_was_given(tmp_path):
    hostile = "\x1b[31m" + "x" * 50_000
    space = tmp_path / "space.yaml"
    space.write_text("data: {name: digits}\nmodel: {name: conv4}\n")
    for words in (
        ["list", hostile],
        ["report", hostile[:2000]],
        ["search", str(space), f"model.name={hostile}"],
        ["search", str(space), f"model.arguments={{'{hostile[5:]}': 3}}", "model.name=conv4"],
        ["search", str(space), f"criteria=['{hostile[5:]}']"],
        ["search", str(space), f"{hostile[5:]}=3"],
        ["search", str(space), f"model={{name: conv4, {hostile[5:]}: 3}}"],
        ["search", str(space), "seed=0x" + "f" * 5000],
        ["prune", str(space), "--by", hostile],
        ["export", str(tmp_path), "--to", hostile],
    ):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 2, (words[0], found.exception)
        (line,) = found.stderr.strip().splitlines()
        assert len(line) < 1500, line
        assert line.isprintable()
