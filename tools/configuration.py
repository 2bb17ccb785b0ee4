"""Prints docs/configuration.md: every table and key of the configuration, from the values and their docstrings."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from gate_core import config

_HEAD = """\
# Configuration

One TOML file, `/etc/schoolgate/schoolgate.toml` unless `--config` names another. It says where the appliance stands in
the network; what the school wants filtered is policy, and is set in the web pages. `gate config check FILE` prints every
fault with what is allowed.

This page is written by `make docs` from `gate_core.config`.
"""

_KINDS: dict[object, str] = {str: "text", int: "whole number", bool: "true or false"}


def main() -> None:
    """Print the page."""
    sys.stdout.write("\n".join(_page()) + "\n")


def _page() -> Iterator[str]:
    yield _HEAD
    for table in fields(config.Config):
        kind = get_type_hints(config.Config)[table.name]
        yield f"## {table.name}\n\n{inspect.getdoc(kind)}\n"
        yield from _keys(kind, table.name, "###")
    yield f"## All keys with their defaults\n\n```toml\n{config.reference().strip()}\n```"


def _keys(kind: type, where: str, mark: str) -> Iterator[str]:
    documented = _documented(kind)
    for key in fields(kind):
        annotation = get_type_hints(kind)[key.name]
        place = f"{where}.{key.name}"
        yield f"{mark} {place}\n\n{documented[key.name]}\n"
        yield f"{_allowed(key, annotation)} Default: `{_default(key)}`.\n"
        if get_origin(annotation) is Mapping and is_dataclass(get_args(annotation)[1]):
            yield from _keys(get_args(annotation)[1], f"{place}.NAME", f"{mark}#")


def _documented(kind: type) -> dict[str, str]:
    """Return the string under each field: Python itself keeps none of them."""
    tree = ast.parse(inspect.getsource(kind))
    (definition,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    documented = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            documented[field.target.id] = inspect.cleandoc(str(text.value.value)).replace("``", "`")
    return documented


def _allowed(key: Field[Any], annotation: Any) -> str:
    """Say what the key takes, in the words of the fault that anything else gets."""
    if get_origin(annotation) is Literal:
        return f"One of {', '.join(f'`{value}`' for value in get_args(annotation))}."
    if get_origin(annotation) is Mapping:
        part = get_args(annotation)[1]
        if is_dataclass(part):
            return "Tables, each with the keys below."
        return f"A table with values of {', '.join(f'`{value}`' for value in get_args(part))}."
    many = get_origin(annotation) is tuple
    kind = "List of texts" if many else _KINDS[annotation].capitalize()
    check = key.metadata.get("check")
    # The empty text is refused by every check there is.
    fault = check("") if check else None
    return f"{kind}; refused where {'one ' if many else 'it '}{fault}." if fault else f"{kind}."


def _default(key: Field[Any]) -> str:
    value = key.default if key.default is not MISSING else cast("Any", key.default_factory)()
    return json.dumps(value)  # which is TOML, for texts, numbers and lists of them


if __name__ == "__main__":
    main()
