"""A few images of a split, to time things on."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from blendsearch.data.batches import GivenBatches, Split, StreamedImages


class Sample:
    """Images of a split, read once and kept: as many as were ever asked for; reading: seconds of one, if streamed."""

    def __init__(self, split: Split) -> None:
        self.whole = split
        self.held: GivenBatches | None = None
        self.reading = 0.0

    def split(self, count: int) -> Split:
        """Return at most `count` images of the split."""
        count = min(count, len(self.whole))
        if not isinstance(self.whole, StreamedImages):
            return self.whole.take(count)
        if self.held is None or len(self.held) < count:
            few = replace(self.whole.take(count), workers=0)
            start = time.perf_counter()
            self.held = GivenBatches(few.batches(count))
            self.reading = (time.perf_counter() - start) / count
        return self.held.subset(torch.arange(count))

    def reading_of(self, count: int, workers: int) -> float:
        """Return the seconds that workers take to read so many images; 0 for images kept in memory."""
        return count * self.reading / max(1, workers)
