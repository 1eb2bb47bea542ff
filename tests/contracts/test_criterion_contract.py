"""What every registered criterion must do, ours or a stranger's."""

from __future__ import annotations

import copy
import hashlib
import json
import sys

import pytest
import torch
from small_networks import Mixed, OptionA, conv4, images, mobilenet, randomised

from blendsearch.criteria import CRITERIA, Criterion, applicable, measures_of, names, register_criterion, score_groups
from blendsearch.errors import BlendsearchError
from blendsearch.experiment import Experiment, check_before_work
from blendsearch.experiment.scoring import score_calibration
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.statistics import MEASURES, gather, measure
from blendsearch.structure import Structure
from blendsearch.structure.slicing import tensor_dims
from blendsearch.validation.space import checked_from_dict

COUNT = 8
NETWORKS = {"conv4": (conv4, 8), "option A": (OptionA, 8), "mixed": (Mixed, 8), "mobilenet": (mobilenet, 16)}


class Stranger(Criterion):
    """What another package could bring: its own measure of the feature maps and the weights at once."""

    name = "stranger"
    needs = ("weights", "activations.stranger_peak")
    source = "tests"

    def score(self, group, statistics):
        peaks = [statistics.averages[site]["activations.stranger_peak"] for site in group.sites]
        norms = [statistics.weights[conv].flatten(1).norm(dim=1) for conv in group.convolutions]
        return torch.stack(peaks).mean(0) * torch.stack(norms).mean(0)


MODULE = """
from blendsearch.criteria import Criterion
from blendsearch.criteria.base import combine


class Installed(Criterion):
    name = "installed_stranger"
    needs = ("weights", "gradients.taylor")
    source = "tests"

    def score(self, group, statistics):
        return combine([statistics.weights[conv].flatten(1).abs().amax(1) for conv in group.convolutions])
"""
INSTALLED = "installed_stranger"
ALL = [*names(), Stranger.name, INSTALLED]


@pytest.fixture(scope="module", autouse=True)
def stranger(tmp_path_factory):
    """A criterion registered in this process, and one that another installed package brings by its entry point."""
    measure("activations.stranger_peak")(lambda a, g: a.abs().amax((2, 3)))
    register_criterion(Stranger)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(installed(tmp_path_factory.mktemp("site"), MODULE))
        patch.setattr(CRITERIA, "_loaded_entry_points", False)
        assert INSTALLED in CRITERIA
        yield
    CRITERIA.unregister(INSTALLED)
    CRITERIA.unregister(Stranger.name)
    MEASURES.unregister("activations.stranger_peak")


def installed(folder, module):
    """Lay out a folder as an installer does: a module, and the metadata of the distribution it belongs to."""
    (folder / "strangers_package.py").write_text(module)
    metadata = folder / "strangers_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[blendsearch.criteria]\n{INSTALLED} = strangers_package:Installed\n")
    return str(folder)


def test_the_installed_criterion_comes_from_its_package():
    assert CRITERIA.get(INSTALLED).__module__ == "strangers_package"
    assert INSTALLED in names()


def test_a_package_that_cannot_be_loaded_is_one_clear_line(tmp_path, monkeypatch):
    from blendsearch.registry import Registry

    monkeypatch.syspath_prepend(installed(tmp_path, "raise RuntimeError('broken')"))
    monkeypatch.delitem(sys.modules, "strangers_package", raising=False)
    with pytest.raises(BlendsearchError, match=r"'installed_stranger': strangers_package:Installed cannot be loaded"):
        Registry("criterion", "criteria").names()


def batches(size, side, order=range(COUNT)):
    x, y, order = images(COUNT, side, seed=6), torch.arange(COUNT) % 3, list(order)
    return [(x[order[i : i + size]], y[order[i : i + size]]) for i in range(0, COUNT, size)]


class Case:
    """A network, its structure, and scores under any criterion and data."""

    def __init__(self, build, side):
        self.network, self.side = randomised(build(), seed=1), side
        self.structure = Structure.of(self.network, images(size=side))
        self.reference = self.scores(self.network)

    def scores(self, network, size=COUNT, order=range(COUNT), seed=0, wanted=ALL):
        statistics = gather(network, self.structure, batches(size, self.side, order), measures_of(wanted), seed=seed)
        usable = [n for n in wanted if n not in applicable(wanted, self.structure, statistics)]
        return score_groups(self.structure, statistics, usable)


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, stranger):
    return Case(*NETWORKS[request.param])


