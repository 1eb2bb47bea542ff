"""A saved network: one safetensors file that carries its own plan, and what else is needed to build it again.

Its tensors are the state dict. Everything else stands in the file's metadata under `blendsearch`, as JSON with a schema
version, see `SavedRecord`. Nothing in it is code, and nothing is unpickled.
"""

from __future__ import annotations

import json
import operator
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from blendsearch.errors import StructureError, WeightsError, first_line, nearest, quoted
from blendsearch.files import atomic, in_the_way
from blendsearch.models.weights import Shape, misfits, shapes_of
from blendsearch.results.reading import parse
from blendsearch.results.records.shipping import SAVED_SCHEMA, BufferRecord, Figures, NetworkRecord, SavedRecord
from blendsearch.structure import Plan
from blendsearch.structure.given import check_network
from blendsearch.structure.sizes import DECLARED, declared_sizes, resized_copy, size_contradicted, unsaved_buffers
from blendsearch.version import __version__

METADATA = "blendsearch"


@dataclass(frozen=True)
class Saved:
    """A saved network as read: its tensors by the keys of the state dict, and its metadata."""

    path: Path
    tensors: dict[str, Tensor]
    record: SavedRecord

    @property
    def plan(self) -> Plan | None:
        """The plan that the network was sliced by; None for a whole one."""
        return None if self.record.plan is None else Plan.from_dict(self.record.plan)

    def put_into(self, model: nn.Module) -> nn.Module:
        """Return a copy of the unpruned `model` with the file's shapes and weights, in evaluation mode on the CPU.

        Raises StructureError or WeightsError for a model that does not fit the plan or the weights.
        """
        check_network(model)
        self._check_plan(model)
        self._check_tensors(model)
        self._check_sizes(model)
        buffers = {key: self._buffer(key, one) for key, one in self.record.buffers.items()}
        network = resized_copy(model, self.record.sizes, {**self.tensors, **buffers}).cpu().eval()
        contradiction = size_contradicted(network)
        if contradiction:
            raise WeightsError(f"{self.path}: its sizes do not go with its weights: {contradiction}")
        return network

    def _check_plan(self, model: nn.Module) -> None:
        """Raise StructureError where a group of the plan is no convolution of the model, or of another width."""
        modules, plan, kind = dict(model.named_modules()), self.plan, type(model).__name__
        for path, sizes in self.record.sizes.items():
            if path not in modules:
                close = nearest(path, modules)
                hint = f" (the nearest is '{close}')" if close else ""
                raise StructureError(f"{self.path}: {kind} has no module '{path}'{hint}")
            if not set(sizes) <= set(DECLARED):  # nothing else of a module is a file's to change
                raise StructureError(f"{self.path}: sizes of '{path}': {', '.join(sizes)} given, allowed: {DECLARED}")
        for group, width in (plan.widths if plan else {}).items():
            filters = getattr(modules.get(group), "out_channels", None)
            if not isinstance(filters, int) or filters % width:  # a filter of the plan may be a block of several
                given = f"has {filters} filters" if isinstance(filters, int) else "is no convolution"
                raise StructureError(
                    f"{self.path}: '{group}' {given} in the {kind} given, {width} in the plan; give "
                    "the unpruned network, built as it was for the run"
                )

    def _check_sizes(self, model: nn.Module) -> None:
        """Raise StructureError where a size is none that the module declares, or larger; nothing else is changed."""
        declared = declared_sizes(model)
        for path, sizes in self.record.sizes.items():
            for name, size in sizes.items():
                own = declared.get(path, {}).get(name)
                if own is None:
                    allowed = ", ".join(declared.get(path, {})) or "none"
                    raise StructureError(f"{self.path}: sizes of '{path}': {name} given, allowed: {allowed}")
                if not _no_larger(own, size):
                    raise StructureError(
                        f"{self.path}: sizes of '{path}': {name} {quoted(size)} given, allowed: up to {own}"
                    )

    def _buffer(self, key: str, buffer: BufferRecord) -> Tensor:
        try:
            return torch.tensor(buffer.values, dtype=_dtype(buffer))
        except (ValueError, TypeError, RuntimeError) as error:  # rows of different lengths, texts among numbers
            raise WeightsError(f"{self.path}: buffer '{key}' is damaged ({first_line(error)})") from None

    def _check_tensors(self, model: nn.Module) -> None:
        whole = {key: tuple(shape) for key, shape in (self.record.shapes or {}).items()}
        faults = misfits(
            shapes_of(model.state_dict()),
            {**shapes_of(self.tensors), **whole},
            fits=operator.eq if whole else _no_smaller,
        )
        strange = [key for key in self.record.buffers if key not in unsaved_buffers(model)]
        if faults or strange:
            told = faults or f"it has no buffer '{strange[0]}'"
            raise WeightsError(f"{self.path}: does not fit the {type(model).__name__} given: {told}")


