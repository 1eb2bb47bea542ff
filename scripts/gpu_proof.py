"""Where does the gap go? The same plans after 0, 1, 5 and 20 epochs, on one GPU, in less than twelve minutes.

    python scripts/gpu_proof.py --data cifar10-jpeg.tar.xz --weights resnet20.th --out runs/gpu_proof
    python scripts/gpu_proof.py ... --device cpu --small       # the same on few images, to see that it runs

Unpacks the class folders, adapts ResNet-20 to them (3 epochs), searches a set-aware blend at 30 % of the FLOPs at equal
shares without retraining, and trains blend, rivals and the criteria that are best in hindsight for as many epochs as
time allows, each number of epochs a regime of its own. All images lie in memory. OUT/results.json and OUT/results.md
are what is worth keeping. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prove_blend import as_rows, of_draw, search_draw, train_draw, worth_training

from blendsearch.campaigns.single import run_train
from blendsearch.config import Space
from blendsearch.results.paired import Judge, compare
from blendsearch.results.records.retraining import RetrainingOutcome
from blendsearch.results.run_folder import RunFolder, versions
from blendsearch.validation.space import load_checked

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"
EPOCHS = (1, 5, 20)
STEPS_AN_EPOCH = 368
"""Of 128 images each, in the 47,000 that the space trains on."""
SMALL = [
    "data.limit=1500", "data.calibration=200", "data.search=200", "search.population=6", "search.generations=2",
    "search.limit=null", "search.layer_by_layer=1", "criteria=[l1,fisher,obs_fisher]", "clusters.count=3",
]  # fmt: skip


def unpacked(archive: Path) -> Path:
    """Return the folder of the archive's class folders, unpacked beside the machine's temporary files once.

    It is named by what the archive holds, and there when all of that is in it.
    """
    folder = Path(tempfile.gettempdir()) / f"gpu_proof_{hashlib.sha256(archive.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}_", dir=folder.parent) as begun:
            with tarfile.open(archive) as opened:
                opened.extractall(Path(begun) / "whole", filter="data")
            (Path(begun) / "whole").rename(folder)
    return folder


def read_spaces(given: argparse.Namespace, root: Path) -> tuple[Space, Space]:
    """Return the space that adapts the network and the one that prunes it."""
    shared = [f"data.root={root}", f"compute.device={given.device}", *given.changes]
    weights = given.out / "adapted" / "baseline.safetensors"
    training = ["training.epochs=0.1"] if given.small else []
    small = SMALL if given.small else []
    few = [one for one in small if one.startswith("data.")]
    adapt = load_checked(
        SPACES / "cifar10_jpeg_resnet20.yaml", [*shared, *few, *training, f"model.weights={given.weights}"]
    )
    prune = load_checked(
        SPACES / "post_training_cifar10_jpeg_resnet20.yaml",
        [*shared, *small, "training.epochs=0", f"model.weights={weights}"],
    )
    return adapt, prune


def write(out: Path, facts: dict[str, object], regimes: dict[str, Sequence[RetrainingOutcome]]) -> None:
    """Write what there is so far: a run that is cut off leaves its finished regimes."""
    records, lines = {}, ["## ResNet-20, CIFAR-10 (JPEG), 30 % of the FLOPs, equal shares, one draw", ""]
    for title, outcomes in regimes.items():
        comparison = compare(Judge.of_outcomes(outcomes))
        lines += as_rows(title, outcomes, comparison)
        accuracies = {f"{one.kind}: {one.name}": round(one.test_accuracy, 6) for one in outcomes}
        records[title] = {"comparison": comparison.to_dict(), "test_accuracy": accuracies}
    (out / "results.json").write_text(json.dumps({**facts, "regimes": records}, indent=1) + "\n")
    (out / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def main() -> None:
    """Adapt, search, train for ever longer, write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=660, help="begin no regime that would end after so many")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_intermixed_args()
    start = time.perf_counter()
    adapt, prune = read_spaces(given, unpacked(given.data))
    run_train(adapt, given.out / "adapted", resume=RunFolder(given.out / "adapted").begun)
    summary, found = search_draw(prune, given.out / "draw")
    outcomes = of_draw(found, 0)
    regimes: dict[str, Sequence[RetrainingOutcome]] = {"not retrained": outcomes}
    facts: dict[str, object] = {"unpruned": summary.unpruned.test_accuracy, "versions": versions()}
    write(given.out, facts, regimes)
    names, seconds_a_step = worth_training(outcomes), 0.0
    own = [one for one in outcomes if one.name in names]
    for epochs in EPOCHS:
        steps = epochs * (4 if given.small else STEPS_AN_EPOCH)
        if time.perf_counter() - start + seconds_a_step * steps > given.seconds:
            print(f"no time left for {epochs} epochs", flush=True)
            break
        begun = time.perf_counter()
        regimes[f"{epochs} epochs"] = of_draw(train_draw(prune, given.out / "draw", own, steps), 0)
        seconds_a_step = (time.perf_counter() - begun) / steps
        write(given.out, {**facts, "seconds": round(time.perf_counter() - start, 1)}, regimes)


if __name__ == "__main__":
    main()
