"""A blend applied elsewhere: on equal terms with what is there, resumed anywhere to the same result, plain errors."""

from __future__ import annotations

import csv
import json
from statistics import fmean

import pytest
import yaml
from tiny_campaign import TINIER
from typer.testing import CliRunner

import blendsearch
from blendsearch.blending import Blend
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.transfer.run import OWN_NAMES, run_transfer
from blendsearch.cli import app
from blendsearch.config import space_from_dict
from blendsearch.errors import BlendsearchError, BudgetError, ConfigError, RunError, UnknownNameError
from blendsearch.results.paired import interval

TINY = {**TINIER, "name": "here", "retraining": {**TINIER["retraining"], "seeds": 2}}


def tiny(**changes):
    return space_from_dict({**TINY, **changes})


@pytest.fixture
def blend(tmp_path):
    """A blend's file; apoz is not among the criteria of the space."""
    Blend("network", {"network": {"l1": 1.0, "apoz": 0.6}}).save(tmp_path / "mix.json")
    return tmp_path / "mix.json"


@pytest.mark.usefixtures("unreported")
def test_a_blend_itself_is_transferred_as_its_file_would_be(blend, tmp_path):
    space = tiny(retraining={**TINY["retraining"], "seeds": 1})
    done = blendsearch.transfer(Blend.load(blend), [space], run_dir=tmp_path / "run", searches=False)
    assert done.summary.blend.file == str(tmp_path / "run/blend.json")
    assert Blend.load(done.summary.blend.file) == Blend.load(blend)
    with pytest.raises(BlendsearchError, match="blend: int given, allowed: a Blend or the path of its file"):
        blendsearch.transfer(3, [space])


class Kill(Exception):
    """Stands for the process being killed."""


def killer(task, at):
    def progress(name, done, total, detail=""):
        if name == task and done >= at:
            raise Kill

    return progress


def results(folder):
    """Return the files that must be the same however often a transfer was stopped."""
    return {name: (folder / name).read_text() for name in ("transfer.json", "transfer.csv", "transfer.md")}


@pytest.mark.usefixtures("unreported")
def test_the_tables_agree_with_the_records_of_each_retraining(blend, tmp_path):
    result = run_transfer(blend, [tiny()], tmp_path / "run", searches=False)
    assert result.summary.to_dict() == json.loads((tmp_path / "run/transfer.json").read_text())
    row = result.summary.spaces[0]
    records = [json.loads(file.read_text()) for file in (tmp_path / "run/here/records/retrained").iterdir()]
    assert {(r["name"], r["seed"]) for r in records} == {
        (name, seed) for name in ("transferred", "l1", "taylor") for seed in (0, 1)
    }
    assert len({r["steps"] for r in records}) == 1
    tests = {name: [r["test_accuracy"] for r in sorted(records, key=lambda r: r["seed"]) if r["name"] == name]
             for name in ("transferred", "l1", "taylor")}  # fmt: skip
    assert row.transferred.test_accuracy == pytest.approx(fmean(tests["transferred"]))
    for name in ("l1", "taylor"):
        pairs = [mine - other for mine, other in zip(tests["transferred"], tests[name], strict=True)]
        assert row.differences[name].difference == pytest.approx(fmean(pairs))
        (low, high), by_seeds = row.differences[name].interval, interval(pairs)
        assert (low + high) / 2 == pytest.approx(fmean(pairs))
        assert high - low > 0.9 * (by_seeds[1] - by_seeds[0])  # the test images add to the doubt of the seeds
    assert row.best_criterion == max(("l1", "taylor"), key=lambda name: fmean(tests[name]))
    assert row.against_criterion == row.differences[row.best_criterion]
    assert 0 < row.transferred.proxy <= 1
    assert (row.searched, row.against_searched) == (None, None)
    assert row.notes == ["apoz of the blend is not among the space's criteria and scored for the blend alone."]
    line = next(csv.DictReader((tmp_path / "run/transfer.csv").open()))
    assert float(line["transferred_mean"]) == row.transferred.test_accuracy
    assert line["best_criterion"] == row.best_criterion
    assert line["searched_mean"] == ""
    assert f"{100 * row.transferred.test_accuracy:.2f} ± " in (tmp_path / "run/transfer.md").read_text()