def _no_larger(own: int | list[int], given: int | list[int]) -> bool:
    """Tell whether a size may be what slicing left of a module's own."""
    if isinstance(own, int) or isinstance(given, int):
        return isinstance(own, int) and isinstance(given, int) and 1 <= given <= own
    return len(own) == len(given) and all(map(_no_larger, own, given))


def _no_smaller(own: Shape, given: Shape) -> bool:
    """Tell whether a tensor may have been sliced to a given shape."""
    return len(own) == len(given) and all(size >= kept for size, kept in zip(own, given, strict=True))


def save_pruned(
    network: nn.Module,
    plan: Plan | None,
    path: str | Path,
    *,
    original: nn.Module | None = None,
    about: NetworkRecord | None = None,
    figures: Figures | None = None,
) -> Path:
    """Write a network with the plan it was sliced by into one safetensors file; return its path.

    plan: None for a whole network. original: the unpruned network, where it is at hand: the shapes of its tensors are
    then kept, so that a model that differs in any is refused by `load`. about: how the unpruned network is built.
    Raises WeightsError for another ending than .safetensors, and for a file in the place of the folder.
    """
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise WeightsError(f"'{path}' ends in '{path.suffix}', allowed: .safetensors")
    if (file := in_the_way(path.parent)) is not None:
        raise WeightsError(f"'{path}' given, but '{file}' is a file; allowed: a path in a folder")
    record = describe(network, plan, original=original, about=about, figures=figures)
    # Tensors that share memory are written each by itself, which safetensors asks for.
    tensors = {key: one.detach().cpu().contiguous().clone() for key, one in network.state_dict().items()}
    with atomic(path) as part:
        save_file(tensors, part, metadata={"format": "pt", METADATA: json.dumps(record.to_dict())})
    return path


def describe(
    network: nn.Module,
    plan: Plan | None,
    *,
    original: nn.Module | None = None,
    about: NetworkRecord | None = None,
    figures: Figures | None = None,
) -> SavedRecord:
    """Return what the metadata of a saved network say; arguments as those of `save_pruned`."""
    buffers = unsaved_buffers(network)
    return SavedRecord(
        plan=None if plan is None else plan.to_dict(),
        sizes=declared_sizes(network),
        buffers={
            key: BufferRecord(dtype=str(one.dtype).removeprefix("torch."), values=one.tolist())
            for key, one in buffers.items()
        },
        shapes=None if original is None else {key: list(one.shape) for key, one in original.state_dict().items()},
        network=about,
        figures=figures,
        version=__version__,
    )


def read_saved(path: Path) -> Saved | None:
    """Return a saved network, None for a safetensors file without metadata of ours; WeightsError for other files."""
    if not path.is_file():
        raise WeightsError(f"'{path}' is no file (looked in '{Path.cwd()}')")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA)
            tensors = {key: file.get_tensor(key) for key in file.keys()} if text is not None else {}  # noqa: SIM118
    except (SafetensorError, OSError, struct.error) as error:
        raise WeightsError(f"'{path}' cannot be read as safetensors ({first_line(error)[:160]})") from None
    if text is None:
        return None
    try:
        schema = json.loads(text).get("schema")
    except (ValueError, AttributeError, RecursionError):
        raise WeightsError(f"{path}: its metadata '{METADATA}' is damaged (not a JSON object)") from None
    if schema != SAVED_SCHEMA:
        raise WeightsError(f"{path}: schema {quoted(schema)} given, {SAVED_SCHEMA} allowed; a later version wrote it")
    saved = Saved(path, tensors, parse(path, text, SavedRecord))
    _ = saved.plan  # a damaged plan is told here
    return saved


def _dtype(buffer: BufferRecord) -> torch.dtype:
    found = getattr(torch, buffer.dtype, None)
    if not isinstance(found, torch.dtype):
        raise WeightsError(f"buffers: type '{buffer.dtype}' given, allowed: one of torch, such as int64")
    return found
