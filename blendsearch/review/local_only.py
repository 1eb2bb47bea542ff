"""Who may ask: only this machine, only with the token, only from the page itself."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 10_000
NAMES = ("127.0.0.1", "localhost")
HTTP = 80
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets a request through only when all of this holds; every answer carries HEADERS.

    Its Host is this server's loopback address, by number or as localhost: a name that a stranger's DNS points here
    is refused. It carries the token, as a cookie; the address with the token, which is printed once, sets the cookie
    and leads to the same address without it. What changes something comes from this server's own origin, as JSON of
    at most LARGEST_BODY bytes.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {host: name for name in NAMES for host in _written(name, port)}
        self._cookie = f"blendsearch-{port}"  # cookies know no ports; two servers must not take each other's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no websocket, no lifespan

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await (self._answer(scope) or self._app)(scope, receive, with_headers)

    def _answer(self, scope: Scope) -> Response | None:
        """Return what is answered in place of the page, or None to let the request through."""
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        if headers.get("host", "") not in self._hosts:
            return _refused("this page is asked for by another name than its own", 421)
        if scope["method"] == "GET" and self._is_token(query.get("token", "")):
            return self._let_in(scope["path"])
        if not self._is_token(cookie_parser(headers.get("cookie", "")).get(self._cookie, "")):
            return _refused("open the address that blendsearch printed, with its token", 403)
        if scope["method"] in ("GET", "HEAD"):
            return None
        return self._objection(headers)

    def _let_in(self, path: str) -> Response:
        # Never to another site: a path that begins with two slashes would be one.
        response = RedirectResponse("/" + path.lstrip("/\\"), status_code=303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return response

    def _objection(self, headers: Headers) -> Response | None:
        scheme, _, origin = headers.get("origin", "").partition("://")
        if scheme != "http" or self._hosts.get(origin) != self._hosts[headers["host"]]:
            return _refused("another origin may not change anything here", 403)
        if headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return _refused("only JSON is taken", 415)
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return _refused(f"at most {LARGEST_BODY} bytes are taken, of a length said beforehand", 413)
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())


def _written(name: str, port: int) -> list[str]:
    """Return how a Host or an Origin may write this server: clients leave out the port that is the scheme's own."""
    return [f"{name}:{port}", *([name] if port == HTTP else [])]


def _refused(reason: str, status: int) -> Response:
    return PlainTextResponse(f"{reason}\n", status_code=status)
