"""Networks that do not tell classes of images apart: segmentation and detection, pruned and trained end to end."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import blendsearch
from blendsearch.errors import BlendsearchError, BudgetError, DataError


def conv(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Segmenter(nn.Module):
    """An encoder and a decoder with a skip connection: one logit a pixel and class."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.deep = conv(3, 12), conv(12, 16, 2), conv(16, 16)
        self.up, self.join = nn.ConvTranspose2d(16, 12, 2, 2), conv(24, 12)
        self.classify = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        skip = self.one(x)
        return self.classify(self.join(torch.cat([skip, self.up(self.deep(self.two(skip)))], 1)))


def squares(count, seed):
    """Images with one bright square, and where it is."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 16, 16, generator=draw) * 0.6
    corners = torch.randint(0, 10, (count, 2), generator=draw)
    masks = torch.zeros(count, 16, 16, dtype=torch.long)
    for image, mask, (top, left) in zip(images, masks, corners.tolist(), strict=True):
        image[:, top : top + 6, left : left + 6] += 0.5
        mask[top : top + 6, left : left + 6] = 1
    return images, masks, corners


def train(network, loss, batches, epochs):
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for batch in batches:
            optimiser.zero_grad()
            loss(network, batch).backward()
            optimiser.step()
    return network.eval()


def test_a_segmentation_network_end_to_end():
    images, masks, _ = squares(64, seed=0)
    batches = [(images[i : i + 16], masks[i : i + 16]) for i in range(0, 64, 16)]
    torch.manual_seed(0)
    network = train(Segmenter(), lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]), batches, 14)

    def overlap(net):
        unseen, truth, _ = squares(32, seed=1)
        with torch.no_grad():
            found = net(unseen).argmax(1)
        return float((found & truth).sum() / (found | truth).sum())

    assert overlap(network) > 0.8
    scores = blendsearch.score(network, batches, loss=F.cross_entropy, device="cpu")
    assert {"l1", "taylor", "fisher", "snip", "activation_std", "obs", "obs_fisher", "bn_scale"} <= set(scores)
    assert not {"lrp_epsilon_plus", "class_separability", "grasp", "synflow"} & set(scores)
    pruned = blendsearch.prune(
        network, batches, by="taylor", budget={"flops": 0.5}, loss=F.cross_entropy, device="cpu"
    ).network
    assert pruned(images).shape == (64, 2, 16, 16)
    assert pruned.join[0].in_channels < 24
    train(pruned, lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]), batches, 3)
    assert overlap(pruned) > 0.8


class Detector(nn.Module):
    """One stage, as YOLO: at every place of a coarse map an objectness and a box; outputs are a dict."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 12), conv(12, 16, 2), conv(16, 24, 2))
        self.neck = conv(24, 16)
        self.objectness, self.box = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 2, 1)

    def forward(self, images, scale=1.0):
        x = self.neck(self.backbone(torch.stack(images) * scale))
        return {"objectness": self.objectness(x)[:, 0], "box": self.box(x)}


def run_detector(network, batch):
    return network([sample["image"] for sample in batch], scale=1.0)


def detection_loss(outputs, batch):
    corners = torch.stack([sample["corner"] for sample in batch])
    cells = (corners + 3) // 4
    rows = torch.arange(len(batch))
    wanted = torch.zeros_like(outputs["objectness"])
    wanted[rows, cells[:, 0], cells[:, 1]] = 1
    found = outputs["box"][rows, :, cells[:, 0], cells[:, 1]]
    objectness = F.binary_cross_entropy_with_logits(outputs["objectness"], wanted)
    return 4 * objectness + F.smooth_l1_loss(found, (corners + 3) / 4 - cells)


