"""The device, the number format and the processes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blendsearch.config.sections.types import Allowed, Count, Positive, Section
from blendsearch.plain import DEVICE, DEVICE_WORDS

Device = Annotated[
    str,
    Field(pattern=DEVICE),
    Allowed(DEVICE_WORDS),
]


class ComputeConfig(Section):
    """Device, number format, and how many processes of how many threads (no more in all than cores).

    device: where networks run; auto takes a CUDA GPU where there is one, else the CPU.
    precision: number format of forward and backward passes (autocast); weights and statistics stay float32. auto takes
    bfloat16 where the device is clearly faster with it, else float32; a run that was begun keeps what it began with,
    on whatever machine it is resumed. float16 is for CUDA alone.
    channels_last: the memory layout in which convolutions are faster on many GPUs and CPUs.
    workers: processes that evaluate and retrain candidates; auto starts one a core divided by threads, on CUDA one a
    GPU, each on its own. Their number changes no result. For execution.engine local alone.
    threads: of each process; workers times threads may not exceed the cores.
    trial_seconds: what judging one candidate of a search may take; one that takes longer twice is marked as failed, and
    the search goes on. Null for as long as it likes.
    """

    device: Device = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    workers: Count | Literal["auto"] = "auto"
    threads: Count = 1
    trial_seconds: Positive | None = None
