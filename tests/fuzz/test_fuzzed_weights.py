"""Weights files and saved networks that are damaged, or would run code: refused in a line, and nothing is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import ANYTHING, NAMES, TEXTS, amounts, check_words, damaged, damaged_bytes, for_all, outcome
from hypothesis import strategies as st
from network_files import as_json, case, runs
from safetensors.torch import save as save_safetensors

from blendsearch.errors import WeightsError
from blendsearch.experiment.saved import METADATA, read_saved, save_pruned
from blendsearch.models.weights import load_weights, read_state_dict
from blendsearch.structure import Plan

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of pickles from other versions
SHAPES = st.lists(st.integers(0, 3), max_size=3)
TABLES = st.dictionaries(NAMES, st.builds(torch.zeros, SHAPES), min_size=1, max_size=3)


def as_safetensors(header: bytes, data: bytes = b"\0" * 64, length: int | None = None) -> bytes:
    """Return a safetensors file with any header; length: what it says that the header has."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def as_torch(saved: object, *, zipped: bool = True) -> bytes:
    """Return what torch.save writes, or an older version of it."""
    file = io.BytesIO()
    torch.save(saved, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "I64", "BOOL", "F8_E4M3", "X"]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 4, 2**31, 2**62, -1]), max_size=4),
        "data_offsets": st.lists(st.sampled_from([0, 4, 16, 64, 2**40, 2**63, -1]), min_size=2, max_size=2),
    }
)
HEADERS = st.one_of(
    st.dictionaries(NAMES, ENTRIES, max_size=3),
    damaged(st.dictionaries(NAMES, ENTRIES, min_size=1, max_size=3)),
    ANYTHING,
).map(as_json)
DAMAGED = st.one_of(
    st.tuples(st.just(".safetensors"), st.builds(as_safetensors, HEADERS)),
    st.tuples(
        st.just(".safetensors"),
        st.builds(as_safetensors, HEADERS, st.just(b""), st.sampled_from([0, 1, 100_000_001, 2**40, 2**63, 2**64 - 1])),
    ),
    st.tuples(st.just(".safetensors"), damaged_bytes(TABLES.map(save_safetensors))),
    st.tuples(st.sampled_from([".pt", ".ckpt"]), damaged_bytes(TABLES.map(as_torch))),
    st.tuples(st.just(".pth"), damaged_bytes(TABLES.map(lambda table: as_torch(table, zipped=False)))),
    st.tuples(st.just(".pt"), ANYTHING.map(as_torch)),
    st.tuples(st.sampled_from([".pt", ".th", ".safetensors"]), st.binary(max_size=40)),
)


@amounts("valid weights")
def test_valid_weights_are_read_as_they_were_written(cases, tmp_path):
    def check(table, suffix):
        file = tmp_path / f"weights{suffix}"
        file.write_bytes(save_safetensors(table) if suffix == ".safetensors" else as_torch({"state_dict": table}))
        read = read_state_dict(file, own=table)
        assert read.keys() == table.keys()
        assert all(torch.equal(read[key], table[key]) for key in table)

    for_all(cases, check, TABLES, st.sampled_from([".pt", ".ckpt", ".safetensors"]))


@amounts("damaged weights")
def test_any_file_holds_weights_or_is_told_in_a_line(cases, tmp_path):
    network = case(0).network
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}

    def check(drawn):
        suffix, content = drawn
        file = tmp_path / f"weights{suffix}"
        file.write_bytes(content)
        outcome(lambda: read_state_dict(file), tmp_path)
        outcome(lambda: load_weights(network, file), tmp_path)
        file.unlink()
        after = network.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before), "a file that is no network's changes one"

    for_all(cases, check, DAMAGED)


