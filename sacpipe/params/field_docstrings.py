"""The docstrings of a model's fields, read from its source when a params.yaml is written.

pydantic's `use_attribute_docstrings` reads them whenever a model is defined: a third of the start of every
command, which shows none.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise

from sacpipe.core.config import Config


def field_docstring(model: type[Config], name: str) -> str:
    """Return what describes a field: its `description`, or the string below it; "" for neither.

    The class nearest in the order of resolution that annotates the field decides.
    """
    if (description := model.model_fields[name].description) is not None:
        return description
    owner = next(cls for cls in model.__mro__ if name in vars(cls).get("__annotations__", ()))
    return _docstrings(owner).get(name, "")


def _docstrings(cls: type) -> Mapping[str, str]:
    try:
        source = inspect.getsource(sys.modules[cls.__module__])
    except (KeyError, OSError, TypeError):  # defined in an interactive session
        return {}
    return _by_class(source).get(cls.__qualname__, {})


@lru_cache(maxsize=256)
def _by_class(source: str) -> Mapping[str, Mapping[str, str]]:
    """Return the fields' docstrings by the qualified name of each class of a file."""
    return {name: dict(_strings_below(node)) for name, node in _classes(ast.parse(source), "")}


def _classes(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.ClassDef(name=name):
                yield prefix + name, node
                yield from _classes(node, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _classes(node, f"{prefix}{name}.<locals>.")
            case ast.stmt() | ast.excepthandler() | ast.match_case():
                yield from _classes(node, prefix)


def _strings_below(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for first, second in pairwise(node.body):
        match first, second:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
