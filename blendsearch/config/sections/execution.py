"""Where candidates are evaluated and networks retrained: on this machine, or by an engine that users already run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blendsearch.config.sections.types import Allowed, Count, Section

EngineName = Literal["local", "dask", "ray"]
Address = Annotated[
    str,
    Field(pattern=r"^\S+$"),
    Allowed("where the engine answers, such as tcp://host:8786, a Dask scheduler file, host:6379, ray://host:10001"),
]


class ExecutionConfig(Section):
    """Where candidates are evaluated and networks retrained. It changes no result on machines that are alike.

    engine: local, processes of this machine (`compute.workers` of them); dask or ray, the workers of that engine.
    address: of Dask's scheduler (tcp://HOST:PORT, or its scheduler file) or of Ray's head (HOST:PORT, auto,
    ray://HOST:PORT); null starts the engine on this machine.
    workers: how many workers of dask or ray are used at once; null takes all that are there and, of those started on
    this machine, one a core divided by `compute.threads`.
    """

    engine: EngineName = "local"
    address: Address | None = None
    workers: Count | None = None
