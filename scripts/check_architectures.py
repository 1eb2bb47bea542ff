"""Are other people's networks pruned right? Reads, scores, prunes and exports them; writes docs/architectures.md.

    python scripts/check_architectures.py                        # all of NETWORKS, about an hour on one core
    python scripts/check_architectures.py torchvision:resnet18   # some, to the terminal alone

Of each: the groups, the seconds to read them beside those Torch-Pruning takes to list its own, then pruned to half of
the FLOPs at equal shares by l1 and by a global threshold of Taylor scores. Checked: FLOPs against torch's own counter,
at most the budget and within 1 %; sliced against masked, in float64 with random norms; forward, backward, training
mode; saving and loading; ONNX by onnxruntime, where it is installed.
"""

from __future__ import annotations

import argparse
import copy
import io
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import blendsearch
from blendsearch.compute import Compute
from blendsearch.config import ModelConfig
from blendsearch.criteria import ScoringSetup, names, score_applicable
from blendsearch.errors import BlendsearchError
from blendsearch.models.loading import build as build_model
from blendsearch.structure import Plan, Structure
from blendsearch.structure.check import masked_copy, randomised

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
CLASSES, IMAGES, BUDGET = 10, 4, 0.5
NETWORKS = {
    "torchvision": (
        "alexnet convnext_tiny densenet121 efficientnet_b0 googlenet mnasnet0_5 "
        "mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d "
        "shufflenet_v2_x0_5 squeezenet1_1 vgg11_bn wide_resnet50_2"
    ),
    "timm": (
        "convnext_atto convnextv2_atto cspdarknet53 cspresnet50 darknet53 dla34 ecaresnet26t edgenext_xx_small "
        "efficientnet_es ese_vovnet19b_dw fbnetc_100 gernet_s ghostnet_100 hardcorenas_a hrnet_w18_small lcnet_050 "
        "mixnet_s mobilenetv3_small_050 mobilenetv4_conv_small mobileone_s0 nf_resnet26 regnetz_005 repvgg_a0 "
        "res2net50_14w_8s resnet26d resnetblur18 resnetv2_50x1_bit rexnet_100 selecsls42 semnasnet_075 seresnet18 "
        "tf_efficientnet_b0 tinynet_e xception41"
    ),
}
SIZES = {"alexnet": 96, "squeezenet1_1": 96, "xception41": 96}
"""Pixels where 64 are too few."""

PATIENCE = 20
"""Seconds that Torch-Pruning is given."""

ELIMINATIONS, WIDE = ("thinet", "obs", "obs_fisher"), 512
"""What takes minutes on networks with wider groups than that, and is left out there."""


@dataclass
class Row:
    """What came of one network; wrong: what did not hold, in words."""

    name: str
    groups: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    theirs: float | None = None
    criteria: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)
    budget: float = BUDGET
    wrong: list[str] = field(default_factory=list)
    onnx: str = ""


def network_names() -> list[str]:
    """Return "library:name" of all networks that the page is about."""
    return [f"{library}:{name}" for library, several in NETWORKS.items() for name in several.split()]


def examine(name: str) -> Row:
    """Check one network; never raises for what the network does."""
    row = Row(name)
    torch.manual_seed(0)
    network, images = build(name)
    labels = torch.arange(IMAGES) % CLASSES
    import blendsearch.structure.dependencies  # what importing Torch-Pruning takes is not what reading takes

    begun = time.perf_counter()
    try:
        structure = Structure.of(network, images)
    except BlendsearchError as error:
        row.refused = {"the network": str(error)}
        return row
    row.seconds = time.perf_counter() - begun
    row.groups, row.refused = len(structure.groups), structure.refused
    row.theirs = seconds_of_torch_pruning(network, images)
    wanted = [name for name in names() if name not in ELIMINATIONS or max(structure.widths.values()) <= WIDE]
    scored = score_applicable(network, structure, [(images, labels)], wanted, ScoringSetup(Compute.resolve("cpu")))
    row.criteria, row.left_out = len(scored.scores), scored.left_out
    row.budget = possible(network, images, labels)
    for by, allocation in (("l1", "uniform"), ("taylor" if "taylor" in scored.scores else "l2", "global_threshold")):
        pruned = blendsearch.prune(
            network, [(images, labels)], by=by, budget={"flops": row.budget}, allocation=allocation, device="cpu"
        )
        row.ratios.append(check(row, network, structure, pruned.plan, pruned.network, images))
    return row


