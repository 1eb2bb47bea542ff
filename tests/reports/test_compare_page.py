"""The page of several campaigns says whether what it compares was retrained."""

from __future__ import annotations

import pytest
from page_reading import parsed, words

from blendsearch.reports.pages.compare import build_compare_page
from blendsearch.results.records.compare import CampaignRow, CampaignsRecord


def row(label, **changes):
    given = {
        "label": label, "folder": label, "model": "conv4", "data": "digits", "budget": {"kind": "flops", "ratio": 0.2},
        "allocation": "uniform", "proxy": "compensated", "search": "deap", "unpruned": 0.98, "blend": 0.9, "std": 0.01,
        "by_seed": [0.89, 0.91], "best_criterion": "l1", "best": 0.88, "random_search": None, "tau": 0.5,
        "seconds": 12.0, "difference": 0.02, "interval": (0.01, 0.03), "verdict": "beats",
    }  # fmt: skip
    return CampaignRow.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("retrained", "title"),
    [((True, True), "After retraining"), ((False, False), "Without retraining"), ((True, False), "Test accuracy")],
)
def test_the_head_of_the_figure_says_of_what_accuracies_are(tmp_path, retrained, title):
    rows = [row(label, retrained=one) for label, one in zip("ab", retrained, strict=True)]
    page = build_compare_page(CampaignsRecord(rows=rows, settings={}, pairs=[], unequal={}), tmp_path / "page.html")
    parsed(page)
    text = words(page)
    assert f"{title} ◆ the blend" in text
    assert text.count("20 % of FLOPs, not retrained") == retrained.count(False)
