"""Where and in which number format networks run, and how seeds are derived."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.errors import ConfigError
from blendsearch.plain import DEVICE, DEVICE_WORDS

AUTOCASTS = ("cpu", "cuda")
PIXELS_AT_ONCE, LEAST_AT_ONCE, MOST_AT_ONCE = 2**18, 8, 250
"""How many pixels, and images, a pass on a CPU takes at once: of 32 x 32 pixels 250 images, which ResNet-20 and
VGG-16-BN took 15 to 18 % faster than 500."""
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
WORTH_IT = 1.2
"""How many times as fast as float32 a device must be in bfloat16 for `precision: auto` to take it."""


@dataclass(frozen=True)
class Compute:
    """Device, precision and memory format of every forward pass.

    precision: "float32", "bfloat16" or, on CUDA alone, "float16" (autocast; weights and statistics stay float32).
    Raises ConfigError for float16 elsewhere.
    """

    device: str = "cpu"
    precision: str = "float32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.precision == "float16" and not self.device.startswith("cuda"):
            raise ConfigError(
                f"precision float16 needs a CUDA device (given {self.device}, allowed there: float32 or bfloat16)"
            )

    @classmethod
    def resolve(cls, device: str = "auto", precision: str = "float32", channels_last: bool = False) -> Compute:
        """Turn device "auto" into "cuda" where there is one, else "cpu"; precision "auto" into what is faster there."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if precision == "auto":
            precision = "bfloat16" if speed_of_bfloat16(device.partition(":")[0]) >= WORTH_IT else "float32"
        return cls(device, precision, channels_last)

    @classmethod
    def here(
        cls, device: str | torch.device = "auto", precision: str = "float32", channels_last: bool = False
    ) -> Compute:
        """Do as `resolve` does on the machine that is to do the work; ConfigError where it has no such device."""
        if re.fullmatch(DEVICE, str(device)) is None:
            raise ConfigError(f"compute.device: '{device}' given, allowed: {DEVICE_WORDS}")
        found = cls.resolve(str(device), precision, channels_last)
        kind, _, number = found.device.partition(":")
        if kind == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                f"compute.device: '{device}' given, but torch finds no such device on this machine; allowed: auto, cpu"
            )
        if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise ConfigError(f"compute.device: '{device}' given, allowed here: cuda:0 to cuda:{count - 1}")
        return found

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device and memory format, in place, and return it."""
        network.to(self.device)
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        return network

    def images(self, images: Tensor) -> Tensor:
        """Move a batch of images to the device and memory format; other floating-point numbers become float32."""
        dtype = torch.float32 if images.is_floating_point() else images.dtype
        images = images.to(self.device, dtype, non_blocking=True)
        if self.channels_last and images.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def few(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return images in parts of the size that is fastest: on a CPU, feature maps should stay in its cache."""
        if self.kind != "cpu" or images.dim() != 4:
            return (images,)
        pixels = images.shape[-2] * images.shape[-1]
        return images.split(min(MOST_AT_ONCE, max(LEAST_AT_ONCE, PIXELS_AT_ONCE // max(1, pixels))))

    def autocast(self, *, cache: bool = True) -> contextlib.AbstractContextManager[object]:
        """Return the autocast context of the precision (a no-op for float32).

        cache: keep weights once cast; must be off where weights change inside the context.
        """
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(device_type=self.kind, dtype=HALVES[self.precision], cache_enabled=cache)

    @property
    def kind(self) -> str:
        """The device without its number: "cpu" or "cuda"."""
        return self.device.split(":")[0]

    @property
    def slowdown(self) -> float:
        """How many times as long as in float32 a pass takes, where a processor emulates bfloat16; else at most 1."""
        if self.precision != "bfloat16" or self.kind != "cpu":
            return 1.0
        return 1 / speed_of_bfloat16("cpu")

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients must be scaled while training: those of float16 fall below its smallest number."""
        return self.precision == "float16"


@lru_cache
def speed_of_bfloat16(kind: str) -> float:
    """Return how many times as fast as in float32 a kind of device convolves in bfloat16, as measured on a CPU.

    A processor without such instructions emulates them: one with AVX2 alone took sixteen times as long. Of a GPU it is
    known (2, or 0 for one that emulates).
    """
    if kind == "cuda":
        return 2.0 if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else 0.0
    images, weight = (
        torch.ones(size).contiguous(memory_format=torch.channels_last) for size in ((2, 32, 32, 32), (32, 32, 3, 3))
    )

    def seconds(enabled: bool) -> float:
        taken = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for _ in range(4):  # the first one prepares
                start = time.perf_counter()
                nn.functional.conv2d(images, weight, padding=1)
                taken.append(time.perf_counter() - start)
        return min(taken)

    return seconds(False) / seconds(True)


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return vectors of one number type on a device, copied there in one go: each copy would be waited for."""
    if not tensors or all(tensor.device == device for tensor in tensors):
        return list(tensors)
    return list(torch.cat(list(tensors)).to(device).split([len(tensor) for tensor in tensors]))


def in_float32(network: nn.Module) -> nn.Module:
    """Return the network itself, or a copy where it holds floating-point tensors of another format than float32."""
    tensors = [*network.parameters(), *network.buffers()]
    if all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point()):
        return network
    return copy.deepcopy(network).float()


@contextlib.contextmanager
def without_autocast() -> Iterator[None]:
    """Run a block in the precision of its tensors, also inside an autocast of a network's own."""
    with contextlib.ExitStack() as stack:
        for kind in AUTOCASTS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def on_own_terms() -> Iterator[None]:
    """Run a block outside of the caller's inference mode and autocast, which would change what is measured."""
    with torch.inference_mode(False), without_autocast():
        yield


def child_seed(seed: int, *path: object) -> int:
    """Derive a seed from a parent seed and a path such as ("retrain", "l1", 0); the same on every machine."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "little") & (2**63 - 1)


def generator(seed: int, *path: object, device: str = "cpu") -> torch.Generator:
    """Return a fresh torch generator for a child seed."""
    return torch.Generator(device=device).manual_seed(child_seed(seed, *path))


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a block with `count` intra-op threads and set the former number again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Run a block in which torch, numpy and random draw from a seed; what they would have drawn next is put back."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what code of others draws from
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
"""What torch's allocators and the libraries below them say in a RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, the machine's or an accelerator's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
