"""How a search fares on 1 to 1,000 workers that are slow now and then, and die: a simulation, event by event.

Usage: .venv/bin/python scripts/simulate_workers.py [--workers 1 10 100 1000] [--evaluations 0] [--population 0]
           [--seconds 60] [--spread 0.5] [--slow 0.02] [--times 5] [--deaths 0.01] [--rejoin 120]
           [--propose 0.005] [--record 0.04] [--save 0.05] [--state 3e8] [--network 1.25e9] [--seed 0] [--out FILE.json]

Three ways to give out work: `generations` (ask a population, wait for all, tell), `window` (candidate n is proposed
from the results of 0 to n - window, told in that order: `search.window`), and `unordered` (each result is told as it
comes and leads to the next candidate: nobody waits, and no two runs are alike). Durations are lognormal; a share --slow
of them is --times longer. A worker dies --deaths times an hour of work; what it was at is done again first, and a
worker comes in its place after --rejoin seconds. The state travels to one worker after the other. The main process does
one thing at a time: proposing and planning a candidate (--propose), telling and recording it (--record), saving a
generation (--save). Defaults are what scripts/measure_search_costs.py measured, see docs/scaling.md. Without
--population it is twice the workers (at least 24), without --evaluations twenty populations.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

HOUR = 3600.0


@dataclass(frozen=True)
class Setting:
    """A search and the machines it runs on; seconds, except deaths (an hour), state (bytes), network (bytes a second).

    durations: of the candidates' first tries, in order, in place of drawn ones. lives: of the workers, in the order
    in which they come.
    """

    workers: int
    evaluations: int
    population: int
    window: int = 1
    seconds: float = 60.0
    spread: float = 0.5
    slow: float = 0.02
    times: float = 5.0
    deaths: float = 0.01
    rejoin: float = 120.0
    propose: float = 0.005
    record: float = 0.04
    save: float = 0.05
    state: float = 3e8
    network: float = 1.25e9
    seed: int = 0
    durations: Sequence[float] = ()
    lives: Sequence[float] = ()

    def duration(self, candidate: int, tries: int) -> float:
        """Return the seconds that a candidate takes on a worker; they depend on nothing else."""
        if candidate < len(self.durations):
            return self.durations[candidate]
        rng = np.random.default_rng([self.seed, candidate, tries])
        mean = self.seconds / (1 + self.slow * (self.times - 1))
        drawn = mean * math.exp(rng.normal(-(self.spread**2) / 2, self.spread))
        return drawn * self.times if rng.random() < self.slow else drawn

    def life(self, worker: int) -> float:
        """Return the seconds of work after which a worker dies."""
        if worker < len(self.lives):
            return self.lives[worker]
        if not self.deaths:
            return math.inf
        return float(np.random.default_rng([self.seed, worker, 1, 1]).exponential(HOUR / self.deaths))


@dataclass
class Outcome:
    """What a search took: wall seconds, the workers' on results and on lost work, the main process's by part."""

    seconds: float = 0.0
    useful: float = 0.0
    lost: float = 0.0
    main: dict[str, float] = field(default_factory=lambda: {"propose": 0.0, "record": 0.0, "save": 0.0})
    deaths: int = 0
    told: list[int] = field(default_factory=list)

    def row(self, setting: Setting) -> dict[str, float]:
        """Return utilisation (of the workers there should be), speed-up over one worker, hours, and main's share."""
        alone = self.useful + sum(self.main.values())
        return {
            "utilisation": self.useful / (setting.workers * self.seconds),
            "speed_up": alone / self.seconds,
            "hours": self.seconds / HOUR,
            "main_busy": sum(self.main.values()) / self.seconds,
            "deaths": self.deaths,
        }


