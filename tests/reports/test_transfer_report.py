"""The page of a transfer says what transfer.json says, and is written again from it alone."""

from __future__ import annotations

import json

import pytest
from page_reading import parsed, rows, words
from typer.testing import CliRunner

from blendsearch.cli import app
from blendsearch.errors import RunError
from blendsearch.reports.figures.style import LIGHT
from blendsearch.reports.figures.transfer import draw_transfer
from blendsearch.reports.markdown.transfer import format_transfer
from blendsearch.reports.pages.transfer_words import headline, tell_origin, tell_verdicts
from blendsearch.reports.report import write_report
from blendsearch.results.records.provenance import Provenance
from blendsearch.results.records.transfer import SpaceRecord, TransferSummary


def reached(accuracy, std=None):
    return {
        "proxy": accuracy - 0.05, "search_accuracy": accuracy, "test_accuracy": accuracy, "test_accuracy_std": std,
        "flops_ratio": 0.391, "params_ratio": 0.352, "steps": 30.0,
    }  # fmt: skip


def against(difference, interval=None, verdict="not tested (one seed)"):
    return {"difference": difference, "interval": interval, "verdict": verdict}


def space(**changes):
    """Return the record of a space with one seed and no search; its best criterion is taylor."""
    record = {
        "space": "once", "network": "conv4", "network_arguments": {"width": 8}, "data": "digits",
        "budget": {"kind": "flops", "ratio": 0.4}, "allocation": "uniform", "schedule": "one_shot", "seeds": 1,
        "rule": "same layers: the blend is used as it was found", "matched": {}, "notes": [], "baseline": 0.9812,
        "transferred": reached(0.9432), "searched": None,
        "criteria": {"l1": reached(0.9321), "taylor": reached(0.9543)},
        "best_criterion": "taylor", "against_criterion": against(-0.0111), "against_searched": None,
        "differences": {"l1": against(0.0111), "taylor": against(-0.0111)}, "same_filters": [],
    }  # fmt: skip
    return {**record, **changes}


def with_seeds(name, verdict, low, high, **changes):
    """Return the record of a space with three seeds and a search; the difference is in the middle of its interval."""
    one = against((low + high) / 2, [low, high], verdict)
    twin = against(0.0, [0.0, 0.0], "no difference shown")
    return space(
        space=name, seeds=3, transferred=reached(0.9654, 0.0021), searched=reached(0.9654, 0.0032),
        criteria={"l1": reached(0.9123, 0.0123), "taylor": reached(0.9567, 0.0045)}, against_criterion=one,
        against_searched=twin, differences={"l1": against(0.0531, [0.05, 0.0562], "beats"), "taylor": one},
        same_filters=["the blend searched there"], **changes,
    )  # fmt: skip


def saved(folder, spaces, found_on=None, searches=True):
    blend = {"file": "runs/x/blend.json", "criteria": ["l1", "taylor"], "unit": "layer", "found_on": found_on or {}}
    summary = {"job": "transfer", "blend": blend, "searches": searches, "spaces": spaces, "versions": {"torch": "2"}}
    (folder / "transfer.json").write_text(json.dumps(summary))
    (folder / "job.json").write_text(json.dumps({"job": "transfer", "searches": searches}))
    for name in ("transfer.csv", "transfer.md"):
        (folder / name).write_text("")
    for one in spaces:
        (folder / one["space"] / "records/retrained").mkdir(parents=True)
        (folder / one["space"] / "job.json").write_text(json.dumps({"job": "transfer"}))
    return folder


FOUND = {
    "model": "resnet20", "data": "digits", "budget": {"flops": 0.5},
    "results": {
        "seeds": 3, "test_accuracy": {"mean": 0.9765, "sd": 0.01}, "difference": 0.01, "verdict": "beats",
        "best_criterion": {"name": "fpgm", "test_accuracy": {"mean": 0.9665, "sd": 0.01}},
    },
}  # fmt: skip
RULE = "same stages, other depth: each of the 2 layers takes the weights of the layer at the nearest relative depth"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The page of two spaces with seeds and a search: one beats, fitted by depth, one is worse."""
    there = with_seeds(
        "there", "worse", -0.0222, -0.0111, rule=RULE, matched={"layer3.8.conv1": "layer3.2.conv1"},
        notes=["apoz of the blend is scored for the blend alone."], baseline=0.9911,
    )  # fmt: skip
    folder = saved(tmp_path_factory.mktemp("two"), [with_seeds("here", "beats", 0.0034, 0.0156), there], FOUND)
    return write_report(folder)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The page of one space with one seed and no search."""
    return write_report(saved(tmp_path_factory.mktemp("once"), [space()], searches=False))


