"""Kinds of layers that people's networks have: groups as expected, sliced as masked, FLOPs as an independent count."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from small_networks import images
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.prune import l1_unstructured
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops.misc import FrozenBatchNorm2d

import blendsearch
from blendsearch.errors import StructureError
from blendsearch.progress import shown
from blendsearch.structure import Structure
from blendsearch.structure.check import Check, drawn_plan, masked_copy, randomised
from blendsearch.structure.given import float_copy


def conv(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def tail(width):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)]


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """A norm or linear layer on [N, H, W, C]."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NextBlock(nn.Module):
    """As in ConvNeXt: depthwise convolution, norm over channels, two linear layers, layer scale, residual."""

    def __init__(self, width, scale):
        super().__init__()
        self.deep, self.norm = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.LayerNorm(width)
        self.one, self.two = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x):
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.two(F.gelu(self.one(y)))).permute(0, 3, 1, 2)


class Excited(nn.Module):
    """Squeeze and excitation by linear layers."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Linear(width, 4), nn.Linear(4, width)

    def forward(self, x):
        return x * torch.sigmoid(self.two(F.relu(self.one(x.mean((2, 3))))))[:, :, None, None]


class Blurred(nn.Module):
    """A fixed filter on every channel, as anti-aliased networks have."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x):
        return F.conv2d(x, self.filter.expand(x.shape[1], -1, -1, -1), stride=2, groups=x.shape[1])


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-3)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Attended(nn.Module):
    """Attention between positions, with channels as features."""

    def __init__(self, width):
        super().__init__()
        self.key = nn.Conv2d(width, 8, 1)

    def forward(self, x):
        key = self.key(x).flatten(2)
        weights = (key.mT @ key).softmax(-1)
        return (x.flatten(2) @ weights.mT).view_as(x)