@pytest.mark.usefixtures("unreported")
def test_the_criteria_and_the_search_are_those_of_a_campaign_alone(blend, tmp_path):
    row = blendsearch.transfer(blend, [tiny()], run_dir=tmp_path / "run").summary.spaces[0]
    alone = run_search(tiny(), tmp_path / "alone").summary
    for key in ("test_accuracy", "search_accuracy", "proxy"):
        assert getattr(row.searched, key) == getattr(alone.blend, key)
        assert getattr(row.criteria["l1"], key) == getattr(alone.criteria["l1"], key)
    assert row.unpruned == alone.unpruned.test_accuracy
    files = (tmp_path / "run").glob("*/search/records/retrained/*.json")
    kinds = {json.loads(file.read_text())["kind"] for file in files}
    assert kinds == {"blend", "criterion"}  # nothing that a transfer does not show
    without = run_transfer(blend, [tiny()], tmp_path / "without", searches=False).summary.spaces[0]
    for key in ("transferred", "criteria", "differences", "against_criterion", "unpruned"):
        assert getattr(without, key) == getattr(row, key), key
    assert Blend.load(tmp_path / "run/here/search/blend.json").unit == "network"


@pytest.mark.usefixtures("unreported")
def test_the_record_says_how_the_shares_of_the_layers_came_about(tmp_path):
    keep = {"conv1": 0.9, "conv2": 0.8, "conv3": 0.5, "conv4": 0.3}
    Blend("network", {"network": {"l1": 1.0, "taylor": 0.6}}, keep=keep).save(tmp_path / "mix.json")
    own = {"allocation": {"name": "evolved", "start": ["uniform", "global_threshold"]}}
    search = {**TINY["search"], "random_search": False}
    space = tiny(**own, search=search, retraining={**TINY["retraining"], "seeds": 1})
    searched = run_transfer(tmp_path / "mix.json", [space], tmp_path / "run").summary.spaces[0]
    plain = run_transfer(tmp_path / "mix.json", [space], tmp_path / "plain", searches=False).summary.spaces[0]
    campaign = json.loads((tmp_path / "run/here/search/summary.json").read_text())
    assert (searched.transferred.allocation, searched.searched.allocation) == ("evolved", "evolved")
    given = {name: one.allocation for name, one in searched.criteria.items()}
    assert given == {name: one["allocation"] for name, one in campaign["criteria"].items()}
    assert set(given.values()) <= {"uniform", "global_threshold"}
    assert {name: one.allocation for name, one in plain.criteria.items()} == given
    best = plain.best_criterion
    text = (tmp_path / "plain/transfer.md").read_text()
    assert f"{best} ({given[best]}) |" in text
    assert "each criterion has the allocation that the proxy preferred for it, in brackets." in text
    line = next(csv.DictReader((tmp_path / "plain/transfer.csv").open()))
    assert (line["allocation"], line["criterion_allocation"]) == ("evolved", given[best])


@pytest.mark.usefixtures("unreported")
def test_a_blend_transferred_to_where_it_was_found_is_the_blend_searched_there(tmp_path):
    found = run_search(tiny(), tmp_path / "found")
    row = run_transfer(found.run_dir / "blend.json", [tiny()], tmp_path / "run").summary.spaces[0]
    assert row.transferred == row.searched
    assert row.against_searched.interval is None  # nothing varies
    assert row.against_searched.verdict == "equal"
    assert "the blend searched there" in row.same_filters


@pytest.mark.usefixtures("unreported")
def test_killed_and_resumed_ends_the_same(blend, tmp_path):
    whole = tmp_path / "whole"
    run_transfer(blend, [tiny()], whole)
    for task, at in (("training", 5), ("search", 3), ("retraining", 3), ("retraining", 5)):
        begun = (tmp_path / "run").exists()
        with pytest.raises(Kill):
            run_transfer(blend, [tiny()], tmp_path / "run", resume=begun, progress=killer(task, at))
    run_transfer(blend, [tiny()], tmp_path / "run", resume=True)
    assert results(tmp_path / "run") == results(whole)
    run_transfer(blend, [tiny()], whole, resume=True, progress=killer("training", 0))  # nothing is done again
    assert results(tmp_path / "run") == results(whole)


