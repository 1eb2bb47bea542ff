"""The relevance family: what every filter contributes to the logit of the true class, averaged over the samples.

Relevance of a filter for a sample is the sum over positions of the relevance at its feature map; it is signed.
All LRP composites share one forward pass and the sums of contributions (contributions.py), each has a backward pass;
gradient x input is one forward-backward pass, integrated gradients one a step, the last of which it shares.
Source: Yeom et al., Pruning by Explaining, Pattern Recognition 2021.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.errors import StructureError, unknown_name
from blendsearch.registry import Registry
from blendsearch.statistics import composites
from blendsearch.statistics.composites import Composite, check_norms, fold_norms
from blendsearch.statistics.labels import check_integers, check_labels
from blendsearch.statistics.observation import Tell, nothing_runs_anew, unheard
from blendsearch.statistics.redistribution import Redistribution
from blendsearch.structure.trace import CallCounter, Site

Relevance = dict[Site, Tensor]
"""Site -> [N, C], one number a sample and filter."""

COMPOSITES: Registry[Callable[[], Composite]] = Registry("composite", "composites")
COMPOSITES.register("relevance.lrp_epsilon_plus")(composites.epsilon_plus)
COMPOSITES.register("relevance.lrp_alpha_beta")(composites.alpha_beta)
COMPOSITES.register("relevance.lrp_alpha1_beta0")(composites.alpha1_beta0)
COMPOSITES.register("relevance.lrp_gamma")(composites.gamma)

GRADIENT_X_INPUT = "relevance.gradient_x_input"
INTEGRATED_GRADIENTS = "relevance.integrated_gradients"
STEPS = 2
"""Steps of integrated gradients: on trained networks two order filters as 48 do (Spearman 0.98 on average)."""
PER_CLASS = 10
"""Images of each class for LRP, as in Yeom et al. On a trained ResNet-20 and CIFAR-10 they order filters as 500 other
images do (Spearman 0.97 to 0.98 in each group, on average), which is what 500 images agree with 500 others (0.98 to
0.99). Gradient x input and integrated gradients, far cheaper, do not settle so soon (0.86 and 0.91) and take all.
"""
PART = 32
"""Images that a pass takes at a time: its maps, which are looked at again, then mostly are in a processor's cache."""


def true_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logit of each sample's true class, [N]."""
    check_labels(logits, labels)
    return logits.gather(1, labels.to(logits.device)[:, None])[:, 0]


class LayerwiseRelevance(Redistribution):
    """Layer-wise relevance propagation by zennit's rules, starting from the logit of the true class.

    network: a copy that becomes ours, its batch norms folded where they can be. Raises StructureError when a layer
    or a function of the network has no rule.
    """

    def __init__(self, network: nn.Module, sites: Iterable[Site]) -> None:
        super().__init__()
        check_norms(network)
        self.network = network
        self.found: Relevance = {}
        self._unreached: Relevance = {}
        self._starts: list[Tensor] = []
        self._by_call = {site.index: site for site in sites if site.index >= 0}
        for site in sites:
            if site.index < 0:
                network.get_submodule(site.module).register_forward_hook(self._module_hook(site))

    def _module_hook(self, site: Site) -> Callable[[nn.Module, object, Tensor], Tensor]:
        return lambda module, inputs, output: self._listen(site, output)

    def on_activation(self, index: int, inputs: tuple[object, ...], output: Tensor) -> Tensor:
        return self._listen(self._by_call[index], output) if index in self._by_call else output

    def _listen(self, site: Site, output: Tensor) -> Tensor:
        output = _begun(output, self._starts)
        self._unreached[site] = output.new_zeros(output.shape[:2], dtype=torch.float)
        if output.requires_grad:
            output.register_hook(lambda arriving: self.found.__setitem__(site, arriving.float().sum((2, 3))))
        return output

    def __call__(
        self, images: Tensor, labels: Tensor, composites: Iterable[Composite]
    ) -> Iterator[tuple[Relevance, Tensor]]:
        """Yield the relevance at every site and at the input [N, C, H, W] by each composite, from one forward pass.

        Zero at sites that no relevance reaches: inside of gates, or before a part that autograd does not see.
        """
        self.activations, self.additions = 0, 0
        given = images.detach().clone().requires_grad_()
        self._unreached, self._starts = {}, [given]
        with torch.enable_grad():
            with self:
                logits = self.network(given)
            start = true_logits(logits, labels)
        for composite in composites:
            self.composite, self.found = composite, {}
            with nothing_runs_anew():
                arrived = _gradients(start, self._starts, start.detach(), again=True)[0]
            yield self._unreached | self.found, arrived


