"""The address of the ledger: what it may be, and that a password neither stands in it nor is told."""

from __future__ import annotations

import pytest

from blendsearch.config import space_from_dict
from blendsearch.errors import ConfigError

SPACE = {"data": {"name": "digits"}, "model": {"name": "conv4"}}


@pytest.mark.parametrize(
    "address",
    [
        None,
        "postgresql://blend@db/blend",
        "postgresql://blend:${PW}@db:5432/blend?sslmode=require",
        "postgresql+psycopg://db/blend",
        "postgresql://${USER_NAME}:${A}${B}@${HOST}/blend",
        "sqlite:////shared/trials.db",
        "${LEDGER}",
    ],
)
def test_addresses(address):
    space = space_from_dict({**SPACE, "ledger": address})
    assert space.ledger == address
    assert space_from_dict(space.to_dict()) == space


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:secret@h/d",
        "postgresql://u:${PW}secret@h/d",
        "postgresql://u:se/c@r:secret@h/d",
        "postgresql://u:se?secret@h/d",
        "postgresql://u@h/d?password=secret",
        "postgresql://u@h/d?sslmode=require&sslpassword=secret",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_told(address):
    with pytest.raises(ConfigError, match=r"ledger: a password may not stand in the address.*\$\{VARIABLE\}") as error:
        space_from_dict({**SPACE, "ledger": address})
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgres://u:secret@h/d", "unknown database 'postgres'; did you mean 'postgresql'?"),
        ("mysql://u:secret@h/d", "unknown database 'mysql'"),
        ("u:secret@h/d", "this is no address of a database"),
        ("postgresql://", "this is no address of a database"),
        ({"host": "h", "password": "secret"}, "wrong type"),
        (5432, "wrong type"),
        ("", "this is no address"),
    ],
)
def test_what_is_no_address_is_told_without_quoting_it(address, told):
    with pytest.raises(ConfigError) as error:
        space_from_dict({**SPACE, "ledger": address})
    assert told in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
