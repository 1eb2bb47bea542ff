"""Which figures a page has: each is registered beside the function that draws it, and what is registered is shown."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from blendsearch.reports.figures.style import Drawing, Theme
from blendsearch.results.runs import SearchRun

R = TypeVar("R")
Draw = Callable[[R, Theme], Drawing]
DrawOne = Callable[[R, str, Theme], Drawing]


@dataclass(frozen=True, kw_only=True)
class PageFigure(Generic[R]):
    """A figure of one run: its name below figures/, the head and the caption of its section, how it is drawn."""

    name: str
    title: str
    caption: str
    draw: Draw[R]


class FigureSet(Generic[R]):
    """The figures of one kind of page, in the order in which they were registered.

    A page shows a figure where its template names it, and every other one in a section of its own before its end.
    """

    def __init__(self) -> None:
        self._makers: dict[str, Callable[[R], list[PageFigure[R]]]] = {}

    def register(
        self,
        name: str,
        *,
        title: str,
        caption: str | Callable[[R], str],
        wanted: Callable[[R], bool] = lambda run: True,
    ) -> Callable[[Draw[R]], Draw[R]]:
        """Return a decorator for a function that draws a figure of a run, or raises NotDrawn with the reason.

        caption: a sentence or two, or what makes them of a run. wanted: tells whether a run has the figure at all.
        """

        def add(draw: Draw[R]) -> Draw[R]:
            def make(run: R) -> list[PageFigure[R]]:
                if not wanted(run):
                    return []
                words = caption(run) if callable(caption) else caption
                return [PageFigure(name=name, title=title, caption=words, draw=draw)]

            self._add(name, make)
            return draw

        return add

    def register_each(
        self, name: str, of: Callable[[R], Iterable[str]], *, title: str, caption: str | Callable[[R, str], str]
    ) -> Callable[[DrawOne[R]], DrawOne[R]]:
        """Return a decorator for a function that draws one figure for each of a run's parts, called NAME_PART.

        title: `{}` in it stands for the part.
        """

        def add(draw: DrawOne[R]) -> DrawOne[R]:
            def make(run: R) -> list[PageFigure[R]]:
                return [
                    PageFigure(
                        name=f"{name}_{part}",
                        title=title.format(part),
                        caption=caption(run, part) if callable(caption) else caption,
                        draw=functools.partial(_draw_part, draw, part),
                    )
                    for part in of(run)
                ]

            self._add(name, make)
            return draw

        return add

    def unregister(self, name: str) -> None:
        """Take a figure away; for tests and notebooks that define the same one twice."""
        self._makers.pop(name, None)

    @property
    def names(self) -> list[str]:
        """The names under which figures are registered."""
        return list(self._makers)

    def of(self, run: R) -> list[PageFigure[R]]:
        """Return the figures that a run has."""
        return [figure for make in self._makers.values() for figure in make(run)]

    def _add(self, name: str, make: Callable[[R], list[PageFigure[R]]]) -> None:
        if name in self._makers:
            raise ValueError(f"figure '{name}' is already registered; choose another name")
        self._makers[name] = make


def _draw_part(draw: DrawOne[R], part: str, run: R, theme: Theme) -> Drawing:
    return draw(run, part, theme)


SEARCH_FIGURES: FigureSet[SearchRun] = FigureSet()
"""The figures of a search campaign."""
