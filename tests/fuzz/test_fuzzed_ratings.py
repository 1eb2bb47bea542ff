"""Files of people's ratings: what is valid reads as it was written, all else is told in a line."""

from __future__ import annotations

from fuzzing import ANYTHING, TEXTS, amounts, as_bytes, damaged, damaged_bytes, for_all, mostly, outcome
from hypothesis import strategies as st
from network_files import CASES, RATINGS, as_json

from blendsearch.statistics.ratings import NOBODY, WORDS, ratings_of, read_ratings

DAMAGED = mostly(
    damaged(RATINGS).map(as_json),
    damaged_bytes(RATINGS.map(as_json)),
    ANYTHING.map(as_json),
    TEXTS.map(as_bytes),
    st.binary(max_size=20),
)


@amounts("valid ratings")
def test_valid_ratings_are_read_as_they_were_written(cases, tmp_path):
    def check(data):
        (tmp_path / "ratings.json").write_bytes(as_json(data))
        raters = {NOBODY: data} if data["schema"] == 1 else data["raters"]
        written = {
            name: {
                group: {int(index): WORDS.get(mark, mark) for index, mark in rated.items()}
                for group, rated in own["groups"].items()
            }
            for name, own in raters.items()
        }
        ratings = read_ratings(tmp_path / "ratings.json")
        assert ratings.raters == {
            name: own for name, own in written.items() if data["schema"] == 1 or any(own.values())
        }
        assert all(0 <= mark <= 1 for rated in ratings.means.values() for mark in rated.values())
        assert ratings.kappa is None or ratings.kappa <= 1

    for_all(cases, check, RATINGS)


@amounts("damaged ratings")
def test_any_file_holds_ratings_or_is_told_in_a_line(cases, tmp_path):
    def check(content, case):
        file = tmp_path / "ratings.json"
        file.write_bytes(content)
        ratings = outcome(lambda: read_ratings(file), tmp_path)
        if ratings is not None:
            outcome(lambda: ratings_of(case.structure, ratings), tmp_path)

    for_all(cases, check, DAMAGED, CASES)
