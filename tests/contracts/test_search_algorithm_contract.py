"""What every registered search algorithm must do, whatever library is inside it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from blendsearch.blending import Clusters
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms import ALGORITHMS, Settings
from blendsearch.evolution.genome import GenomeSpace

CRITERIA = ("l1", "l2", "fpgm", "taylor", "apoz")
SPACE = GenomeSpace(
    Clusters(
        "stage",
        {"stage1": ("conv1", "conv2"), "stage2": ("conv3",)},
        {"stage1": (("l1", "l2", "fpgm"), ("taylor", "apoz")), "stage2": (("l1",), CRITERIA[1:])},
    )
)
INITIAL = [SPACE.base(criterion) for criterion in CRITERIA]
SIZE = 8
TARGET = np.array([0.5, 0.9, 0.25, 0.1, 0.5, 0.3, 0.6, 0.7])


def fitness(genome):
    return 1.0 - float(np.square(genome - TARGET).mean())


@pytest.fixture(params=ALGORITHMS.names())
def make(request):
    def build(seed=0, initial=INITIAL):
        algorithm = ALGORITHMS.get(request.param)
        return algorithm(SPACE, seed=seed, initial=initial, settings=Settings(population=SIZE))

    return build


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_it_says_whose_it_is_and_where_it_comes_from(name):
    algorithm = ALGORITHMS.get(name)
    assert algorithm.name == name
    assert algorithm.backend
    assert algorithm.source
    assert algorithm.__doc__


def step(algorithm, n=SIZE):
    genomes = algorithm.ask(n)
    algorithm.tell(genomes, [fitness(genome) for genome in genomes])
    return np.stack(genomes)


def test_asks_are_points_of_the_unit_cube(make):
    algorithm = make()
    for n in (SIZE, 1, 3, SIZE):
        genomes = step(algorithm, n)
        assert genomes.shape == (n, SPACE.size)
        assert genomes.dtype == np.float64
        assert ((genomes >= 0) & (genomes <= 1)).all()
        assert all(SPACE.decode(genome).criteria for genome in genomes)


@pytest.mark.parametrize("n", [1, len(INITIAL), SIZE])
def test_initial_genomes_come_first_and_whole(make, n):
    genomes = make().ask(n)
    assert len(genomes) == max(n, len(INITIAL))
    assert np.array_equal(np.stack(genomes[: len(INITIAL)]), np.stack(INITIAL))


def test_initial_genomes_are_optional_and_asked_once(make):
    assert len(make(initial=[]).ask(3)) == 3
    algorithm = make()
    step(algorithm)
    second = step(algorithm)
    assert not all(any(np.array_equal(genome, one) for genome in second) for one in INITIAL)


def test_the_seed_decides(make):
    runs = [[step(algorithm) for _ in range(3)] for algorithm in (make(seed=1), make(seed=1), make(seed=2))]
    assert all(np.array_equal(one, other) for one, other in zip(runs[0], runs[1], strict=True))
    assert not np.array_equal(runs[0][2], runs[2][2])


@pytest.mark.parametrize("generations", [0, 1, 3])
def test_a_restored_algorithm_goes_on_exactly(make, generations):
    one = make(seed=3)
    for _ in range(generations):
        step(one)
    saved = json.dumps(one.state_dict(), allow_nan=False)
    other = make(seed=3)
    other.load_state_dict(json.loads(saved))
    assert json.dumps(other.state_dict()) == saved
    for _ in range(3):
        assert np.array_equal(step(one), step(other))


def test_a_restored_algorithm_goes_on_exactly_where_many_are_equally_fit(make):
    def coarse(algorithm):
        genomes = algorithm.ask(SIZE)
        algorithm.tell(genomes, [round(3 * fitness(genome)) / 3 for genome in genomes])
        return np.stack(genomes)

    one = make(seed=3)
    for _ in range(3):
        coarse(one)
    other = make(seed=3)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for _ in range(4):
        assert np.array_equal(coarse(one), coarse(other))
    assert json.dumps(other.state_dict()) == json.dumps(one.state_dict())


def step_with_failures(algorithm):
    """Tell that every third genome failed, the fittest of all among them."""
    genomes = algorithm.ask(SIZE)
    best = max(range(len(genomes)), key=lambda place: fitness(genomes[place]))
    failed = {place for place in range(len(genomes)) if place % 3 == 1} | {best}
    algorithm.tell(genomes, [None if n in failed else fitness(genome) for n, genome in enumerate(genomes)])
    return np.stack(genomes), failed


def test_what_failed_is_never_the_best_and_a_restored_algorithm_goes_on_exactly(make):
    one, told = make(seed=3), []
    for _ in range(3):
        genomes, failed = step_with_failures(one)
        told += [fitness(genome) for place, genome in enumerate(genomes) if place not in failed]
        assert one.best[1] == max(told)
        assert [point for _, point in one.front] == [(max(told),)]
    saved = json.dumps(one.state_dict(), allow_nan=False)
    other = make(seed=3)
    other.load_state_dict(json.loads(saved))
    for _ in range(3):
        assert np.array_equal(step_with_failures(one)[0], step_with_failures(other)[0])
    assert json.dumps(other.state_dict()) == json.dumps(one.state_dict())


def test_all_of_a_generation_may_fail(make):
    algorithm = make(seed=3)
    step(algorithm)
    before = algorithm.best[1]
    algorithm.tell(algorithm.ask(SIZE), [None] * SIZE)
    assert algorithm.best[1] == before
    step(algorithm)


def test_a_state_between_ask_and_tell_goes_on_exactly(make):
    one, other = make(seed=3), make(seed=3)
    step(one)
    asked = one.ask(SIZE)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for algorithm in (one, other):
        algorithm.tell(asked, [fitness(genome) for genome in asked])
    assert np.array_equal(step(one), step(other))


IN_WINDOW = [name for name in ALGORITHMS.names() if ALGORITHMS.get(name).in_window]


@pytest.fixture(params=IN_WINDOW)
def in_window(request):
    def build(seed=0, initial=INITIAL):
        algorithm = ALGORITHMS.get(request.param)
        return algorithm(SPACE, seed=seed, initial=initial, settings=Settings(population=SIZE))

    return build


def slide(algorithm, steps, window=3):
    """Ask and tell one genome after the other, so many of them always without an answer; return what was asked."""
    asked = algorithm.ask(SIZE) if algorithm.asked == 0 else []
    for _ in range(steps):
        oldest = algorithm.pending[0].copy()
        algorithm.tell([oldest], [fitness(oldest)])
        if len(algorithm.pending) < window:
            asked += algorithm.ask(1)
    return np.stack(asked)


def test_what_was_asked_is_pending_until_it_is_told(make):
    algorithm = make()
    genomes = algorithm.ask(SIZE)
    assert np.array_equal(np.stack(algorithm.pending), np.stack(genomes))
    algorithm.tell(genomes[:2], [0.5, 0.5])
    algorithm.tell([TARGET], [0.5])  # never asked
    assert np.array_equal(np.stack(algorithm.pending), np.stack(genomes[2:]))
    restored = make()
    restored.load_state_dict(json.loads(json.dumps(algorithm.state_dict())))
    assert np.array_equal(np.stack(restored.pending), np.stack(genomes[2:]))
    algorithm.tell(genomes[:1:-1], [0.5] * (SIZE - 2))
    assert algorithm.pending == []
    assert "pending" not in algorithm.state_dict()


def test_in_a_window_the_seed_decides(in_window):
    one, same, other = (slide(in_window(seed), 20) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("steps", [1, 5, 9, 17])
def test_in_a_window_a_restored_algorithm_goes_on_exactly(in_window, steps):
    one, other = in_window(seed=3), in_window(seed=3)
    slide(one, steps)
    other.load_state_dict(json.loads(json.dumps(one.state_dict(), allow_nan=False)))
    assert np.array_equal(slide(one, 12), slide(other, 12))
    assert json.dumps(one.state_dict()) == json.dumps(other.state_dict())


def test_in_a_window_it_improves_over_its_random_start(in_window):
    algorithm = in_window(initial=[])
    start = max(map(fitness, algorithm.ask(SIZE)))
    slide(algorithm, 10 * SIZE)
    assert algorithm.best[1] > start
    assert algorithm.asked == SIZE + 10 * SIZE - (SIZE - 3)


def test_in_a_window_what_is_on_its_way_is_not_asked_again(in_window):
    algorithm = in_window()
    asked = slide(algorithm, 40)
    kept = {genome.tobytes() for genome in INITIAL}
    for place, genome in enumerate(asked):
        before = {one.tobytes() for one in asked[max(0, place - 2) : place]}
        assert genome.tobytes() not in before or genome.tobytes() in kept


def test_it_improves_over_its_random_start(make):
    algorithm = make(initial=[])
    step(algorithm)
    start = algorithm.best[1]
    for _ in range(9):
        step(algorithm)
    assert algorithm.best[1] > start


def test_the_best_is_never_lost(make):
    algorithm = make()
    best = -np.inf
    for generation in range(4):
        genomes = algorithm.ask(SIZE)
        # Fitness falls from generation to generation, so the best is among the first.
        values = [fitness(genome) - generation for genome in genomes]
        algorithm.tell(genomes, values)
        best = max(best, *values)
        assert algorithm.best[1] == best
    restored = make()
    restored.load_state_dict(json.loads(json.dumps(algorithm.state_dict())))
    assert restored.best[1] == best
    assert np.array_equal(restored.best[0], algorithm.best[0])
    assert fitness(restored.best[0]) == best


def test_told_genomes_are_never_changed_nor_shared(make):
    algorithm = make()
    genomes = algorithm.ask(SIZE)
    before = np.stack(genomes)
    algorithm.tell(genomes, [fitness(genome) for genome in genomes])
    following = step(algorithm)
    assert np.array_equal(np.stack(genomes), before)
    twin = make()
    told = twin.ask(SIZE)
    twin.tell(told, [fitness(genome) for genome in told])
    for genome in told:
        genome[:] = 0.123
    assert np.array_equal(step(twin), following)
    assert np.array_equal(INITIAL[0], SPACE.base(CRITERIA[0]))


def test_genomes_it_never_asked_may_be_told(make):
    algorithm = make()
    algorithm.tell([TARGET, TARGET, -0.0 * TARGET], [fitness(TARGET), fitness(TARGET), 0.0])
    assert np.array_equal(algorithm.best[0], TARGET)
    step(algorithm)
    json.dumps(algorithm.state_dict())


@pytest.mark.parametrize(
    ("genomes", "fitnesses"),
    [
        ([TARGET], []),
        ([TARGET], [float("nan")]),
        ([TARGET], [float("inf")]),
        ([TARGET[:3]], [0.5]),
        ([TARGET + 1], [0.5]),
    ],
)
def test_what_cannot_be_learnt_is_refused(make, genomes, fitnesses):
    algorithm = make()
    with pytest.raises(BlendsearchError):
        algorithm.tell(genomes, fitnesses)
    assert algorithm.best is None


def test_nothing_may_be_asked(make):
    with pytest.raises(BlendsearchError, match="at least 1"):
        make().ask(0)


@pytest.mark.parametrize("part", ["schema", "backend", "names"])
def test_a_state_of_something_else_is_refused(make, part):
    state = {**make().state_dict(), part: "other"}
    with pytest.raises(BlendsearchError, match=f"search state: {part}"):
        make().load_state_dict(state)


def test_a_state_of_another_algorithm_is_refused(make):
    state = make().state_dict()
    key = make().state_key
    with pytest.raises(BlendsearchError, match=f"search state: {key}: 'other' given"):
        make().load_state_dict({**state, "state": {**state["state"], key: "other"}})


OTHER_TARGET = np.array([0.5, 0.2, 0.25, 0.8, 0.5, 0.9, 0.6, 0.2])


def two(genome):
    """Two objectives whose front are the genomes between the two targets."""
    return fitness(genome), 1.0 - float(np.square(genome - OTHER_TARGET).mean())


def hypervolume(points):
    """The area above (0, 0) that points cover, added up in strips of the first objective."""
    area, reached = 0.0, 0.0
    for first, second in sorted(points, reverse=True):
        area += first * max(0.0, second - reached)
        reached = max(reached, second)
    return area


SEVERAL = [name for name in ALGORITHMS.names() if ALGORITHMS.get(name).several_objectives]


@pytest.fixture(params=SEVERAL)
def several(request):
    def build(seed, population, initial=()):
        settings = Settings(population=population, objectives=["flops"])
        return ALGORITHMS.get(request.param)(SPACE, seed=seed, initial=initial, settings=settings)

    return build


def test_with_two_objectives_the_front_is_what_no_other_told_genome_beats(several):
    algorithm = several(seed=0, population=12)
    told, areas = [], []
    for _ in range(15):
        genomes = algorithm.ask(12)
        algorithm.tell(genomes, [two(genome) for genome in genomes])
        told += [(two(genome), tuple(genome)) for genome in genomes]
        areas.append(hypervolume([point for point, _ in told]))
        expected = {
            point
            for point, _ in told
            if not any(a >= point[0] and b >= point[1] and (a, b) != point for (a, b), _ in told)
        }
        assert {point for _, point in algorithm.front} == expected
        assert all(two(genome) == point for genome, point in algorithm.front)
    assert areas == sorted(areas)
    draws = np.random.default_rng(1).random((5, 15 * 12, SPACE.size))
    assert areas[-1] > np.mean([hypervolume([two(genome) for genome in genomes]) for genomes in draws])
    assert algorithm.best[1] == max(point[0] for point, _ in told)


def test_with_two_objectives_what_failed_is_never_on_the_front(several):
    algorithm = several(seed=0, population=12)
    failed = []
    for _ in range(4):
        genomes = algorithm.ask(12)
        # Those nearest to the second target, whose cost nobody beats.
        order = sorted(range(12), key=lambda place: -two(genomes[place])[1])
        failed += [tuple(genomes[place]) for place in order[:3]]
        algorithm.tell(genomes, [None if n in order[:3] else two(genome) for n, genome in enumerate(genomes)])
        assert not {tuple(genome) for genome, _ in algorithm.front} & set(failed)


def test_with_two_objectives_a_restored_algorithm_goes_on_exactly(several):
    one, other = (several(seed=4, population=6, initial=INITIAL) for _ in range(2))
    for generation in range(5):
        genomes = one.ask(6)
        if generation == 3:  # between ask and tell
            other.load_state_dict(json.loads(json.dumps(one.state_dict())))
            other.tell(genomes, [two(genome) for genome in genomes])
        if generation > 3:
            assert np.array_equal(np.stack(genomes), np.stack(other.ask(6)))
            other.tell(genomes, [two(genome) for genome in genomes])
        one.tell(genomes, [two(genome) for genome in genomes])
    assert json.dumps(one.state_dict()) == json.dumps(other.state_dict())


@pytest.mark.parametrize("wrong", [0.5, (0.5,), (0.5, 0.5, 0.5), (0.5, float("nan"))])
def test_with_two_objectives_another_number_of_values_is_refused(several, wrong):
    algorithm = several(seed=0, population=24)
    with pytest.raises(BlendsearchError, match="search: fitness"):
        algorithm.tell([TARGET], [wrong])
    assert algorithm.front == []


def test_with_one_objective_the_front_is_the_best(make):
    algorithm = make()
    step(algorithm)
    step(algorithm)
    ((genome, point),) = algorithm.front
    assert point == (algorithm.best[1],)
    assert np.array_equal(genome, algorithm.best[0])


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS.names()) - set(SEVERAL)))
def test_what_has_one_objective_says_so(name):
    with pytest.raises(BlendsearchError, match=r"objectives flops, params given, .* allowed: algorithm nsga2, nsgaii"):
        ALGORITHMS.get(name)(SPACE, seed=0, settings=Settings(objectives=["flops", "params"]))
