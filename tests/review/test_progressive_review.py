"""The progressive loop: look, prune, train, go on; stopped anywhere, the same network."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reviewing import TOKEN, opened, post
from safetensors.torch import load_file

import blendsearch
from blendsearch.blending import Blend, adapt_blend, rank
from blendsearch.campaigns.export.run import export
from blendsearch.campaigns.single import run_prune, run_score, run_train
from blendsearch.config import space_of_run
from blendsearch.criteria import score_network
from blendsearch.errors import ConfigError, DataError, RunError, StructureError
from blendsearch.experiment import Experiment
from blendsearch.experiment.kept_networks import find_kept
from blendsearch.experiment.scoring import SCORES, write_scores
from blendsearch.results.run_folder import RunFolder, note_job
from blendsearch.review.sessions import ReviewOptions, open_decision, open_loop, open_review
from blendsearch.validation.space import checked_from_dict

OLD = Path(__file__).parent.parent / "results/old_runs/plain"


def tiny(**changes):
    data = {
        "name": "tiny",
        "data": {"name": "digits", "test": 100, "calibration": 60, "search": 60, "limit": 200},
        "model": {"name": "conv4", "arguments": {"width": 4}},
        "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
        "criteria": ["l1", "taylor"],
        "budget": {"filters": 0.5},
        "schedule": "progressive",
        "retraining": {"epochs": 4, "batch_size": 64, "lr": 0.02},
        "compute": {"device": "cpu", "workers": 1},
    }
    return checked_from_dict({**data, **changes})


def advanced(browser, number, drops):
    """Mark the filters of a layer to be dropped, advance, wait for the end of the stage, return the loop's status."""
    for index in drops:
        assert post(browser, "/mark", {"layer": number, "filter": index, "mark": "drop"}).status_code == 200
    assert post(browser, "/advance", {"layer": number}).status_code == 200
    return settled(browser, number)


def settled(browser, number):
    for _ in range(2000):
        status = browser.get(f"/state/{number}").json()["loop"]
        if not status["working"]:
            assert not status["error"], status["error"]
            return status
        time.sleep(0.02)
    raise AssertionError("the stage did not end")


def browser_of(review):
    browser = opened(review)
    browser.get(f"/?token={TOKEN}")
    return browser


DROPS = [(0, 1), (2, 3), (0, 4, 6, 7), (1, 2, 5, 6)]


def test_the_loop_is_the_progressive_schedule_with_marks_given_on_the_way(tmp_path):
    options = ReviewOptions(rater="ann", run_dir=tmp_path / "run")
    with open_loop(tiny(), options) as review:
        browser, names = browser_of(review), [group.name for group in review.whole.groups]
        assert browser.get("/").headers["location"] == "/layer/0"
        for number in range(2):
            assert post(browser, "/mark", {"layer": number + 1, "filter": 0, "mark": "keep"}).status_code == 409
            status = advanced(browser, number, DROPS[number])
            assert status["layer"] == number + 1
            assert browser.get(f"/layer/{number}").text.count('<li class="filter card"') == 2  # what is left of it
    with open_loop(tiny(), ReviewOptions(rater="ann", run_dir=tmp_path / "run", resume=True)) as review:
        browser = browser_of(review)
        assert browser.get("/").headers["location"] == "/layer/2"
        marks = browser.get("/state/0").json()["marks"]
        assert marks == {"0": "drop", "1": "drop"}
        assert advanced(browser, 2, DROPS[2])["layer"] == 3
        status = advanced(browser, 3, DROPS[3])
        assert status["result"]["kept"] == {names[0]: [2, 4], names[1]: [2, 4], names[2]: [4, 8], names[3]: [4, 8]}
        assert post(browser, "/advance", {"layer": 3}).status_code == 409
    kept = {
        name: entry["keep"] for name, entry in json.loads((tmp_path / "run/plan.json").read_text())["groups"].items()
    }
    widths = (4, 4, 8, 8)
    assert kept == {n: [i for i in range(w) if i not in d] for n, w, d in zip(names, widths, DROPS, strict=True)}
    with (
        pytest.raises(RunError, match="the loop is finished"),
        open_loop(tiny(), ReviewOptions(run_dir=tmp_path / "run", resume=True)),
    ):
        pass
    # The same marks given beforehand, to `prune`: the same network, bit for bit.
    space = tiny(ratings=str(tmp_path / "run/ratings.json"))
    run_prune(space, "subjective", tmp_path / "pruned")
    one, other = (load_file(tmp_path / run / "network.safetensors") for run in ("run", "pruned"))
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_the_loop_begins_with_the_marks_of_the_space(tmp_path):
    marks = {"schema": 2, "raters": {"ann": {"groups": {"conv1": {"0": "drop", "2": "drop"}}}}}
    (tmp_path / "given.json").write_text(json.dumps(marks))
    space, options = tiny(ratings=str(tmp_path / "given.json")), ReviewOptions(rater="bob", run_dir=tmp_path / "run")
    with open_loop(space, options):
        pass
    (tmp_path / "given.json").write_text(json.dumps({"schema": 2, "raters": {}}))  # what was begun keeps its marks
    with open_loop(space, replace(options, resume=True)) as review:
        browser = browser_of(review)
        assert browser.get("/state/0").json()["marks"] == {}, "those of another rater are not shown"
        advanced(browser, 0, [])
        assert review.loop.place.plan.keep["conv1"] == (1, 3)


