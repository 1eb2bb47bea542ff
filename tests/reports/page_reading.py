"""Reading a written page in tests: its links, its text, its tables."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser


class Links(HTMLParser):
    """Collects what a page refers to, and complains about tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.targets: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]
        if tag not in ("meta", "link", "img", "br", "hr", "source", "col", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def parsed(page):
    """Return the links of a page, whose tags are all closed."""
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    assert links.open == []
    return links


def words(page):
    """Return the text of a page, with single spaces."""
    body = page.read_text(encoding="utf-8").partition("</style>")[2]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


def rows(page):
    """Return the cells of each line of a page's tables, as text."""
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", page.read_text(encoding="utf-8"), re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in found)
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell)).replace("\xa0", " ").strip() for cell in row] for row in cells]
