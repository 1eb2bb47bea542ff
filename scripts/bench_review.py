"""Times the review page on the widest layer of VGG-16-BN: 512 filters, random weights, images of CIFAR's size.

Usage: .venv/bin/python scripts/bench_review.py [--images 500] [--rounds 5]

Needs the development extra and a browser (chromium or google-chrome on the path). Prints, for the first visit of
the layer and for later ones, the milliseconds until the first contentful paint, until the page's script is done (all
cards sorted and marked), and until the pictures of the cards in sight are there.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from playwright.sync_api import sync_playwright

from blendsearch.compute import Compute
from blendsearch.criteria import names
from blendsearch.data.batches import GivenBatches
from blendsearch.models.zoo import MODELS
from blendsearch.results.run_folder import RunFolder
from blendsearch.review.inspector import Inspector
from blendsearch.review.marks import Marks
from blendsearch.review.review import Review
from blendsearch.review.sample_images import SampleImages
from blendsearch.review.serving import serve
from blendsearch.structure import Structure

READY = """[...document.querySelectorAll('.filter:nth-child(-n+6) img')].every(i => i.complete && i.naturalWidth)"""
TIMES = """() => ({
  paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
  script: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,
})"""


def review(images: int, folder: Path) -> tuple[Review, int]:
    """Return a review of the network under as many rankings as there are criteria, and its widest layer's number."""
    torch.manual_seed(0)
    network = MODELS.get("vgg16_bn")(num_classes=10, in_channels=3, image_size=32).eval()
    structure = Structure.of(network, torch.randn(2, 3, 32, 32))
    split = GivenBatches([(torch.randn(images, 3, 32, 32), torch.arange(images) % 10)])
    scores = {name: {group: torch.rand(width) for group, width in structure.widths.items()} for name in names()}
    sample_images = SampleImages.of(split, tuple(f"class {k}" for k in range(10)))
    start = time.perf_counter()
    inspector = Inspector(
        network=network, structure=structure, scores=scores, sample_images=sample_images, compute=Compute()
    )
    print(f"looking at {images} images: {time.perf_counter() - start:.1f} s, once")
    marks = Marks(RunFolder(folder), structure, "rater")
    number = max(range(len(structure.groups)), key=lambda at: (structure.groups[at].width, -at))
    print(f"layer {structure.groups[number].name}: {structure.groups[number].width} filters, {len(scores)} criteria")
    shown = Review(title="bench", data="noise", whole=structure, static_inspector=inspector, marks=marks)
    return shown, number


def visit(page: Any, address: str) -> dict[str, float]:
    """Return the milliseconds of one visit, from the beginning of the navigation."""
    start = time.perf_counter()
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_function(READY, polling=50)
    whole = 1000 * (time.perf_counter() - start)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length", polling=20)
    return {**page.evaluate(TIMES), "pictures": whole}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tools:
        shown, number = review(given.images, Path(folder))
        addresses: list[str] = []
        threading.Thread(target=serve, args=(shown, 0, addresses.append), daemon=True).start()
        chrome = shutil.which("chromium") or shutil.which("google-chrome")
        browser = tools.chromium.launch(executable_path=chrome, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)
        while not addresses:
            time.sleep(0.05)
        page.goto(addresses[0])
        layer = f"{addresses[0].split('/?')[0]}/layer/{number}"
        times = [visit(page, layer) for _ in range(1 + given.rounds)]
        print("ms            first visit   later (median)")
        for key, words in (("paint", "first paint"), ("script", "script done"), ("pictures", "in sight")):
            later = median(one[key] for one in times[1:])
            print(f"{words:12}  {times[0][key]:11.0f}   {later:14.0f}")
        browser.close()


if __name__ == "__main__":
    main()