NETWORKS = {
    "grouped": [conv(3, 8), nn.ReLU(), conv(8, 12, groups=4), nn.BatchNorm2d(12), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "multiplier": [conv(3, 8), nn.ReLU(), conv(8, 16, groups=8), nn.ReLU(), conv(16, 6), nn.ReLU()],
    "group norm": [conv(3, 12), nn.GroupNorm(4, 12), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "group norms": [conv(3, 12), nn.GroupNorm(6, 12), nn.ReLU(), nn.GroupNorm(4, 12), conv(12, 6), nn.ReLU()],
    "group norm of one": [conv(3, 12), nn.GroupNorm(1, 12), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "without affine": [conv(3, 12), nn.GroupNorm(4, 12, affine=False), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "instance norm": [conv(3, 12), nn.InstanceNorm2d(12, affine=True), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "layer norm": [conv(3, 12), LayerNorm2d(12), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "layer norm last": [conv(3, 8), ChannelsLast(nn.LayerNorm(8)), nn.ReLU(), conv(8, 6), nn.ReLU()],
    "rms norm": [conv(3, 12), ChannelsLast(nn.RMSNorm(12)), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "frozen norm": [conv(3, 12), FrozenBatchNorm2d(12), nn.ReLU(), conv(12, 6), nn.ReLU()],
    "next": [conv(3, 8), NextBlock(8, 1e-6), NextBlock(8, 0.0), nn.Conv2d(8, 6, 2, stride=2), NextBlock(6, 1e-6)],
    "excited": [conv(3, 12), nn.ReLU(), Excited(12), conv(12, 6), nn.ReLU()],
    "blurred": [conv(3, 12), nn.ReLU(), Blurred(12), conv(12, 6), nn.ReLU()],
    "standardised": [Standardised(3, 12, 3, padding=1), nn.ReLU(), Standardised(12, 6, 3, padding=1), nn.ReLU()],
    "one-dimensional": [
        conv(3, 12), nn.ReLU(), nn.Flatten(2), nn.Conv1d(12, 6, 3, padding=1), nn.ReLU(), nn.Unflatten(2, (8, 8)),
    ],
}  # fmt: skip
FILTERS = {
    "grouped": {"0": 4, "5": 6},
    "multiplier": {"0": 8, "4": 6},
    "group norm": {"0": 4, "3": 6},
    "group norms": {"0": 2, "4": 6},
    "without affine": {"0": 4, "3": 6},
    "next": {"0": 8, "3": 6},
    "one-dimensional": {"0": 12},
}


@pytest.fixture(params=NETWORKS)
def case(request):
    torch.manual_seed(0)
    network = nn.Sequential(*NETWORKS[request.param], *tail(6))
    return request.param, randomised(float_copy(network))


def macs(network, x):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    return counter.get_total_flops() / 2


def test_it_is_sliced_as_masked_and_costs_what_it_says(case):
    name, network = case
    x = images(3)
    structure = Structure.of(network, x)
    assert structure.refused == {}
    widths = FILTERS.get(name, {g.name: network.get_submodule(g.name).out_channels for g in structure.groups})
    assert structure.widths == widths
    for seed in range(3):
        plan = drawn_plan(structure.groups, seed)
        sliced = structure.slice(network, plan)
        with torch.no_grad():
            expected, found = masked_copy(network, structure.groups, plan)(x), sliced(x)
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
        assert structure.cost.flops(plan.counts) * len(x) == macs(sliced, x)
        assert structure.cost.params(plan.counts) == sum(p.numel() for p in sliced.parameters())


def test_what_no_weight_of_a_module_multiplies_counts_too():
    network = nn.Sequential(conv(3, 12), nn.ReLU(), Attended(12), conv(12, 6), nn.ReLU(), *tail(6)).eval()
    structure = Structure.of(network, images())
    assert structure.widths == {"3": 6}
    assert structure.cost.flops(structure.widths) == macs(network, images(1))


def test_every_criterion_scores_its_filters(case):
    name, network = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = blendsearch.score(network, [(images(6), torch.arange(6) % 5)], device="cpu")
    structure = Structure.of(network, images())
    reading = {"next_layer", "obs"} if name != "one-dimensional" else set()
    assert {"l1", "taylor", "activation_std"} | reading <= set(scores)
    for found in scores.values():
        assert {group: len(score) for group, score in found.items()} == structure.widths


def test_a_block_is_scored_by_the_mean_of_its_channels():
    torch.manual_seed(0)
    network = nn.Sequential(*NETWORKS["grouped"], *tail(6)).eval()
    found = blendsearch.score(network, [(images(4), torch.arange(4) % 5)], ["l1", "group_norm"], group_rule="mean")
    first = network[0].weight.abs().sum((1, 2, 3)).view(4, 2).mean(1)
    second = network[2].weight.abs().sum((1, 2, 3)).view(4, 3).mean(1)
    assert torch.allclose(found["l1"]["0"], ((first + second) / 2).detach())
    of_block = [
        network[0].weight[2:4], network[2].weight[3:6], network[3].weight[3:6], network[5].weight[:, 3:6],
    ]  # fmt: skip
    expected = torch.cat([part.flatten() for part in of_block]).norm()
    assert torch.allclose(found["group_norm"]["0"][1], expected)


def test_a_grouped_convolution_loses_whole_groups():
    network = nn.Sequential(*NETWORKS["grouped"], *tail(6)).eval()
    pruned = blendsearch.prune(network, [(images(4), torch.arange(4) % 5)], by="l1", budget={"flops": 0.5}).network
    grouped = pruned[2]
    assert grouped.groups < 4
    assert (grouped.in_channels, grouped.out_channels) == (2 * grouped.groups, 3 * grouped.groups)


class Shuffled(nn.Module):
    """A branch that mixes channels as no graph sees, and whose last norm starts at `gamma`."""

    def __init__(self, gamma):
        super().__init__()
        self.a, self.b, self.c, self.norm = conv(3, 8), conv(8, 8), conv(8, 8), nn.BatchNorm2d(8)
        self.head = nn.Sequential(*tail(8))
        nn.init.constant_(self.norm.weight, gamma)

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.head(x + self.norm(self.c(F.channel_shuffle(F.relu(self.b(x)), 2))))


@pytest.mark.parametrize("gamma", [0.0, 1e-6, 1.0])
def test_what_a_silent_branch_does_wrong_is_seen(gamma):
    structure = Structure.of(Shuffled(gamma), images())
    assert set(structure.widths) == {"a"}
    assert "cannot be followed" in structure.refused["b"]


class Auxiliary(nn.Module):
    """A second head that runs in training alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 6)
        self.head, self.other = nn.Sequential(*tail(6)), nn.Sequential(nn.BatchNorm2d(8), *tail(8))

    def forward(self, x):
        x = F.relu(self.a(x))
        y = self.head(F.relu(self.b(x)))
        return (y, self.other(x)) if self.training else y


def test_a_head_of_training_alone_loses_its_inputs_too():
    network = Auxiliary()
    before = network.other[0].running_mean.clone()
    pruned = blendsearch.prune(network, [(images(4), torch.arange(4) % 5)], by="l1", budget={"flops": 0.4}).network
    y, other = pruned.train()(images(4))
    assert y.shape == other.shape == (4, 5)
    assert pruned.other[0].num_features < 8
    assert torch.equal(network.other[0].running_mean, before)
    assert not any(
        module.training for module in Structure.of(network.eval(), images()).slice(network, drawn_plan([])).modules()
    )


def test_reading_draws_no_numbers_that_are_the_callers():
    network = Auxiliary()
    network.other.insert(0, nn.Dropout(0.5))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Structure.of(network.eval(), images())
    assert torch.equal(torch.rand(3), expected)


def test_a_head_that_cannot_run_on_the_example_is_no_obstacle():
    network = Auxiliary()
    network.other = nn.Sequential(nn.AvgPool2d(16), *tail(8))
    structure = Structure.of(network.eval(), images())
    assert structure.widths == {"a": 8, "b": 6}
    assert list(structure.refused) == ["other.3"]
    assert "training does not run on the example" in structure.refused["other.3"]
    assert not network.training


class Branches(nn.Module):
    """What an image is decides which layers run."""

    def __init__(self):
        super().__init__()
        self.a, self.dark, self.bright = conv(3, 8), conv(8, 6), conv(8, 6)
        self.head = nn.Sequential(*tail(6))

    def forward(self, x):
        branch = self.bright if x.mean() > 100 else self.dark
        return self.head(F.relu(branch(F.relu(self.a(x)))))


class Attentive(nn.Module):
    """Attention reads the weights of a layer that it never calls; so does the network itself."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.read = conv(3, 8), conv(8, 8), conv(8, 8)
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.b(F.relu(self.a(x))))
        x = F.conv2d(x, self.read.weight, self.read.bias, padding=1).flatten(2).mT
        return self.head(self.attention(x, x, x)[0].mean(1))


def test_a_layer_whose_weights_others_read_runs():
    assert not {"read", "attention.out_proj"} & set(Structure.of(Attentive(), images()).refused)


def test_a_layer_that_is_never_called_on_the_example_is_named():
    told = []
    structure = Structure.of(Branches(), images(), progress=lambda task, *_: told.append((task, _[-1])))
    (note,) = [said for task, said in told if task == "note"]
    assert note.startswith("1 layer left alone ('bright'), as training and evaluation run without on the example; ")
    assert set(structure.widths) == {"a", "dark"}
    assert list(structure.refused) == ["bright"]
    assert "neither in evaluation nor in training" in structure.refused["bright"]
    both = Auxiliary()
    both.unused = conv(3, 3)
    structure = Structure.of(both, images())
    assert list(structure.refused) == ["unused"]  # the head of training is read as ever
    assert structure.widths == Structure.of(Auxiliary(), images()).widths


class Outputs(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.body, self.kind = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8), nn.ReLU()), kind
        self.one, self.two = nn.Sequential(*tail(8)), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.body(x)
        found = {"logits": self.one(x), "map": self.two(x)}
        return found if self.kind is dict else self.kind(found.values())


@pytest.mark.parametrize("kind", [dict, tuple, list])
def test_several_outputs_keep_their_shapes(kind):
    network = Outputs(kind).eval()
    pruned = blendsearch.prune(network, [(images(4), torch.arange(4) % 5)], by="l1", budget={"flops": 0.5}).network
    before, after = network(images(4)), pruned(images(4))
    assert type(after) is kind
    tensors = [list(one.values()) if kind is dict else list(one) for one in (before, after)]
    assert [one.shape for one in tensors[0]] == [one.shape for one in tensors[1]]
    assert "two" in Structure.of(network, images()).refused


def test_several_inputs_and_other_batches_are_run_by_the_users_function():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = conv(3, 8), conv(1, 8), conv(8, 6)
            self.head = nn.Sequential(*tail(6))

        def forward(self, x, *, depth):
            return {"logits": self.head(F.relu(self.c(F.relu(self.a(x) + self.b(depth)))))}

    batch = {"image": images(4), "depth": images(4, channels=1), "names": ["one", "two", "three", "four"]}
    structure = Structure.of(Two(), batch, forward=lambda net, given: net(given["image"], depth=given["depth"]))
    assert structure.widths == {"a": 8, "c": 6}
    assert structure.groups[0].convolutions == ("a", "b")


REFUSED = {
    "scripted": (lambda net: torch.jit.trace(net, images()), "a scripted module given"),
    "parallel": (lambda net: nn.DataParallel(net), "a DataParallel given; give the network in it"),
    "compiled": (lambda net: torch.compile(net), "a compiled module given"),
    "lazy": (lambda net: net.append(nn.LazyLinear(3)), "run the network once"),
    "nan": (lambda net: net.append(nn.PReLU(init=float("nan"))), "'5.weight' holds values that are not finite"),
    "complex": (lambda net: net.to(torch.complex64), "'0.weight' holds complex numbers"),
    "no network": (lambda net: 3, "network: int given"),
    "mask": (lambda net: l1_unstructured(net[0], "weight", 3) and net, "'0' has a mask of torch.nn.utils.prune"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(kind):
    change, message = REFUSED[kind]
    given = change(nn.Sequential(conv(3, 8), nn.ReLU(), *tail(8)).eval())
    with pytest.raises(StructureError) as error:
        Structure.of(given, images())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_attribute_that_cannot_be_copied_is_told():
    network = nn.Sequential(conv(3, 8), nn.ReLU(), *tail(8))
    network.lock = threading.Lock()
    with pytest.raises(StructureError, match=r"the network cannot be copied \(.*lock"):
        Structure.of(network, images())


def test_it_reads_inside_inference_mode():
    with torch.inference_mode():
        network = nn.Sequential(conv(3, 8), nn.ReLU(), *tail(8))
        assert Structure.of(network, images()).widths == {"0": 8}


class Noting(nn.Module):
    """Notes in which precision it is run, for all copies together."""

    def __init__(self):
        super().__init__()
        self.seen = Shared()

    def forward(self, x):
        self.seen.add(x.dtype)
        return x


class Shared(set):
    def __deepcopy__(self, memo):
        return self


def test_it_reads_without_the_autocast_around_it():
    noting = Noting()
    network = nn.Sequential(conv(3, 8), noting, nn.ReLU(), *tail(8))
    with torch.autocast("cpu", torch.bfloat16):
        structure = Structure.of(network, images())
    assert structure.widths == {"0": 8}
    assert noting.seen == {torch.float32, torch.float64}, "the latter where groups are checked"


def test_one_try_is_enough_where_all_is_well_and_halves_find_those_that_are_not(monkeypatch):
    torch.manual_seed(0)
    tries = []
    real = Check.objection
    monkeypatch.setattr(Check, "objection", lambda self, groups: tries.append(len(groups)) or real(self, groups))
    layers = [layer for _ in range(15) for layer in (conv(8, 8), nn.ReLU())]
    Structure.of(nn.Sequential(conv(3, 8), *layers, *tail(8)), images())
    assert tries == [16]
    tries.clear()
    structure = Structure.of(nn.Sequential(conv(3, 8), *layers, nn.ChannelShuffle(2), *tail(8)), images())
    assert list(structure.refused) == ["29"]
    assert len(tries) < 16


@pytest.mark.parametrize("seed", range(6))
def test_what_is_done_wrong_to_dead_filters_is_seen(seed):
    torch.manual_seed(seed)
    layers = [layer for _ in range(15) for layer in (conv(8, 8), nn.ReLU())]
    network = nn.Sequential(conv(3, 8), *layers, nn.ChannelShuffle(2), *tail(8))
    nn.init.constant_(network[29].bias, -100.0)
    assert list(Structure.of(network, images()).refused) == ["29"]


def test_progress_is_told_and_shown_by_default_where_it_takes_long(monkeypatch, capsys):
    told = []
    network = nn.Sequential(conv(3, 8), nn.ReLU(), nn.ChannelShuffle(2), conv(8, 8), nn.ReLU(), *tail(8))
    Structure.of(network, images(), progress=lambda *given: told.append(given))
    assert [(done, total) for _, done, total, _ in told] == [(0, 0), (0, 0), (0, 2), (1, 2), (2, 2)]
    assert {task for task, *_ in told} == {"structure"}
    Structure.of(network, images())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(shown, "PATIENCE", 0.0)
    Structure.of(network, images())
    assert "structure 2/2" in capsys.readouterr().err
