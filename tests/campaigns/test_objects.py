"""A campaign of objects: an own network, own loaders, an own retraining; the same campaign as from a file."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import blendsearch
from blendsearch.errors import BlendsearchError, ConfigError, DataError, RunError, StructureError, TrainingError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.head(x.mean((2, 3)))


def digits(start, stop):
    bunch = load_digits()
    images = torch.tensor(bunch.images[start:stop] / 16, dtype=torch.float32)[:, None]
    return TensorDataset(images, torch.tensor(bunch.target[start:stop]))


def trained(seed=0):
    torch.manual_seed(seed)
    net = Net()
    retrain(net, epochs=3)
    return net


def retrain(net, epochs=1):
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(epochs):
        for images, labels in DataLoader(digits(0, 600), 50, shuffle=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimiser.step()


TINY = {
    "criteria": ["l1", "taylor"],
    "search": {"population": 4, "generations": 1, "rivals": False, "random_search": False},
    "data": {"calibration": 100, "search": 150},
    "compute": {"workers": 1},
}


def tiny(model, run_dir, **changes):
    loaders = {
        "train": DataLoader(digits(0, 600), 50, shuffle=True),
        "validation": DataLoader(digits(600, 800), 50),
        "test": DataLoader(digits(800, 1000), 50),
    }
    return blendsearch.search(model, run_dir=run_dir, **{**loaders, "budget": {"flops": 0.5}, **TINY, **changes})


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    campaign = tiny(model, tmp_path_factory.mktemp("objects") / "run", train_fn=retrain, retraining={"seeds": 2})
    assert all(bool((tensor == before[name]).all()) for name, tensor in model.state_dict().items())
    return campaign


def test_objects_give_the_whole_campaign(finished):
    summary = finished.summary
    assert summary.data.model_dump(include={"train", "calibration", "search", "test", "classes"}) == {
        "train": 500, "calibration": 100, "search": 150, "test": 200, "classes": 10,
    }  # fmt: skip
    assert set(summary.criteria) == {"l1", "taylor"}
    assert summary.seeds == 2
    assert "the filters of <b>your Net</b> on <b>your images</b>" in finished.report.read_text()
    rows = json.loads((finished.run_dir / "records/retrained.json").read_text())
    assert {row["steps"] for row in rows} == {None}, "nobody counted the steps of train_fn"
    assert all(row["test_accuracy"] > row["pruned_test_accuracy"] - 0.2 for row in rows)


def test_what_is_shipped_is_the_best_on_the_search_images(finished):
    shipped, folder = finished.summary.shipped, finished.run_dir
    rows = json.loads((folder / "records/retrained.json").read_text())
    by_name = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    means = {name: sum(row["search_accuracy"] for row in own) / len(own) for name, own in by_name.items()}
    highest = max(means.values())
    near = [name for name in means if means[name] >= highest - (highest * (1 - highest) / 150) ** 0.5]
    proxies = {name: own[0]["proxy"] for name, own in by_name.items()}
    assert proxies[shipped.name] == max(proxies[name] for name in near)
    best = max(by_name[shipped.name], key=lambda row: (row["search_accuracy"], -row["seed"]))
    assert (shipped.seed, shipped.test_accuracy) == (best["seed"], best["test_accuracy"])
    images, labels = digits(800, 1000).tensors
    right = (finished.network(images).argmax(1) == labels).float().mean()
    assert float(right) == pytest.approx(shipped.test_accuracy)
    weights = load_file(folder / "network.safetensors")
    assert all(bool((weights[name] == tensor).all()) for name, tensor in finished.network.state_dict().items())
    assert {pair.images for pair in shipped.latency} == {1, 32}
    for name in by_name:
        assert list((folder / "networks").glob(f"*-{name}-seed*.safetensors")), name


def test_the_network_to_ship_is_saved_loaded_and_exported(finished, model, tmp_path):
    images, _ = digits(800, 810).tensors
    with torch.no_grad():
        wanted = finished.network(images)
        file = finished.save(tmp_path / "network.safetensors")
        for source in (finished.run_dir, file):
            loaded = blendsearch.load(source, model=model)
            assert bool((loaded(images) == wanted).all())
    with pytest.raises(BlendsearchError, match="does not say how its network is built; give model="):
        blendsearch.load(finished.run_dir)
    exported = finished.export(tmp_path / "plain", to="state_dict")
    assert exported.difference < 1e-5


def test_every_contender_can_be_loaded_by_its_name(finished, model):
    rows = json.loads((finished.run_dir / "records/retrained.json").read_text())
    images, labels = digits(800, 1000).tensors
    for name in {row["name"] for row in rows}:
        with torch.no_grad():
            right = (
                (blendsearch.load(finished.run_dir, model, contender=name)(images).argmax(1) == labels).float().mean()
            )
        own = [row["test_accuracy"] for row in rows if row["name"] == name]
        assert any(float(right) == pytest.approx(value) for value in own), name


def test_the_loss_of_accuracy_has_the_paired_interval_of_the_test_images(finished, model):
    shipped = finished.summary.shipped
    images, labels = digits(800, 1000).tensors
    with torch.no_grad():
        before = (model(images).argmax(1) == labels).double()
        after = (finished.network(images).argmax(1) == labels).double()
    differences = before - after
    assert shipped.lost == pytest.approx(float(differences.mean()))
    reach = 1.96 * float(differences.std(unbiased=False)) / len(labels) ** 0.5
    assert shipped.interval == pytest.approx((shipped.lost - reach, shipped.lost + reach), abs=0.15 * reach)


@pytest.mark.usefixtures("unreported")
def test_a_stopped_campaign_goes_on_to_the_same_result(finished, model, tmp_path):
    class Stop(Exception):
        pass

    def stop(task, done, total, detail=""):
        if task == "retraining" and done == 3:
            raise Stop

    settings = {"train_fn": retrain, "retraining": {"seeds": 2}}
    with pytest.raises(Stop):
        tiny(model, tmp_path / "run", progress=stop, **settings)
    resumed = tiny(model, tmp_path / "run", resume=True, **settings)
    for name in ("blend.json", "plan.json", "records/retrained.json"):
        one, other = (json.loads((folder / name).read_text()) for folder in (finished.run_dir, resumed.run_dir))
        assert timeless(one) == timeless(other), name
    weights = [load_file(one.run_dir / "network.safetensors") for one in (finished, resumed)]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])


def timeless(record):
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if key not in ("seconds", "latency_ms")}
    return [timeless(one) for one in record] if isinstance(record, list) else record


def test_another_model_or_other_images_are_refused_on_resuming(finished, model):
    settings = {"train_fn": retrain, "retraining": {"seeds": 2}, "resume": True}
    with pytest.raises(RunError, match="the model is another than when it was begun"):
        tiny(trained(1), finished.run_dir, **settings)
    with pytest.raises(RunError, match="the loaders give other images or labels"):
        tiny(model, finished.run_dir, test=DataLoader(digits(801, 1001), 50), **settings)


def test_the_command_line_says_where_such_a_campaign_goes_on(finished):
    from typer.testing import CliRunner

    from blendsearch.cli.commands import app

    arguments = ["search", str(finished.run_dir / "space.yaml"), "--resume", "--run-dir", str(finished.run_dir)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "were handed over in Python" in found.stderr


def test_without_train_fn_nothing_is_retrained_but_refitted(model, tmp_path):
    campaign = tiny(model, tmp_path / "run")
    rows = json.loads((campaign.run_dir / "records/retrained.json").read_text())
    assert {row["steps"] for row in rows} == {0}
    assert json.loads((campaign.run_dir / "space.json").read_text())["compensation"]["images"] is None
    assert "not retrained" in campaign.report.read_text()


@pytest.mark.usefixtures("unreported")
def test_search_and_test_images_are_held_out_of_train_where_no_loader_gives_them(model, tmp_path):
    with pytest.raises(DataError, match=r"test: not given; .*data=\{'test': 500\}"):
        tiny(model, tmp_path / "none", test=None)
    data = {"calibration": 50, "search": 60, "test": 70}
    campaign = tiny(model, tmp_path / "run", validation=None, test=None, data=data)
    assert campaign.summary.data.model_dump(include={"train", "calibration", "search", "test"}) == {
        "train": 600 - 180, "calibration": 50, "search": 60, "test": 70,
    }  # fmt: skip


@pytest.mark.usefixtures("unreported")
def test_plain_batches_do_as_well(model, tmp_path):
    def batches(start, stop):
        images, labels = digits(start, stop).tensors
        return list(zip(images.split(50), labels.split(50), strict=True))

    campaign = tiny(
        model, tmp_path / "run", train=batches(0, 600), validation=batches(600, 800), test=batches(800, 1000)
    )
    loaders = tiny(model, tmp_path / "loaders")
    assert campaign.summary.blend.test_accuracy == loaders.summary.blend.test_accuracy


class Broken(Dataset):
    def __len__(self):
        return 300

    def __getitem__(self, number):
        raise OSError("disk gone")


def nan_after(net):
    for parameter in net.parameters():
        parameter.data.fill_(float("nan"))


def grow(net):
    net.head = nn.Linear(net.head.in_features, 11)


def fail(net):
    raise ValueError("no data")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"train": None}, DataError, "train: not given"),
        ({"train": 3}, DataError, "train: int given, allowed: a DataLoader or an iterable"),
        ({"train": DataLoader(Broken(), 10)}, DataError, r"train: item \d+ of its .* \(OSError: disk"),
        ({"test": DataLoader(TensorDataset(torch.rand(9, 1, 8, 8)), 3)}, DataError, "test: batch 0"),
        ({"train": [(torch.rand(300, 3, 8, 8), torch.arange(300) % 10)]}, DataError, "model: it cannot take"),
        ({"train": [(torch.rand(300, 1, 8, 8), torch.arange(300) % 20)]}, DataError, r"logits \(2, 20 or more\)"),
        ({"train_fn": 3}, ConfigError, "train_fn: int given"),
        ({"train_fn": fail}, TrainingError, "train_fn: it raised ValueError: no data"),
        ({"train_fn": nan_after}, TrainingError, "after it 'conv1.weight' is not finite"),
        ({"train_fn": grow}, TrainingError, "changed names or shapes"),
        ({"train_fn": lambda net: (net, 0.9)}, TrainingError, "it returned a tuple with a network in it, allowed: the"),
        ({"train_fn": lambda net: net.state_dict()}, TrainingError, "it returned a OrderedDict of weights, allowed"),
        ({"budget": {"flops": 0.5, "also": {"flops": 0.4}}}, ConfigError, "flops stands in also as well"),
        ({"train_fn": retrain, "retraining": {"epochs": 3}}, ConfigError, "retraining.epochs: given beside train_fn"),
        ({"train_fn": retrain, "schedule": "iterative"}, ConfigError, "with train_fn allowed: one_shot"),
        ({"training": {"epochs": 3}}, ConfigError, "training: given beside a model"),
        ({"data": {"root": "x"}}, ConfigError, "data.root: given beside loaders"),
        ({"data": 3}, ConfigError, "data: 3 given, allowed: a mapping of its keys"),
        ({"retraining": 3}, ConfigError, "retraining: 3 given, allowed: a mapping of its keys"),
        ({"retraining": []}, ConfigError, r"retraining: \[\] given, allowed: a mapping of its keys"),
        ({"criteria": ["l3"]}, ConfigError, "did you mean 'l"),
        ({"serch": {}}, ConfigError, "serch"),
        ({"budget": 0.5}, ConfigError, "budget: float given, allowed here: a mapping"),
    ],
)  # fmt: skip
def test_wrong_objects_and_settings_are_told_in_one_line(model, tmp_path, changes, error, said):
    with pytest.raises(error, match=said) as found:
        tiny(model, tmp_path / "run", **changes)
    assert isinstance(found.value, BlendsearchError)
    assert "\n" not in str(found.value)


def turn_a_layer_over(network):
    network.conv1.register_forward_hook(lambda module, given, output: -output)
    return {"loss": [retrain(network)]}


def leave_a_hook(network):
    retrain(network)
    network.register_forward_hook(lambda module, given, output: output.roll(1, 1))


def halve(network):
    return copy.deepcopy(network).half()


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("train_fn", [turn_a_layer_over, leave_a_hook, halve])
def test_what_is_told_is_measured_of_what_is_handed_out_whatever_train_fn_does(model, tmp_path, train_fn):
    campaign = tiny(model, tmp_path / "run", train_fn=train_fn, criteria=["l1"])
    images, labels = digits(800, 1000).tensors
    for network in (campaign.network, blendsearch.load(tmp_path / "run", model=model)):
        right = (network(images).argmax(1) == labels).float().mean()
        assert campaign.summary.shipped.test_accuracy == pytest.approx(float(right), abs=1e-6)


@pytest.mark.usefixtures("unreported")
def test_a_budget_of_several_kinds_is_taken_as_prune_takes_it(model, tmp_path):
    campaign = tiny(model, tmp_path / "run", budget={"flops": 0.6, "params": 0.4})
    shipped = campaign.summary.shipped
    assert shipped.flops_ratio <= 0.6
    assert shipped.params_ratio <= 0.4


def test_what_is_no_network_and_what_stands_beside_a_space_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="train: given beside a space"):
        blendsearch.search("search_spaces/digits.yaml", train=[], run_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match="seed: given beside a space"):
        blendsearch.search({"name": "x"}, seed=3)
    with pytest.raises(StructureError, match="a compiled module"):
        tiny(torch.compile(Net()), tmp_path / "run")
    assert not (Path(tmp_path) / "run").exists()


FEW_RETRAINED = {**TINY["search"], "retrained_criteria": 2}
"""Where criteria are all of them, that each scores is looked at, not what becomes of it."""


class Segmenter(nn.Module):
    """Answers with one map of logits; trained on whether a pixel is bright."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        return self.out(torch.relu(self.mid(torch.relu(self.norm(self.stem(x))))))


