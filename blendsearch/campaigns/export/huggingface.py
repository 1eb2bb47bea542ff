"""A folder in timm's layout of the Hugging Face hub: config.json, model.safetensors, plan, snippet, model card.

What plain timm can do with it: build the unpruned architecture from config.json (`pretrained=False`), with classes,
mean and deviation. What it cannot: load the weights, whose shapes are the pruned network's. apply_plan.py does that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blendsearch.campaigns.export.checking import compared, run_outside
from blendsearch.campaigns.export.state_dict import FILES, put_files, recipe
from blendsearch.campaigns.export.subject import Subject
from blendsearch.campaigns.export.written import Written
from blendsearch.errors import ExportError
from blendsearch.files import staged
from blendsearch.results.words import percent

CONFIG, CARD = "config.json", "README.md"
HUB_FILES = (CONFIG, CARD, *FILES)
KEPT = ("interpolation", "crop_pct", "crop_mode", "pool_size", "first_conv", "classifier", "fixed_input_size")
"""What timm's own configuration says of an architecture, whoever trained it."""

CARD_TEXT = """---
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
- pruned
---
# {name}, pruned

A `{name}` of timm for {classes} classes whose filters were pruned with [blendsearch](https://pypi.org/project/blendsearch/).

| | |
|---|---|
{figures}

Images: {shape} (channels, height, width), scaled to [0, 1], less {mean}, over {std}.

## Loading

The weights do not fit the unpruned network, so `timm.create_model(..., pretrained=True)` refuses them. timm builds the
architecture, and `apply_plan.py` in this folder, which needs torch and safetensors alone, gives it the pruned shapes
and weights:

```python
import timm

from apply_plan import apply_plan  # run it in this folder, or put the file beside your code

network = apply_plan(timm.create_model("local-dir:.", pretrained=False), ".")
```

With blendsearch installed: `network = blendsearch.load(".")`. Which filters of the unpruned network were kept is in
`plan.json`.
"""


def write_huggingface(subject: Subject, folder: Path) -> Written:
    """Write the folder of a `timm:` network, and try the snippet of its model card without this package.

    Raises ExportError for a network of another library, and where the snippet gives other outputs.
    """
    library, _, name = subject.about.name.partition(":")
    if library != "timm" or subject.whole is None:
        given = subject.about.name or type(subject.network).__name__
        raise ExportError(
            f"export to huggingface: the network is {given}, allowed: one of timm (timm:NAME) out of a run or a file "
            "that says so; for others: --to state_dict"
        )
    expected = subject.outputs()
    with staged(folder) as place:
        put_files(subject, place)
        (place / CONFIG).write_text(json.dumps(configuration(subject, name), indent=2) + "\n", encoding="utf-8")
        (place / CARD).write_text(card(subject, name), encoding="utf-8")
        build = {"library": "timm", "name": f"local-dir:{place}", "arguments": {"pretrained": False}}
        what = f"{folder}: the network that its snippet makes"
        found = run_outside(subject, {"folder": str(place), "build": build}, what)
        difference, largest = compared(expected, found, what)
    return Written(
        files=tuple(folder / file for file in HUB_FILES),
        difference=difference,
        largest_output=largest,
        checked="the model card's snippet in a process without blendsearch",
        note="plain timm builds the architecture alone; apply_plan.py or blendsearch.load gives it shapes and weights",
    )


def configuration(subject: Subject, name: str) -> dict[str, Any]:
    """Return config.json as timm's hub layout has it."""
    about, whole = subject.about, subject.whole
    own = dict(getattr(whole, "pretrained_cfg", None) or {})
    arguments = {key: value for key, value in recipe(subject)["arguments"].items() if key != "num_classes"}
    shape, channels = about.shape, (about.shape or (3,))[0]
    return {
        "architecture": name.partition(".")[0],
        "num_classes": len(about.classes),
        "num_features": getattr(whole, "num_features", None),
        "label_names": list(about.classes),
        "model_args": arguments,
        "pretrained_cfg": {
            **{key: own[key] for key in KEPT if own.get(key) is not None},
            "input_size": list(shape or ()),
            "mean": list(about.mean) or [0.0] * channels,
            "std": list(about.std) or [1.0] * channels,
            "num_classes": len(about.classes),
            "custom_load": False,
        },
        "pruned_by": "blendsearch",
    }


def card(subject: Subject, name: str) -> str:
    """Return the model card."""
    about, known = subject.about, subject.figures
    networks = [network for network in (subject.network, subject.whole) if network is not None]
    counts = [sum(one.numel() for one in network.parameters()) for network in networks]
    rows = {
        "test accuracy": _share(known.test_accuracy),
        "test accuracy of the unpruned network": _share(known.unpruned_test_accuracy),
        "FLOPs, of the unpruned network's": _share(known.flops_ratio),
        "parameters": " of ".join(f"{count:,}" for count in counts),
    }
    return CARD_TEXT.format(
        name=name,
        classes=len(about.classes),
        figures="\n".join(f"| {what} | {value} |" for what, value in rows.items()),
        shape=" x ".join(str(size) for size in about.shape or ()),
        mean=list(about.mean) or "nothing",
        std=list(about.std) or "1",
    )


def _share(value: float | None) -> str:
    return "not measured" if value is None else percent(value)
