"""Building the network a space names: from the zoo, torchvision, timm, or your own code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from blendsearch.config import ModelConfig
from blendsearch.errors import BlendsearchError, ConfigError, nearest, unknown_name
from blendsearch.models.weights import load_weights
from blendsearch.models.zoo import MODELS


def build(config: ModelConfig, *, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Build the network of a space for images [C, H, W] and load its weights, if any are given.

    Names: a zoo name, "torchvision:NAME", "timm:NAME", or "package.module:callable"; your callable gets
    model.arguments and, of num_classes, in_channels and image_size, those that it takes.
    Raises ConfigError or UnknownNameError with the nearest name, and WeightsError.
    """
    builder, facts = _builder(config.name, num_classes, shape)
    try:
        network = builder(**{**facts, **config.arguments})
    except TypeError as error:
        raise ConfigError(f"model.arguments: {config.name}: {error}") from None
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model.name: {config.name} gave {type(network).__name__}, a torch.nn.Module is needed")
    if config.weights is not None:
        load_weights(network, config.weights)
    return network


def _builder(name: str, num_classes: int, shape: tuple[int, int, int]) -> tuple[Callable[..., Any], dict[str, Any]]:
    channels, height, width = shape
    facts = {"num_classes": num_classes, "in_channels": channels, "image_size": height}
    library, _, rest = name.partition(":")
    if not rest:
        return MODELS.get(name, "model.name"), facts
    if library == "torchvision":
        return _torchvision(rest), {"num_classes": num_classes}
    if library == "timm":
        return _timm(rest), {"num_classes": num_classes, "in_chans": channels}
    own = _own(library, rest)
    accepted = inspect.signature(own).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    return own, {key: value for key, value in facts.items() if takes_all or key in accepted}


def _torchvision(name: str) -> Callable[..., Any]:
    from torchvision import models

    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models(module=models), "model.name")
    return models.get_model_builder(name)  # type: ignore[no-any-return]


def _timm(name: str) -> Callable[..., Any]:
    try:
        import timm
    except ImportError:
        raise BlendsearchError(f"model.name: timm:{name} needs timm; install blendsearch[timm]") from None
    if not timm.is_model(name):
        close = nearest(name, timm.list_models())
        raise unknown_name("timm model", name, [close] if close else ["see timm.list_models()"], "model.name")
    return lambda **arguments: timm.create_model(name, **arguments)


def _own(module: str, attribute: str) -> Callable[..., Any]:
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"model.name: cannot import '{module}' ({error})") from None
    if not callable(getattr(found, attribute, None)):
        close = nearest(attribute, [name for name in vars(found) if not name.startswith("_")])
        hint = f"; did you mean '{close}'?" if close else ""
        raise ConfigError(f"model.name: '{module}' has no callable '{attribute}'{hint}")
    return getattr(found, attribute)  # type: ignore[no-any-return]