def build(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights, and images of its size."""
    _, kind = name.split(":")
    size = SIZES.get(kind, 64)
    arguments = {"init_weights": False} if kind == "googlenet" else {}
    config = ModelConfig(name=name, arguments=arguments)
    return build_model(config, num_classes=CLASSES, shape=(3, size, size)).eval(), torch.randn(IMAGES, 3, size, size)


def possible(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the budget that is pruned to: half, or what is just possible where layers that stay cost more."""
    for budget in (BUDGET, 0.6, 0.7, 0.8, 0.9):
        try:
            blendsearch.prune(network, [(images, labels)], by="l1", budget={"flops": budget}, device="cpu")
        except BlendsearchError:
            continue
        return budget
    return 0.95


def check(row: Row, network: nn.Module, whole: Structure, plan: Plan, pruned: nn.Module, images: Tensor) -> float:
    """Note what does not hold of a pruned network; return its share of the FLOPs by torch's counter."""
    share = flops(pruned, images) / flops(network, images)
    if not row.budget - 0.01 <= share <= row.budget + 1e-6:
        row.wrong.append(f"{share:.4f} of the FLOPs for {row.budget}")
    if abs(whole.cost.ratio("flops", plan.counts) - share) > 1e-4:
        row.wrong.append(f"says {whole.cost.ratio('flops', plan.counts):.4f} of the FLOPs, is {share:.4f}")
    wide, double = randomised(copy.deepcopy(network)).double(), images.double()
    with torch.no_grad():
        found, expected = whole.slice(wide, plan)(double), masked_copy(wide, whole.groups, plan)(double)
    error = float((found - expected).abs().max() / expected.abs().max())
    if error > 1e-6:
        row.wrong.append(f"sliced differs from masked by {error:.0e}")
    output = pruned.train()(images)
    first = output if isinstance(output, Tensor) else next(iter(output))
    first.square().mean().backward()
    pruned.zero_grad(set_to_none=True)
    pruned.eval()
    if not saved_alike(pruned, whole.slice(network, plan), images):
        row.wrong.append("not the same after saving and loading")
    row.onnx = row.onnx or onnx_difference(pruned, images)
    return share


def saved_alike(pruned: nn.Module, fresh: nn.Module, images: Tensor) -> bool:
    """Tell whether weights that were saved give the same network again."""
    file = io.BytesIO()
    torch.save(pruned.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        return bool(torch.equal(fresh.eval()(images), pruned(images)))


def onnx_difference(pruned: nn.Module, images: Tensor) -> str:
    """Return "yes" when onnxruntime gives the same outputs, what is wrong otherwise, "" without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return ""
    file = io.BytesIO()
    try:
        torch.onnx.export(pruned, (images,), file, dynamo=False)
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever an exporter raises is told in the table
        return f"no ({type(error).__name__})"
    (found, *_) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = pruned(images)
    error = float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    return "yes" if error < 1e-3 else f"differs by {error:.0e}"


def flops(network: nn.Module, images: Tensor) -> int:
    """Count by torch's own counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images)
    return int(counter.get_total_flops())


def seconds_of_torch_pruning(network: nn.Module, images: Tensor) -> float | None:
    """Return how long Torch-Pruning takes to build its graph and list all groups; None for no answer in PATIENCE."""
    import torch_pruning as tp

    def give_up(*_: Any) -> None:
        raise TimeoutError

    own = copy.deepcopy(network).requires_grad_(True)
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    begun = time.perf_counter()
    try:
        graph = tp.DependencyGraph().build_dependency(own, images[:2], verbose=False)
        for _ in graph.get_all_groups():
            pass
    except Exception:  # whatever it raises: it cannot
        return None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return time.perf_counter() - begun


HEAD = """# Architectures

Written by `scripts/check_architectures.py`, which `scripts/test.sh --all` runs too; change that, not this page.

Networks of torchvision and timm with random weights, {classes} classes, images of 64 pixels (more where those are too
few). Each is scored under all criteria (43; where a group is wider than 512 filters without `thinet`, `obs` and
`obs_fisher`, for time) and pruned to half of its FLOPs at equal shares by `l1`, and by one threshold for all layers by
`taylor`. **right**: FLOPs by torch's own counter are within 1 % below the budget and are what is
reported; the sliced network computes what the masked one does (1e-6, float64, random norms); it runs, trains, saves,
loads. *groups*: pruned, and left alone. *seconds*: to read the structure, beside what Torch-Pruning takes for all its
groups (–: no answer in 20), on one core.

| network | right | groups | criteria | budget | ONNX | seconds | left alone because |
|---|---|---|---|---|---|---|---|
"""
TAIL = """
## What is beyond reach

- Filters whose channels are mixed by reshaping (ShuffleNet's channel shuffle, pixel shuffle) or split by numbers that
  are written into `forward` (Res2Net's scales): left alone by name, the rest is pruned. ShuffleNet is refused.
- Filters read by efficient channel attention, whose neighbourhoods would change; selective kernels (skresnet18), where
  next to nothing can go.
- Auxiliary heads that run in training alone, where training does not run on the example: give larger images.
- Outputs of convolutions whose weight is computed by `torch.nn.utils.parametrize`; the message names the function that
  makes it plain. Grouped transposed convolutions. Convolutions that are called several times in one pass.
- Hidden units of linear layers (the MLP of a ConvNeXt block, heads of attention): only what a two-dimensional
  convolution makes is a filter. Linear layers, one- and three-dimensional convolutions lose inputs, and outputs where a
  residual stream ties them.

Grouped convolutions and group norms lose whole groups. Norms over all channels (layer norm, a group norm of one group,
weight standardisation) take their statistics over what is left.
"""


def cells(row: Row) -> str:
    """Return a line of the page's table."""
    reasons = list(dict.fromkeys(row.refused.values()))
    right = "yes" if row.groups and not row.wrong else "; ".join(row.wrong) or "refused"
    theirs = "–" if row.theirs is None else f"{row.theirs:.1f}"
    criteria = f"{row.criteria}" + (f" (without {', '.join(row.left_out)})" if row.left_out else "")
    cut = "; ".join(one if len(one) < 120 else one[:117] + "..." for one in reasons[:2])
    return (
        f"| {row.name} | {right} | {row.groups} + {len(row.refused)} | {criteria} | {row.budget:.0%} | {row.onnx} "
        f"| {row.seconds:.1f} / {theirs} | {cut} |"
    )


def main() -> None:
    """Check the networks that are named, or all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="LIBRARY:NAME")
    given: Any = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = []
    for name in given.networks or network_names():
        try:
            line = cells(examine(name))
        except Exception as error:  # one network must not end the list
            if given.networks:
                raise
            line = (
                f"| {name} | {type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''} |||||||"
            )
        print(line, flush=True)
        lines.append(line)
    if not given.networks:
        PAGE.write_text(HEAD.format(classes=CLASSES) + "\n".join(lines) + "\n" + TAIL)
        print(f"written: {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
