"""Options of registered classes checked against the types that their constructors declare."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from blendsearch.errors import quoted
from blendsearch.plain import Unchecked

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "sequence_str": "a list",
    "is_instance_of": "a list",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
}


def wrong_types(factory: Any, options: Unchecked) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) for values that are not of the type the constructor declares for them."""
    hints = typing.get_type_hints(factory.__init__)
    for option, value in options.items():
        if option not in hints:
            continue
        try:
            # Numbers are not read from texts, and true is no number: a slip of the pen is told, not converted. Nor is
            # .nan or .inf one, which no comparison with a limit finds.
            TypeAdapter(hints[option], config=STRICT).validate_python(value)
        except ValidationError as error:
            yield option, f"{quoted(value)} given, {_expected(error)} expected"
        except PydanticUserError:
            continue  # a type of another package that pydantic does not know


def _expected(error: ValidationError) -> str:
    """Say in words what would have been allowed; of the parts of a union each once."""
    found = []
    for mistake in error.errors():
        inside = any(isinstance(place, int) for place in mistake["loc"])
        words = WORDS.get(mistake["type"], mistake["msg"].lower())
        found.append(f"a list with {words} in each place" if inside else words)
    return " or ".join(dict.fromkeys(found))