class MapGradients(CallCounter):
    """The feature maps of every site, and the gradient of the true class's logit with respect to them."""

    def __init__(self, network: nn.Module, sites: Iterable[Site]) -> None:
        super().__init__()
        self.network = network
        self.maps: dict[Site, Tensor] = {}
        self.gradients: dict[Site, Tensor] = {}
        self._starts: list[Tensor] = []
        self._by_call = {site.index: site for site in sites if site.index >= 0}
        for site in sites:
            if site.index < 0:
                network.get_submodule(site.module).register_forward_hook(self._module_hook(site))

    def _module_hook(self, site: Site) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            with self.paused():
                output = self._listen(site, output)
            return output.clone()  # the network may add in place to what it gets

        return hook

    def on_activation(self, index: int, inputs: tuple[object, ...], output: Tensor) -> Tensor:
        return self._listen(self._by_call[index], output) if index in self._by_call else output

    def _listen(self, site: Site, output: Tensor) -> Tensor:
        output = _begun(output, self._starts)
        maps = output.detach()
        # Autograd itself forbids overwriting a ReLU's result; any other the network may still change.
        self.maps[site] = (maps if type(output.grad_fn).__name__ == "ReluBackward0" else maps.clone()).float()
        if output.requires_grad:
            output.register_hook(lambda gradient: self.gradients.__setitem__(site, gradient.float()))
        return output

    def __call__(self, images: Tensor, labels: Tensor) -> dict[Site, tuple[Tensor, Tensor]]:
        """Return site -> (maps, gradients), each [N, C, H, W]; a gradient that reaches no site is zero there."""
        self.activations, self.maps, self.gradients = 0, {}, {}
        given = images.detach().clone().requires_grad_()
        self._starts = [given]
        with torch.enable_grad():
            with self:
                logits = self.network(given)
            start = true_logits(logits, labels)
            _gradients(start, self._starts, torch.ones_like(start))
        reached = self.gradients
        return {s: (maps, reached[s] if s in reached else torch.zeros_like(maps)) for s, maps in self.maps.items()}


def _begun(output: Tensor, starts: list[Tensor]) -> Tensor:
    """Return maps that autograd follows, where it is on: behind a part without gradients it must begin anew."""
    if output.requires_grad or not torch.is_grad_enabled():
        return output
    output = output.detach().requires_grad_()
    starts.append(output)
    return output


def _gradients(end: Tensor, starts: list[Tensor], seed: Tensor, again: bool = False) -> tuple[Tensor, ...]:
    """Return the gradient of `end`, weighted by `seed`, at each of the starts; zero where there is none.

    again: whether this is to be asked for once more.
    """
    if not end.requires_grad:
        return tuple(torch.zeros_like(start) for start in starts)
    return torch.autograd.grad(end, starts, seed, retain_graph=again, allow_unused=True, materialize_grads=True)


def gradient_x_input(end: dict[Site, tuple[Tensor, Tensor]]) -> Relevance:
    """Activation times gradient, summed over positions: the first-order share of the logit.

    Source: Shrikumar et al., 2016 (arXiv 1605.01713), at the feature map instead of the image.
    """
    return {site: (maps * gradients).sum((2, 3)) for site, (maps, gradients) in end.items()}


def path_starts(images: Tensor, labels: Tensor, at: MapGradients) -> tuple[dict[Site, tuple[Tensor, Tensor]], Tensor]:
    """Return maps and gradients at a zero image, once for each class there is, and which of them is each image's."""
    classes, place = labels.unique(return_inverse=True)
    return at(torch.zeros_like(images[:1]).expand(len(classes), *images.shape[1:]), classes), place


def integrated_gradients(
    images: Tensor,
    labels: Tensor,
    at: MapGradients,
    ends: tuple[dict[Site, tuple[Tensor, Tensor]], dict[Site, tuple[Tensor, Tensor]]],
    steps: int,
) -> Relevance:
    """Integrate the gradient of the logit along the feature maps that the path from a zero image to the image makes.

    For image k / steps, k = 0..steps, with maps a_k and gradients g_k: the sum over k and positions of
    (g_k + g_{k-1}) / 2 x (a_k - a_{k-1}), the trapezoid rule for the filter's conductance. Over all filters that
    separate input and output it sums to logit(image) - logit(zero image), up to the error of the steps. A zero
    image is, after normalisation, the mean colour. `ends`: maps and gradients at the zero image, of one sample or of
    all, and at the image itself.
    Source: Sundararajan et al., ICML 2017 (path and completeness); Dhamdhere et al., ICLR 2019 (conductance), in
    the differences of Shrikumar et al., 2018 (arXiv 1807.09946).
    """
    before, end = ends
    total: Relevance = {}
    for step in range(1, steps + 1):
        now = end if step == steps else at(images * (step / steps), labels)
        for site, (maps, gradients) in now.items():
            maps_before, gradients_before = before[site]
            part = (maps - maps_before).mul_(gradients + gradients_before).sum((2, 3)) / 2
            total[site] = total[site] + part if site in total else part
        before = now
    return total


