"""Kills jobs of every kind at random moments, resumes them, and compares what comes out with an undisturbed run.

    python scripts/kill_harness.py [--kills 30] [--seed 0] [--jobs search,audit] [--folder FOLDER]

A job is killed once or, one time in three, again while it is resumed: by SIGKILL, by SIGTERM, or by SIGINT, which goes
to the workers as well, as a terminal sends it. The moment is drawn uniformly over the time that the job works, and all
draws come from the seed; where a job then is depends on the machine. Afterwards every result must be that of the run
without a kill: files bit for bit, records but for times. No process may live on for more than five seconds, no
temporary file may be left in the run folder once the job is done, and nothing in shared memory. Prints a line a job,
and exits with 1 where anything is amiss. Linux alone: processes are found in /proc.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from killable_jobs import BOARD, JOBS, SPACE
from same_results import differences
from watched_run import Run

from blendsearch.config.yaml_text import to_yaml

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS_WITH = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 128 + signal.SIGINT}
AGAIN = 1 / 3
SECONDS_TO_STOP, SECONDS_TO_END, LONGEST_RUN = 30.0, 5.0, 300.0
TEMPORARY = ("*.part", ".export-*")
CACHES = ("torchinductor", "matplotlib")
"""What libraries keep for their next start in the folder for temporary files."""
COLUMNS = "{:>3}  {:<22} {:<26} {:>7}  {:<9} {:>6}"


@dataclass
class Fate:
    """What came of one job: the signals that killed it, each at a share of its time, and all that is amiss."""

    job: str
    kills: list[str] = field(default_factory=list)
    resumed: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Timed:
    """An undisturbed run: its folder, the seconds until its folder had a file, and those from there to the end."""

    folder: Path
    before: float
    working: float


class Workplace:
    """A folder with the files of all jobs, and the undisturbed runs as far as they are needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        for file, data in (("space.yaml", SPACE), ("board.yaml", BOARD)):
            (root / file).write_text(to_yaml(data))
        self._undisturbed: dict[str, Timed] = {}

    def fresh(self, what: str) -> Path:
        """Return a new folder for a run; it is there already, so that commands that want one find it."""
        return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=self.root))

    def start(self, name: str, folder: Path, *, resume: bool = False) -> Run:
        """Start a job, or let it go on."""
        job = JOBS[name]
        finished = {needed: str(self.undisturbed(needed).folder) for needed in job.needs}
        words = [word.format_map(finished) if finished else word for word in job.words]
        line = [*words, job.folder_option.format(folder), "--quiet", *(["--resume"] if resume else [])]
        return Run(line, self.root, self.temporary)

    def undisturbed(self, name: str) -> Timed:
        """Return a job's undisturbed run; the first call runs it."""
        if name not in self._undisturbed:
            folder = self.fresh("undisturbed")
            run = self.start(name, folder)
            run.wait_for_files(folder)
            begun = time.monotonic()
            if not run.wait(begun + LONGEST_RUN) or run.code:
                run.end()
                raise SystemExit(f"{name}: without a kill it ends with {run.code}: {run.last_words}")
            end = time.monotonic()
            if not JOBS[name].resumes:  # it writes at its end alone; the first third is for the libraries
                begun = run.started + (end - run.started) / 3
            self._undisturbed[name] = Timed(folder, begun - run.started, end - begun)
        return self._undisturbed[name]


def kill_and_resume(workplace: Workplace, name: str, draw: random.Random) -> Fate:
    """Kill a job once or twice, let it go on to its end, and look at what there is then."""
    timed, fate, folder = workplace.undisturbed(name), Fate(name), workplace.fresh("killed")
    start, reached = time.monotonic(), 0.0
    for _ in range(2 if draw.random() < AGAIN else 1):
        share, number = reached + (1 - reached) * draw.random(), draw.choice(SIGNALS)
        run = _go_on(workplace, folder, fate)
        if run.wait(_begin(run, timed, folder, fate) + (share - reached) * timed.working):
            fate.faults += [f"ended with {run.code} of itself: {run.last_words}"] if run.code else []
        else:
            fate.kills.append(f"{number.name[3:]} at {share:.0%}")
            _kill(run, number, fate)
            # One that had done its work was on its way out: Python takes its handlers back before it ends.
            if run.code not in (0, ENDS_WITH[number]) and differences(timed.folder, folder):
                fate.faults.append(f"{number.name}: ended with {run.code}, {ENDS_WITH[number]} expected")
        _look_for_leftovers(run, fate)
        reached = share
    run = _go_on(workplace, folder, fate)
    if not run.wait(time.monotonic() + LONGEST_RUN):
        fate.faults.append(f"still running {LONGEST_RUN:.0f} s after it was resumed")
    elif run.code:
        fate.faults.append(f"ended with {run.code} when resumed: {run.last_words}")
    _look_for_leftovers(run, fate)
    fate.seconds = time.monotonic() - start
    fate.faults += [f"left behind: {path.relative_to(folder)}" for one in TEMPORARY for path in folder.rglob(one)]
    fate.faults += differences(timed.folder, folder)
    if not fate.faults:
        shutil.rmtree(folder)
    return fate


