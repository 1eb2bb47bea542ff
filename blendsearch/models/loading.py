"""Building the network a space names: from the zoo, torchvision, timm, or your own code."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.config import ModelConfig
from blendsearch.errors import BlendsearchError, ConfigError, blame, first_line, nearest, unknown_name
from blendsearch.models.weights import load_weights
from blendsearch.models.zoo import MODELS

GIVEN = "given"
"""Stands in a space for what was handed over in Python: model.name is 'given:CLASS', data.name 'given'."""


def build(config: ModelConfig, *, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Build the network of a space for images [C, H, W] and load its weights, if any are given.

    Names: a zoo name, "torchvision:NAME", "timm:NAME", or "package.module:callable"; your callable gets
    model.arguments and, of num_classes, in_channels and image_size, those that it takes.
    Raises WeightsError, and ConfigError: for an unknown name with the nearest one, and when the network cannot
    take these images or gives another number of classes.
    """
    try:
        builder, facts = builder_of(config.name, num_classes=num_classes, shape=shape)
    except BlendsearchError as error:
        raise ConfigError(f"model.name: {error}") from None
    try:
        network = builder(**{**facts, **config.arguments})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.arguments: {config.name}: {first_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"model.name: {config.name} raised {blame(error)}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model.name: {config.name} gave {type(network).__name__}, a torch.nn.Module is needed")
    if config.weights is not None:
        load_weights(network, config.weights)
    _check_fits(network, config.name, num_classes, shape)
    if is_own_code(config.name):
        _check_own(network, config.name, shape)
    return network


def is_own_code(name: str) -> bool:
    """Tell whether a name of a network stands for code that is not of the zoo, torchvision or timm."""
    library, _, rest = name.partition(":")
    return bool(rest) and library not in ("torchvision", "timm", GIVEN)


def _check_fits(network: nn.Module, name: str, num_classes: int, shape: tuple[int, int, int]) -> None:
    """Run two blank images through the network, which is left as it was."""
    with _told_of(name, shape):
        flags = {module: module.training for module in network.modules()}
        try:
            network.eval()
            with torch.no_grad():
                output = network(torch.zeros(2, *shape))
        finally:
            for module, training in flags.items():
                module.training = training
    if not isinstance(output, Tensor) or tuple(output.shape) != (2, num_classes):
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(f"model.name: {name} gives {given} for 2 images, allowed: logits (2, {num_classes})")


def _check_own(network: nn.Module, name: str, shape: tuple[int, int, int]) -> None:
    """Try a copy of somebody's own network as it will be used, with batches of other sizes."""
    try:
        alone = copy.deepcopy(network)
    except Exception as error:
        raise ConfigError(f"model.name: {name} cannot be copied by copy.deepcopy: {blame(error)}") from error
    with torch.no_grad():
        for images in (1, 3):
            with _told_of(name, shape, f" in a batch of {images}"):
                if alone.eval() is not alone:
                    raise ConfigError(f"model.name: {name}: its eval() gives something else than the network itself")
                alone(torch.zeros(images, *shape))


@contextlib.contextmanager
def _told_of(name: str, shape: tuple[int, int, int], how: str = "") -> Iterator[None]:
    """Name a network in what it raises."""
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        size = "x".join(str(number) for number in shape)
        raise ConfigError(f"model.name: {name} cannot take images of {size} (CxHxW){how}: {blame(error)}") from error


def check_name(name: str) -> None:
    """Raise UnknownNameError with the nearest name for one that no library knows; own code is not imported."""
    library, _, rest = name.partition(":")
    if not rest:
        MODELS.get(name)
    elif library == GIVEN:
        pass
    elif library == "torchvision":
        _torchvision(rest)
    elif library == "timm":
        _timm(rest)


def builder_of(
    name: str, *, num_classes: int, shape: tuple[int, int, int]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return what builds a network, and which of these facts it takes beside model.arguments; see `build`."""
    channels, height, _ = shape
    facts = {"num_classes": num_classes, "in_channels": channels, "image_size": height}
    library, _, rest = name.partition(":")
    if not rest:
        return MODELS.get(name), facts
    if library == GIVEN:
        raise BlendsearchError(
            f"'{name}' was handed over in Python; go on there with blendsearch.search(model, train=..., run_dir=..., "
            "resume=True)"
        )
    if library == "torchvision":
        return _torchvision(rest), {"num_classes": num_classes}
    if library == "timm":
        return _timm(rest), {"num_classes": num_classes, "in_chans": channels}
    own = _own(library, rest)
    try:
        accepted = inspect.signature(own).parameters
    except (TypeError, ValueError):  # one written in C does not say
        raise ConfigError(
            f"'{name}' does not say which arguments it takes; a function of your own around it does"
        ) from None
    takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    return own, {key: value for key, value in facts.items() if takes_all or key in accepted}


def _torchvision(name: str) -> Callable[..., Any]:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise unknown_name("torchvision model", name, models.list_models(module=models))
    return models.get_model_builder(name)


def _timm(name: str) -> Callable[..., Any]:
    try:
        import timm
    except ImportError:
        raise BlendsearchError(f"timm:{name} needs timm; install blendsearch[timm]") from None
    if not timm.is_model(name):
        close = nearest(name, timm.list_models())
        raise unknown_name("timm model", name, [close] if close else ["see timm.list_models()"])
    return lambda **arguments: timm.create_model(name, **arguments)


def _own(module: str, attribute: str) -> Callable[..., Any]:
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigError(f"'{module}' is a part of Python itself, which has no networks")
    # As `python -m` does, so that a file beside the space file is found; last, so that it hides no package.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import '{module}' ({blame(error)})") from error
    if not callable(getattr(found, attribute, None)):
        close = nearest(
            attribute, [name for name, one in vars(found).items() if callable(one) and not name.startswith("_")]
        )
        hint = f"; did you mean '{close}'?" if close else ""
        raise ConfigError(f"'{module}' has no callable '{attribute}'{hint}")
    return getattr(found, attribute)
