"""What a killed process was writing is swept when its folder is next opened; what a live one writes stays."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from blendsearch.files import atomic, staged, sweep
from blendsearch.results.run_folder import RunFolder

WRITING = """
import sys, time
from pathlib import Path
from blendsearch.files import atomic, staged

with staged(Path(sys.argv[1]) / "export") as place, atomic(Path(sys.argv[1]) / "checkpoints" / "a.pt") as part:
    (place / "half").write_bytes(b"half")
    part.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of a checkpoint and an export of a run folder."""
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def parts(folder):
    return sorted(path for path in folder.rglob("*") if path.name.endswith(".part") or ".export-" in path.name)


def test_what_a_killed_process_was_writing_is_swept_when_the_folder_is_opened(tmp_path, writer):
    (tmp_path / "checkpoints" / ".b.pt.x_1.part").touch()  # of an earlier version, without a number
    (tmp_path / "mine.part").touch()  # of the user's
    assert len(parts(tmp_path)) == 4
    folder = RunFolder(tmp_path)
    with folder.locked():
        assert len(parts(tmp_path)) == 3  # the writer lives
    writer.kill()
    writer.wait()
    with folder.locked():
        assert parts(tmp_path) == [tmp_path / "mine.part"]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["swept"] * 3


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no folder here")
def test_semaphores_of_a_killed_holder_go_and_those_of_live_ones_stay(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    gone = Path(f"/dev/shm/sem.loky-{killed.pid}-test")
    mine, strange = Path(f"/dev/shm/sem.loky-{os.getpid()}-test"), Path("/dev/shm/sem.loky-4194999-test")
    try:
        for semaphore in (gone, mine, strange):
            semaphore.touch()
        (tmp_path / ".holder.json").write_text(json.dumps({"host": socket.gethostname(), "pid": killed.pid}))
        with RunFolder(tmp_path).locked():
            assert json.loads((tmp_path / ".holder.json").read_text())["pid"] == os.getpid()
            assert [one.exists() for one in (gone, mine, strange)] == [False, True, True]
        assert not (tmp_path / ".holder.json").exists()
        (tmp_path / ".holder.json").write_text(str(os.getpid()))
        with RunFolder(tmp_path).locked():
            assert mine.exists()
        (tmp_path / ".holder.json").write_text("half")
        with RunFolder(tmp_path).locked():
            pass
    finally:
        for semaphore in (gone, mine, strange):
            semaphore.unlink(missing_ok=True)


def test_what_this_process_writes_is_not_swept(tmp_path):
    with atomic(tmp_path / "a.json") as part:
        part.write_text("{}")
        assert sweep(tmp_path) == []
    assert (tmp_path / "a.json").read_text() == "{}"
    with staged(tmp_path) as place:
        (place / "b").touch()
        assert sweep(tmp_path) == []
    assert (tmp_path / "b").exists()


def test_what_a_killed_process_tried_the_file_system_with_is_swept(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    gone, older, live = (tmp_path / f".probe-{name}" for name in (f"{killed.pid}-ab", "xyz", f"{os.getpid()}-cd"))
    for folder in (gone, older, live):
        folder.mkdir()
        (folder / "written").touch()
    assert set(sweep(tmp_path)) == {gone, older}
    assert live.is_dir()


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".c.pt.part").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "run" / ".export-link").symlink_to(tmp_path / "elsewhere")
    sweep(tmp_path / "run")
    assert (tmp_path / "elsewhere" / ".c.pt.part").exists()


@pytest.fixture
def small_files():
    """A process whose files may not become larger than 100 kB: the next best to a full disk that needs no root."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize(
    "write",
    [
        lambda part: part.write_bytes(bytes(200_000)),
        lambda part: torch.save({"weight": torch.zeros(50_000)}, part),
        lambda part: save_file({"weight": torch.zeros(50_000)}, part),
    ],
    ids=["bytes", "torch", "safetensors"],
)
def test_a_disk_that_takes_no_more_is_told_alike_whatever_writes(tmp_path, write):
    (tmp_path / "a.pt").write_text("old")
    with pytest.raises(OSError, match="File too large") as told, atomic(tmp_path / "a.pt") as part:
        write(part)
    assert told.value.errno == errno.EFBIG
    assert told.value.filename == str(tmp_path / "a.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    assert (tmp_path / "a.pt").read_text() == "old"


@pytest.mark.usefixtures("small_files")
def test_half_a_line_of_events_is_taken_back(tmp_path):
    folder = RunFolder(tmp_path)
    folder.event("small")
    with pytest.raises(OSError, match="File too large"):
        folder.event("large", text="x" * 200_000)
    folder.event("small")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["small", "small"]


def test_errors_of_the_block_itself_stay_as_they_are(tmp_path):
    with pytest.raises(ValueError, match="mine"), atomic(tmp_path / "a"):
        raise ValueError("mine")
    with pytest.raises(FileNotFoundError) as told, atomic(tmp_path / "a"):
        open(tmp_path / "nothing").close()
    assert told.value.filename == str(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