@pytest.fixture(scope="module")
def dead(case):
    """For every group: the filter with the highest l2, and the scores once that filter gives nothing.

    Filters of every other group die at once: two networks are scored, and not one for each group.
    """
    found = {}
    for part in (case.structure.groups[0::2], case.structure.groups[1::2]):
        network = copy.deepcopy(case.network)
        killed = {group.name: kill(network, case, group) for group in part}
        scores = case.scores(network)
        found |= {name: (filter, scores) for name, filter in killed.items() if filter is not None}
    return found


def kill(network, case, group):
    """Let the filter with the highest l2 give nothing; return it, or none where others' maps come through."""
    makers = [case.network.get_submodule(m.module) for m in group.members if m.side == "out"]
    if any(isinstance(module, ZeroPadShortcut) for module in makers):
        return None  # its maps are those of the stage before, dead convolutions or not
    filter = int(case.reference["l2"][group.name].argmax())
    for path in [*group.convolutions, *(norm for norm in group.norms if norm)]:
        with torch.no_grad():
            for parameter in network.get_submodule(path).parameters():
                parameter[filter] = 0
            if path in group.norms:
                network.get_submodule(path).running_mean[filter] = 0
    return filter


def assert_same(observed, expected, name):
    assert observed.keys() == expected.keys()
    for group, score in expected.items():
        where = f"{name}, group {group}"
        if CRITERIA.get(name).greedy:
            # A near tie may fall either way, and then a few filters change places.
            alike = torch.isclose(observed[group], score, rtol=1e-3, atol=1e-5)
            assert alike.double().mean() >= 0.99, where
            continue
        torch.testing.assert_close(observed[group], score, rtol=1e-3, atol=1e-5, msg=lambda m, w=where: f"{w}: {m}")


def on(case, name):
    if name not in case.reference:
        pytest.skip(f"{name} does not apply to this network")
    return case.reference[name]


@pytest.mark.parametrize("name", ALL)
def test_scores_are_finite_float32_one_a_filter(case, name):
    scores = on(case, name)
    assert list(scores) == list(case.structure.widths)
    for group, score in scores.items():
        assert score.shape == (case.structure.widths[group],)
        assert (score.dtype, score.device.type, score.requires_grad) == (torch.float32, "cpu", False)
        assert torch.isfinite(score).all()


@pytest.fixture(scope="module")
def other_batches(case):
    shuffled = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1)).tolist()
    return [case.scores(case.network, size=1), case.scores(case.network, size=3, order=shuffled)]


@pytest.mark.parametrize("name", ALL)
def test_batch_size_and_order_do_not_matter(case, other_batches, name):
    expected = on(case, name)
    for scores in other_batches:
        assert_same(scores[name], expected, name)


@pytest.fixture(scope="module")
def permuted(case):
    """Scores of the network with the filters of every group in another order; it computes the same function."""
    network, order = copy.deepcopy(case.network), {}
    for seed, group in enumerate(case.structure.groups):
        order[group.name] = torch.randperm(group.width, generator=torch.Generator().manual_seed(seed))
        for member in group.members:
            permute(network.get_submodule(member.module), member, order[group.name])
    x = images(COUNT, case.side, seed=6)
    with torch.no_grad():
        torch.testing.assert_close(network(x), case.network(x), rtol=1e-3, atol=1e-4)
    return order, case.scores(network)


def permute(module, member, order):
    """Put what belongs to filter `order[j]` where filter `j` was."""
    places = [[i for i, r in zip(member.index, member.root, strict=True) if r == j] for j in range(len(order))]
    to = torch.tensor([i for place in places for i in place])
    source = torch.tensor([i for j in order.tolist() for i in places[j]])
    if isinstance(module, ZeroPadShortcut):
        table = module.source.clone()
        if member.side == "out":
            module.source[to] = table[source]
        else:
            renumber = torch.arange(module.in_channels + 1)
            renumber[source] = to
            renumber[-1] = -1
            module.source.copy_(renumber[table])
        return
    for name, dims in tensor_dims(module).items():
        tensor = getattr(module, name)
        if tensor is not None and member.side in dims:
            with torch.no_grad():
                tensor.index_copy_(dims[member.side], to, tensor.index_select(dims[member.side], source).clone())