def masks(start, stop):
    images, _ = digits(start, stop).tensors
    return TensorDataset(images, (images > 0.5).float())


def pixel_loss(outputs, targets):
    return nn.functional.binary_cross_entropy_with_logits(outputs, targets)


def overlap(outputs, targets):
    """Intersection over union, for each image."""
    found, wanted = outputs > 0, targets > 0.5
    both, any_ = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
    return both / any_.clamp(min=1)


def segment(run_dir, **changes):
    torch.manual_seed(0)
    model = Segmenter()
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(3):
        for images, targets in DataLoader(masks(0, 500), 50):
            optimiser.zero_grad()
            pixel_loss(model(images), targets).backward()
            optimiser.step()
    loaders = {
        "train": DataLoader(masks(0, 500), 50, shuffle=True),
        "validation": DataLoader(masks(500, 700), 50),
        "test": DataLoader(masks(700, 800), 50),
    }
    given = {**loaders, "loss": pixel_loss, "metric": overlap, "budget": {"flops": 0.5}, **TINY, **changes}
    return blendsearch.search(model.eval(), run_dir=run_dir, **given)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    settings = {"criteria": "all", "retraining": {"epochs": 1, "lr": 0.02}, "search": FEW_RETRAINED}
    return segment(tmp_path_factory.mktemp("segmenter") / "run", **settings)


