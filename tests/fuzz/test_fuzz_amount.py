"""How much is tried, and that the fuzzers see what they are to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import MANY, check_words, outcome

from blendsearch.errors import BlendsearchError, ConfigError, DataError


def test_all_fuzzers_together_try_ten_thousand_cases():
    assert sum(MANY.values()) >= 10_000


def test_every_amount_is_used():
    written = "".join(file.read_text() for file in Path(__file__).parent.glob("test_fuzzed_*.py"))
    assert [name for name in MANY if f'@amounts("{name}"' not in written] == []


class Unclean(DataError):
    """An error that would print anything."""

    plain = staticmethod(str)


@pytest.mark.parametrize("message", ["", " ", "a\nb", "a\x1b[31m", "\ud800", "x" * 801])
def test_words_that_are_amiss_are_seen(message):
    with pytest.raises(AssertionError):
        check_words(Unclean(message))


def test_of_a_space_each_mistake_has_a_line():
    check_words(ConfigError("a\nb"))


def test_other_exceptions_and_written_files_are_seen(tmp_path):
    def refuse():
        raise BlendsearchError("no")

    with pytest.raises(ZeroDivisionError):
        outcome(lambda: 1 / 0, tmp_path)
    with pytest.raises(AssertionError, match="it writes"):
        outcome(lambda: (tmp_path / "file").touch(), tmp_path)
    assert outcome(refuse, tmp_path) is None
    assert outcome(lambda: 3, tmp_path) == 3
