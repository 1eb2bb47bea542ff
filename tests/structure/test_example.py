"""How many samples a batch has and which are taken of it, in whatever form it comes."""

from __future__ import annotations

import pytest
import torch

from blendsearch.structure.example import Example

DETECTED = {"boxes": torch.zeros(9, 4), "labels": torch.zeros(9)}


def zeros(*shape):
    return torch.zeros(shape)


BATCHES = {
    "images": (zeros(7, 3, 4, 4), 7),
    "images and labels in a tuple": ((zeros(7, 3, 4, 4), zeros(7)), 7),
    "images and labels in a list, as loaders stack them": ([zeros(7, 3, 4, 4), zeros(7)], 7),
    "two sounds in a list": ([zeros(16, 1, 90), zeros(16, 1, 90)], 16),
    "images of many sizes": ([zeros(3, 8, 8), zeros(3, 9, 8)], 2),
    "images of one size": ([zeros(3, 8, 8)] * 5, 5),
    "one image": ([zeros(3, 8, 8)], 1),
    "images and boxes in tuples, as detectors take them": (((zeros(3, 8, 8),) * 5, (DETECTED,) * 5), 5),
    "images and boxes in lists": ([[zeros(3, 8, 8)] * 5, [DETECTED] * 5], 5),
    "stacked images, and boxes of each": ([zeros(6, 3, 8, 8), [DETECTED] * 6], 6),
    "an image and a label a sample": ([(zeros(3, 8, 8), 1)] * 6, 6),
    "a dictionary a sample": ([{"image": zeros(3, 8, 8)}] * 4, 4),
    "a dictionary that begins with a size": ({"size": zeros(2), "image": zeros(6, 3, 8, 8), "label": zeros(6)}, 6),
    "inputs within inputs": ([[zeros(6, 3), zeros(6, 4)], zeros(6)], 6),
    "images and names": ([zeros(6, 3, 8, 8), ["a"] * 6], 6),
    "images and a size": ((zeros(6, 3, 8, 8), (224, 224)), 6),
    "a number": (zeros(), 1),
    "none": ([], 0),
}


@pytest.mark.parametrize("case", BATCHES)
def test_samples_are_counted(case):
    batch, count = BATCHES[case]
    assert Example(batch).samples == count


@pytest.mark.parametrize("kind", [tuple, list])
def test_of_tensors_together_the_samples_are_taken_and_the_rest_stays_whole(kind):
    taken = Example(kind([zeros(6, 3, 8, 8), zeros(10, 3), zeros(6), zeros()])).take(2)
    assert type(taken.batch) is kind
    assert [tuple(one.shape) for one in taken.batch] == [(2, 3, 8, 8), (10, 3), (2,), ()]
    assert taken.samples == 2
    again = taken.take(1)
    assert [tuple(one.shape) for one in again.batch] == [(1, 3, 8, 8), (10, 3), (1,), ()]
    assert again.samples == 1


def test_of_a_list_of_samples_the_first_are_taken():
    images = [zeros(3, 8, 8), zeros(3, 9, 8), zeros(3, 7, 8)]
    taken = Example(images).take(2)
    assert taken.batch == images[:2]
    assert taken.samples == 2


@pytest.mark.parametrize("case", ["a dictionary that begins with a size", "images and boxes in lists"])
def test_what_else_there_is_stays_whole(case):
    batch, count = BATCHES[case]
    taken = Example(batch).take(2)
    assert taken.batch is batch
    assert taken.samples == count