class RelevanceGatherer:
    """Streams the means over samples of everything of the relevance family that is needed.

    per_class: LRP takes the first so many images of each class, in the order in which they come; None: all.
    unavailable: need -> why this network does not allow it. Raises UnknownNameError for an unknown need.
    """

    what = "relevance"

    def __init__(
        self,
        network: nn.Module,
        sites: Iterable[Site],
        followers: dict[str, str],
        needs: Iterable[str],
        compute: Compute,
        steps: int = STEPS,
        per_class: int | None = PER_CLASS,
    ) -> None:
        self.needs = sorted({need for need in needs if need.startswith("relevance")})
        known = [*COMPOSITES.names(), GRADIENT_X_INPUT, INTEGRATED_GRADIENTS]
        for need in self.needs:
            if need not in known:
                raise unknown_name("relevance", need, known)
        self.unavailable: dict[str, str] = {}
        self.steps, self.per_class = steps, per_class
        self._network, self._followers, self._compute = network, followers, compute
        self._sites = tuple(sites)
        self._composites = {need: COMPOSITES.get(need)() for need in self.needs if need in COMPOSITES}
        self._gradients = [need for need in self.needs if need not in COMPOSITES]
        self._layerwise: LayerwiseRelevance | None = None
        self._at: MapGradients | None = None
        self._totals: dict[str, Relevance] = {}
        self._samples: Counter[str] = Counter()
        self._of_class: Counter[int] = Counter()

    def add(self, images: Tensor, labels: Tensor, tell: Tell = unheard) -> None:
        """Take a batch."""
        check_integers(labels, len(images))
        labels = labels.to(self._compute.device).long()
        self._add_layerwise(images, labels, tell)
        if self._gradients:
            tell("relevance by gradients")
            self._add_gradients(images, labels)

    def _within_cap(self, labels: Tensor) -> Tensor:
        """Return the positions of the images that LRP takes."""
        chosen = []
        for position, label in enumerate(labels.tolist()):
            self._of_class[label] += 1
            if self.per_class is None or self._of_class[label] <= self.per_class:
                chosen.append(position)
        return torch.tensor(chosen, dtype=torch.long, device=labels.device)

    def _add_layerwise(self, images: Tensor, labels: Tensor, tell: Tell) -> None:
        if not self._composites:
            return
        chosen = self._within_cap(labels)
        images, labels = images[chosen], labels[chosen]
        if not len(images):
            return
        try:
            if self._layerwise is None:
                self._layerwise = LayerwiseRelevance(self.folded_copy(images[:2]), self._sites)
            for number, (part, answers) in enumerate(zip(images.split(PART), labels.split(PART), strict=True)):
                tell(f"relevance of {number * PART + len(part)} of {len(images)}")
                passes = self._layerwise(part, answers, self._composites.values())
                for need, (relevance, _) in zip(self._composites, passes, strict=True):
                    self._take(need, relevance)
        except StructureError as error:
            self.unavailable |= dict.fromkeys(self._composites, str(error))
            self._composites = {}

    def _add_gradients(self, images: Tensor, labels: Tensor) -> None:
        if self._at is None:
            self._at = MapGradients(self.folded_copy(images[:2]), self._sites)
        integrates = INTEGRATED_GRADIENTS in self._gradients
        starts, place = path_starts(images, labels, self._at) if integrates else ({}, labels)
        for part, answers, own in zip(*(given.split(PART) for given in (images, labels, place)), strict=True):
            end = self._at(part, answers)
            if GRADIENT_X_INPUT in self._gradients:
                self._take(GRADIENT_X_INPUT, gradient_x_input(end))
            if integrates:
                start = {site: (maps[:1], gradients[own]) for site, (maps, gradients) in starts.items()}
                found = integrated_gradients(part, answers, self._at, (start, end), self.steps)
                self._take(INTEGRATED_GRADIENTS, found)

    def folded_copy(self, images: Tensor) -> nn.Module:
        """Return a frozen copy in evaluation mode, its batch norms folded; `images` show whether that is right."""
        network = self._compute.place(copy.deepcopy(self._network)).eval().requires_grad_(False)
        for module in network.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010  (mypy: not every module has it)
        fold_norms(network, self._followers, images)
        return network

    def _take(self, need: str, relevance: Relevance) -> None:
        self._samples[need] += len(next(iter(relevance.values()), ()))
        totals = self._totals.setdefault(need, {})
        for site, values in relevance.items():
            batch = values.double().sum(0)
            totals[site] = totals[site] + batch if site in totals else batch

    def averages(self) -> dict[Site, dict[str, Tensor]]:
        """Return site -> need -> mean over samples [C], float32 on the CPU."""
        return {
            site: {
                need: (totals[site] / self._samples[need]).float().cpu()
                for need, totals in self._totals.items()
                if need not in self.unavailable and site in totals
            }
            for site in self._sites
        }
