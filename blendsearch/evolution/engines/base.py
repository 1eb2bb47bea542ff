"""What every engine does: a function of (state, item) is applied to items somewhere, the state placed once a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Work:
    """What is applied to every item of a pool.

    token: names the state among those that a worker may hold. threads: of a worker, since the number of threads decides
    the order of floating-point sums.
    """

    function: Callable[[Any, Any], Any]
    state: Any
    token: str
    threads: int


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item that a worker was, or may have been, at when it ended.

    reason: what is known of why, to be read after "a worker process".
    """

    reason: str


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

        An error of the work itself is raised here.
        """
        ...

    def abandon(self) -> None:
        """End what is under way, whose results nobody waits for any more; called from another thread than `run`."""
        ...
