"""Candidates that are proposed from all but the last few: the same search for any number of workers and any timing."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from living import alive

from blendsearch.blending import Clusters
from blendsearch.config import LimitConfig, SearchConfig
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms import ALGORITHMS, SearchAlgorithm, Settings, make_algorithm
from blendsearch.evolution.engines.local import LocalEngine
from blendsearch.evolution.fitness import FitnessFunction
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger
from blendsearch.evolution.loop import Search
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.evolution.stream import Stream
from blendsearch.evolution.window import WindowedSearch
from blendsearch.proxies import Estimate

SPACE = GenomeSpace(
    Clusters("network", {"network": ("a",)}, {"network": (("l1", "l2"), ("taylor",), ("fpgm", "apoz"))})
)
INITIAL = [SPACE.base(name) for name in ("l1", "l2", "taylor")]
SIZE, WINDOW, GENERATIONS = 6, 4, 4
IN_WINDOW = [name for name in ALGORITHMS.names() if ALGORITHMS.get(name).in_window]


@dataclass(frozen=True)
class FakePlan:
    digest: str
    value: float


class FakeProxy:
    """An estimate that takes another while each time, so that the order in which they are done is left to chance."""

    def prepare(self, context) -> None:
        self.context = context

    def estimate(self, network, plan):
        time.sleep(random.SystemRandom().uniform(0, 0.02))
        return Estimate(plan.value, 0.5, 10)


class FakeStructure:
    def slice(self, network, plan):
        return network


class FakeProblem:
    """Genomes near 0.7 are good; to one decimal, so that some plans come again."""

    def __init__(self, workers=1):
        context = SimpleNamespace(network=None, structure=FakeStructure(), racing=None)
        self.fitness = FitnessFunction(FakeProxy(), context, engine=LocalEngine(workers) if workers > 1 else None)

    def plan(self, genomes, genome):
        rounded = np.round(genome, 1)
        return FakePlan(str(rounded.tolist()), 1 - float(np.square(rounded - 0.7).mean()))

    def point(self, evaluation):
        return (evaluation.value,)

    def shares(self, plan):
        return ()


def search_of(folder, algorithm, *, workers=1, window=WINDOW, save=lambda state: None, name="trials"):
    return WindowedSearch(
        problem=FakeProblem(workers),
        genomes=SPACE,
        algorithm=algorithm,
        ledger=Ledger(f"sqlite:///{folder}/{name}.db", "search"),
        save=save,
        base_names=["l1", "l2", "taylor"],
        window=window,
    )


def made(name="generational"):
    return ALGORITHMS.get(name)(SPACE, seed=3, initial=INITIAL, settings=Settings(population=SIZE))


def outcome(search):
    """What a search came to, but for the seconds."""
    trials = [(one.number, one.generation, one.params, one.value, one.attrs) for one in search.ledger.trials()]
    return trials, search.generations, search.algorithm.state_dict()


@pytest.mark.parametrize("name", IN_WINDOW)
def test_the_same_for_any_number_of_workers(tmp_path, name):
    found = []
    for workers in (1, 2):
        search = search_of(tmp_path, made(name), workers=workers, name=f"of{workers}")
        search.run(GENERATIONS, SIZE)
        found.append(outcome(search))
    assert found[0] == found[1]
    trials, generations, _ = found[0]
    assert len(trials) == generations[-1].evaluations == SIZE * (1 + GENERATIONS)
    assert [one.generation for one in generations] == list(range(1 + GENERATIONS))
    assert generations[-1].distinct == len({attrs["plan"] for *_, attrs in trials})
    assert [attrs.get("criterion") for *_, attrs in trials[:4]] == ["l1", "l2", "taylor", None]
    first = {}
    for number, _, _, _, attrs in trials:
        assert attrs["repeated"] == (first.setdefault(attrs["plan"], number) != number)


class Noting(SearchAlgorithm):
    """Proposes at random and notes how many results it had been told at each proposal."""

    name, backend, source, in_window = "noting", "test", "here", True

    def __init__(self, *args, **shared):
        super().__init__(*args, **shared)
        self.told, self.notes = 0, []

    def propose(self, n):
        self.notes += [self.told] * n
        rng = np.random.default_rng([self.seed, self.asked])
        return [self.space.random(rng) for _ in range(n)]

    def learn(self, genomes, points):
        self.told += len(genomes)

    def state(self):
        return {"told": self.told}

    def restore(self, state):
        self.told = state["told"]


@pytest.mark.parametrize("window", [1, 4, 6, 9])
def test_a_candidate_is_proposed_from_all_but_the_last_few(tmp_path, window):
    algorithm = Noting(SPACE, seed=0, settings=Settings(population=SIZE))
    search = search_of(tmp_path, algorithm, window=window, workers=2)
    search.run(2, SIZE)
    later = [max(0, number - window + 1) for number in range(SIZE, 3 * SIZE)]
    assert algorithm.notes == [0] * SIZE + later
    assert algorithm.pending == []


def test_a_first_generation_larger_than_the_population_and_a_search_of_one_generation(tmp_path):
    initial = [SPACE.random(np.random.default_rng(number)) for number in range(9)]
    algorithm = ALGORITHMS.get("generational")(SPACE, seed=0, initial=initial, settings=Settings(population=SIZE))
    search = search_of(tmp_path, algorithm, window=2)
    search.run(0, SIZE)
    assert [one.evaluations for one in search.generations] == [9]
    search.run(1, SIZE)
    assert [one.evaluations for one in search.generations] == [9, 15]


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "moment"),
    [("generational", "after the second save"), *((name, "in the middle of a generation") for name in IN_WINDOW)],
)
def test_a_stopped_search_goes_on_to_the_same(tmp_path, name, moment):
    whole = search_of(tmp_path, made(name), name="whole")
    whole.run(GENERATIONS, SIZE)
    states = []

    def save(state):
        states.append(json.dumps(state))
        if len(states) == 2 and moment == "after the second save":
            raise Killed

    def progress(task, done, total, detail=""):
        if done == 2 * SIZE + 4 and moment == "in the middle of a generation":
            raise Killed

    stopped = search_of(tmp_path, made(name), save=save, name="stopped")
    stopped.progress = progress
    with pytest.raises(Killed):
        stopped.run(GENERATIONS, SIZE)
    resumed = search_of(tmp_path, made(name), name="stopped", workers=2)
    resumed.load_state_dict(json.loads(states[-1]))
    resumed.run(GENERATIONS, SIZE)
    assert outcome(resumed) == outcome(whole)


@pytest.mark.parametrize("limit", [{"evaluations": 13}, {"seconds": 7.0}, {"forward_passes": 140}])
def test_the_generation_that_reaches_a_limit_also_has_what_is_under_way(tmp_path, limit):
    seen = []
    search = search_of(tmp_path, made())
    search.progress = lambda *told: seen.append(told)
    search.run(GENERATIONS, SIZE, LimitConfig(**limit))
    assert len(search.generations) < 1 + GENERATIONS
    assert search.algorithm.pending == []
    count = search.generations[-1].evaluations
    assert count == len(search.ledger.trials()) == len(search.generations) * SIZE + WINDOW - 1
    assert "limit reached" in seen[-1][-1]
    search.run(GENERATIONS, SIZE, LimitConfig(**limit))
    assert search.generations[-1].evaluations == count


def test_without_a_window_nothing_is_pending_between_generations(tmp_path):
    search = Search(
        problem=FakeProblem(),
        genomes=SPACE,
        algorithm=made(),
        ledger=Ledger(f"sqlite:///{tmp_path}/trials.db", "search"),
        save=lambda state: None,
    )
    search.run(1, SIZE)
    assert "pending" not in search.algorithm.state_dict()


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS.names()) - set(IN_WINDOW)))
def test_what_learns_from_whole_generations_is_refused_in_one_line(name):
    config = SearchConfig(algorithm=name, window=3)
    with pytest.raises(
        BlendsearchError, match=f"search.window: 3 given, algorithm '{name}' .* null, or name one of gen"
    ) as told:
        make_algorithm(config, SPACE, seed=0)
    assert "\n" not in str(told.value)


# The stream below it.


def test_later_items_are_done_while_the_first_one_takes_its_time():
    fifth = threading.Event()

    def work(item, ended):
        if item == 0:
            assert fifth.wait(30)
        if item == 5:
            fifth.set()
        return item * item

    with Stream(work, workers=2) as stream:
        for item in range(6):
            stream.put(item)
        assert [stream.take() for _ in range(6)] == [0, 1, 4, 9, 16, 25]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_where_its_result_is_taken(workers):
    def work(item, ended):
        if item == 1:
            raise BlendsearchError("item 1")
        return item

    with Stream(work, workers=workers) as stream:
        for item in range(3):
            stream.put(item)
        assert stream.take() == 0
        with pytest.raises(BlendsearchError, match="item 1"):
            stream.take()
        assert stream.take() == 2


def test_what_was_not_begun_is_dropped_and_what_was_is_abandoned():
    begun, go_on, abandoned = [], threading.Event(), []

    def work(item, ended):
        begun.append(item)
        go_on.wait(30)

    with Stream(work, workers=2, abandon=lambda: abandoned.append(True)) as stream:
        for item in range(5):
            stream.put(item)
        while len(begun) < 2:
            time.sleep(0.001)
    go_on.set()
    for thread in stream.threads:
        thread.join(30)
    assert sorted(begun) == [0, 1]
    assert abandoned == [True]


def dies_once(folder, item):
    if item == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def test_what_a_killed_worker_was_at_is_done_again(tmp_path):
    with WorkerPool(dies_once, tmp_path, workers=2).stream() as stream:
        for item in range(8):
            stream.put(item)
        assert [stream.take() for _ in range(8)] == [item * item for item in range(8)]
    assert (tmp_path / "died").exists()


def lingers(folder, item):
    (folder / str(os.getpid())).touch()
    time.sleep(120)


def test_workers_end_with_a_stream_that_is_left_early(tmp_path):
    with WorkerPool(lingers, tmp_path, workers=2).stream() as stream:
        stream.put(0)
        while not os.listdir(tmp_path):
            time.sleep(0.01)
    (pid,) = (int(name) for name in os.listdir(tmp_path))
    for _ in range(1000):
        if not alive(pid):
            break
        time.sleep(0.01)
    assert not alive(pid)