def test_a_detector_with_lists_dicts_and_keyword_arguments_end_to_end():
    images, _, corners = squares(64, seed=2)
    samples = [{"image": image, "corner": corner} for image, corner in zip(images, corners, strict=True)]
    batches = [samples[i : i + 16] for i in range(0, 64, 16)]
    own = {"forward": run_detector, "loss": detection_loss, "device": "cpu"}

    def loss(net, batch):
        return detection_loss(run_detector(net, batch), batch)

    torch.manual_seed(0)
    network = train(Detector(), loss, batches, 12)

    def hits(net):
        unseen, _, truth = squares(32, seed=3)
        with torch.no_grad():
            places = run_detector(net, [{"image": image} for image in unseen])["objectness"].flatten(1).argmax(1)
        return float((torch.stack([places // 4, places % 4], 1) == (truth + 3) // 4).all(1).float().mean())

    assert hits(network) > 0.8
    scores = blendsearch.score(network, batches, **own)
    assert {"l1", "taylor", "fisher", "obs"} <= set(scores)
    assert set(scores["l1"]) == {"backbone.0.0", "backbone.1.0", "backbone.2.0", "neck.0"}
    for step in blendsearch.steps(network, batches, by="fisher", budget={"flops": 0.4}, steps=2, **own):
        train(step.network, loss, batches, 4)
    assert step.flops_ratio <= 0.4
    assert {name: one.shape for name, one in run_detector(step.network, batches[0]).items()} == {
        "objectness": (16, 4, 4),
        "box": (16, 2, 4, 4),
    }
    assert hits(step.network) > 0.8


def test_its_gradients_are_those_of_the_same_loss_for_classes():
    torch.manual_seed(0)
    network = nn.Sequential(conv(3, 8), conv(8, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    batches = [(torch.randn(n, 3, 8, 8), torch.arange(n) % 4) for n in (6, 3)]
    names = ["taylor", "fisher", "snip", "obs_fisher", "bn_taylor", "gradient_norm"]
    expected = blendsearch.score(network, batches, names, device="cpu")
    found = blendsearch.score(network, batches, names, device="cpu", loss=F.cross_entropy)
    for name in names:
        for group, score in expected[name].items():
            torch.testing.assert_close(found[name][group], score, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"by": "lrp_gamma"}, BlendsearchError, "'lrp_gamma': it is about classes of images"),
        ({"by": "taylor", "loss": None, "forward": lambda net, pair: net(pair[0])}, BlendsearchError, "no loss"),
        ({"by": "taylor", "loss": lambda outputs, targets: outputs}, DataError, "it returned a tensor of (4, 2, 16"),
        ({"by": "l1", "allocation": "sensitivity"}, BudgetError, "allocation: 'sensitivity' measures how many labels"),
        ({"by": "l1", "batches": [(1, 2, 3)]}, DataError, "forward(network, batch)"),
        ({"by": "l1", "batches": 3}, DataError, "batches: int given, allowed: an iterable"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(given, error, message):
    images, masks, _ = squares(4, seed=0)
    options = {
        "batches": [(images, masks)],
        "loss": F.cross_entropy,
        "device": "cpu",
        "budget": {"flops": 0.5},
        **given,
    }
    with pytest.raises(error) as raised:
        blendsearch.prune(Segmenter().eval(), options.pop("batches"), **options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": torch.zeros(2, 3, 8, 8)}, "batch 0 is a dict"),
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2), 3), "batch 0 is a tuple of 3"),
        (torch.zeros(2, 3, 8, 8), "batch 0 is a Tensor"),
        ((torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2)), "with images of uint8, not scaled"),
        ((torch.full((2, 3, 8, 8), float("nan")), torch.zeros(2)), "with images that hold nan"),
        (([1, 2], torch.zeros(2)), "a tuple with list for images"),
    ],
)
def test_a_batch_of_another_form_is_one_line(batch, message):
    network = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    with pytest.raises(DataError) as raised:
        blendsearch.score(network, [batch], ["l1"], device="cpu")
    assert message in str(raised.value)


def test_everything_made_in_inference_mode_is_scored():
    with torch.inference_mode():
        network = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
        batches = [(torch.randn(4, 3, 8, 8), torch.arange(4))]
    assert "taylor" in blendsearch.score(network, batches, device="cpu")
    with torch.inference_mode():
        assert "taylor" in blendsearch.score(network, batches, device="cpu")


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(conv(3, 8), conv(8, 10), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 3)).eval()


