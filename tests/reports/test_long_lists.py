"""The page of a campaign with forty criteria, folded and short; and pages of jobs that retrained nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fake_run import leave_unretrained, make_run, multiply
from page_reading import parsed, words

from blendsearch.reports.figures.outcome import draw_differences, draw_time
from blendsearch.reports.figures.searching import draw_evolution
from blendsearch.reports.figures.style import LIGHT
from blendsearch.reports.pages.results_table import results_table
from blendsearch.reports.report import write_report
from blendsearch.results.outcomes import results
from blendsearch.results.runs import read_search_run

OLD = Path(__file__).parents[1] / "results" / "old_runs"
RETRAINED = re.compile(r"retrain", re.IGNORECASE)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = multiply(make_run(tmp_path_factory.mktemp("many")), 3)
    write_report(folder)
    return folder


def table_of(folder):
    run = read_search_run(folder)
    return results_table(run, results(run))


def test_a_long_table_shows_the_first_the_blend_the_best_and_the_well_known(many):
    table = table_of(many)
    seen = [row for row in table.rows if not row.rest]
    assert len(table.rows) == 43
    assert [row.name for row in table.rows[:5]] == [row.name for row in seen[:5]]
    assert {"blend", "taylor", "l1", "l2", "fpgm", "bn_scale", "hrank", "random"} <= {row.name for row in seen}
    assert len(seen) < 16
    assert table.fold.summary == "Show all 43 places"
    assert [row.place for row in table.rows] == list(range(1, 44))
    page = many / "report.html"
    parsed(page)
    assert page.read_text().count('<tr class="criterion rest">') == 43 - len(seen)


def test_a_short_table_has_no_fold(tmp_path):
    table = table_of(make_run(tmp_path))
    assert table.fold is None
    assert not any(row.rest for row in table.rows)


def test_equal_accuracies_share_a_place(tmp_path):
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    rows = json.loads((folder / "records/retrained.json").read_text())
    tests = {row["seed"]: row["test_accuracy"] for row in rows if row["name"] == "blend"}
    rows = [{**row, "test_accuracy": tests[row["seed"]]} if row["name"] in ("l1", "l2") else row for row in rows]
    (folder / "records/retrained.json").write_text(json.dumps(rows))
    places = {row.name: row.place for row in table_of(folder).rows}
    assert places["blend"] == places["l1"] == places["l2"] == 1
    assert min(place for name, place in places.items() if name not in ("blend", "l1", "l2")) == 4
    assert summary["comparison"]["best_criterion"] in places


def test_the_table_has_the_difference_to_the_blend_and_columns_only_where_they_say_something(many, tmp_path):
    table = table_of(many)
    blend = next(row for row in table.rows if row.kind == "blend")
    assert blend.difference == "–"
    assert all("[" in row.difference for row in table.rows if row is not blend)
    assert table.has_latency
    assert not table.seeds_differ
    assert "of 3 seeds each" in " ".join(table.told)
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    for outcome in summary["criteria"].values():
        outcome["latency_ms"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = json.loads((folder / "records/retrained.json").read_text())
    (folder / "records/retrained.json").write_text(
        json.dumps([row for row in rows if row["name"] != "l1" or row["seed"]])
    )
    table = table_of(folder)
    assert not table.has_latency  # of the blend alone
    assert table.seeds_differ


def test_figures_of_many_criteria_name_those_that_the_table_shows(many):
    run = read_search_run(many)
    seen = {row.name for row in table_of(many).rows if not row.rest}
    named = [text.get_text() for text in draw_differences(run, LIGHT).figure.axes[0].get_yticklabels()]
    assert set(named) == seen - {"blend"}
    assert len(draw_evolution(run, LIGHT).figure.axes[0].texts) < 16
    text = words(many / "report.html")
    assert text.count("those that this page speaks of, and well-known criteria; the table has all") == 1
    assert "criteria that rank alike" in text


def test_a_page_of_many_criteria_is_small(many):
    assert (many / "report.html").stat().st_size < 2_000_000


@pytest.mark.usefixtures("figures_are_not_saved")
def test_one_seed_with_intervals_over_the_images_is_not_said_to_have_none(tmp_path):
    folder = make_run(tmp_path, seeds=1)
    assert "no intervals, and the order may be chance" in words(write_report(folder))
    summary = json.loads((folder / "summary.json").read_text())
    own = {"difference": 0.0, "interval": [-0.01, 0.01], "verdict": "no difference shown"}
    summary["comparison"] |= {"differences": {"l1": own}, "basis": "400 test images"}
    (folder / "summary.json").write_text(json.dumps(summary))
    text = words(write_report(folder))
    assert "no intervals" not in text
    assert "There is one seed; lines are 95 % intervals, from 400 test images" in text


@pytest.mark.usefixtures("figures_are_not_saved")
def test_a_campaign_that_retrained_nothing_says_so_below_its_head(tmp_path):
    folder = leave_unretrained(make_run(tmp_path))
    page = write_report(folder)
    parsed(page)
    text = words(page)
    assert "Nothing was retrained (retraining.epochs is 0)" in text
    assert "Retraining: Nothing was retrained" in text  # why there is no curve
    below = text[text.index("Without retraining") :].replace("records/retrained.json", "")
    told = re.sub(r"(?i)without retraining|nothing was retrained \(retraining\.epochs is 0\)|retraining: ", "", below)
    assert not RETRAINED.search(told), told
    labels = [label.get_text() for label in draw_time(read_search_run(folder), LIGHT).figure.axes[0].get_yticklabels()]
    assert "prune and test" in labels
    assert "retrain" not in labels


@pytest.mark.usefixtures("figures_are_not_saved")
@pytest.mark.parametrize("job", ["audit", "board"])
def test_other_jobs_that_retrained_nothing_say_so(tmp_path, job):
    folder = Path(shutil.copytree(OLD / job, tmp_path / job))
    settings = folder / ("board.yaml" if job == "board" else "space.yaml")
    changed = re.sub(r"(retraining:\s*\n(?:\s+\w+:.*\n)*?\s+epochs: )[\d.]+", r"\g<1>0", settings.read_text())
    assert changed != settings.read_text()
    settings.write_text(changed)
    text = words(write_report(folder)).partition("resolved")[0]
    allowed = r"(?i)without retraining|not(hing was)? retrained"
    assert re.search(allowed, text)
    assert not RETRAINED.search(re.sub(allowed, "", text)), text
