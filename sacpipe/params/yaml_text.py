"""The text of a params.yaml: keys in the order of the models, comments from the docstrings of the fields."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ruamel.yaml import YAML

from sacpipe.core.config import Config
from sacpipe.core.members import MemberKey
from sacpipe.params.field_docstrings import field_docstring

_MAX_LINE = 120
"""Characters of a line, if its comment has a comma or a semicolon at which it can end."""
_MAX_COLUMN = 36
"""Last column at which the comments of a section may begin; longer lines have their comment behind them."""


class Line(NamedTuple):
    """A line of the file: what is before the comment, and the comment."""

    text: str
    comment: str


def yaml_text(section: Config) -> str:
    """Return the YAML text of a file's model: a block for each top-level section, with aligned comments."""
    blocks = [list(_field(section, name, 0)) for name in type(section).model_fields]
    return "\n".join("".join(f"{line}\n" for line in _aligned(block)) for block in blocks)


def comment_of(model: type[Config], name: str) -> str:
    """Return the comment of a key: the first sentence of the field's docstring, in lower case.

    A first word with another capital letter, such as an abbreviation, stays as it is.
    """
    return _lowered(first_sentence(field_docstring(model, name)))


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring on one line, without the full stop and without an example."""
    line = re.split(r",? e\.g\. ", " ".join(text.split()), maxsplit=1)[0]
    return re.split(r"\.(?: |$)", line, maxsplit=1)[0]


def scalar(value: Any, *, is_item: bool = False) -> str:
    """Return a value in YAML 1.2's flow style, on one line.

    Args:
        value: As JSON has it.
        is_item: Whether the value is inside a list or a mapping, where a colon needs quotes.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return value if _is_plain(value) and not (is_item and ":" in value) else json.dumps(value)
    if isinstance(value, dict):
        pairs = [f"{scalar(key, is_item=True)}: {scalar(item, is_item=True)}" for key, item in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(scalar(item, is_item=True) for item in value) + "]"
    return str(value)


def _field(section: Config, name: str, depth: int, member: MemberKey | None = None) -> Iterator[Line]:
    """Walk the lines of a key.

    Args:
        section: Section that has the key.
        name: The key.
        depth: Number of sections around it.
        member: Table and key by which the section was chosen, if it was.
    """
    value, indent = getattr(section, name), "  " * depth
    comment = comment_of(type(section), name)
    if isinstance(value, Config):
        below = _member_key(type(section), name)
        if below is not None and below.key == "name":
            comment = first_sentence(type(value).__doc__ or "") or comment  # of the member that was chosen
        yield Line(f"{indent}{name}:", comment)
        for key in type(value).model_fields:
            yield from _field(value, key, depth + 1, below)
    elif isinstance(value, tuple) and value and isinstance(value[0], Config):
        yield Line(f"{indent}{name}:", comment)
        for item in value:
            yield Line(
                f"{indent}  - {scalar(item.as_tree())}", _lowered(first_sentence(type(item).__doc__ or ""))
            )
    else:
        if member is not None and name == member.key:  # the names of the product's members
            table = member.members
            comment = f"{table.what}: {', '.join(table.ours)}, or one of another package"
        tree = section.model_dump(mode="json", include={name})
        yield Line(f"{indent}{name}: {scalar(tree[name])}", comment)


def _member_key(model: type[Config], name: str) -> MemberKey | None:
    return next((item for item in model.model_fields[name].metadata if isinstance(item, MemberKey)), None)


def _aligned(block: list[Line]) -> Iterator[str]:
    """Put the comments of a block below each other; a longer line has its comment behind it."""
    widths = [len(line.text) for line in block if line.comment and not line.text.lstrip().startswith("- ")]
    column = max((width for width in widths if width < _MAX_COLUMN), default=0)
    for line in block:
        yield _shortened(f"{line.text:<{column}}  # ", line.comment) if line.comment else line.text


def _shortened(text: str, comment: str) -> str:
    """Return a line whose comment ends with a clause where the whole line would be too long."""
    room = _MAX_LINE - len(text)
    ends = [match.start() for match in re.finditer("[,;] ", comment)]
    if len(comment) <= room or not ends:
        return text + comment
    return text + comment[: max((end for end in ends if end <= room), default=ends[0])]


def _number(value: float) -> str:
    if value == 0.0 or 1e-3 <= abs(value) < 1e9:
        return repr(value)
    return np.format_float_scientific(value, trim="0", exp_digits=1)


def _is_plain(text: str) -> bool:
    """Return whether YAML reads a text without quotes as that text, and not as a number or another value."""
    return bool(re.fullmatch(r"[A-Za-z_][\w./:@+-]*", text, re.ASCII) and YAML(typ="safe").load(text) == text)


def _lowered(sentence: str) -> str:
    is_word = re.match(r"[A-Z][a-z]*(?![\w-])", sentence)
    return sentence[:1].lower() + sentence[1:] if is_word else sentence