def test_batches_weigh_by_their_samples_however_a_loader_puts_them_together():
    network = classifier()
    images, _, _ = squares(21, seed=3)
    labels = torch.arange(21) % 3
    parts = [(images[:16], labels[:16]), (images[16:], labels[16:])]

    def scores(batches, **how):
        found = blendsearch.score(network, batches, ["taylor", "fisher"], progress=None, **how)
        return {(name, group): values for name, groups in found.items() for group, values in groups.items()}

    expected = scores(parts, loss=F.cross_entropy)
    how = {"forward": lambda net, batch: net(batch[0]), "loss": lambda out, batch: F.cross_entropy(out, batch[1])}
    named = {"forward": lambda net, batch: net(batch["x"]), "loss": lambda out, batch: F.cross_entropy(out, batch["y"])}
    torch.testing.assert_close(scores(parts, **how), expected)
    torch.testing.assert_close(scores([list(part) for part in parts], **how), expected)
    dicts = [{"mean": torch.zeros(3), "x": x, "y": y} for x, y in parts]
    torch.testing.assert_close(scores(dicts, **named), expected)


class Points(nn.Module):
    """Features of an image at given points, which are no samples."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.hidden, self.last = nn.Conv2d(32, 64, 1), nn.Conv2d(64, 3, 1)

    def forward(self, x, points):
        x = F.relu(self.other(F.relu(self.one(x))))
        x = F.grid_sample(x, points[None, :, None].expand(len(x), -1, -1, -1), align_corners=False)
        return self.last(F.relu(self.hidden(x)))


@pytest.mark.parametrize("kind", [tuple, list])
def test_what_all_samples_share_is_counted_whole(kind):
    torch.manual_seed(0)
    network, images, points = Points().eval(), torch.randn(4, 3, 12, 12), torch.rand(2000, 2) * 2 - 1
    found = blendsearch.prune(
        network,
        [kind([images, points])],
        by="l1",
        budget={"flops": 0.5},
        allocation="layer_adaptive",
        forward=lambda net, batch: net(batch[0], batch[1]),
        progress=None,
    )

    def flops(network):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images, points)
        return counter.get_total_flops()

    assert found.flops_ratio == pytest.approx(flops(found.network) / flops(network), rel=1e-3)


def test_own_scores_rank_by_their_last_digit():
    network = classifier()
    images, _, _ = squares(8, seed=4)
    batches = [(images, torch.arange(8) % 3)]
    places = torch.arange(10)
    for scores in (places + 2**40, places.double() + 2**25, places.double() * 1e-300):
        found = blendsearch.prune(network, batches, by={"0.0": scores[:8], "1.0": scores}, progress=None)
        for group, kept in found.plan.keep.items():
            width = found.plan.widths[group]
            assert kept == tuple(range(width - len(kept), width))


class SharedPass:
    """Gives all who ask the one iterator it has."""

    def __init__(self, batches):
        self.rest = iter(batches)

    def __iter__(self):
        return self.rest


def test_no_batch_is_lost_of_an_iterable_that_can_be_read_once():
    network = classifier()
    images, _, _ = squares(24, seed=5)
    batches = [(images[i : i + 8], torch.arange(8) % 3) for i in range(0, 24, 8)]
    expected = blendsearch.score(network, batches, ["fisher"], progress=None)
    found = blendsearch.score(network, SharedPass(batches), ["fisher"], progress=None)
    torch.testing.assert_close(dict(found["fisher"]), dict(expected["fisher"]))


@pytest.mark.parametrize("name", ["fisher", "fpgm", "lrp_epsilon_plus", "random"])
def test_what_the_caller_has_switched_on_changes_no_score(name):
    network = classifier()
    images, _, _ = squares(8, seed=6)
    batches = [(images, torch.arange(8) % 3)]
    expected = dict(blendsearch.score(network, batches, [name], progress=None)[name])
    plan = blendsearch.prune(network, batches, by=name, progress=None).plan
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = dict(blendsearch.score(network, batches, [name], progress=None)[name])
        pruned = blendsearch.prune(network, batches, by=name, progress=None)
        stepped = list(blendsearch.steps(network, batches, by=name, steps=1, progress=None))
        assert torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert pruned.plan == stepped[0].plan == plan


def test_chance_is_the_same_whatever_the_default_format():
    network = classifier()
    images, _, _ = squares(8, seed=6)
    batches = [(images, torch.arange(8) % 3)]
    expected = dict(blendsearch.score(network, batches, ["random"], progress=None)["random"])
    torch.set_default_dtype(torch.float64)
    try:
        found = dict(blendsearch.score(network, batches, ["random"], progress=None)["random"])
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
