"""A small review on the digits, opened once: the trained network of all tests, three criteria, two layers."""

from __future__ import annotations

import pytest
from reviewing import TOKEN, Estimate, opened

from blendsearch.blending import Blend
from blendsearch.compute import Compute
from blendsearch.criteria import measures_of, score_groups
from blendsearch.results.run_folder import RunFolder
from blendsearch.review.inspector import Desk
from blendsearch.review.marks import Book
from blendsearch.review.review import Review
from blendsearch.review.sample_images import Gallery
from blendsearch.statistics import gather
from blendsearch.structure import Structure

CRITERIA = ["l1", "taylor", "apoz"]


@pytest.fixture(scope="session")
def structure(trained, digits):
    return Structure.of(trained, next(digits.search.batches(2))[0])


@pytest.fixture(scope="session")
def scores(trained, digits, structure):
    statistics = gather(trained, structure, digits.calibration.batches(128), measures_of(CRITERIA))
    return score_groups(structure, statistics, CRITERIA)


@pytest.fixture(scope="session")
def desk(trained, digits, structure, scores):
    gallery = Gallery.of(digits.search, digits.classes)
    blend = Blend("network", {"network": {"l1": 1.0, "taylor": 2.0}})
    return Desk(trained, structure, scores, gallery, Compute(), blend=blend)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def review(desk, structure, folder):
    return Review("tiny", "digits", structure, desk, Book(folder, structure, "ann"))


@pytest.fixture
def client(review):
    """A browser that has opened the address with the token."""
    review.estimator = Estimate()
    browser = opened(review)
    browser.get(f"/?token={TOKEN}")
    return browser