def _go_on(workplace: Workplace, folder: Path, fate: Fate) -> Run:
    """Start a job, or let it go on where something lies in its folder."""
    resume = any(folder.iterdir()) and JOBS[fate.job].resumes
    fate.resumed += resume
    return workplace.start(fate.job, folder, resume=resume)


def _begin(run: Run, timed: Timed, folder: Path, fate: Fate) -> float:
    """Wait until a job begins to work, as far as that can be seen, and return the moment."""
    if JOBS[fate.job].resumes and not fate.resumed:
        run.wait_for_files(folder)
    else:
        run.wait(run.started + timed.before)
    return time.monotonic()


def _kill(run: Run, number: signal.Signals, fate: Fate) -> None:
    """Send a signal and see how the job ends."""
    run.send(number)
    if not run.wait(time.monotonic() + SECONDS_TO_STOP):
        fate.faults.append(f"{number.name}: still running {SECONDS_TO_STOP:.0f} s later")
    if "Traceback" in run.words:
        fate.faults.append(f"{number.name}: a traceback: {run.last_words}")


def _look_for_leftovers(run: Run, fate: Fate) -> None:
    """Note processes and shared memory of a run which are still there after SECONDS_TO_END, and end it."""
    until = time.monotonic() + SECONDS_TO_END
    while (run.living() or run.shared_memory()) and time.monotonic() < until:
        time.sleep(0.1)
    living, memory = run.living(), run.shared_memory()
    fate.faults += [f"still alive {SECONDS_TO_END:g} s later: {len(living)} of its processes"] if living else []
    fate.faults += [f"in shared memory: {', '.join(memory)}"] if memory else []
    run.end()


def draw_jobs(names: Sequence[str], count: int, draw: random.Random) -> list[str]:
    """Return so many jobs in an order drawn at random, each as often as any other or once more."""
    jobs: list[str] = []
    while len(jobs) < count:
        jobs += draw.sample(list(names), len(names))
    return jobs[:count]


def _told(number: int, fate: Fate) -> str:
    same, kills = "no" if fate.faults else "yes", ", ".join(fate.kills) or "was over before"
    line = COLUMNS.format(number, fate.job, kills, fate.resumed, same, f"{fate.seconds:.0f} s")
    return "\n".join([line, *(f"     {fault}" for fault in fate.faults)])


def main() -> int:
    """Run the harness; return 1 where anything is amiss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="how many jobs are killed, each once or twice")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"which, out of {', '.join(JOBS)}")
    parser.add_argument("--folder", type=Path, help="where runs are kept; a temporary one if left out")
    given = parser.parse_args()
    names = given.jobs.split(",")
    strange = [name for name in names if name not in JOBS]
    if strange:
        print(f"--jobs: unknown job '{strange[0]}' (allowed: {', '.join(JOBS)})", file=sys.stderr)
        return 2
    draw, fates = random.Random(given.seed), []
    with tempfile.TemporaryDirectory(prefix="kill-harness-") as temporary:
        workplace = Workplace((given.folder or Path(temporary)).resolve())
        print(COLUMNS.format("", "job", "killed by", "resumed", "identical", "time"), flush=True)
        for number, name in enumerate(draw_jobs(names, given.kills, draw), start=1):
            fates.append(kill_and_resume(workplace, name, draw))
            print(_told(number, fates[-1]), flush=True)
        left = sorted(path.name for path in workplace.temporary.iterdir() if not path.name.startswith(CACHES))
    wrong, kills = sum(bool(fate.faults) for fate in fates), sum(len(fate.kills) for fate in fates)
    print(f"{len(fates)} jobs killed {kills} times: {len(fates) - wrong} identical, {wrong} not")
    print(f"left in the folder for temporary files: {', '.join(left) or 'nothing'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