def test_the_network_of_a_finished_loop_is_loaded_and_exported(tmp_path):
    run = tmp_path / "run"
    with open_loop(tiny(), ReviewOptions(run_dir=run)) as review:
        for number in range(4):
            advanced(browser_of(review), number, [])
        network = review.loop.place.network
    assert (run / "model.json").is_file(), "the data are not needed"
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(blendsearch.load(run)(images), network.eval()(images))
    export(run, tmp_path / "plain", to="state_dict")
    record = json.loads((run / "summary.json").read_text())
    figures = find_kept(RunFolder(run)).figures
    assert (figures.test_accuracy, figures.flops_ratio) == (record["test_accuracy"], record["flops_ratio"])


def test_of_a_plain_review_the_unpruned_network_is_loaded_and_what_has_another_is_told(tmp_path):
    with open_review(tiny(), ReviewOptions(run_dir=tmp_path / "run")) as review:
        network = review.inspector.network
    with pytest.raises(RunError, match=r"keeps no network to ship; allowed: .*'review --progressive'.*, or contender"):
        blendsearch.load(tmp_path / "run")
    images = torch.rand(2, 1, 8, 8)
    loaded = blendsearch.load(tmp_path / "run", contender="unpruned")
    assert torch.equal(loaded(images), network.eval()(images))


class Kill(BaseException):
    """Stands for a kill."""


def killer(task, done, total, detail=""):
    if done >= 6:  # in the second epoch of the stage; the first one's end is in the checkpoint
        raise Kill


def test_a_stage_that_was_stopped_goes_on_by_itself(tmp_path):
    space = tiny(retraining={"epochs": 12, "batch_size": 64, "lr": 0.02})
    with open_loop(space, ReviewOptions(run_dir=tmp_path / "run")) as review:
        review.loop.place.job.progress = killer
        with pytest.raises(Kill):
            review.loop._step()
    with open_loop(space, ReviewOptions(run_dir=tmp_path / "run", resume=True)) as review:
        status = settled(browser_of(review), 0)  # nobody pressed anything
        assert status["layer"] == 1


def test_a_review_stands_in_the_folder_of_a_scored_network(tmp_path):
    run_score(tiny(), tmp_path / "run")
    before = (tmp_path / "run/baseline.safetensors").read_bytes()
    with open_review(tiny(), ReviewOptions(layer="conv3", run_dir=tmp_path / "run", resume=True)) as review:
        assert review.whole.groups[review.first].name == "conv3"
        assert 0 <= review.estimator(review.plan()) <= 1
        with pytest.raises(RunError, match="another process is at work"):
            run_score(tiny(), tmp_path / "run", resume=True)
    assert (tmp_path / "run/baseline.safetensors").read_bytes() == before
    run_score(tiny(), tmp_path / "run", resume=True)  # the folder is still its own
    with (
        pytest.raises(RunError, match="differing: seed"),
        open_review(tiny(seed=3), ReviewOptions(run_dir=tmp_path / "run", resume=True)),
    ):
        pass


def test_wrong_wishes_are_one_clear_line(tmp_path):
    run = tmp_path / "run"
    with (
        pytest.raises(StructureError, match="did you mean 'conv3'"),
        open_review(tiny(), ReviewOptions(layer="conf3", run_dir=run)),
    ):
        pass
    with pytest.raises(ConfigError, match="--rater"), open_review(tiny(), ReviewOptions(rater="\n", run_dir=run)):
        pass
    with (
        pytest.raises(ConfigError, match="needs schedule=progressive"),
        open_loop(tiny(schedule="one_shot"), ReviewOptions(run_dir=run)),
    ):
        pass
    assert not run.exists()
    run.mkdir()
    (tmp_path / "run/ratings.json").write_text("{")
    with (
        pytest.raises(DataError, match="these are no ratings"),
        open_review(tiny(), ReviewOptions(run_dir=run, resume=True)),
    ):
        pass


