"""Results in the order in which work was given, though it is done side by side and more of it is given meanwhile."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class Stream(Generic[I, R]):
    """Applies a function to items that are put, up to `workers` at once; results are taken in the order of the items.

    function: of an item and an event, which is set when its result is of no use any more. It only waits for a worker
    process, so threads are enough to have several at once. With one worker nothing runs beside: an item's turn comes
    when its result is taken. Used in a `with` block, at whose end what was not begun is dropped.
    abandon: called there while the function is at something.
    """

    def __init__(
        self, function: Callable[[I, threading.Event], R], workers: int, abandon: Callable[[], None] = lambda: None
    ) -> None:
        self.function, self.workers, self.abandon = function, workers, abandon
        self.ended = threading.Event()
        self.begun: set[Future[R]] = set()
        self.given: deque[tuple[Future[R], I]] = deque()
        self.waiting: queue.SimpleQueue[tuple[Future[R], I] | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []

    def put(self, item: I) -> None:
        """Have an item done as soon as there is a worker for it."""
        turn: tuple[Future[R], I] = (Future(), item)
        self.given.append(turn)
        if self.workers == 1:
            return
        self.waiting.put(turn)
        if len(self.threads) < min(self.workers, len(self.given)):
            # A thread that waits for a worker must not keep the process from ending.
            self.threads.append(threading.Thread(target=self._work, daemon=True))
            self.threads[-1].start()

    def take(self) -> R:
        """Return the result of the oldest item that was not taken, once it is there; an error in it is raised here."""
        future, item = self.given.popleft()
        return self.function(item, self.ended) if self.workers == 1 else future.result()

    def __enter__(self) -> Stream[I, R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        for _ in self.threads:
            self.waiting.put(None)
        if self.begun:
            self.abandon()

    def _work(self) -> None:
        while (turn := self.waiting.get()) is not None:
            future, item = turn
            if self.ended.is_set():
                continue
            self.begun.add(future)
            try:
                future.set_result(self.function(item, self.ended))
            except BaseException as error:
                future.set_exception(error)
            self.begun.discard(future)
