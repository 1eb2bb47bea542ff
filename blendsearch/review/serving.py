"""Serving a review on this machine until somebody stops it."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable

import uvicorn

from blendsearch.errors import RunError
from blendsearch.review.app import application
from blendsearch.review.local_only import Guard
from blendsearch.review.review import Review

LOOPBACK = "127.0.0.1"


def serve(review: Review, port: int, ready: Callable[[str], None]) -> None:
    """Serve a review on the loopback interface; `ready` is given the address with its token, once.

    port: 0 for any free one. Raises RunError when the port is taken; returns or raises KeyboardInterrupt when the
    server is stopped.
    """
    with _bound(port) as listening:
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        guarded = Guard(application(review, lambda: server.should_exit), token, port)
        config = uvicorn.Config(
            guarded, log_level="warning", access_log=False, lifespan="off", ws="none",
            server_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        ready(f"http://{LOOPBACK}:{port}/?token={token}")
        try:
            server.run(sockets=[listening])
        finally:
            review.aside.end()


def _bound(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restarted server takes its port at once
    try:
        listening.bind((LOOPBACK, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise RunError(f"port {port}: cannot be used ({error}); choose another --port, or 0 for any free one") from None
    return listening
