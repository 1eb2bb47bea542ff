"""The report is built from a run folder's files alone, and tells what is missing."""

from __future__ import annotations

import json
import re

import matplotlib
import pytest
from fake_run import make_run
from page_reading import parsed

from blendsearch.cli.tables import verdicts
from blendsearch.errors import RunError
from blendsearch.reports.figures import SEARCH_FIGURES
from blendsearch.reports.figures.outcome import _differences_caption
from blendsearch.reports.figures.searching import draw_evolution
from blendsearch.reports.figures.style import LIGHT
from blendsearch.reports.pages.search_story import find_gaps
from blendsearch.reports.report import write_report
from blendsearch.results.outcomes import differences, results
from blendsearch.results.paired import interval
from blendsearch.results.runs import read_search_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("fake"), groups=4, seeds=3)
    write_report(folder)
    return folder


def test_every_figure_is_a_png_and_an_svg(run):
    for name in [figure.name for figure in SEARCH_FIGURES.of(read_search_run(run))]:
        assert (run / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
        assert b"<svg" in (run / "figures" / f"{name}.svg").read_bytes()[:2000], name


def test_the_page_is_well_formed_and_needs_no_network(run):
    links = parsed(run / "report.html")
    for target in links.targets:
        assert not target.startswith(("http:", "https:", "//")), target
        if not target.startswith(("data:", "#")):
            assert (run / target).exists(), target
    assert "<script" not in (run / "report.html").read_text()


def test_the_page_says_what_the_summary_says(run):
    summary = json.loads((run / "summary.json").read_text())
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (run / "report.html").read_text()))
    assert summary["comparison"]["sentence"] in text
    for name, entry in {**summary["criteria"], "blend": summary["blend"]}.items():
        assert name in text
        assert f"{100 * entry['test_accuracy']:.2f}" in text, name
    assert f"{summary['fidelity']['tau']:.2f}" in text
    assert "summary.json" in text


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_both_verdicts_rivals_and_what_the_search_saw_are_on_the_page_and_in_the_terminal(tmp_path):
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    assert "Without a search" not in write_report(folder).read_text()  # of an older version
    told = {"difference": 0.004, "interval": [0.001, 0.007], "verdict": "beats"}
    summary["comparison"] |= {
        "among": 14,
        "basis": "3 paired seeds and 400 test images",
        "without_search": {**told, "name": "fisher", "sentence": "The blend beats the proxy's choice (fisher)."},
        "rivals": {"mean of ranks": {**told, "sentence": "The blend beats the mean of all ranks."}},
    }
    averages = {key: summary["blend"][key] for key in ("search_accuracy", "flops_ratio", "params_ratio", "proxy")}
    summary["rivals"] = {"mean of ranks": {**averages, "test_accuracy": 0.8123, "note": "without l1"}}
    summary["rivals_left_out"] = {"HESSO default": "too few criteria"}
    summary["optimism"] = {"unpruned": 0.05, "sentence": "The weights have seen the search images."}
    summary["choice"] = {
        "candidates": 4,
        "seen": 0.8,
        "fresh": 0.7,
        "optimism": 0.1,
        "proxy_was_right": False,
        "sentence": "On fresh images 0.7.",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    page = write_report(folder)
    parsed(page)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text()))
    sentences = [
        summary["comparison"]["sentence"],
        "The blend beats the proxy's choice (fisher).",
        "The blend beats the mean of all ranks.",
        "mean of ranks is without l1.",
        "No HESSO default: too few criteria.",
        "On fresh images 0.7.",
        "The weights have seen the search images.",
    ]
    run = read_search_run(folder)
    assert verdicts(run.summary) == sentences
    for sentence in sentences:
        assert sentence.replace("'", "&#39;") in text, sentence
    assert "beats : what the proxy chooses without a search" in text or "beats: what the proxy chooses" in text
    assert "81.23" in text
    assert "best of 14" in text


def test_the_differences_are_drawn_with_the_campaigns_own_intervals(tmp_path):
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    own = {"difference": 0.0, "interval": [-0.5, 0.25], "verdict": "no difference shown"}
    summary["comparison"] |= {"differences": {"l1": own}, "basis": "3 paired seeds and 400 test images"}
    (folder / "summary.json").write_text(json.dumps(summary))
    run = read_search_run(folder)
    found = {one.name: one for one in differences(run)}
    assert found["l1"].interval == (-0.5, 0.25)
    assert found["l2"].interval == interval(found["l2"].single)  # the summary has none
    assert "from 3 paired seeds and 400 test images" in _differences_caption(run)


