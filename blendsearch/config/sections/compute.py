"""The device, the number format and the processes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blendsearch.config.sections.types import Allowed, Count, Section

Device = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"),
    Allowed("'auto', 'cpu', 'mps', 'cuda' or 'cuda:NUMBER'"),
]


class ComputeConfig(Section):
    """Device, number format, and how many processes of how many threads (no more in all than cores)."""

    device: Device = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    workers: Count | Literal["auto"] = "auto"
    threads: Count = 1
