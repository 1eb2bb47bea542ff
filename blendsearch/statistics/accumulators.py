"""Streaming sums over samples at one site; memory depends on filters and classes, never on the number of samples."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NOISE = 1e-6
"""A filter whose variance is below this share of the mean over its layer is taken for constant: it is rounding."""


class Shared:
    """A function of one batch of maps that keeps its last result: measures of one site are fed one after the other."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self._last: tuple[tuple[weakref.ref[Tensor], ...], Tensor] | None = None

    def __call__(self, *maps: Tensor) -> Tensor:
        """Return the function's result, which is not to be written to."""
        last = self._last
        if last is None or not _are(maps, last[0]):
            last = self._last = tuple(map(weakref.ref, maps)), self.function(*maps)
        return last[1]


def _are(maps: Sequence[Tensor], those: Sequence[weakref.ref[Tensor]]) -> bool:
    return len(maps) == len(those) and all(one() is given for one, given in zip(those, maps, strict=True))


pooled = Shared(lambda a: a.mean((2, 3)))
"""Means over positions: [N, C, H, W] -> [N, C]."""
lengths = Shared(lambda a: torch.linalg.vector_norm(a, dim=(2, 3)))
"""Euclidean norms over positions: [N, C, H, W] -> [N, C]."""
products = Shared(lambda a, g: (a * g).sum((2, 3)))
"""Inner products over positions of maps and gradients: twice [N, C, H, W] -> [N, C]."""


class Accumulator:
    """Takes batches of feature maps and gives one row of numbers per filter.

    The result may not depend on how samples are batched or ordered.
    """

    def add(self, a: Tensor, g: Tensor, labels: Tensor) -> None:
        """Take feature maps [N, C, H, W], the gradients that arrive at them, and labels [N], all on the device."""
        raise NotImplementedError

    def value(self) -> Tensor:
        """Return [C, ...]."""
        raise NotImplementedError


class Average(Accumulator):
    """Mean over samples of a function (a, g) -> [N, C, ...], summed in float64."""

    def __init__(self, per_sample: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.per_sample = per_sample
        self.total: Tensor | float = 0.0
        self.count = 0

    def add(self, a: Tensor, g: Tensor, labels: Tensor) -> None:
        self.total = self.total + self.per_sample(a, g).double().sum(0)
        self.count += len(a)

    def value(self) -> Tensor:
        return torch.as_tensor(self.total) / self.count


class Histogram(Accumulator):
    """Counts [C, BINS] of each filter's pooled responses, over a range of its own from -2^e to 2^e.

    When a response falls outside, the range doubles and neighbouring bins merge. Powers of two make that exact:
    the counts are those of the final range from the start, whatever the order of the samples. A filter with a response
    that is not finite has no counts: they are not numbers.
    """

    BINS = 256
    LEAST = -64  # the exponent of filters that gave nothing but zeros so far

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.exponent: Tensor | None = None
        self.broken: Tensor | bool = False

    def add(self, a: Tensor, g: Tensor, labels: Tensor) -> None:
        responses = pooled(a).double()
        broken = ~responses.isfinite()
        self.broken = self.broken | broken.any(0)
        responses = responses.masked_fill(broken, 0.0)
        largest = responses.abs().amax(0)
        needed = torch.where(largest > 0, torch.frexp(largest).exponent, self.LEAST).clamp(min=self.LEAST)
        if self.counts is None or self.exponent is None:
            self.counts, self.exponent = responses.new_zeros(responses.shape[1], self.BINS), needed
        while bool((needed > self.exponent).any()):
            narrow = needed > self.exponent
            self.counts[narrow] = self._merged(self.counts[narrow])
            self.exponent = self.exponent + narrow
        scaled = torch.ldexp(responses, -self.exponent)  # in (-1, 1)
        bins = ((scaled + 1) * (self.BINS // 2)).floor().long()
        bins += torch.arange(len(self.counts), device=bins.device) * self.BINS
        self.counts += bins.flatten().bincount(minlength=self.counts.numel()).view_as(self.counts)

    def _merged(self, counts: Tensor) -> Tensor:
        pairs = counts.unflatten(1, (self.BINS // 2, 2)).sum(2)
        return F.pad(pairs, (self.BINS // 4, self.BINS // 4))

    def value(self) -> Tensor:
        assert self.counts is not None
        return torch.where(torch.as_tensor(self.broken), torch.nan, self.counts.T.double()).T


class Correlation(Accumulator):
    """Pearson correlation [C, C] of the filters' pooled responses; zero, also with itself, for a constant one."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.products: Tensor | float = 0.0
        self.count = 0

    def add(self, a: Tensor, g: Tensor, labels: Tensor) -> None:
        responses = pooled(a).double()
        self.total = self.total + responses.sum(0)
        self.products = self.products + responses.T @ responses
        self.count += len(a)

    def value(self) -> Tensor:
        mean = torch.as_tensor(self.total) / self.count
        square = torch.as_tensor(self.products) / self.count
        covariance = square - torch.outer(mean, mean)
        variance = covariance.diagonal()
        rounding = torch.maximum(NOISE * variance.mean(), NOISE * square.diagonal())
        spread = torch.where(variance > rounding, variance, torch.inf).sqrt()
        return covariance / torch.outer(spread, spread)


class ClassMoments(Accumulator):
    """Pooled responses class by class, [C, 3, classes]: their number, mean less the mean of all, and variance."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def add(self, a: Tensor, g: Tensor, labels: Tensor) -> None:
        responses = pooled(a).double()
        moments = torch.stack([torch.ones_like(responses), responses, responses.square()], dim=2)  # [N, C, 3]
        classes = int(labels.max()) + 1
        if self.sums is None:
            self.sums = moments.new_zeros(classes, *moments.shape[1:])
        if classes > len(self.sums):
            self.sums = F.pad(self.sums, (0, 0, 0, 0, 0, classes - len(self.sums)))
        self.sums.index_add_(0, labels, moments)

    def value(self) -> Tensor:
        assert self.sums is not None
        number, total, squares = self.sums.unbind(2)  # [classes, C] each
        present = number.clamp(min=1)
        mean = total / present
        variance = (squares / present - mean.square()).clamp(min=0)
        deviation = torch.where(number > 0, mean - total.sum(0) / number.sum(0), 0.0)
        return torch.stack([number, deviation, variance], dim=2).permute(1, 2, 0)