@pytest.mark.usefixtures("figures_are_not_saved")
def test_the_accuracy_before_retraining_is_shown_where_it_is_known(run, tmp_path):
    assert "before retraining" not in (run / "report.html").read_text()
    folder = make_run(tmp_path / "known")
    summary = json.loads((folder / "summary.json").read_text())
    summary["blend"]["pruned_test_accuracy"] = 0.4321
    summary["data"] = {**summary.get("data", {}), "labels": "predicted"}
    (folder / "summary.json").write_text(json.dumps(summary))
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "<th>before retraining, %</th>" in page
    assert "<td>43.21</td>" in page
    assert "accuracy there is agreement with it" in page
    assert "accuracy there is agreement with it" not in (run / "report.html").read_text()


@pytest.mark.usefixtures("figures_are_not_saved")
def test_progress_ends_complete(run):
    seen = []
    write_report(run, lambda task, done, total, detail="": seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]


def test_settings_of_matplotlib_are_left_alone(run):
    before = dict(matplotlib.rcParams)
    write_report(run)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.usefixtures("figures_are_not_saved")
def test_one_seed_is_said_to_test_nothing(tmp_path):
    page = write_report(make_run(tmp_path, seeds=1))
    assert "one seed is no test" in page.read_text()
    parsed(page)


@pytest.mark.usefixtures("figures_are_not_saved")
@pytest.mark.parametrize("record", ["agreement", "clusters", "evolution", "retrained", "groups"])
def test_a_missing_record_is_told_not_hidden(tmp_path, record):
    folder = make_run(tmp_path)
    (folder / "records" / f"{record}.json").unlink()
    page = write_report(folder)
    parsed(page)
    assert f"records/{record}.json" in page.read_text()


@pytest.mark.usefixtures("figures_are_not_saved")
def test_no_fidelity_is_told(tmp_path):
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary["fidelity"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    parsed(write_report(folder))


@pytest.mark.usefixtures("figures_are_not_saved")
def test_retraining_of_unequal_length_is_told(tmp_path):
    folder = make_run(tmp_path)
    file = folder / "records" / "retrained.json"
    rows = json.loads(file.read_text())

    def told(steps_of_l1: int) -> list[str]:
        counted = [{**row, "steps": steps_of_l1 if row["name"] == "l1" else 90} for row in rows]
        file.write_text(json.dumps(counted))
        run = read_search_run(folder)
        return [gap for gap in find_gaps(run, results(run)) if "not equally long" in gap]

    (line,) = told(60)
    assert "l1 60" in line
    assert "blend 90" in line
    assert not told(90)


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_finals_are_shown_where_there_were_some(tmp_path):
    folder = make_run(tmp_path)
    plain = write_report(folder).read_text()
    assert "finals" not in plain.lower()
    record = {
        "rungs": [{"share": 0.1, "epochs": 1.0}, {"share": 0.3, "epochs": 3.0}],
        "seeds": 1,
        "seconds": 12.5,
        "candidates": [
            {"trial": 7, "proxy": 0.71, "accuracies": [0.8], "seconds": 2.0, "stopped": "clearly worse at rung 1"},
            {"trial": 9, "proxy": 0.70, "accuracies": [0.9, 0.95], "seconds": 8.5, "stopped": "won"},
        ],
    }
    (folder / "records" / "finals.json").write_text(json.dumps(record))
    page = write_report(folder)
    parsed(page)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text()))
    assert "1 epoch 3 epochs time" in text
    assert "1 7 0.7100 80.00 % – 2.0 s clearly worse at rung 1" in text
    assert "2 9 0.7000 90.00 % 95.00 % 8.5 s won" in text
    assert "3 trainings" in text
    assert "The proxy's first did not win" in text
    assert "records/finals.json" in text


def test_the_evolution_figure_names_the_phases_of_a_search_from_coarse_to_fine(tmp_path):
    folder = make_run(tmp_path)
    steps = json.loads((folder / "records/evolution.json").read_text())
    units = ["network"] * 3 + ["stage"] * 3 + ["layer"] * 3
    steps = [{**step, "unit": unit} for step, unit in zip(steps, units, strict=True)]
    (folder / "records/evolution.json").write_text(json.dumps(steps))
    axes = draw_evolution(read_search_run(folder), LIGHT).figure.axes[0]
    told = [text for text in axes.texts if text.get_text().startswith("by ")]
    assert [text.get_text() for text in told] == ["by network", "by stage", "by layer"]
    assert [text.xy[0] for text in told] == [steps[at]["evaluations"] for at in (0, 2, 5)]


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_names_are_escaped(tmp_path):
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary["name"] = "<script>alert(1)</script>"
    (folder / "summary.json").write_text(json.dumps(summary))
    assert "<script>" not in write_report(folder).read_text()


def test_a_missing_or_broken_run_is_one_line(tmp_path):
    with pytest.raises(RunError) as caught:
        write_report(tmp_path / "nothing")
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="is this a run folder of blendsearch"):
        write_report(tmp_path / "empty")
    folder = make_run(tmp_path / "run")
    (folder / "summary.json").write_text("{")
    with pytest.raises(RunError, match=r"summary\.json"):
        write_report(folder)
