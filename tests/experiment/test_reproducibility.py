"""What is equal within a tolerance, as docs/reproducibility.md says."""

from __future__ import annotations

import pytest
import torch

from blendsearch.compute import Compute, threads
from blendsearch.statistics import gather
from blendsearch.structure import Structure
from blendsearch.training.evaluation import evaluate, score_images

NEEDS = ["activations.mean", "activations.square", "gradients.taylor", "gradients.taylor_square", "gradients.weight"]


@pytest.fixture
def structure(trained, digits):
    return Structure.of(trained, next(iter(digits.search.batches(2)))[0])


def averages(network, structure, split, compute=None):
    found = gather(network, structure, split.batches(64), NEEDS, compute=compute or Compute())
    return {(site, name): value for site, own in found.averages.items() for name, value in own.items()}


def assert_near(one, other, rtol):
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=rtol, atol=1e-6, msg=str(key))


def test_evaluation_does_not_depend_on_the_batch_size(trained, digits):
    found = [evaluate(trained, digits.test.batches(size)) for size in (1, 7, 300)]
    assert len({one.accuracy for one in found}) == 1
    assert [one.loss for one in found[1:]] == pytest.approx([found[0].loss] * 2, rel=1e-5)
    assert torch.equal(score_images(trained, digits.test), score_images(trained, digits.test))


def test_statistics_on_one_and_two_threads_are_near(trained, structure, digits):
    found = []
    for count in (1, 2):
        with threads(count):
            found.append(averages(trained, structure, digits.calibration))
    assert_near(*found, rtol=2e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_statistics_on_a_gpu_are_near(trained, structure, digits):
    here = averages(trained, structure, digits.calibration)
    try:
        there = averages(trained, structure, digits.calibration, Compute("cuda"))
    finally:
        trained.cpu()
    assert_near(here, {key: value.cpu() for key, value in there.items()}, rtol=1e-3)
