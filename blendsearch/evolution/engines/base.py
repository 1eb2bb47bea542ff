"""What every engine does: a function of (state, item) is applied to items somewhere, the state placed once a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

TRIES = 3
"""After so many losses an item has failed."""
ENDED = "was ended from outside"
"""The reason of a loss of which nothing more is known than that a worker is gone."""
SLOW = "took longer than"
"""What the reason of a loss begins with that is due to a limit of time."""


@dataclass(frozen=True)
class Work:
    """What is applied to every item of a pool.

    token: names the state among those that a worker may hold. threads: of a worker, since the number of threads decides
    the order of floating-point sums. limit_seconds: what an item may take; the function ends its own process then, see
    `Guarded`, so an engine need not watch the time, only tell it from other ends where it can.
    """

    function: Callable[[Any, Any], Any]
    state: Any
    token: str
    threads: int
    limit_seconds: float | None = None


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item that a worker was, or may have been, at when it ended.

    reason: what is known of why, to be read after "a worker process". begun: whether the item may be to blame; one that
    merely waited is not, and is done again without a word. tries: how many losses for this reason make a failure.
    detail: what the system said, where it said something.
    """

    reason: str
    begun: bool = True
    tries: int = TRIES
    detail: str = ""


THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""What tells the libraries below torch and NumPy how many threads to start."""


def thread_variables(threads: int) -> dict[str, str]:
    """Return what a worker process on `threads` threads has in its environment."""
    return {name: str(threads) for name in THREAD_VARIABLES}


class Engine(Protocol):
    """Runs work on several workers.

    workers: how many there are now, as told to users. nearby: whether they are no more than processes of this machine,
    so that an item alone is done without them. A run may be begun while another one is under way, in another thread.
    """

    nearby: bool

    @property
    def workers(self) -> int: ...

    def run(self, work: Work, items: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, result) of each item as they come, a `Lost` as the result of those that went down.

        Whom a loss is due to may stay open: every item that may be to blame is lost, and what is lost is then run by
        itself. An error of the work itself is raised here.
        """
        ...

    def abandon(self) -> None:
        """End what is under way, whose results nobody waits for any more; called from another thread than `run`."""
        ...
