"""YAML text to plain data with the line of every key, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from blendsearch.errors import shortened

KeyPath = tuple[Any, ...]

_NUMBER_WITH_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
_NUMBER_WITH_ZEROS = re.compile(r"^[-+]?0[0-9]+$")
_FLOAT, _INT = "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"


MOST_CHARACTERS, MOST_VALUES, DEEPEST, MOST_BITS = 1_000_000, 20_000, 50, 64
"""What a text may have at most; values that aliases repeat count as often as they are repeated."""

MOST_DIGITS = 1000
"""Of a whole number; Python writes none of more than 4,300."""


class SpaceLoader(yaml.SafeLoader):
    """SafeLoader that reads numbers as YAML 1.2 and everybody else does, and none beyond 64 bits.

    1e-3 is a number, 0100 is a hundred and not 64, and 1:30 is a text and not ninety.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """Return a whole number; of more bits, no seed and no count can be, and some cannot be written out again."""
        if ":" in node.value:
            return node.value
        number: int = int(node.value) if _NUMBER_WITH_ZEROS.match(node.value) else super().construct_yaml_int(node)
        if number.bit_length() > MOST_BITS:
            raise yaml.constructor.ConstructorError(
                problem=f"a whole number of {number.bit_length()} bits, allowed {MOST_BITS}",
                problem_mark=node.start_mark,
            )
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """Return a number; what has colons in it is none."""
        return node.value if ":" in node.value else super().construct_yaml_float(node)


class SpaceDumper(yaml.SafeDumper):
    """SafeDumper that quotes texts which SpaceLoader would read as numbers."""


def _list_in_one_line(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


SpaceLoader.add_constructor(_INT, SpaceLoader.construct_yaml_int)
SpaceLoader.add_constructor(_FLOAT, SpaceLoader.construct_yaml_float)
for kind in (SpaceLoader, SpaceDumper):
    kind.add_implicit_resolver(_INT, _NUMBER_WITH_ZEROS, list("-+0"))
SpaceLoader.add_implicit_resolver(_FLOAT, _NUMBER_WITH_EXPONENT, list("-+.0123456789"))
SpaceDumper.add_implicit_resolver(_FLOAT, _NUMBER_WITH_EXPONENT, list("-+.0123456789"))
SpaceDumper.add_representer(list, _list_in_one_line)


class YamlSyntaxError(Exception):
    """The text is not YAML; `line` counts from 1 and is None where the parser does not tell it."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


@dataclass
class Document:
    """Plain data of a YAML text, the line of every key path, and keys left out since they are not allowed."""

    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    bad_keys: list[tuple[KeyPath, int, str]] = field(default_factory=list)


def read_yaml(text: str) -> Document:
    """Parse one YAML document; raises YamlSyntaxError with a problem of one line.

    Longer, larger or deeper than a space or board can be, it is refused before anything is made of it.
    """
    if len(text) > MOST_CHARACTERS:
        raise YamlSyntaxError(f"{len(text):,} characters given, allowed {MOST_CHARACTERS:,}", None)
    try:
        loader = SpaceLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None)
        document = Document(None, {(): node.start_mark.line + 1})
        _check_size(node, 0, 0)
        _note_keys(node, (), document, frozenset())
        document.data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        parts = [part for part in (error.context, error.problem) if part]
        raise YamlSyntaxError(_one_line(", ".join(parts)), mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise YamlSyntaxError(_one_line(str(error)), None) from None
    except ValueError as error:  # such as the date 2021-13-45
        raise YamlSyntaxError(_one_line(str(error)), None) from None
    except (
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
    ):  # PyYAML's answers to a wrong tag
        raise YamlSyntaxError("a value is not of the type that its tag ('!!...') names", None) from None
    except RecursionError:
        raise YamlSyntaxError("nested too deeply", None) from None
    return document


def to_yaml(data: Any) -> str:
    """Write plain data as YAML in the order of its keys."""
    return yaml.dump(data, Dumper=SpaceDumper, sort_keys=False, allow_unicode=True, width=100)


def to_yaml_line(data: dict[str, Any]) -> str:
    """Write a mapping of plain data as one line of YAML, for example 'round_to: 4, also: {params: 0.5}'."""
    flow = yaml.dump(
        data, Dumper=SpaceDumper, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=True
    )
    return str(flow).strip()[1:-1]


def _one_line(text: str) -> str:
    return shortened(" ".join(text.split()))


def _check_size(node: yaml.Node, depth: int, before: int) -> int:
    """Return how many values there are up to and with a node, aliases followed; YamlSyntaxError for too many."""
    if depth > DEEPEST:
        raise YamlSyntaxError(f"nested more than {DEEPEST} levels deep", node.start_mark.line + 1)
    count = before + 1
    if count > MOST_VALUES:
        raise YamlSyntaxError(
            f"more than {MOST_VALUES:,} values (those that an alias repeats counted as often)", node.start_mark.line + 1
        )
    if node.tag == _INT and len(node.value) > MOST_DIGITS:
        raise YamlSyntaxError(f"a number of more than {MOST_DIGITS} digits", node.start_mark.line + 1)
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                count = _check_size(part, depth + 1, count)
    return count


def _note_keys(node: yaml.Node, path: KeyPath, document: Document, above: frozenset[int]) -> None:
    """Note the line of every key below a node, and take bad keys out of it before data is made of it."""
    if id(node) in above:  # an alias to a node that contains it
        return
    for key, child, line in list(_children(node, path, document)):
        document.lines.setdefault((*path, key), line)
        _note_keys(child, (*path, key), document, above | {id(node)})


def _children(node: yaml.Node, path: KeyPath, document: Document) -> Iterator[tuple[Any, yaml.Node, int]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return
    good: list[tuple[yaml.Node, yaml.Node]] = []
    first_lines: dict[str, int] = {}
    for key_node, value in node.value:
        key, line = key_node.value, key_node.start_mark.line + 1
        if key_node.tag == "tag:yaml.org,2002:merge":
            good.append((key_node, value))
        elif not isinstance(key, str):
            document.bad_keys.append((path, line, "keys are texts (given a list or a mapping as key)"))
        elif key_node.tag != "tag:yaml.org,2002:str":
            document.bad_keys.append(((*path, key), line, f"keys are texts (given {shortened(key)}; put it in quotes)"))
        elif key in first_lines:
            document.bad_keys.append(((*path, key), line, f"key given twice (first in line {first_lines[key]})"))
        else:
            first_lines[key] = line
            good.append((key_node, value))
            yield key, value, line
    node.value = good
