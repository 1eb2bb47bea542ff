"""Who may ask: by which host name, with which token, from which origin, with which body."""

from __future__ import annotations

import socket

import pytest
from reviewing import ORIGIN, PORT, TOKEN, opened, post
from starlette.routing import Route
from starlette.testclient import TestClient

from blendsearch.errors import RunError
from blendsearch.review.app import application
from blendsearch.review.local_only import HEADERS, LARGEST_BODY, Guard
from blendsearch.review.serving import serve

MARK = {"layer": 0, "filter": 1, "mark": "keep"}
ADDRESSES = ["/", "/layer/0", "/state/0", "/static/review.css", "/images/x/0.png", "/picture/x/maps/0/0/0.png"]


@pytest.fixture
def stranger(review):
    """A browser on this machine that does not know the token."""
    return opened(review)


@pytest.mark.parametrize("path", ADDRESSES)
def test_nothing_is_shown_without_the_token(stranger, path):
    assert stranger.get(path).status_code == 403
    assert stranger.get(f"{path}?token=wrong").status_code == 403
    assert stranger.get(path, headers={"cookie": f"blendsearch-{PORT}=wrong"}).status_code == 403
    assert stranger.get(path, headers={"cookie": f"blendsearch-9={TOKEN}"}).status_code == 403


@pytest.mark.parametrize("path", ["/mark", "/undo", "/estimate", "/advance"])
def test_nothing_is_changed_without_the_token(stranger, review, path):
    assert post(stranger, path, MARK).status_code == 403
    assert post(stranger, f"{path}?token={TOKEN}", MARK).status_code == 403  # an address alone is no cookie
    assert review.marks.version == 0


def test_the_address_with_the_token_sets_the_cookie_and_leads_to_one_without(stranger):
    answer = stranger.get(f"/layer/1?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/layer/1")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/layer/1").status_code == 200


def test_the_token_leads_to_no_other_site(stranger):
    for path in ("//evil.example/x", "/\\evil.example", "///evil.example"):
        answer = stranger.get(f"{ORIGIN}{path}?token={TOKEN}")
        assert not answer.headers.get("location", "/x").startswith(("//", "/\\", "http"))


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", ""])
def test_another_host_name_is_refused(client, host):
    """DNS rebinding: a stranger's name that points to this machine."""
    assert client.get("/layer/0", headers={"host": host}).status_code == 421
    assert client.get(f"/?token={TOKEN}", headers={"host": host}).status_code == 421


def test_localhost_is_this_machine_too(client):
    cookie = f"blendsearch-{PORT}={TOKEN}"
    assert client.get("/layer/0", headers={"host": f"localhost:{PORT}", "cookie": cookie}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", f"https://127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT + 1}",
     f"http://localhost:{PORT}", f"http://127.0.0.1:{PORT}.evil.example", "http://127.0.0.1", "http://["],
)  # fmt: skip
def test_another_origin_changes_nothing(client, review, origin):
    assert post(client, "/mark", MARK, origin=origin).status_code == 403
    assert review.marks.version == 0


def test_port_80_goes_unsaid(review):
    """Clients leave the port of http itself out of Host and Origin."""
    site = "http://127.0.0.1"
    browser = TestClient(Guard(application(review), TOKEN, 80), base_url=f"{site}:80", follow_redirects=False)
    assert browser.get(f"/?token={TOKEN}").status_code == 303
    assert browser.get("/layer/0").status_code == 200
    for number, origin in enumerate([site, f"{site}:80"]):
        assert post(browser, "/mark", {**MARK, "filter": number}, origin=origin).status_code == 200
        assert post(browser, "/mark", MARK, origin=origin, host="127.0.0.1:80").status_code == 200
    for origin in ("http://localhost", "https://127.0.0.1", f"{site}:8080", "http://evil.example"):
        assert post(browser, "/mark", MARK, origin=origin).status_code == 403
    for host in ("evil.example", "127.0.0.1:8080"):
        assert browser.get("/layer/0", headers={"host": host}).status_code == 421


def test_a_request_without_an_origin_changes_nothing(client, review):
    answer = client.post("/mark", json=MARK)
    assert answer.status_code == 403
    assert review.marks.version == 0


def test_only_small_json_is_taken(client, review):
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert post(client, "/mark", MARK, **form).status_code == 415
    assert post(client, "/mark", MARK, **{"content-type": "text/plain"}).status_code == 415
    assert post(client, "/mark", " " * (LARGEST_BODY + 1)).status_code == 413
    assert review.marks.version == 0


def test_every_answer_forbids_scripts_frames_and_other_origins(client):
    for path in ("/layer/0", "/static/review.js", "/nowhere"):
        headers = client.get(path).headers
        assert all(headers[name] == value for name, value in HEADERS.items())


PATHS = [
    "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/%2fetc%2fpasswd", "/static/",
    "/picture/EDITION/../../../etc/passwd/0/0/0.png", "/picture/EDITION/maps/..%2f/0/0.png", "/layer/..%2f..",
    "/layer/conv1", "/layer/-1", "/layer/99", "/state/99", "/picture/EDITION/maps/99/0/0.png",
    "/picture/EDITION/maps/0/99/0.png", "/picture/EDITION/other/0/0/0.png", "/picture/older/maps/0/0/0.png",
    "/images/older/0.png", "/picture/EDITION/maps/0/0/0.pngx", "/ratings.json",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_reaches_a_file_or_another_layer(client, inspector, path):
    assert client.get(path.replace("EDITION", inspector.edition)).status_code == 404


def test_every_route_takes_numbers_or_fixed_words(review):
    routes = [route for route in application(review).routes if isinstance(route, Route)]
    free = {name for route in routes for name, kind in route.param_convertors.items() if kind.regex != "[0-9]+"}
    assert free == {"edition", "kind", "name"}  # each compared with what there is, see the test above


def test_a_port_in_use_is_one_clear_line(review):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"port {port}: cannot be used .*; choose another --port, or 0"):
            serve(review, port, print)
