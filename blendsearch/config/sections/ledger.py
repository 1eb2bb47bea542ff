"""The address of the ledger's database, in which a password never stands, since files of the run keep the address."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from blendsearch.config.sections.types import Allowed, broken_rule
from blendsearch.errors import nearest

VARIABLE = re.compile(r"\$\{(\w+)\}")
"""What stands for an environment variable in the address."""
DATABASES = ("postgresql", "postgresql+psycopg", "sqlite")
ALLOWED = "an address such as postgresql://USER@HOST/DATABASE or sqlite:////PATH, or null"


def checked_address(value: object) -> object:
    """Refuse what is no address of a database that can be the ledger, or one in which a password stands.

    No part of it is quoted but its beginning, since a password may be anywhere in what was mistyped.
    """
    if value is None:
        return value
    if not isinstance(value, str):
        raise broken_rule(f"wrong type (allowed {ALLOWED})")
    if VARIABLE.fullmatch(value):
        return value
    database, separator, rest = value.partition("://")
    if not separator or not rest:
        raise broken_rule(f"this is no address of a database (allowed {ALLOWED})")
    if database not in DATABASES:
        close = nearest(database, DATABASES)
        hint = f"; did you mean '{close}'?" if close else ""
        raise broken_rule(f"unknown database '{database[:40]}'{hint} (allowed postgresql, sqlite)")
    if database != "sqlite" and _holds_password(rest):
        raise broken_rule(
            "a password may not stand in the address, since files of the run keep it; put it into an environment "
            "variable, postgresql://USER:${VARIABLE}@HOST/DATABASE, or leave it to PGPASSWORD or ~/.pgpass"
        )
    return value


def _holds_password(rest: str) -> bool:
    """Tell whether a secret stands in what follows `://`; variables alone are none."""
    before, _, options = rest.partition("?")
    user, at, _ = before.rpartition("@")
    words = [user.partition(":")[2]] if at else []
    pairs = [option.partition("=") for option in options.split("&")]
    words += [value for key, _, value in pairs if "password" in key.lower()]
    words += [options] if "@" in options else []  # then the password has a question mark in it
    return any(VARIABLE.sub("", word) for word in words)


Ledger = Annotated[
    str | None,
    BeforeValidator(checked_address, json_schema_input_type=str | None),
    Allowed(ALLOWED),
]