@pytest.mark.parametrize("name", ALL)
def test_scores_follow_a_permutation_of_the_filters(case, permuted, name):
    if CRITERIA.get(name).seeded:
        pytest.skip("its numbers are not the filter's")
    order, scores = permuted
    expected = {group: score[order[group]] for group, score in on(case, name).items()}
    assert_same(scores[name], expected, name)


@pytest.mark.parametrize("name", ALL)
def test_a_dead_filter_is_never_above_the_median(case, dead, name):
    if not CRITERIA.get(name).detects_dead:
        pytest.skip("it does not claim to see dead filters")
    on(case, name)
    for group, (filter, scores) in dead.items():
        score = scores[name][group]
        assert score[filter] <= score.median(), f"{group}: filter {filter} of {score.tolist()}"


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_scores(case, name):
    on(case, name)
    one, two, other = (case.scores(case.network, seed=seed, wanted=[name])[name] for seed in (5, 5, 6))
    assert all(torch.equal(one[group], two[group]) for group in one), "alone or together, twice"
    if CRITERIA.get(name).seeded:
        assert any(not torch.equal(one[group], other[group]) for group in one)
    else:
        assert all(torch.equal(one[group], other[group]) for group in one)
        assert_same(one, case.reference[name], name)


def fingerprint(network):
    tensors = network.state_dict(keep_vars=True).items()
    return (
        [(n, id(t), t._version, t.requires_grad) for n, t in tensors],
        [hashlib.sha256(t.detach().numpy().tobytes()).digest() for _, t in tensors],
        [(n, p.grad) for n, p in network.named_parameters()],
        [(n, m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in network.named_modules()],
    )


@pytest.mark.parametrize("name", ALL)
def test_the_network_is_left_as_found(case, name):
    on(case, name)
    network = copy.deepcopy(case.network).train()
    next(network.parameters()).requires_grad_(False)
    before, state = fingerprint(network), torch.get_rng_state()
    case.scores(network, wanted=[name])
    assert fingerprint(network) == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ALL)
def test_scoring_does_not_change_the_statistics(case, name):
    on(case, name)
    needs = CRITERIA.get(name).needs
    statistics = gather(case.network, case.structure, batches(COUNT, case.side), needs)
    before = copy.deepcopy(statistics)
    score_groups(case.structure, statistics, [name])
    assert (before.weights.keys(), before.averages.keys()) == (statistics.weights.keys(), statistics.averages.keys())
    assert all(torch.equal(before.weights[conv], tensor) for conv, tensor in statistics.weights.items())
    assert all(
        torch.equal(before.averages[site][key], tensor)
        for site, averages in statistics.averages.items()
        for key, tensor in averages.items()
    )


@pytest.fixture(scope="module")
def experiment_of(stranger, tmp_path_factory):
    """Make an experiment of a space that names criteria; `ratings` is given where one of them reads it."""
    path = tmp_path_factory.mktemp("ratings") / "ratings.json"
    path.write_text(json.dumps({"schema": 1, "groups": {"conv1": {"0": "drop", "1": "keep", "3": "unsure"}}}))

    def make(criteria):
        data = {
            "name": "named",
            "data": {"name": "digits", "test": 60, "calibration": 60, "search": 60, "limit": 200},
            "model": {"name": "conv4", "arguments": {"width": 6}},
            "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
            "criteria": criteria,
            "budget": {"filters": 0.5},
            "clusters": {"count": 1},
            "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.02},
            "compute": {"device": "cpu", "workers": 1},
        }
        if criteria == "all" or any("ratings" in CRITERIA.get(name).needs for name in criteria):
            data["ratings"] = {"file": str(path), "fallback": "l1"}
        return Experiment(checked_from_dict(data))

    return make


@pytest.fixture(scope="module")
def among_all(experiment_of):
    return score_calibration(experiment_of("all"), ALL).scores


@pytest.mark.parametrize("name", ALL)
def test_it_can_be_the_only_one_that_a_space_names(experiment_of, among_all, name):
    experiment = experiment_of([name])
    check_before_work(experiment)
    assert_same(score_calibration(experiment, [name]).scores[name], among_all[name], name)
