"""Reads plain tables, as TOML and JSON have them, into dataclasses; every fault is told with what is allowed."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache, partial
from typing import Any, Final, Literal, cast, get_args, get_origin, get_type_hints

Check = Callable[[Any], str | None]
"""Tells what is wrong with a value, as the end of a sentence; None where nothing is."""


def key(default: Any = MISSING, check: Check | None = None) -> Any:
    """Return a dataclass field with ``check`` for its value, or for each part of it; without default it must be given."""
    metadata = {"check": check}
    if isinstance(default, tuple | dict):
        return field(default_factory=partial(type(default), default), metadata=metadata)
    return field(default=default, metadata=metadata)


def whole(low: int, high: int, what: str) -> Check:
    """Return the check for a whole number of a ``what`` from ``low`` to ``high``."""

    def check(value: Any) -> str | None:
        fits = type(value) is int and low <= value <= high
        return None if fits else f"is not a {what} from {low} to {high}"

    return check


def text(most: int, least: int = 1) -> Check:
    """Return the check for a printable text of ``least`` to ``most`` characters."""

    def check(value: str) -> str | None:
        fits = least <= len(value) <= most and value.isprintable()
        return None if fits else f"is not {least} to {most} printable characters"

    return check


def raises(parse: Callable[[str], object]) -> Check:
    """Return the check for a text that ``parse`` takes without a ValueError, whose message is told."""

    def check(value: str) -> str | None:
        try:
            parse(value)
        except ValueError as e:
            return f"is refused: {e}"
        return None

    return check


def read(kind: type, table: Mapping[str, Any], where: str, faults: list[str]) -> Any:
    """Return ``table`` as the dataclass ``kind``, and add its faults to ``faults``.

    A field that is at fault or missing has its default; where it has none, the whole table is None.

    Args:
        kind: A dataclass whose fields are made by ``key``: of text, whole number, truth, ``Literal``, tuple of texts,
            dataclass, or ``Mapping`` of texts to any of these.
        table: Plain values.
        where: Place of the table, for messages; "" at the top.
        faults: Takes one line a fault: place, value, what is allowed.
    """
    known = {f.name: f for f in fields(kind)}
    hints = _hints(kind)
    values = {}
    for name, value in table.items():
        place = _join(where, name)
        if name not in known:
            faults.append(f"{place}: unknown key; allowed are {', '.join(known)}")
            continue
        found = _value(hints[name], value, place, known[name].metadata.get("check"), faults)
        if found is not _FAULTY:
            values[name] = found
    missing = [
        f.name
        for f in known.values()
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values
    ]
    for name in missing:
        if name not in table:
            faults.append(f"{_join(where, name)}: is missing")
    return None if missing else kind(**values)


_FAULTY: Final = object()


def _value(annotation: Any, value: Any, place: str, check: Check | None, faults: list[str]) -> Any:
    if is_dataclass(annotation) or (get_origin(annotation) is not None and _is_mapping(annotation)):
        return _nested(annotation, value, place, check, faults)
    wrongs = [w] if (w := _wrong(annotation, value)) else []
    parts = value if isinstance(value, list | tuple) else [value]
    if not wrongs and check:
        wrongs = [w for part in parts if (w := check(part))]
    if not wrongs and any(isinstance(part, str) and not part.isprintable() for part in parts):
        # No control characters, directions of writing or halves of characters in what people read and files hold.
        wrongs = ["has characters that can't be printed"]
    if wrongs:
        faults += [f"{place}: {_short(value)} {wrong}" for wrong in wrongs]
        return _FAULTY
    return tuple(value) if isinstance(value, list | tuple) else value


def _nested(annotation: Any, value: Any, place: str, check: Check | None, faults: list[str]) -> Any:
    if not isinstance(value, Mapping):
        faults.append(f"{place}: {_short(value)} is not a table")
        return _FAULTY
    if is_dataclass(annotation):
        found = read(cast("type", annotation), value, place, faults)
        return _FAULTY if found is None else found
    part = get_args(annotation)[1]
    found = {}
    for name, each in value.items():
        # The check of a mapping is for its keys; the values have those of their own.
        if check and (wrong := check(name)):
            faults.append(f"{_join(place, name)}: {_short(name)} {wrong}")
            continue
        got = _value(part, each, _join(place, name), None, faults)
        if got is not _FAULTY:
            found[name] = got
    return found


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _wrong(annotation: Any, value: Any) -> str | None:
    if get_origin(annotation) is Literal:
        allowed = get_args(annotation)
        return None if value in allowed else f"is none of {', '.join(allowed)}"
    if isinstance(annotation, types.GenericAlias):
        texts = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        return None if texts else "is not a list of texts"
    words = {str: "a text", int: "a whole number", bool: "true or false"}
    return None if type(value) is annotation else f"is not {words[annotation]}"


def _join(where: str, name: str) -> str:
    name = name[:60]
    # Escaped like any other text: a line break in a key would end the message.
    bare = name if name and all(c.isalnum() or c in "-_" for c in name) else f'"{repr(name)[1:-1]}"'
    return f"{where}.{bare}" if where else bare


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except RecursionError:
        return "a value of too many tables in tables"
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