def test_both_pages_are_whole_and_need_no_network(two, once):
    for page in (two, once):
        assert page.name == "transfer.html"
        for target in parsed(page).targets:
            assert not target.startswith(("http:", "https:", "//")), target
            if not target.startswith(("data:", "#")):
                assert (page.parent / target).exists(), target
        assert "<script" not in page.read_text()
    names = {file.name for file in (two.parent / "figures").iterdir()}
    assert names == {f"differences_{name}.{kind}" for name in ("here", "there") for kind in ("png", "svg")}


def test_the_head_says_what_came_out(two):
    text = words(two)
    assert "Applied in 2 spaces, the blend beats the best criterion in 1 and is worse than it in 1." in text
    assert "Found on resnet20, digits, 50 % of FLOPs. Where it was found it came to 97.65 % against 96.65 %" in text
    assert "of fpgm, the best criterion there: beats." in text
    beats = "The transferred blend beats the best criterion (taylor): +0.95 points of test accuracy (95 % interval"
    assert f"{beats} +0.34 to +1.56, 3 paired seeds)." in text
    assert "The transferred blend is worse than the best criterion (taylor): -1.67 points" in text
    assert text.count("No difference shown between the transferred blend and the blend searched there: +0.00") == 2
    assert "The transferred blend keeps the same filters as the blend searched there." in text


def test_the_tables_hold_the_numbers_of_the_summary(two):
    lines = rows(two)
    network = "conv4 (width 8) on digits, 40 % of FLOPs"
    accuracies = ["96.54 ± 0.21", "taylor", "95.67 ± 0.45"]
    searched = ["96.54 ± 0.32", "0.00 [0.00, 0.00]", "= no difference shown"]
    assert ["here", network, "98.12", *accuracies, "+0.95 [+0.34, +1.56]", "▲ beats", *searched] in lines
    assert ["there", network, "99.11", *accuracies, "−1.67 [−2.22, −1.11]", "▼ worse", *searched] in lines
    kept = ["39.1", "35.2"]
    assert ["", "transferred blend", "96.54 ± 0.21", "0.9154", *kept, "–", "–"] in lines
    assert ["", "blend searched there", "96.54 ± 0.32", "0.9154", *kept, *searched[1:]] in lines
    best, other = (
        lines.index([place, name, *numbers])
        for place, name, numbers in (
            ("1", "taylor", ["95.67 ± 0.45", "0.9067", *kept, "+0.95 [+0.34, +1.56]", "▲ beats"]),
            ("2", "l1", ["91.23 ± 1.23", "0.8623", *kept, "+5.31 [+5.00, +5.62]", "▲ beats"]),
        )
    )
    assert best == other - 1
    assert ["layer3.8.conv1", "layer3.2.conv1"] in lines
    text = words(two)
    assert f"S{RULE[1:]}. apoz of the blend is scored for the blend alone." in text
    assert "Which layer took the weights of which (1)" in text


def test_one_seed_is_said_to_test_nothing_and_no_search_leaves_no_column(once):
    text = words(once)
    assert "Applied in once, the blend is not tested against the best criterion (one seed)." in text
    assert "After equal retraining the transferred blend is -1.11 points from the best criterion (taylor);" in text
    assert "runs/x/blend.json does not say where its blend was found." in text
    assert "searched there" not in text
    assert "95 % interval" not in text
    last = ["94.32", "taylor", "95.43", "−1.11", "○ not tested (one seed)"]
    assert ["once", "conv4 (width 8) on digits, 40 % of FLOPs", "98.12", *last] in rows(once)
    assert "once/space.yaml --no-search --run-dir again" in text


def test_criteria_without_evolved_shares_show_the_allocation_that_they_have(tmp_path, once):
    criteria = {
        "l1": {**reached(0.9321), "allocation": "uniform"},
        "taylor": {**reached(0.9543), "allocation": "global_threshold"},
    }
    evolved = space(allocation="evolved", criteria=criteria, transferred={**reached(0.9432), "allocation": "evolved"})
    page = write_report(saved(tmp_path, [evolved], searches=False))
    names = [row[1] for row in rows(page) if len(row) > 1]
    assert names.index("taylor (global_threshold)") == names.index("l1 (uniform)") - 1
    assert "transferred blend" in names
    text = words(page)
    assert "each criterion has the allocation that the proxy preferred for it, in brackets." in text
    assert "Allocation evolved, schedule one_shot, 1 seed." in text
    assert "in brackets" not in words(once)  # of one allocation, and with a record that does not name any


def test_the_command_is_typed_where_the_paths_of_the_spaces_count_from(tmp_path):
    folder = saved(tmp_path, [space()], searches=False)
    (folder / "once/space.yaml").write_text("data: {name: digits}")
    assert "same versions, in this folder: blendsearch transfer blend.json once/space.yaml" in words(
        write_report(folder)
    )
    (folder / "once/space.yaml").write_text("data: {name: folder, root: images}")
    text = words(write_report(folder))
    assert "in the folder where the run was started (from there the settings name data.root; RUN stands for" in text
    assert "blendsearch transfer RUN/blend.json RUN/once/space.yaml --no-search --run-dir again" in text
    assert "blendsearch report RUN " in text


