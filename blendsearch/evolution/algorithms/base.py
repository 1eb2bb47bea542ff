"""What every search algorithm does, whatever library is inside, and the registry of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from blendsearch.config import SearchConfig
from blendsearch.errors import BlendsearchError, quoted
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.pareto import Point, non_dominated
from blendsearch.plain import State
from blendsearch.registry import Registry

SCHEMA = 1


@dataclass(frozen=True)
class Settings:
    """The settings all algorithms are given; each reads those it has a use for.

    population: genomes a generation. crossover, mutation: probability that a pair is crossed, an offspring
    mutated. elite: best genomes that always survive. tournament: genomes that compete to be a parent.
    objectives: the costs that count beside the accuracy; a fitness has one number more than there are of these.
    Raises BlendsearchError for a value out of range.
    """

    population: int = 24
    crossover: float = 0.7
    mutation: float = 0.3
    elite: int = 2
    tournament: int = 3
    objectives: Sequence[str] = ()

    @classmethod
    def of(cls, search: SearchConfig) -> Settings:
        """Return the settings that the search section of a space gives."""
        return cls(**{field.name: getattr(search, field.name) for field in fields(cls)})

    @property
    def values(self) -> int:
        """How many numbers a fitness has."""
        return 1 + len(self.objectives)

    def __post_init__(self) -> None:
        for name, least in (("population", 2), ("elite", 0), ("tournament", 1)):
            given = getattr(self, name)
            if given < least:
                raise BlendsearchError(f"search.{name}: {given} given, at least {least} expected")
        for name in ("crossover", "mutation"):
            if not 0 <= getattr(self, name) <= 1:
                raise BlendsearchError(f"search.{name}: {getattr(self, name)} given, 0 to 1 expected")
        if self.elite >= self.population:
            raise BlendsearchError(
                f"search.elite: {self.elite} given, fewer than the population of {self.population} expected"
            )


DEFAULTS = Settings()


def as_point(fitness: float | Sequence[float]) -> Point:
    """Return a fitness, one number or several, as a point."""
    numbers = fitness if isinstance(fitness, Sequence) else (fitness,)
    return tuple(float(number) for number in numbers)


def plain(point: Point) -> float | list[float]:
    """Return a point as plain JSON, a single number as it is; `as_point` makes it a point again."""
    return point[0] if len(point) == 1 else list(point)


class SearchAlgorithm(ABC):
    """Proposes genomes of a space and learns from their fitness, which is maximised.

    A subclass sets `name`, `backend` (the library inside, or whose it is) and `source`, and writes `propose`, `learn`,
    `state` and `restore`. Keyword arguments that its constructor has beside those here are its options in a space
    file. Everything it draws must come from `seed`, `asked` and what `state` returns, so that a restored algorithm goes
    on exactly as the first would have.
    several_objectives: whether it can have any number of them. in_window: whether genomes may be asked for one by one
    while the fitness of others is awaited. asked: genomes asked for so far. pending: those that were not told yet, in
    the order in which they were asked.
    best: the fittest genome told so far and its fitness; with several objectives, the fittest in the first of them.
    front: the genomes told so far that no other dominates and their points, in the order in which they were told.
    Raises BlendsearchError for settings or options that it cannot work with.
    """

    name: ClassVar[str]
    backend: ClassVar[str]
    source: ClassVar[str]
    several_objectives: ClassVar[bool] = False
    in_window: ClassVar[bool] = False
    state_key: ClassVar[str] = "algorithm"
    """Under what the state of a search holds the name."""

    def __init__(
        self,
        space: GenomeSpace,
        *,
        seed: int,
        initial: Sequence[np.ndarray] = (),
        settings: Settings = DEFAULTS,
    ) -> None:
        self.space = space
        self.seed = seed
        self.initial = [space.check(genome) for genome in initial]
        self.settings = settings
        self.asked = 0
        self.pending: list[np.ndarray] = []
        self.best: tuple[np.ndarray, float] | None = None
        self.front: list[tuple[np.ndarray, Point]] = []
        if settings.objectives and not self.several_objectives:
            raise only_one_objective(settings.objectives, f"algorithm '{self.name}'")

    def ask(self, n: int) -> list[np.ndarray]:
        """Return `n` genomes, float64 [size] in [0, 1].

        The first ask returns the initial genomes, all of them and in order, filled up to `n` with new ones;
        it is the only one that may return more than `n`.
        """
        if n < 1:
            raise BlendsearchError(f"search: {n} genomes asked, at least 1 expected")
        genomes = [genome.copy() for genome in self.initial] if self.asked == 0 else []
        if len(genomes) < n:
            genomes += [self.space.check(genome) for genome in self.propose(n - len(genomes))]
        self.asked += len(genomes)
        self.pending += [genome.copy() for genome in genomes]
        return genomes

    def tell(self, genomes: Sequence[np.ndarray], fitnesses: Sequence[float | Sequence[float] | None]) -> None:
        """Learn the fitness of genomes, asked or not, one number or one for each objective, all maximised.

        None for one whose trial failed: it is never the best nor on the front, and is learnt from as the worst of those
        told with it, or as accuracy 0 at the cost of the whole network, whichever is less.
        Raises BlendsearchError unless each has as many finite numbers as there are objectives.
        """
        if len(genomes) != len(fitnesses):
            raise BlendsearchError(f"search: {len(genomes)} genomes told with {len(fitnesses)} fitnesses")
        copies = [self.space.check(genome) for genome in genomes]
        told = [
            (genome, as_point(fitness))
            for genome, fitness in zip(copies, fitnesses, strict=True)
            if fitness is not None
        ]
        for _, point in told:
            self._check_point(point)
        for genome, point in told:
            if self.best is None or point[0] > self.best[1]:
                self.best = (genome.copy(), point[0])
        met = [*self.front, *((genome.copy(), point) for genome, point in told)]
        self.front = [met[position] for position in non_dominated([point for _, point in met])]
        self._no_longer_pending(copies)
        worst = self._worst([point for _, point in told])
        self.learn(copies, [worst if fitness is None else as_point(fitness) for fitness in fitnesses])

    def _worst(self, points: Sequence[Point]) -> Point:
        """Return a point that is as low as any of those, and as accuracy 0 at the cost of the whole network."""
        lowest = (0.0, *[-1.0 for _ in self.settings.objectives])
        return tuple(min(values) for values in zip(lowest, *points, strict=True))

    def _no_longer_pending(self, genomes: Sequence[np.ndarray]) -> None:
        """Take the first pending one equal to each genome from the list; genomes that were never asked have none."""
        for genome in genomes:
            places = (place for place, one in enumerate(self.pending) if one.tobytes() == genome.tobytes())
            place = next(places, None)
            if place is not None:
                del self.pending[place]

    def _check_point(self, point: Point) -> None:
        if len(point) != self.settings.values:
            raise BlendsearchError(f"search: fitness of {len(point)} numbers told, {self.settings.values} expected")
        if not all(math.isfinite(value) for value in point):
            raise BlendsearchError(f"search: fitness {next(v for v in point if not math.isfinite(v))} told")

    def _identity(self) -> State:
        return {"schema": SCHEMA, "backend": self.backend, "names": list(self.space.names)}

    def state_dict(self) -> State:
        """Return everything needed to go on, as plain JSON values."""
        best = None if self.best is None else [self.best[0].tolist(), self.best[1]]
        front = [[genome.tolist(), list(point)] for genome, point in self.front]
        own = {self.state_key: self.name, **self.state()}
        pending = {"pending": [genome.tolist() for genome in self.pending]} if self.pending else {}
        return {**self._identity(), "asked": self.asked, "best": best, "front": front, **pending, "state": own}

    def load_state_dict(self, data: State) -> None:
        """Go on from a state; raises BlendsearchError when it is of another algorithm, space or schema."""
        own = data.get("state", {})
        expected = [(data, key, value) for key, value in self._identity().items()]
        for holder, key, value in [*expected, (own, self.state_key, self.name)]:
            if holder.get(key) != value:
                raise BlendsearchError(
                    f"search state: {key}: {quoted(holder.get(key))} given, {quoted(value)} expected"
                )
        self.asked = int(data["asked"])
        self.pending = [self.space.check(genome) for genome in data.get("pending", [])]
        best = data["best"]
        self.best = None if best is None else (self.space.check(best[0]), float(best[1]))
        # A state from before there was a front is of one objective, whose front is the best.
        front = data.get("front", [] if best is None else [best])
        self.front = [(self.space.check(genome), as_point(point)) for genome, point in front]
        self.restore(own)

    @abstractmethod
    def propose(self, n: int) -> list[np.ndarray]:
        """Return `n` >= 1 new genomes."""

    @abstractmethod
    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Take in checked copies of genomes and their points, of one number where there is one objective."""

    @abstractmethod
    def state(self) -> State:
        """Return what the subclass must remember, as plain JSON values."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take up what `state` returned."""


ALGORITHMS: Registry[type[SearchAlgorithm]] = Registry("algorithm", "algorithms")


def register_algorithm(algorithm: type[SearchAlgorithm]) -> type[SearchAlgorithm]:
    """Register a search algorithm under its `name`; usable as a decorator."""
    return ALGORITHMS.register(algorithm.name)(algorithm)


def only_one_objective(objectives: Sequence[str], what: str) -> BlendsearchError:
    """Build the error for several objectives where only one is known, naming the algorithms that know several."""
    several = [name for name in ALGORITHMS.names() if ALGORITHMS.get(name).several_objectives]
    return BlendsearchError(
        f"objectives {', '.join(objectives)} given, {what} has accuracy alone; allowed: algorithm {', '.join(several)}"
    )