@pytest.mark.usefixtures("unreported")
def test_a_transfer_grows_by_a_space_on_other_terms(blend, tmp_path):
    run_transfer(blend, [tiny()], tmp_path / "run", searches=False)
    kept = (tmp_path / "run/here/result.json").read_bytes()
    once = {**TINY["retraining"], "seeds": 1}
    deeper = tiny(name="there", model={"name": "conv4", "arguments": {"width": 12}}, retraining=once, criteria=["l2"])
    seen = set()
    result = run_transfer(
        blend, [tiny(), deeper], tmp_path / "run", True, lambda task, *_: seen.add(task), searches=False
    )
    assert (tmp_path / "run/here/result.json").read_bytes() == kept
    assert {task.split(":")[0] for task in seen} == {"there"}
    row = result.summary.spaces[1]
    assert row.against_criterion.verdict == "not tested (one seed)"
    assert row.transferred.test_accuracy_std is None
    assert row.notes[0].startswith("apoz, l1 of the blend are not")


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_a_blend_of_a_resnet_goes_to_a_deeper_one_by_stage_and_depth(tmp_path):
    small = {
        "data": {"name": "digits", "test": 60, "calibration": 20, "search": 20, "limit": 64},
        "training": {"epochs": 1, "batch_size": 32, "lr": 0.05}, "budget": {"filters": 0.6},
        "retraining": {"epochs": 0.5, "batch_size": 32, "lr": 0.05, "seeds": 1},
        "proxy": {"name": "zero_shot"}, "blend": {"unit": "layer"},
    }  # fmt: skip
    found = run_search(tiny(name="shallow", model={"name": "resnet20"}, **small), tmp_path / "found")
    deep = tiny(name="deep", model={"name": "resnet32"}, **small)
    row = run_transfer(found.run_dir / "blend.json", [deep], tmp_path / "run", searches=False).summary.spaces[0]
    assert row.rule.startswith("same stages, other depth")
    assert row.matched["layer3.4.conv1"] == "layer3.2.conv1"
    text = (tmp_path / "run/transfer.md").read_text()
    assert "Found on resnet20, digits, 60 % of filters." in text
    assert row.rule in text


@pytest.mark.usefixtures("unreported")
def test_folders_of_other_blends_spaces_and_jobs_are_left_alone(blend, tmp_path):
    run = tmp_path / "run"
    run_transfer(blend, [tiny()], run, searches=False)
    before = (run / "transfer.json").read_bytes()
    with pytest.raises(RunError, match="already holds files"):
        run_transfer(blend, [tiny()], run, searches=False)
    with pytest.raises(RunError, match="was made with --no-search"):
        run_transfer(blend, [tiny()], run, resume=True)
    with pytest.raises(RunError, match="differing: seed"):
        run_transfer(blend, [tiny(seed=4)], run, resume=True, searches=False)
    with pytest.raises(RunError, match="made by 'blendsearch transfer'"):
        run_search(tiny(), run, resume=True)
    Blend.single("l1").save(blend)
    with pytest.raises(RunError, match="was made with another blend"):
        run_transfer(blend, [tiny()], run, resume=True, searches=False)
    assert (run / "transfer.json").read_bytes() == before


