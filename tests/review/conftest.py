"""A small review on the digits, opened once: the trained network of all tests, three criteria, two layers."""

from __future__ import annotations

import pytest
from reviewing import TOKEN, Estimate, opened

from blendsearch.blending import Blend
from blendsearch.compute import Compute
from blendsearch.criteria import ScoringSetup, score_network
from blendsearch.results.run_folder import RunFolder
from blendsearch.review.inspector import Inspector
from blendsearch.review.marks import Marks
from blendsearch.review.review import Review
from blendsearch.review.sample_images import SampleImages
from blendsearch.structure import Structure

CRITERIA = ["l1", "taylor", "apoz"]


@pytest.fixture(scope="session")
def structure(trained, digits):
    return Structure.of(trained, next(digits.search.batches(2))[0])


@pytest.fixture(scope="session")
def scores(trained, digits, structure):
    return score_network(trained, structure, digits.calibration.batches(128), CRITERIA, ScoringSetup())


@pytest.fixture(scope="session")
def inspector(trained, digits, structure, scores):
    return Inspector(
        network=trained,
        structure=structure,
        scores=scores,
        sample_images=SampleImages.of(digits.search, digits.classes),
        compute=Compute(),
        blend=Blend("network", {"network": {"l1": 1.0, "taylor": 2.0}}),
    )


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def review(inspector, structure, folder):
    marks = Marks(folder, structure, "ann")
    return Review(title="tiny", data="digits", whole=structure, static_inspector=inspector, marks=marks)


@pytest.fixture
def client(review):
    """A browser that has opened the address with the token."""
    review.estimator = Estimate()
    browser = opened(review)
    browser.get(f"/?token={TOKEN}")
    return browser
