"""A set-aware search end to end: exponents in the ledger, layer by layer, stopped, resumed, reused, explained."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_campaign import tiny_space

from blendsearch.blending import Blend
from blendsearch.campaigns.search.layer_by_layer import add_layer_by_layer
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune
from blendsearch.errors import ConfigError
from blendsearch.experiment import Experiment
from blendsearch.experiment.losses import read_losses
from blendsearch.experiment.problem import make_problem
from blendsearch.experiment.scoring import score_criteria
from blendsearch.experiment.unpruned import train_unpruned
from blendsearch.proxies.compensated import Compensated
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.verdicts import of_moves
from blendsearch.review.sessions import open_decision
from blendsearch.structure import Plan

pytestmark = pytest.mark.usefixtures("without_report")
AWARE = {"unit": "layer", "set_aware": True}
NONE = {"epochs": 0}


def space(search=None, **changes):
    search = {"layer_by_layer": 3, "random_search": False, **(search or {})}
    return tiny_space(search, **{"blend": AWARE, "retraining": NONE, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(space(), tmp_path_factory.mktemp("run") / "aware")


def test_it_ends_with_a_blend_a_plan_and_the_rival_without_criteria(finished):
    assert finished.blend.unit == "layer"
    trial = json.loads((finished.run_dir / "records" / "search.json").read_text())
    assert "conv1/alpha" in str(trial) or finished.summary.trials > 0
    assert "drop losses layer by layer" in finished.summary.rivals
    assert finished.summary.comparison.rivals["drop losses layer by layer"].sentence
    plans = json.loads((finished.run_dir / "records" / "layer_by_layer-elimination.json").read_text())["plans"]
    assert set(plans[0]["groups"]) == {"conv1", "conv2", "conv3", "conv4"}
    losses = read_losses(RunFolder(finished.run_dir))
    assert {name: loss.width for name, loss in losses.items()} == {"conv1": 6, "conv2": 6, "conv3": 12, "conv4": 12}


def test_the_rival_of_a_few_settings_is_the_one_that_the_proxy_prefers(finished):
    rival = finished.summary.rivals["drop losses and mean of ranks"]
    assert finished.summary.comparison.rivals["drop losses and mean of ranks"].sentence
    experiment = Experiment(space()).at(RunFolder(finished.run_dir))
    train_unpruned(experiment)
    scores, _ = score_criteria(experiment)
    problem = make_problem(experiment, scores)
    plans = []
    for number, tilt in enumerate((1.0, 2.0, 4.0, 8.0)):
        blend = Blend.mean_of_ranks(list(scores), tilt=tilt)
        assert sum(blend.weights["network"].values()) == pytest.approx(tilt)
        record = finished.run_dir / "records/layer_by_layer-tilted.json"
        plans += [problem.planner.plan(blend), Plan.from_dict(json.loads(record.read_text())["plans"][number])]
    assert rival.proxy == max(problem.values(plans))


@pytest.mark.slow
def test_the_same_with_two_workers_and_when_stopped_in_the_middle(finished, tmp_path, monkeypatch):
    other = run_search(space(compute={"device": "cpu", "workers": 2}), tmp_path / "two")
    assert other.blend.weights == finished.blend.weights
    assert other.blend.alpha == finished.blend.alpha
    real = RunFolder.write_record

    def stop(self, name, *given):
        if name.startswith("records/retrained/"):
            raise KeyboardInterrupt
        return real(self, name, *given)

    monkeypatch.setattr(RunFolder, "write_record", stop)
    with pytest.raises(KeyboardInterrupt):
        run_search(space(), tmp_path / "stopped")
    monkeypatch.undo()
    resumed = run_search(space(), tmp_path / "stopped", resume=True)
    plan = json.loads((finished.run_dir / "plan.json").read_text())
    assert json.loads((resumed.run_dir / "plan.json").read_text()) == plan
    assert resumed.summary.blend.test_accuracy == finished.summary.blend.test_accuracy


def test_its_file_prunes_by_itself_and_as_a_member(finished, tmp_path):
    file = finished.run_dir / "blend.json"
    by_file = run_prune(space(), str(file), tmp_path / "prune")
    assert sum(kept for kept, _ in by_file.summary.kept.values()) > 0
    member = tiny_space(
        {"random_search": False, "rivals": False},
        retraining=NONE,
        blends=[{"file": str(file), "name": "found"}],
    )
    assert "found" in run_search(member, tmp_path / "member").summary.criteria


def test_it_is_explained_with_the_drop_loss_among_the_votes(tmp_path):
    run = run_search(space({"layer_by_layer": None}), tmp_path / "run")
    aware = Blend("network", {"network": {"l1": 0.5}}, alpha={"network": 0.5})
    aware.save(run.run_dir / "blend.json")
    review = open_decision(run.run_dir)
    votes = review.decision.votes("conv3", review.inspector.ranks)
    assert {vote.name: vote.share for vote in votes} == {"l1": 0.5, "drop loss": 0.5}
    assert all(len(vote.keeps) == len(review.decision.plan.keep["conv3"]) for vote in votes)


def test_only_set_aware_plans_are_chosen_again(finished):
    """A candidate whose blend has no exponent is handed on as it is."""

    class Judged:
        planner = None

        def values(self, plans):
            return [0.0 for _ in plans]

    class Candidate:
        proxy = 0.5

    one = Candidate()
    pairs = [(one, Blend.single("l1"))]
    assert add_layer_by_layer(Experiment(space()), "blend", Judged(), pairs) == [one]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blend": {"unit": "layer"}}, "search.layer_by_layer: only set-aware blends choose layer by layer"),
        (
            {"schedule": "iterative", "retraining": {"epochs": 1}},
            "search.layer_by_layer: it fixes the plan, and schedule",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        space(**changes)


def test_a_network_level_elimination_prunes_from_python():
    from small_networks import conv4, images, randomised

    import blendsearch

    network = randomised(conv4(), seed=1)
    batches = [(images(16, seed=2), torch.arange(16) % 3)]
    pruned = blendsearch.prune(network, batches, by=Blend.elimination(), budget={"flops": 0.5})
    assert pruned.flops_ratio <= 0.5


def test_a_campaign_stopped_among_its_swaps_goes_on_there_and_a_finished_one_judges_nothing(tmp_path, monkeypatch):
    swapped = space({"swaps": 18, "rivals": ["elimination", "tilted", "swapped"]})
    judged, real = [], Compensated.adapt

    def count(self, network, plan):
        judged.append(plan.digest)
        return real(self, network, plan)

    monkeypatch.setattr(Compensated, "adapt", count)
    whole = run_search(swapped, tmp_path / "whole")
    needed = len(judged)
    assert needed > 40

    def stop(task, done, *given):
        if task == "swaps" and done >= 12:
            raise KeyboardInterrupt

    judged.clear()
    with pytest.raises(KeyboardInterrupt):
        run_search(swapped, tmp_path / "stopped", progress=stop)
    assert not (tmp_path / "stopped" / "records" / "swaps-blend.json").exists()
    resumed = run_search(swapped, tmp_path / "stopped", resume=True)
    assert len(judged) <= needed + 1  # none twice but the plan that it goes on from
    for file in ("plan.json", "blend-plan.json", "records/swaps-blend.json", "records/swaps-criterion.json"):
        assert (resumed.run_dir / file).read_text() == (whole.run_dir / file).read_text(), file
    assert resumed.summary.blend.test_accuracy == whole.summary.blend.test_accuracy
    judged.clear()
    run_search(swapped, tmp_path / "stopped", resume=True)
    assert judged == []
    record = json.loads((whole.run_dir / "records/swaps-blend.json").read_text())
    assert whole.summary.swaps.model_dump() == {key: record[key] for key in ("start", "proxy", "evaluations", "made")}
    (said,) = of_moves(whole.summary)
    assert said.startswith("After the search 18 plans around its best one were judged and ")