def test_what_cannot_be_transferred_is_said_before_any_work(blend, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(RunError, match="here given twice; each space needs a name of its own"):
        run_transfer(blend, [tiny(), tiny(seed=5)], run)
    for name in ("blend.json", "figures", "Transfer.html", "job.json"):
        with pytest.raises(RunError, match=rf"^transfer: no space can be called '{name}': a space's name is"):
            run_transfer(blend, [tiny(), tiny(name=name)], run)
    with pytest.raises(BlendsearchError, match=r"none\.json: cannot read the blend"):
        run_transfer(tmp_path / "none.json", [tiny()], run)
    with pytest.raises(BudgetError, match=r"^here: "):
        run_transfer(blend, [tiny(budget={"flops": 0.001})], run)
    with pytest.raises(ConfigError, match=r"^here: allocation: 'evolved' takes the layers' shares"):
        run_transfer(blend, [tiny(allocation="evolved")], run)
    with pytest.raises(ConfigError, match=r"^here: schedule: 'repr' trains the whole network"):
        run_transfer(blend, [tiny(schedule="repr")], run)
    Blend("network", {"network": {"l1": 1.0, "subjective": 0.6}}).save(blend)
    with pytest.raises(BlendsearchError, match=r"^here: the blend's criterion 'subjective': no ratings"):
        run_transfer(blend, [tiny()], run)
    Blend("network", {"network": {"l1": 1.0, "tailor": 0.6}}).save(blend)
    with pytest.raises(UnknownNameError, match=r"mix\.json: unknown criterion 'tailor'; did you mean 'taylor'"):
        run_transfer(blend, [tiny()], run)
    assert not run.exists()


def test_another_blend_of_a_members_name_is_told_before_any_work(tmp_path):
    inner, other = Blend.single("taylor"), Blend.single("l1")
    inner.save(tmp_path / "same.json")
    other.save(tmp_path / "other.json")
    middle = Blend.single("first").with_members({"first": inner})
    for outer in (middle, Blend.single("middle").with_members({"middle": middle})):
        space = tiny(blends=[{"file": str(tmp_path / "other.json"), "name": "first"}])
        with pytest.raises(
            BlendsearchError, match=r"^here: blends: 'first' is another blend than the transferred one's"
        ):
            run_transfer(outer, [space], tmp_path / "run", searches=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unreported")
def test_the_same_blend_of_a_members_name_is_no_hindrance(tmp_path):
    inner = Blend.single("taylor")
    inner.save(tmp_path / "same.json")
    space = tiny(blends=[{"file": str(tmp_path / "same.json"), "name": "first"}], retraining={"epochs": 0})
    outer = Blend.single("first").with_members({"first": inner})
    run_transfer(outer, [space], tmp_path / "run", searches=False)
    rows = [json.loads(file.read_text()) for file in (tmp_path / "run/here/records/retrained").iterdir()]
    plans = {row["name"]: row["plan"] for row in rows}
    assert plans["transferred"] == plans["taylor"] != plans["l1"]


@pytest.mark.parametrize(
    ("found_on", "what"),
    [
        ({"model": 3}, "model: input should be a valid string (given 3)"),
        ({"model": "x", "budget": "half"}, "budget: input should be a valid dictionary (given 'half')"),
        ({"model": "x", "budget": {"flops": None}}, "budget.flops: input should be a valid number (given None)"),
        ({"model": "x", "budget": {"flops": "0.5"}}, "budget.flops: input should be a valid number (given '0.5')"),
        ({"results": {"verdict": "beats"}}, "results.test_accuracy: field required (given {'verdict': 'beats'})"),
    ],
)
def test_what_the_page_cannot_tell_of_a_blend_is_said_before_any_work(tmp_path, found_on, what):
    file = tmp_path / "odd.json"
    Blend("network", {"network": {"l1": 1.0}}, found_on=found_on).save(file)
    with pytest.raises(RunError) as caught:
        run_transfer(file, [tiny()], tmp_path / "run")
    assert str(caught.value) == f"{file}: found_on.{what}; correct it or leave it out"
    assert not (tmp_path / "run").exists()


def test_the_command_line(blend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))

    def typed(*words, code=0):
        result = CliRunner().invoke(app, ["transfer", *words], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    words = ["mix.json", "space.yaml", "retraining.seeds=1", "retraining.epochs=0.1", "--no-search"]
    printed = typed(*words)
    assert "transfer: runs/transfer/transfer.html" in printed
    written = {file.name for file in (tmp_path / "runs/transfer").iterdir()}
    assert written - {".lock"} == {*OWN_NAMES, "here"}  # so that no space can have the name of another file
    assert "After equal retraining the transferred blend is" in (tmp_path / "runs/transfer/transfer.html").read_text()
    assert "here: one blend for the whole network" in printed
    assert "not tested (one seed)" in printed
    tables = printed[printed.index("a blend found elsewhere") :]
    again = typed(*words, "--resume")
    assert again.endswith(tables)
    # Nothing is done again but the page.
    assert all("report" in line for line in again.removesuffix(tables).splitlines())
    assert "transfer: here given twice" in typed("mix.json", "space.yaml", "space.yaml", code=2)
    assert "no space given" in typed("mix.json", "seed=3", code=2)
    assert "spac.yaml: no such space file; did you mean 'space.yaml'?" in typed("mix.json", "spac.yaml", code=2)
    assert "cannot read the blend" in typed("mi.json", "space.yaml", code=2)
    assert "search.populatio: unknown key" in typed("mix.json", "space.yaml", "search.populatio=3", code=2)


@pytest.mark.usefixtures("unreported")
def test_to_a_space_whose_search_is_set_aware(tmp_path):
    Blend.single("l1").save(tmp_path / "l1.json")
    aware = tiny(blend={"unit": "network", "set_aware": True}, retraining={"epochs": 0})
    found = run_transfer(tmp_path / "l1.json", [aware], tmp_path / "run")
    assert (found.run_dir / "here" / "search" / "blend.json").exists()
    assert len(found.summary.spaces) == 1