def test_a_loss_and_a_metric_of_ones_own_stand_in_place_of_cross_entropy_and_accuracy(segmented):
    images, targets = masks(700, 800).tensors
    with torch.no_grad():
        scores = overlap(segmented.network(images), targets)
    shipped, summary = segmented.summary.shipped, segmented.summary
    assert shipped.test_accuracy == pytest.approx(float(scores.mean()), abs=1e-6)
    assert shipped.test_accuracy > 0.3, "it was retrained by the loss that was given"
    assert summary.metric == "overlap"
    assert "is the metric overlap" in segmented.report.read_text()
    assert "taylor" not in summary.left_out, "its gradients are those of the loss"
    assert "class_separability" in summary.left_out
    assert shipped.interval is not None, "the single scores of the images are paired"
    assert "overlap" in shipped.sentence


@pytest.mark.usefixtures("unreported")
def test_without_a_loss_criteria_that_need_gradients_are_left_out(tmp_path):
    campaign = segment(tmp_path / "run", loss=None, criteria="all", search=FEW_RETRAINED)
    assert {"taylor", "lrp_gamma"} <= set(campaign.summary.left_out)
    assert "l1" not in campaign.summary.left_out


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"metric": None}, ConfigError, "metric: not given beside a loss"),
        ({"metric": lambda outputs, targets: -1}, DataError, "metric: it returned -1, allowed: 0 to 1"),
        ({"metric": lambda outputs, targets: torch.ones(3)}, DataError, r"metric: it returned \(3,\) for"),
        ({"metric": lambda outputs, targets: "good"}, DataError, "metric: it returned str"),
        ({"loss": None, "retraining": {"epochs": 1}}, ConfigError, "loss: not given beside a metric"),
        ({"proxy": "agreement"}, ConfigError, "proxy: 'agreement' compares class probabilities"),
        ({"reconstruction": {"logits": 1.0}}, ConfigError, "reconstruction.logits: it compares class probabilities"),
        ({"proxy": "average"}, ConfigError, "proxy: 'agreement' compares class probabilities"),
        ({"proxy": "short_finetune", "loss": None}, ConfigError, "loss: not given beside a metric; 'short_finetune'"),
        ({"retraining": {"epochs": 1, "distillation": {}}}, ConfigError, "retraining.distillation: it is about"),
        ({"retraining": {"epochs": 1, "label_smoothing": 0.1}}, ConfigError, "retraining.label_smoothing: it is about"),
        ({"allocation": "sensitivity"}, ConfigError, "'sensitivity' measures how many labels"),
    ],
)
def test_what_a_metric_cannot_be_and_cannot_stand_beside(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        segment(tmp_path / "run", **changes)


@pytest.mark.usefixtures("unreported")
def test_a_recipe_goes_for_objects_too(model, tmp_path):
    search = {"limit": {"evaluations": 4}, "layer_by_layer": None, "rivals": False, "ablation": False}
    found = tiny(model, tmp_path / "run", recipe="post_training", search=search)
    assert found.summary.algorithm == "deap, cma_es"
    assert (found.summary.allocation, found.summary.proxy) == ("evolved", "agreement")
    assert found.summary.criteria.keys() == {"l1", "taylor"}  # which TINY names
    assert found.blend.keep
