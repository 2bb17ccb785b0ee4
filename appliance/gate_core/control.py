"""The control protocol: one JSON object a line over a unix stream socket, one answer a line.

A request is ``{"op": METHOD, "args": {...}}``; an answer is ``{"ok": VALUE}``, ``{"refused": MESSAGE, "field": NAME}``
or ``{"fault": MESSAGE}``. Values are checked against the annotations of the method on both sides.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from gate_core.desk import RefusedError

MAX_LINE_OCTETS: Final = 4_194_304
"""Longest request."""

MAX_ANSWER_OCTETS: Final = 64 << 20
"""Longest answer: the record of some years."""


class MalformedMessageError(ValueError):
    """A line that is no message of the protocol."""


def render_request(op: str, args: Mapping[str, Any]) -> bytes:
    """Return a request as one line."""
    return _line({"op": op, "args": {name: _plain(value) for name, value in args.items()}})


def parse_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return method and arguments of a request, the arguments still in plain JSON types.

    Raises:
        MalformedMessageError: It is no request.
    """
    message = _load(line, MAX_LINE_OCTETS)
    op, args = message.get("op"), message.get("args")
    if not isinstance(op, str) or not isinstance(args, dict):
        raise MalformedMessageError("a request has a text 'op' and an object 'args'")
    return op, args


def render_answer(value: object) -> bytes:
    """Return the answer of a method that came to ``value``."""
    return _line({"ok": _plain(value)})


def render_refusal(refusal: RefusedError) -> bytes:
    """Return the answer of a method that refused."""
    return _line({"refused": str(refusal), "field": refusal.field})


def render_fault(message: str) -> bytes:
    """Return the answer to a request that could not be carried out through no fault of its arguments."""
    return _line({"fault": message})


def parse_answer(line: bytes, annotation: Any) -> Any:
    """Return the value in an answer, as a value of ``annotation``.

    Raises:
        RefusedError: The other side refused.
        MalformedMessageError: It is no answer, or its value does not fit.
    """
    message = _load(line, MAX_ANSWER_OCTETS)
    if "refused" in message:
        raise RefusedError(str(message["refused"]), str(message.get("field", "")))
    if "ok" not in message:
        raise MalformedMessageError(str(message.get("fault", "an answer without 'ok'"))[:500])
    return value_of(annotation, message["ok"])


def arguments_of(method: Callable[..., Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``args`` as values of the annotations of ``method``.

    Raises:
        MalformedMessageError: An argument is unknown or does not fit its annotation.
    """
    hints = hints_of(method)
    values = {}
    for name, value in args.items():
        if name not in hints or name == "return":
            raise MalformedMessageError(f"unknown argument {name!r}")
        values[name] = value_of(hints[name], value, name)
    return values


def value_of(annotation: Any, value: Any, where: str = "value") -> Any:  # noqa: PLR0911  # one case a kind of annotation
    """Return plain JSON ``value`` as a value of ``annotation``.

    Raises:
        MalformedMessageError: It does not fit; the message names the place.
    """
    origin = get_origin(annotation)
    if annotation is None or annotation is type(None):
        return _fit(value is None, where, "null", value)
    if origin in (Union, types.UnionType):
        kinds = [k for k in get_args(annotation) if k is not type(None)]
        return None if value is None else value_of(kinds[0], value, where)
    if origin is Literal:
        allowed = get_args(annotation)
        return _fit(value in allowed, where, " or ".join(map(repr, allowed)), value)
    if origin is tuple:
        _fit(isinstance(value, list), where, "a list", value)
        return tuple(
            value_of(get_args(annotation)[0], v, f"{where}[{i}]") for i, v in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        _fit(isinstance(value, dict), where, "an object", value)
        kind = get_args(annotation)[1]
        return {k: value_of(kind, v, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(annotation):
        return _dataclass_of(annotation, value, where)
    if annotation is float:
        return float(_fit(type(value) in (int, float), where, "a number", value))
    names = {str: "a text", int: "a whole number", bool: "true or false"}
    return _fit(type(value) is annotation, where, names.get(annotation, str(annotation)), value)


def _dataclass_of(annotation: Any, value: Any, where: str) -> Any:
    _fit(isinstance(value, dict), where, "an object", value)
    hints = hints_of(annotation)
    known = {f.name for f in fields(annotation)}
    for name in value:
        _fit(name in known, f"{where}.{name}", "a known field", name)
    try:
        return annotation(
            **{name: value_of(hints[name], v, f"{where}.{name}") for name, v in value.items()}
        )
    except TypeError as e:
        raise MalformedMessageError(f"{where}: {e}") from e


def _fit(holds: bool, where: str, wanted: str, value: Any) -> Any:  # the condition itself
    if not holds:
        raise MalformedMessageError(f"{where}: {str(value)[:60]!r} is not {wanted}")
    return value


@cache
def hints_of(thing: Any) -> dict[str, Any]:
    """Return the resolved annotations of a method or dataclass."""
    return get_type_hints(thing)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _load(line: bytes, most: int) -> dict[str, Any]:
    if len(line) > most:
        raise MalformedMessageError(f"a message of more than {most} octets")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise MalformedMessageError(f"parsing {len(line)} octets: {line[:32].hex()}") from e
    if not isinstance(message, dict):
        raise MalformedMessageError("a message is a JSON object")
    return message
