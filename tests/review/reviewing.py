"""A browser of sorts, without a network, and a proxy that takes no time."""

from __future__ import annotations

import json

from starlette.testclient import TestClient

from blendsearch.review.app import application
from blendsearch.review.local_only import Guard

PORT = 8642
TOKEN = "a-token-for-tests"
ORIGIN = f"http://127.0.0.1:{PORT}"


class Estimate:
    """Stands for a proxy."""

    name = "zero_shot"

    def __call__(self, plan):
        return sum(plan.counts.values()) / sum(plan.widths.values())


def opened(review):
    """Return a browser that does not follow redirects and does not know the token yet."""
    return TestClient(Guard(application(review), TOKEN, PORT), base_url=ORIGIN, follow_redirects=False)


def post(client, path, body, **headers):
    """Post a body (text as it is, the rest as JSON) from the page's own origin, unless `headers` say otherwise."""
    content = body if isinstance(body, str) else json.dumps(body)
    given = {"origin": ORIGIN, "content-type": "application/json", **headers}
    return client.post(path, content=content, headers=given)
