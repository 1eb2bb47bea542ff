"""How far chance moves differences between retrained networks: seeds and test images are drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blendsearch.results.records.common import Bounds

DRAWS = 10_000
CHUNK = 100
LEVEL = 0.95


@dataclass(frozen=True)
class Chance:
    """What one kind of chance does: the standard error of each difference [others], and draws of |error| over it.

    statistics: [draws, others]; 0 where nothing varies.
    """

    errors: np.ndarray
    statistics: np.ndarray

    def reach(self, columns: Sequence[int]) -> np.ndarray:
        """Return how far the errors of some differences reach in 95 % of the cases, all of them at once."""
        return np.quantile(self.statistics[:, columns].max(1), LEVEL) * self.errors[columns]


@dataclass(frozen=True)
class Redrawn:
    """Mean differences from several others [others], and what the chance of seeds and that of images do to them."""

    names: tuple[str, ...]
    differences: np.ndarray
    seeds: Chance
    images: Chance

    def alone(self, name: str) -> Bounds | None:
        """Return the 95 % interval of one difference, None where nothing varies."""
        return self.together([name])[name]

    def parts(self, name: str) -> tuple[float, float]:
        """Return how far the chance of seeds alone, and that of images alone, reaches for one difference."""
        column = [self.names.index(name)]
        return float(self.seeds.reach(column)[0]), float(self.images.reach(column)[0])

    def together(self, names: Sequence[str]) -> dict[str, Bounds | None]:
        """Return intervals of several differences that all hold at once in 95 % of the cases.

        The greatest of their statistics decides, so it does not matter that one looks at the others' best. Both
        reaches add as squares, which is on the safe side: an interval is never narrower than that of the seeds alone.
        In simulations with eight others all held at once in 93 to 99 of 100 cases; with two seeds and no images, which
        show nothing of how the others hang together, in 67.
        Source: Romano & Wolf, Econometrica 2005 (studentised maximum); Graybill & Wang, JASA 1980 (sums of variances).
        """
        columns = [self.names.index(name) for name in names]
        reaches = np.hypot(self.seeds.reach(columns), self.images.reach(columns))
        middles = self.differences[columns]
        return {
            # A difference of two shares cannot lie beyond ±1.
            name: (max(-1.0, float(middle - reach)), min(1.0, float(middle + reach))) if reach > 0 else None
            for name, middle, reach in zip(names, middles, reaches, strict=True)
        }


def redraw(differences: Mapping[str, np.ndarray], draws: int = DRAWS, seed: int = 0) -> Redrawn:
    """Draw seeds and images anew, the same ones for all others, since all were retrained and tested on the same.

    differences: name -> float [seeds, images], right or not of the one minus that of the other, in {-1, 0, 1}; or
    [seeds, 1], accuracies, where the images are not known.

    Of few seeds a plain bootstrap is far too sure. So whole sets of seeds are drawn from the normal distribution with
    the covariance seen between the others, and each is studentised by its own spread: for one other, and images
    that do not count, this is Student's t interval of the paired differences. Images, of which there are many, are
    resampled, each with all its seeds. With seeds that are all alike, as without retraining, only the images speak.
    Source: the parametric bootstrap-t and the paired bootstrap (Efron & Tibshirani, 1993, sections 12.5 and 8.6).
    """
    each = np.stack([np.asarray(one, dtype=float) for one in differences.values()])
    # Generators of their own, so that the images drawn do not depend on how many seeds there are.
    for_seeds, for_images = (np.random.default_rng([seed, part]) for part in range(2))
    seeds = _draw_seeds(each.mean(2), draws, for_seeds)
    images = _draw_images(each.mean(1), _common_variance(each, seeds.errors**2), draws, for_images)
    return Redrawn(tuple(differences), each.mean((1, 2)), seeds, images)


def _draw_seeds(by_seed: np.ndarray, draws: int, rng: np.random.Generator) -> Chance:
    """Return what sets of seeds do that are drawn like those seen; by_seed: [others, seeds]."""
    others, seeds = by_seed.shape
    if seeds == 1:
        return Chance(np.zeros(others), np.zeros((draws, others)))
    centred = by_seed - by_seed.mean(1, keepdims=True)
    drawn = rng.normal(size=(draws, seeds, seeds)) @ centred.T
    statistics = _ratio(np.abs(drawn.mean(1)), np.sqrt(drawn.var(1, ddof=1) / seeds))
    return Chance(np.sqrt(by_seed.var(1, ddof=1) / seeds), statistics)


def _common_variance(each: np.ndarray, by_seed: np.ndarray) -> np.ndarray:
    """Return the part of the means' variance [others] that comes from the images and is not in that of the seeds.

    Images that fall otherwise with every seed move the means of seeds and of images alike, and would count twice.
    What is taken off for it is never more than the seeds show, so agreement of few seeds by luck makes nothing sure.
    Source: the two-way random effects model (Searle et al., Variance Components, 1992).
    """
    _, seeds, images = each.shape
    if images == 1:
        return np.zeros(len(each))
    whole = each.mean(1).var(1, ddof=1) / images
    if seeds == 1:
        return whole
    rest = each - each.mean(1, keepdims=True) - each.mean(2, keepdims=True) + each.mean((1, 2), keepdims=True)
    twice = (rest**2).sum((1, 2)) / ((seeds - 1) * (images - 1)) / (seeds * images)
    return whole - np.minimum(np.minimum(twice, by_seed), whole)


def _draw_images(by_image: np.ndarray, variance: np.ndarray, draws: int, rng: np.random.Generator) -> Chance:
    """Return what resampled images do; by_image: [others, images]. variance: that which their means shall have."""
    images = by_image.shape[1]
    centred = by_image - by_image.mean(1, keepdims=True)
    drawn = np.empty((draws, len(by_image)))
    for start in range(0, draws, CHUNK):
        picks = rng.integers(0, images, (min(CHUNK, draws - start), images))
        counts = np.stack([np.bincount(pick, minlength=images) for pick in picks])
        drawn[start : start + CHUNK] = counts @ centred.T / images
    return Chance(np.sqrt(variance), _ratio(np.abs(drawn), np.sqrt(by_image.var(1) / images)))


def _ratio(errors: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return errors over spread, 0 where nothing varies (but for rounding)."""
    spread = np.broadcast_to(spread, errors.shape)
    return np.divide(errors, spread, out=np.zeros_like(errors), where=spread > 1e-12)