def test_the_headline_counts_every_verdict():
    every = [("beats", 0.01, 0.02), ("no difference shown", -0.01, 0.01), ("worse", -0.02, -0.01)]
    records = [SpaceRecord(**with_seeds(verdict, verdict, low, high)) for verdict, low, high in every]
    counted = "beats the best criterion in 1, is not shown to differ from it in 1 and is worse than it in 1."
    assert headline(records) == f"Applied in 3 spaces, the blend {counted}"
    assert headline(records[:1] * 2) == "Applied in 2 spaces, the blend beats the best criterion in both."
    assert headline(records[2:] * 3) == "Applied in 3 spaces, the blend is worse than the best criterion in all 3."
    for record, (verdict, *_) in zip(records, every, strict=True):
        assert verdict.split()[0] in tell_verdicts(record)[0].lower()


def test_the_figure_tells_the_kinds_apart_by_shape_too():
    drawing = draw_transfer(SpaceRecord(**with_seeds("here", "beats", 0.0034, 0.0156)), LIGHT)
    axes = drawing.figure.axes[0]
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == ["searched there", "taylor", "l1"]
    assert [label.get_fontweight() for label in labels] == ["bold", "bold", "normal"]
    numbers = [text.get_text() for text in axes.texts if "[" in text.get_text()]
    assert numbers == ["0.00  [0.00, 0.00]", "+0.95  [+0.34, +1.56]", "+5.31  [+5.00, +5.62]"]
    marks = [one for one in axes.collections if len(one.get_offsets()) == 1]
    assert len({one.get_paths()[0].vertices.tobytes() for one in marks}) == 3
    assert "above that of 2 of 2 criteria" in drawing.alt


def test_report_writes_the_page_again(tmp_path):
    page = write_report(saved(tmp_path, [space()], searches=False))
    before = page.read_bytes()
    page.unlink()
    (tmp_path / "figures/differences_once.svg").unlink()
    result = CliRunner().invoke(app, ["report", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"report: {page}" in result.output.replace("\n", "").replace("report:/", "report: /")
    assert page.read_bytes() == before
    assert (tmp_path / "figures/differences_once.svg").exists()


def test_a_folder_that_holds_no_finished_transfer_is_one_line(tmp_path):
    saved(tmp_path, [space()], searches=False)
    with pytest.raises(RunError, match="is one space of a transfer; the report is of the whole"):
        write_report(tmp_path / "once")
    summary = json.loads((tmp_path / "transfer.json").read_text())
    summary["spaces"][0]["baseline"] = "high"
    (tmp_path / "transfer.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match=r"transfer\.json: spaces\.0\.baseline: .* \(given 'high'\)"):
        write_report(tmp_path)
    (tmp_path / "transfer.json").unlink()
    with pytest.raises(RunError, match=r"transfer\.json is missing"):
        write_report(tmp_path)


def test_a_blend_that_says_little_of_where_it_was_found():
    assert tell_origin("x.json", Provenance(model="conv4", data=None)) == "Found on conv4, unknown data."
    assert tell_origin("x.json", Provenance(data="digits")) == "x.json does not say where its blend was found."


def test_names_are_escaped(tmp_path):
    blend_on = {"model": "<b>net</b>", "data": "digits"}
    page = write_report(saved(tmp_path, [space(notes=["a < b"])], blend_on, searches=False))
    assert "&lt;b&gt;net" in page.read_text()
    assert "a &lt; b" in page.read_text()
    parsed(page)


def test_a_transfer_that_retrained_nothing_says_so(tmp_path):
    pruned = {**reached(0.9432), "steps": 0.0}
    folder = saved(tmp_path, [space(transferred=pruned)], searches=False)
    text = words(write_report(folder))
    assert "to the same budget; nothing was retrained." in text
    assert "Test accuracy without retraining, of one seed" in text
    assert "1 seed, nothing retrained." in text
    summary = TransferSummary.model_validate_json((folder / "transfer.json").read_text())
    assert "Test accuracy in % without retraining" in format_transfer(summary)
    assert "Test accuracy after equal retraining" not in text


def test_a_space_with_many_criteria_folds_its_table_and_shortens_its_figure(tmp_path):
    names = ["taylor", *(f"criterion_{place}" for place in range(30)), "l1"]
    many = {name: reached(0.95 - 0.001 * place) for place, name in enumerate(names)}
    one = space(criteria=many, differences={name: against(-0.01) for name in names})
    folder = saved(tmp_path, [one], searches=False)
    page = write_report(folder)
    parsed(page)
    assert "Show all 32 criteria" in words(page)
    assert ["32", "l1"] in [row[:2] for row in rows(page)]
    assert page.read_text().count('<tr class="criterion rest">') == 32 - 6
    drawn = draw_transfer(SpaceRecord.model_validate(one), LIGHT).figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in drawn] == [*names[:5], "l1"]
