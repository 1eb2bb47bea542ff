"""What a data set's loader returned, checked before it is split: loaders of other packages are told what is amiss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from blendsearch.data.batches import ChosenImages
from blendsearch.data.datasets import Part, Source
from blendsearch.errors import DataError


def check_source(source: Any, name: str) -> None:
    """Raise DataError when what the loader of the set `name` returned is not what `Source` and `Part` promise.

    Of a dataset to stream from, the first image is read; the others are checked as they are read.
    """
    if not isinstance(source, Source):
        raise DataError(f"data.name: the loader of '{name}' returned {type(source).__name__}, allowed: a Source")
    for where, part in (("train", source.train), ("test", source.test), ("validation", source.validation)):
        for what in _mistakes(source, part) if part is not None else ():
            raise DataError(f"data.name: the {where} part of '{name}' {what}")


def _mistakes(source: Source, part: Part) -> Iterator[str]:
    """Yield what is wrong with a part, in words that follow its name."""
    labels = part.labels
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.dim() != 1:
        yield f"has labels {_form(labels)}, allowed: a tensor torch.int64 (N,)"
    elif len(labels) == 0:
        yield "has no image"
    elif not 0 <= int(labels.min()) <= int(labels.max()) < len(source.classes):
        given = f"{int(labels.min())} to {int(labels.max())}"
        yield f"has labels {given}, allowed: 0 to {len(source.classes) - 1}, one for each of its classes"
    if part.images is not None:
        wanted = (len(labels), *source.shape)
        if not isinstance(part.images, Tensor) or part.images.dtype != torch.uint8 or part.images.shape != wanted:
            yield f"has images {_form(part.images)}, allowed: a tensor torch.uint8 {wanted} (NxCxHxW)"
    elif part.dataset is None:
        yield "has neither images nor a dataset to stream them from"
    else:
        yield from _mistakes_of_dataset(part.dataset, part, source)


def _mistakes_of_dataset(dataset: Dataset[Any], part: Part, source: Source) -> Iterator[str]:
    by_number = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, IterableDataset) or not by_number:
        yield (
            f"streams from {type(dataset).__name__}, which gives no image by its number; "
            "allowed: a map-style torch Dataset, with __getitem__ and __len__"
        )
    elif len(dataset) != len(part.labels):  # type: ignore[arg-type]
        yield f"has {len(part.labels)} labels for {len(dataset)} images of its dataset"  # type: ignore[arg-type]
    elif part.names is not None and len(part.names) != len(part.labels):
        yield f"has {len(part.labels)} labels for {len(part.names)} names"
    else:
        _ = ChosenImages(dataset, part.labels, [0], source.shape)[0]


def _form(given: Any) -> str:
    return f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
