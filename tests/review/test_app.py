"""The page's answers: what it shows, and what marking, undoing and estimating do."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import time
import urllib.request

import pytest
import torch
from PIL import Image
from reviewing import Estimate, post

from blendsearch.blending import Blend
from blendsearch.review.decision import Decision
from blendsearch.review.serving import serve
from blendsearch.structure import Plan


def facts_of(page):
    return json.loads(re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.S).group(1))


def test_a_layer_shows_all_its_filters_and_where_they_rank(client, inspector):
    page = client.get("/layer/1").text
    group = inspector.group(1)
    assert page.count('<li class="filter card"') == group.width
    facts = facts_of(page)
    assert list(facts["ranks"]) == ["blend", "l1", "taylor", "apoz"]
    assert facts["ranks"]["l1"] == [round(100 * float(rank)) for rank in inspector.ranks["l1"][group.name]]
    assert facts["state"]["marks"] == {}
    assert "http" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).replace("http-equiv", "")


def test_the_start_leads_to_the_wanted_layer(client, review):
    review.first = 2
    assert client.get("/").headers["location"] == "/layer/2"


@pytest.mark.parametrize("kind", ["maps", "overlay", "top", "weights"])
def test_pictures(client, inspector, kind):
    answer = client.get(f"/picture/{inspector.edition}/{kind}/0/1/3.png")
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert Image.open(io.BytesIO(answer.content)).height == 32
    deep = client.get(f"/picture/{inspector.edition}/{kind}/2/1/3.png")
    assert deep.status_code == (404 if kind == "weights" else 200)  # 16 input channels are too many to look at


def test_other_images_are_others_of_all_classes(client, inspector):
    first, second = (client.get(f"/images/{inspector.edition}/{seed}.png").content for seed in (0, 1))
    assert first != second
    assert client.get(f"/images/{inspector.edition}/0.png").content == first
    labels = inspector.sample_images.labels[inspector.sample_images.sample(7)]
    assert len(labels) == len(labels.unique()) == 8
    assert client.get("/layer/0?images=1").text.count(f"/images/{inspector.edition}/1.png") == inspector.group(0).width
    assert client.get("/layer/0?images=-1%22%3E").status_code == 200


def test_marks_are_saved_and_told(client, review, structure, folder):
    answer = post(client, "/mark", {"layer": 0, "filter": 3, "mark": "drop"}).json()
    name = structure.groups[0].name
    assert answer["marks"] == {"3": "drop"}
    assert answer["rated"][0] == 1
    counts = {**structure.widths, name: structure.widths[name] - 1}
    assert answer["cost"]["flops"] == structure.cost.ratio("flops", counts)
    assert answer["cost"]["kept"] == structure.cost.filters(counts)
    saved = folder.read_json("ratings.json")
    assert saved == {"schema": 2, "raters": {"ann": {"groups": {name: {"3": "drop"}}}}}
    post(client, "/mark", {"layer": 0, "filter": 3, "mark": None})
    assert client.get("/state/0").json()["marks"] == {}


def test_undo_takes_back_one_mark_after_the_other(client, structure):
    post(client, "/mark", {"layer": 0, "filter": 1, "mark": "keep"})
    post(client, "/mark", {"layer": 0, "filter": 1, "mark": "drop"})
    post(client, "/mark", {"layer": 1, "filter": 0, "mark": "unsure"})
    answer = post(client, "/undo", {"layer": 0}).json()
    assert (answer["undone"], answer["rated"][:2]) == ([structure.groups[1].name, 0], [1, 0])
    assert post(client, "/undo", {"layer": 0}).json()["marks"] == {"1": "keep"}
    assert post(client, "/undo", {"layer": 0}).json()["marks"] == {}
    assert post(client, "/undo", {"layer": 0}).json()["undone"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400), ([1], 400), ({"layer": 0}, 400), ({"layer": 0, "filter": 0, "mark": "burn"}, 400),
        ({"layer": 0, "filter": 99, "mark": "keep"}, 400), ({"layer": 0, "filter": True, "mark": "keep"}, 400),
        ({"layer": 0, "filter": "0", "mark": "keep"}, 400), ({"layer": "conv1", "filter": 0, "mark": "keep"}, 404),
        ({"layer": -1, "filter": 0, "mark": "keep"}, 404), ({"layer": True, "filter": 0, "mark": "keep"}, 404),
        ({"layer": 0, "filter": 0, "mark": ["keep"]}, 400), ("[" * 9000, 400),
        ('{"layer": ' * 60 + "0" + "}" * 60, 400),
    ],
)  # fmt: skip
def test_wrong_marks_are_refused(client, review, body, status):
    assert post(client, "/mark", body).status_code == status
    assert review.marks.version == 0


def test_the_accuracy_of_the_network_as_marked(client, structure):
    everything = sum(structure.widths.values())
    assert post(client, "/estimate", {}).json() == {"accuracy": 1.0, "proxy": "zero_shot"}
    post(client, "/mark", {"layer": 0, "filter": 0, "mark": "drop"})
    assert post(client, "/estimate", {}).json()["accuracy"] == (everything - 1) / everything


def test_ctrl_c_ends_the_server_at_once_while_an_accuracy_is_estimated(review, capfd):
    begun, over = threading.Event(), threading.Event()

    class Slow(Estimate):
        def __call__(self, plan):
            begun.set()
            try:
                while not over.is_set():  # many short steps, as a training has
                    time.sleep(0.01)
            finally:
                ended.append(True)

    def ask(address):
        site = address.partition("/?")[0]
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        browser.open(address).read()
        headers = {"origin": site, "content-type": "application/json"}
        try:
            browser.open(urllib.request.Request(f"{site}/estimate", b"{}", headers))
        except OSError as error:
            answers.append(error.code)

    def stop():
        begun.wait(30)
        stopped.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def ready(address):
        threads.extend(threading.Thread(target=work, args=given) for work, given in ((ask, (address,)), (stop, ())))
        for thread in threads:
            thread.start()

    review.estimator = Slow()
    answers, stopped, ended, threads = [], [], [], []
    # A shell starts what runs in its background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            serve(review, 0, ready)
        assert time.monotonic() - stopped[0] < 0.9
        assert ended, "a process that ends while a thread computes aborts"
    finally:
        signal.signal(signal.SIGINT, before)
        over.set()
        for thread in threads:
            thread.join()
    assert answers == [503]
    assert capfd.readouterr().err == ""


def test_nothing_advances_outside_the_loop(client):
    assert post(client, "/advance", {"layer": 0}).status_code == 409


def test_a_choice_is_shown_and_cannot_be_changed(client, review, structure, scores):
    name, width = structure.groups[1].name, structure.groups[1].width
    blend = Blend("layer", {g: {"l1": 3.0, "apoz": 1.0} for g in structure.widths}, {g: (g,) for g in structure.widths})
    plan = Plan.top(scores["l1"], {group: max(1, size // 2) for group, size in structure.widths.items()})
    review.decision, review.marks, review.estimator = Decision(blend, plan), None, None
    assert list(review.decision.factors(name).values()) == [0.75, 0.25]
    first = review.decision.votes(name, review.inspector.ranks)[0]
    assert first.keeps == set(plan.keep[name])  # l1 alone would have chosen the same
    page = client.get("/layer/1").text
    assert page.count('data-kept="yes"') == len(plan.keep[name])
    assert page.count('data-kept="no"') == width - len(plan.keep[name])
    assert "data-mark=" not in page
    assert post(client, "/mark", {"layer": 1, "filter": 0, "mark": "keep"}).status_code == 409
    assert post(client, "/undo", {"layer": 1}).status_code == 409
    assert post(client, "/estimate", {}).status_code == 409
    assert client.get("/state/1").json()["cost"]["kept"] == sum(plan.counts.values())


def test_names_with_markup_stay_text(client, review):
    review.title = "<script>alert(1)</script>"
    assert "<script>alert" not in client.get("/layer/0").text


def test_spread_is_the_standard_deviation_of_the_ranks(inspector):
    name = inspector.group(0).name
    ranks = torch.stack([inspector.ranks[criterion][name] for criterion in inspector.criteria]).double().numpy()
    torch.testing.assert_close(inspector.spread(0).double(), torch.from_numpy(ranks.std(axis=0)), atol=1e-6, rtol=0)