class Simulation(ABC):
    """Main process and workers; a subclass says what is proposed and told when a result is there."""

    name: str

    def __init__(self, setting: Setting) -> None:
        self.setting, self.outcome = setting, Outcome()
        self.now = 0.0  # of the main process
        self.asked = 0
        self.waiting: deque[tuple[float, int]] = deque()  # since when there is a candidate without a worker, and which
        self.tries: dict[int, int] = {}
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.idle: list[tuple[float, int]] = []
        self.joined = 0
        self.lives: dict[int, float] = {}

    def run(self) -> Outcome:
        """Simulate the search to its end."""
        for place in range(self.setting.workers):
            self._join((place + 1) * self.setting.state / self.setting.network)
        self.start()
        while len(self.outcome.told) < self.setting.evaluations:
            when, _, happen = heapq.heappop(self.events)
            self.now = max(self.now, when)
            self.when = when
            happen()
        self.outcome.seconds = self.now
        return self.outcome

    @abstractmethod
    def start(self) -> None:
        """Propose what can be proposed from nothing."""

    @abstractmethod
    def finished(self, candidate: int) -> None:
        """Go on when a result has come."""

    def work(self, part: str) -> None:
        """Let the main process do one thing."""
        seconds = {"propose": self.setting.propose, "record": self.setting.record, "save": self.setting.save}[part]
        self.now += seconds
        self.outcome.main[part] += seconds

    def propose(self) -> None:
        """Propose the next candidate, for a worker as soon as there is one."""
        self.work("propose")
        self.waiting.append((self.now, self.asked))
        self.asked += 1
        self.dispatch()

    def tell(self, candidate: int) -> None:
        """Tell and record a result; a generation's last one has the state saved."""
        self.outcome.told.append(candidate)
        self.work("record")
        if len(self.outcome.told) % self.setting.population == 0:
            self.work("save")

    def dispatch(self) -> None:
        """Give waiting candidates to workers that are free."""
        while self.waiting and self.idle:
            free, worker = heapq.heappop(self.idle)
            since, candidate = self.waiting.popleft()
            self._begin(max(since, free), worker, candidate)

    def _begin(self, start: float, worker: int, candidate: int) -> None:
        tries = self.tries.get(candidate, 0)
        duration = self.setting.duration(candidate, tries)
        if duration > self.lives[worker]:
            self._at(start + self.lives[worker], lambda: self._die(worker, candidate))
            return
        self.lives[worker] -= duration
        self._at(start + duration, lambda: self._done(worker, candidate, duration))

    def _done(self, worker: int, candidate: int, duration: float) -> None:
        self.outcome.useful += duration
        heapq.heappush(self.idle, (self.when, worker))
        self.dispatch()
        self.finished(candidate)

    def _die(self, worker: int, candidate: int) -> None:
        self.outcome.deaths += 1
        self.outcome.lost += self.lives.pop(worker)
        self.tries[candidate] = self.tries.get(candidate, 0) + 1
        self.waiting.appendleft((self.when, candidate))
        self._join(self.when + self.setting.rejoin + self.setting.state / self.setting.network)
        self.dispatch()

    def _join(self, when: float) -> None:
        worker, self.joined = self.joined, self.joined + 1
        self.lives[worker] = self.setting.life(worker)

        def ready() -> None:
            heapq.heappush(self.idle, (when, worker))
            self.dispatch()

        self._at(when, ready)

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, happen))


class Generations(Simulation):
    """All of a population are proposed, then given out together; when the last is done, all are told and recorded."""

    name = "generations"

    def start(self) -> None:
        self.results: list[int] = []
        size = min(self.setting.population, self.setting.evaluations - self.asked)
        for _ in range(size):
            self.work("propose")
        self.waiting.extend((self.now, candidate) for candidate in range(self.asked, self.asked + size))
        self.asked += size
        self.dispatch()

    def finished(self, candidate: int) -> None:
        self.results.append(candidate)
        if len(self.outcome.told) + len(self.results) < self.asked:
            return
        for one in sorted(self.results):
            self.tell(one)
        if self.asked < self.setting.evaluations:
            self.start()


class Window(Simulation):
    """Results are told in the order of asking, and each told one lets another candidate be proposed."""

    name = "window"

    def start(self) -> None:
        self.results: set[int] = set()
        first = max(self.setting.population, self.setting.window)
        for _ in range(min(first, self.setting.evaluations)):
            self.propose()

    def finished(self, candidate: int) -> None:
        self.results.add(candidate)
        while len(self.outcome.told) in self.results:
            oldest = len(self.outcome.told)
            self.results.remove(oldest)
            while self.asked < min(self.setting.evaluations, oldest + 1 + self.setting.window):
                self.propose()
            self.tell(oldest)


class Unordered(Simulation):
    """Each result is told as it comes, and leads to the next candidate."""

    name = "unordered"

    def start(self) -> None:
        for _ in range(min(max(self.setting.population, self.setting.workers), self.setting.evaluations)):
            self.propose()

    def finished(self, candidate: int) -> None:
        if self.asked < self.setting.evaluations:
            self.propose()
        self.tell(candidate)


def settings_of(given: argparse.Namespace, workers: int) -> Setting:
    """Return the setting for a number of workers."""
    names = ("seconds", "spread", "slow", "times", "deaths", "rejoin", "propose", "record", "save", "state", "network")
    population = given.population or max(24, 2 * workers)
    evaluations = given.evaluations or 20 * population
    chosen = {name: getattr(given, name) for name in names}
    return Setting(workers=workers, population=population, evaluations=evaluations, seed=given.seed, **chosen)


def compare(setting: Setting, windows: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return the numbers of every way to give out work."""
    rows = {"generations": Generations(setting).run().row(setting)}
    for window in windows:
        rows[f"window {window}"] = Window(replace(setting, window=window)).run().row(setting)
    return {**rows, "unordered": Unordered(setting).run().row(setting)}


def main() -> None:
    """Simulate, print a table, and keep it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--windows", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="shares of the population")
    for name in ("evaluations", "population", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0)
    defaults = Setting(workers=1, evaluations=1, population=1)
    for name, value in asdict(defaults).items():
        if isinstance(value, float):
            parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = {}
    print("workers  population  way              used   speed-up     hours   main busy  deaths")
    for workers in given.workers:
        setting = settings_of(given, workers)
        windows = sorted({max(1, round(share * setting.population)) for share in given.windows})
        rows = found[workers] = compare(setting, windows)
        for way, row in rows.items():
            print(
                f"{workers:7d}  {setting.population:10d}  {way:14s} {row['utilisation']:6.1%} {row['speed_up']:10.1f} "
                f"{row['hours']:9.2f} {row['main_busy']:11.1%} {row['deaths']:7.0f}"
            )
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
