"""What sections are made of: their base, the types and limits of their keys, and rules between several keys."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from blendsearch.config.meanings import explain, key_meanings


@dataclass(frozen=True)
class Allowed:
    """What a field may hold, in words, where its type and limits do not say it well."""

    words: str


def broken_rule(message: str) -> PydanticCustomError:
    """Build the error of a rule between several keys; its text is shown to the user as it is."""
    return PydanticCustomError("rule", "{message}", {"message": message})


def without_repeats(names: list[str]) -> list[str]:
    """Refuse a list that names something twice."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise broken_rule(f"named more than once: {', '.join(repeated)}")
    return names


def ascending(numbers: list[Any]) -> list[Any]:
    """Refuse numbers that do not ascend."""
    if any(left >= right for left, right in pairwise(numbers)):
        raise broken_rule(f"expected in ascending order, each once (given {', '.join(map(str, numbers))})")
    return numbers


def text_as_list(value: object) -> object:
    """Take a text alone for a list of one."""
    return [value] if isinstance(value, str) else value


def name_as_mapping(value: object) -> object:
    """Take a name alone for a section without options."""
    return {"name": value} if isinstance(value, str) else value


def file_as_mapping(value: object) -> object:
    """Take a path alone for a section with a file."""
    return {"file": value} if isinstance(value, str) else value


def list_as_tuple(value: object) -> object:
    """Take a list, as files write it, for a tuple."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1), Allowed("a text")]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Epochs = Annotated[float, Field(ge=0, le=1_000_000)]
Positive = Annotated[float, Field(gt=0)]
Names = Annotated[list[Text], Field(min_length=1), AfterValidator(without_repeats), Allowed("a list of names")]
Counts = Annotated[list[Count], Field(min_length=1), AfterValidator(ascending), Allowed("a list of counts")]
Ratios = Annotated[list[Ratio], Field(min_length=1), AfterValidator(ascending), Allowed("a list of shares")]
TableName = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f|<>]+$"), Allowed("a text without line breaks, '|', '<' and '>'")
]
FolderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    Allowed("up to 100 letters, digits, '.', '_' and '-', since it names the run folder"),
]


def explain_keys(schema: dict[str, Any], section: type[BaseModel]) -> None:
    """Put the meanings of keys, as the section's docstring has them, into its JSON Schema."""
    schema["description"] = explain(section.__doc__, section.model_fields).whole
    meanings = key_meanings(section)
    for key, described in schema.get("properties", {}).items():
        described.pop("title", None)
        described |= {"description": meanings[key]} if key in meanings else {}


class Section(BaseModel):
    """Base of every part of a space: no unknown keys, no type conversion, no change afterwards.

    A docstring explains every key, in lines such as `seed: every random choice comes from this number.`
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, json_schema_extra=explain_keys
    )


class NamedSection(Section):
    """A registered name and the options for its factory: `uniform` or `{name: uniform, option: 1}`.

    name: what is registered; options stand beside it.
    """

    model_config = ConfigDict(extra="allow")

    name: Text

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments for the registered factory."""
        return dict(self.model_extra or {})


Named = Annotated[
    NamedSection,
    BeforeValidator(name_as_mapping, json_schema_input_type=Text | NamedSection),
    Allowed("a name, or a mapping with name and its options"),
]