@cache
def saved(number: int, folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header and the rest of a network that `save_pruned` wrote."""
    small = case(number)
    keep = {group: tuple(range(max(1, width // 2))) for group, width in small.structure.widths.items()}
    plan = Plan(keep, small.structure.widths)
    network = small.structure.slice(small.network, plan)
    content = save_pruned(network, plan, folder / "saved.safetensors", original=small.network).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.mark.parametrize("number", [0, 1], ids=["plain", "with a buffer"])
@amounts("damaged saved networks")
def test_any_saved_network_is_read_or_told_in_a_line(cases, number, tmp_path, tmp_path_factory):
    header, data = saved(number, tmp_path_factory.mktemp("whole"))
    record, model = json.loads(header["__metadata__"][METADATA]), case(number).network
    file = tmp_path / "network.safetensors"

    def check(said):
        metadata = {**header["__metadata__"], METADATA: said if isinstance(said, str) else json.dumps(said)}
        file.write_bytes(as_safetensors(as_json({**header, "__metadata__": metadata}), data))
        found = outcome(lambda: read_saved(file), tmp_path)
        network = outcome(lambda: found.put_into(model), tmp_path) if found is not None else None
        if network is not None and number == 0:  # in a buffer there may be any numbers
            assert runs(network)

    check(record)
    for_all(cases, check, st.one_of(damaged(st.just(record)), ANYTHING, TEXTS))


class Trap:
    """Runs a call when it is unpickled by a loader that runs code."""

    def __init__(self, called: Any, arguments: tuple[Any, ...]) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called, self.arguments


def traps(mark: Path) -> st.SearchStrategy[Trap]:
    """Return calls each of which would leave a mark: by a module's function, a builtin, a method, torch's own."""
    line = f"open({str(mark)!r}, 'w').close()"
    return st.sampled_from(
        [
            Trap(os.system, (f"touch {mark}",)),
            Trap(Path.touch, (mark,)),
            Trap(exec, (line,)),
            Trap(eval, (line,)),
            Trap(open, (str(mark), "w")),
            Trap(subprocess.Popen, (["touch", str(mark)],)),
            Trap(torch.save, (torch.zeros(1), str(mark))),
            Trap(getattr, (Path(mark), "touch")),
            Trap(os.mkdir, (str(mark),)),
        ]
    )


PLACES = {
    "alone": lambda trap, table: trap,
    "beside": lambda trap, table: {"state_dict": table, "more": trap},
    "among": lambda trap, table: {**table, "trap": trap},
    "as a key": lambda trap, table: {"state_dict": {(trap,): 1, **table}},
    "before": lambda trap, table: [trap, table],
    "within": lambda trap, table: OrderedDict(state_dict=OrderedDict(table), more=[{"deep": (trap,)}]),
}
WRITERS = {
    "zip": as_torch,
    "legacy": lambda saved: as_torch(saved, zipped=False),
    "pickle": lambda saved: pickle.dumps(saved, protocol=2),
    "newest pickle": lambda saved: pickle.dumps(saved, protocol=5),
}


@amounts("pickles of code")
def test_pickled_code_never_runs(cases, tmp_path):
    mark = tmp_path / "it ran"

    def check(trap, place, writer, suffix, table):
        file = tmp_path / f"trap{suffix}"
        file.write_bytes(WRITERS[writer](PLACES[place](trap, table)))
        with pytest.raises(WeightsError) as caught:
            read_state_dict(file)
        check_words(caught.value)
        assert not mark.exists(), "it ran"

    suffixes = st.sampled_from([".pt", ".pth", ".th", ".ckpt", ".safetensors"])
    for_all(
        cases, check, traps(mark), st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(WRITERS)), suffixes, TABLES
    )


def endless() -> dict[str, Any]:
    """Return a table that holds itself."""
    table: dict[str, Any] = {}
    table["state_dict"] = table
    return table


def deep(levels: int) -> bytes:
    """Return the pickle of a table in a table in a table."""
    return b"\x80\x02" + b"}X\x0a\x00\x00\x00state_dict" * levels + b"}" + b"s" * levels + b"."


@pytest.mark.parametrize("content", [as_torch(endless()), deep(2000), deep(100_000)], ids=["endless", "deep", "deeper"])
def test_tables_without_end_are_told(tmp_path, content):
    file = tmp_path / "weights.pt"
    file.write_bytes(content)
    assert outcome(lambda: read_state_dict(file), tmp_path) is None


def test_packed_zeros_are_not_unpacked(tmp_path):
    """A zip of kilobytes that grows to gigabytes; torch.save packs nothing."""
    file = tmp_path / "weights.pt"
    whole = io.BytesIO(as_torch({"a": torch.zeros(4_000_000)}))
    with zipfile.ZipFile(whole) as zipped, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in zipped.namelist():
            packed.writestr(name, zipped.read(name))
    assert file.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="packed"):
        read_state_dict(file)