@pytest.mark.parametrize(("wish", "option"), [({"layer": "conv3"}, "--layer"), ({"by": "blend.json"}, "--blend")])
def test_the_loop_refuses_what_it_cannot_grant(tmp_path, wish, option):
    with (
        pytest.raises(ConfigError, match=f"^{option}: not with --progressive"),
        open_loop(tiny(), ReviewOptions(run_dir=tmp_path / "run", **wish)),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_the_loop_and_the_plain_review_are_resumed_each_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for again in (False, True):
        for opened_one in (open_review, open_loop):
            with opened_one(tiny(), ReviewOptions(resume=again)):
                pass
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tiny-review", "tiny-review-progressive"]


def test_a_blend_of_another_network_is_fitted_and_says_how(tmp_path):
    blend = Blend("layer", {"stem": {"l1": 1.0}, "head": {"taylor": 3.0}}, {"stem": ("stem",), "head": ("head",)})
    blend.save(tmp_path / "blend.json")
    with open_review(tiny(), ReviewOptions(by=str(tmp_path / "blend.json"), run_dir=tmp_path / "run")) as review:
        expected = adapt_blend(blend, review.whole)
        assert review.rule == expected.rule
        assert review.rule.startswith("another network: the mean over the layers")
        ranks, name = review.inspector.ranks, review.whole.groups[0].name
        mean = expected.blend.weights["network"]
        scored = mean["l1"] * ranks["l1"][name] + mean["taylor"] * ranks["taylor"][name]
        assert torch.equal(ranks["blend"][name].argsort(), scored.argsort())
        assert f"The blend: {review.rule}." in browser_of(review).get("/layer/0").text


@pytest.mark.parametrize("open_page", [open_review, open_loop])
def test_blends_of_the_space_stand_among_the_ranks(tmp_path, open_page):
    blend = Blend("network", {"network": {"l2": 1.0, "taylor": 2.0}})
    blend.save(tmp_path / "blend.json")
    space = tiny(blends=[{"file": str(tmp_path / "blend.json"), "name": "found"}])
    experiment = Experiment(space)
    with open_page(space, ReviewOptions(run_dir=tmp_path / "run")) as review:
        for _ in range(2 if review.loop is not None else 1):
            inspector = review.inspector
            assert list(inspector.ranks) == ["l1", "taylor", "found"]
            batches = experiment.splits.calibration.batches(128)
            scores = score_network(inspector.network, inspector.structure, batches, blend.criteria, experiment.scoring)
            for group, values in blend.score(scores).items():
                torch.testing.assert_close(inspector.ranks["found"][group], rank(values))
            browser = browser_of(review)
            assert '"found": [' in browser.get("/layer/1").text
            if review.loop is not None:
                advanced(browser, review.loop.number, [])


def test_only_a_finished_search_is_explained(tmp_path):
    with pytest.raises(RunError, match=r"no space\.json"):
        open_decision(tmp_path)
    run_train(tiny(), tmp_path / "run")
    with pytest.raises(RunError, match="was made by 'blendsearch train'; only a search has a choice"):
        open_decision(tmp_path / "run")
    (tmp_path / "board").mkdir()
    note_job(RunFolder(tmp_path / "board"), "leaderboard")  # which has no space.json
    with pytest.raises(RunError, match="was made by 'blendsearch leaderboard'; only a search has a choice"):
        open_decision(tmp_path / "board")


def test_the_choice_of_an_older_version_is_explained_and_nothing_written(tmp_path):
    run = shutil.copytree(OLD, tmp_path / "run")
    folder = RunFolder(run)
    experiment = Experiment(space_of_run(folder.read_json("space.json")))
    folder.write_tensors("baseline.safetensors", experiment.network.state_dict())  # too large to be kept
    folder.write_json("records/baseline.json", {"seconds": 1.0, "search_accuracy": 0.9, "flops": 1, "params": 1})
    widths, criteria = experiment.structure.widths, folder.read_json("records/scores.json")["criteria"]
    write_scores(
        folder, SCORES, {name: {group: torch.rand(width) for group, width in widths.items()} for name in criteria}
    )
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints/baseline.pt").touch()  # what a killed run left is for a resumed one to remove
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    review = open_decision(run)
    assert review.plan().to_dict() == folder.read_json("plan.json")
    page, group = browser_of(review).get("/layer/1").text, review.whole.groups[1]
    assert page.count('data-kept="yes"') == review.plan().counts[group.name]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
