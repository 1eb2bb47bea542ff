"""The page of a scarce-data run leaves out what its criteria cannot show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from page_reading import parsed, words

from blendsearch.reports.report import write_report

OLD = Path(__file__).parents[1] / "results" / "old_runs" / "curves"
pytestmark = pytest.mark.usefixtures("figures_are_not_saved")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def keep(folder, *evidence):
    """Leave only the criteria that look at some things."""
    file = folder / "summary.json"
    summary = json.loads(file.read_text())
    summary["curves"] = [curve for curve in summary["curves"] if curve["evidence"] in evidence]
    for compared in summary["comparison"]["by_samples"].values():
        compared["families"] = {name: one for name, one in compared["families"].items() if name in evidence}
        best = next(iter(compared["families"].values()))["best"]
        compared |= dict.fromkeys(("best", "difference", "range", "ahead", "draws", "verdict"))
        compared["rival"] = best
    file.write_text(json.dumps(summary))


def test_relevance_stands_against_the_rest_where_there_are_both(folder):
    text = words(write_report(folder))
    assert "Relevance against the rest" in text
    assert "Differences are between areas" in text
    assert "Blue: relevance criteria; orange: the best of the others" in text


def test_without_relevance_there_is_no_empty_comparison(folder):
    keep(folder, "weights", "gradients")
    page = write_report(folder)
    parsed(page)
    text = words(page)
    assert "Relevance against the rest" not in text
    assert "Differences are between areas" not in text
    assert "relevance criteria;" not in text
    assert "In colour: the best by area; grey: the rest, dashed where a criterion looks at no image" in text
    assert "Family by family" in text


def test_where_no_criterion_looks_at_images_their_number_is_not_drawn(folder):
    keep(folder, "weights")
    text = words(write_report(folder))
    assert "More images, better scores?: No criterion of this run looks at images" in text
    assert "the narrower their range" not in text
    assert "Family by family" not in text
