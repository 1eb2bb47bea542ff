"""What filters respond to, against the plain forward pass; pictures against numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import OptionA, images, randomised
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.data.batches import GivenBatches
from blendsearch.review import pictures
from blendsearch.review.responses import feature_maps, observed_site, summaries
from blendsearch.review.sample_images import SAMPLE_SIZE, SampleImages
from blendsearch.structure import Structure


def test_maps_of_the_first_layer_are_those_of_a_forward_pass(trained, structure, digits):
    batch, _ = next(digits.search.batches(5))
    site = observed_site(structure.groups[0])
    maps = feature_maps(trained.eval(), [site], batch, Compute())[site]
    modules = dict(trained.named_modules())
    conv = modules[structure.groups[0].name]
    norm = modules.get(structure.groups[0].norms[0]) if structure.groups[0].norms[0] else None
    with torch.no_grad():
        expected = conv(batch)
        expected = F.relu(norm(expected) if norm is not None else expected)
    torch.testing.assert_close(maps, expected)


def test_a_residual_stream_is_seen_after_its_last_addition():
    network = randomised(OptionA())
    structure = Structure.of(network, images())
    for group in structure.groups:
        site = observed_site(group)
        maps = feature_maps(network.eval(), [site], images(3), Compute())[site]
        assert maps.shape[:2] == (3, group.width)


def test_summaries_against_all_maps_at_once(trained, structure, digits):
    batches = list(digits.search.batches(100))
    found = summaries(trained.eval(), structure, batches, classes=10, compute=Compute(), top=4, images=250)
    batch, labels = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    for group in structure.groups:
        site = observed_site(group)
        maps = feature_maps(trained, [site], batch, Compute())[site]
        summary, peaks = found[group.name], maps.amax(dim=(2, 3))
        assert torch.equal(summary.silent, peaks.amax(0) <= 0)
        for j in range(group.width):
            torch.testing.assert_close(peaks[summary.top[j], j], peaks[:, j].sort(descending=True).values[:4])
            expected = torch.stack([maps[labels == k, j].mean() for k in range(10)])
            torch.testing.assert_close(summary.class_means[j], expected)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_maps_are_coloured_by_the_filters_own_range():
    maps = torch.zeros(2, 1, 2)
    maps[1, 0, 1] = 5.0
    row = pixels(pictures.map_row(maps, torch.zeros(2, 3, 8, 8, dtype=torch.uint8)))
    assert row.shape == (16, 66, 4)
    assert tuple(row[0, -1, :3]) == (253, 231, 72)  # the peak
    assert tuple(row[0, 0, :3]) == (18, 20, 34)  # nothing
    assert row[0, 32, 3] == 0  # the gap
    still = pixels(pictures.map_row(torch.zeros(2, 1, 2), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)))
    assert len(np.unique(still[..., :3].reshape(-1, 3), axis=0)) <= 2


def test_weights_are_coloured_by_sign():
    row = pixels(pictures.weight_row(torch.tensor([[[-2.0, 0.0], [1.0, 2.0]]])))
    assert tuple(row[0, 0, :3]) == (0, 84, 150)
    assert tuple(row[-1, -1, :3]) == (190, 72, 0)
    assert min(row[0, -1, :3]) > 230


def test_images_look_as_they_were(digits):
    batch, _ = next(digits.search.batches(3))
    shown = pictures.shrink(digits.search, batch)
    assert torch.equal(shown[:, :1], digits.search.images[:3])
    large = pictures.shrink(
        GivenBatches([(torch.randn(2, 4, 130, 65), torch.tensor([0, 1]))]), torch.randn(2, 4, 130, 65)
    )
    assert tuple(large.shape) == (2, 3, 64, 32)


def test_fewer_images_than_a_sample_takes():
    split = GivenBatches([(torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 1]))])
    sample_images = SampleImages.of(split, ("a", "b", "none"))
    assert sorted(sample_images.sample(0).tolist()) == [0, 1, 2]
    assert len(sample_images) < SAMPLE_SIZE


@pytest.mark.parametrize("kind", ["maps", "overlay"])
def test_the_same_picture_again(inspector, kind):
    assert inspector.picture(kind, 1, 2, 5) == inspector.picture(kind, 1, 2, 5)
    assert inspector.picture(kind, 1, 2, 5) != inspector.picture(kind, 1, 2, 6)
