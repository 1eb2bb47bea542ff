"""What is kept of a network that leaves its run: how it is built, which shapes it has, and what an export came to."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from blendsearch.results.records.common import Number, PlanData, Record

SAVED_SCHEMA = 1
"""Of the metadata in a saved network's file."""


class NetworkRecord(Record):
    """How a network is built and what it takes: model.json of a run folder, and a part of a saved network's file.

    name, arguments: as the section `model` of a space has them; name "" for a network that was given as an object.
    shape: of one image, [C, H, W]; None where it is not known. mean, std: one number a channel, of images in [0, 1].
    """

    name: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Figures(Record):
    """What a pruned network came to: accuracies and ratios in [0, 1]; None where it is not known."""

    test_accuracy: Number = None
    unpruned_test_accuracy: Number = None
    flops_ratio: Number = None
    params_ratio: Number = None


class BufferRecord(Record):
    """A buffer that no state dict holds, such as the table of a zero-padding shortcut: its type and nested values."""

    dtype: str
    values: list[Any]


class SavedRecord(Record):
    """What the metadata of a saved network's file hold beside its tensors.

    plan: see `Plan.to_dict`; None for a network that is whole. sizes: module -> attribute -> value, such as
    out_channels. buffers: what no state dict holds. shapes: those of the unpruned network's tensors, where known.
    """

    schema_: int = Field(SAVED_SCHEMA, alias="schema")
    plan: PlanData | None = None
    sizes: dict[str, dict[str, int | list[int]]] = Field(default_factory=dict)
    buffers: dict[str, BufferRecord] = Field(default_factory=dict)
    shapes: dict[str, list[int]] | None = None
    network: NetworkRecord | None = None
    figures: Figures | None = None
    version: str = ""


class ExportRecord(Record):
    """An exported network, and how it was checked.

    path: a file, or a folder with several. difference: the largest between its outputs and the network's, absolute;
    tolerance: what is allowed, as a share of the largest output. batches: sizes it was tried with. checked: by what.
    bytes: of the file, or of all files. opset: of ONNX. note: what is to be known.
    """

    path: str
    format: str
    difference: float
    largest_output: float
    tolerance: float
    batches: tuple[int, ...]
    dynamic_batch: bool
    checked: str
    bytes: int
    seconds: float
    opset: int | None = None
    note: str = ""
