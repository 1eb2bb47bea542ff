"""The routes of the page. Whatever a path names is a number or one of a few fixed words; none becomes a file's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from blendsearch.errors import BlendsearchError
from blendsearch.files import parsed_json
from blendsearch.reports.page import TEMPLATES as REPORTS
from blendsearch.review.pages import layer_page, state
from blendsearch.review.review import Review
from blendsearch.statistics.ratings import WORDS

ROOM = Path(__file__).parent
ASSETS = {
    "report.css": (REPORTS / "report.css", "text/css"),
    "review.css": (ROOM / "static" / "review.css", "text/css"),
    "review.js": (ROOM / "static" / "review.js", "text/javascript"),
}
MOST_SEEDS = 1_000_000
LOOK = 0.02
"""Seconds between two looks at whether an estimate is there."""
KEPT_BY_BROWSER = {"cache-control": "private, max-age=86400, immutable"}
ALWAYS_FRESH = {"cache-control": "no-store"}


def application(review: Review, stopped: Callable[[], bool] = lambda: False) -> Starlette:
    """Return the application of a review, without its guard; stopped: whether its server is to end."""
    pages = Pages(review, stopped)
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/layer/{number:int}", pages.layer),
            Route("/state/{number:int}", pages.state),
            Route("/picture/{edition}/{kind}/{number:int}/{position:int}/{seed:int}.png", pages.picture),
            Route("/images/{edition}/{seed:int}.png", pages.images),
            Route("/static/{name}", pages.asset),
            Route("/favicon.ico", pages.no_icon),
            Route("/mark", pages.mark, methods=["POST"]),
            Route("/undo", pages.undo, methods=["POST"]),
            Route("/estimate", pages.estimate, methods=["POST"]),
            Route("/advance", pages.advance, methods=["POST"]),
        ]
    )


class Pages:
    """The answers; those that compute run in threads of the server, those that take long aside."""

    def __init__(self, review: Review, stopped: Callable[[], bool]) -> None:
        self._review, self._stopped = review, stopped
        self._assets = {name: (path.read_bytes(), kind) for name, (path, kind) in ASSETS.items()}
        environment = Environment(
            loader=FileSystemLoader(ROOM / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        environment.policies["json.dumps_kwargs"] = {}  # in the order given, not sorted by key
        self._template = environment.get_template("layer.html.j2")

    def start(self, request: Request) -> Response:
        """Lead to the first layer, in the loop to the one at hand."""
        loop = self._review.loop
        return RedirectResponse(f"/layer/{loop.number if loop is not None else self._review.first}", status_code=303)

    def layer(self, request: Request) -> Response:
        """Show a layer."""
        number = self._number(request.path_params["number"])
        page = self._template.render(layer_page(self._review, number, _seed(request.query_params.get("images", "0"))))
        return HTMLResponse(page, headers=ALWAYS_FRESH)

    def state(self, request: Request) -> Response:
        """Tell what has changed."""
        return self._state(self._number(request.path_params["number"]))

    def picture(self, request: Request) -> Response:
        """Draw a picture of one filter."""
        given, inspector = request.path_params, self._review.inspector
        seed = _seed(str(given["seed"]))
        content = inspector.picture(given["kind"], given["number"], given["position"], seed)
        if content is None or given["edition"] != inspector.edition:
            raise HTTPException(404)
        return Response(content, media_type="image/png", headers=KEPT_BY_BROWSER)

    def images(self, request: Request) -> Response:
        """Draw the images that the maps are of."""
        given, inspector = request.path_params, self._review.inspector
        if given["edition"] != inspector.edition:
            raise HTTPException(404)
        return Response(
            inspector.sample_picture(_seed(str(given["seed"]))), media_type="image/png", headers=KEPT_BY_BROWSER
        )

    def asset(self, request: Request) -> Response:
        """Give one of the three files of the page, which were read when the server started."""
        if request.path_params["name"] not in self._assets:
            raise HTTPException(404)
        content, kind = self._assets[request.path_params["name"]]
        return Response(content, media_type=kind, headers=ALWAYS_FRESH)

    def no_icon(self, request: Request) -> Response:
        """Spare the browser's console an error."""
        return Response(status_code=204, headers=KEPT_BY_BROWSER)

    async def mark(self, request: Request) -> Response:
        """Set or take away a mark: {"layer": number, "filter": index, "mark": word or null}."""
        given = await _body(request, {"layer", "filter", "mark"})
        number, filter, word = self._number(given["layer"]), given["filter"], given["mark"]
        if word is not None and (not isinstance(word, str) or word not in WORDS):
            raise HTTPException(400, f"mark: allowed {', '.join(WORDS)} or null")
        if type(filter) is not int or filter not in self._review.inspector.filters(number):
            raise HTTPException(400, "filter: the layer has no such filter")
        if self._review.marks is None or not self._review.markable(number):
            raise HTTPException(409, "this layer cannot be marked now")
        await run_in_threadpool(self._review.marks.mark, self._review.inspector.group(number).name, filter, word)
        return await run_in_threadpool(self._state, number)

    async def undo(self, request: Request) -> Response:
        """Take back the last mark, of whichever layer: {"layer": number of the page's}."""
        given = await _body(request, {"layer"})
        number = self._number(given["layer"])
        if self._review.marks is None:
            raise HTTPException(409, "nothing is marked here")
        found = await run_in_threadpool(self._review.marks.undo)
        return await run_in_threadpool(self._state, number, {"undone": list(found) if found else None})

    async def estimate(self, request: Request) -> Response:
        """Estimate the accuracy of the network as marked."""
        await _body(request, set())
        if self._review.estimator is None:
            raise HTTPException(409, "there is nothing to estimate here")
        estimate = self._review.aside.begin(self._review.estimator, self._review.plan())
        while not estimate.done():
            if self._stopped():
                raise HTTPException(503, "the server ends")
            await asyncio.sleep(LOOK)
        try:
            value = estimate.result()
        except BlendsearchError as error:
            raise HTTPException(409, str(error)) from None
        return JSONResponse({"accuracy": value, "proxy": self._review.estimator.name}, headers=ALWAYS_FRESH)

    async def advance(self, request: Request) -> Response:
        """Prune the layer at hand and train: {"layer": number}, which must be that layer's."""
        given = await _body(request, {"layer"})
        number, loop = self._number(given["layer"]), self._review.loop
        if loop is None or not loop.waits_for(number) or not loop.advance():
            raise HTTPException(409, "it is not this layer's turn")
        return await run_in_threadpool(self._state, number)

    def _state(self, number: int, more: Mapping[str, Any] = MappingProxyType({})) -> Response:
        return JSONResponse({**state(self._review, number), **more}, headers=ALWAYS_FRESH)

    def _number(self, given: Any) -> int:
        if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < len(self._review.whole.groups):
            raise HTTPException(404, "there is no such layer")
        return given


def _seed(given: str) -> int:
    """Return the seed of a sample of images; anything that is none is 0."""
    return int(given) % MOST_SEEDS if given.isascii() and given.isdigit() and len(given) < 10 else 0


async def _body(request: Request, keys: set[str]) -> dict[str, Any]:
    try:
        given = parsed_json(await request.body())
    except ValueError:
        raise HTTPException(400, "this is no JSON, or nested too deeply") from None
    if not isinstance(given, dict) or set(given) != keys:
        raise HTTPException(400, f"an object with {', '.join(sorted(keys)) or 'no keys'} is expected")
    return given
