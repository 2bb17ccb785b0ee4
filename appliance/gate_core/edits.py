"""Changes of a written policy, one place each: how a draft is kept, compared, approved and carried out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from gate_core.written import Plain


class ConflictError(ValueError):
    """Somebody has changed the place since the draft was made; nothing has changed."""


class MalformedEditError(ValueError):
    """An edit that leads nowhere; the message tells what is allowed."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change at one place."""

    path: tuple[str, ...]
    """Keys from the top of the document, such as ``("groups", "ks2", "cells", "games")``."""
    before: str
    """The value as the draft's author saw it, as JSON with sorted keys; "" where there was none."""
    after: str
    """The new value, as JSON; "" takes it out."""

    @classmethod
    def of(cls, path: tuple[str, ...], before: object, after: object) -> Edit:
        """Return the edit of plain values; None stands for no value."""
        return cls(path, _json(before), _json(after))

    @property
    def place(self) -> str:
        """The path as one text."""
        return ".".join(self.path)

    def values(self) -> tuple[Any, Any]:
        """Return both values as plain ones; None where there is none.

        Raises:
            MalformedEditError: One of them is no JSON.
        """
        try:
            return tuple(json.loads(t) if t else None for t in (self.before, self.after))  # type: ignore[return-value]  # two
        except (ValueError, RecursionError) as e:
            raise MalformedEditError(f"{self.place}: a value is no JSON: {e}") from None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Edit, ...]:
    """Return the edits that make ``new`` of ``old``: an entry that is whole new or gone is one edit."""
    return tuple(_differences((), old, new))


def _differences(path: tuple[str, ...], old: Any, new: Any) -> Iterator[Edit]:
    if old is new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(n for n in new if n not in old)]:
            yield from _differences((*path, name), old.get(name), new.get(name))
    elif _json(old) != _json(new):  # by value, true is 1
        yield Edit.of(path, old, new)


def apply(document: Plain, edits: Iterable[Edit]) -> Plain:
    """Return ``document`` with ``edits`` carried out.

    Raises:
        ConflictError: The value at a place is not the one that the edit replaces.
        MalformedEditError: A path leads through something that is no table.
    """
    result = dict(document)
    # Only the tables on the way to a change are copied: the others stay the same objects, which is how it is known
    # that nothing in them has changed.
    own: dict[tuple[str, ...], dict[str, Any]] = {}
    for edit in edits:
        _apply(result, edit, own)
    return result


def _apply(document: Plain, edit: Edit, own: dict[tuple[str, ...], dict[str, Any]]) -> None:
    if not edit.path:
        raise MalformedEditError("an edit names a place")
    table = document
    for depth, name in enumerate(edit.path[:-1], start=1):
        inner = table.get(name)
        if inner is None:
            raise ConflictError(f"{edit.place}: there is no {name!r} (any more)")
        path = edit.path[:depth]
        if own.get(path) is not inner:
            own[path] = table[name] = dict(_table(inner, edit))
        table = own[path]
    name = edit.path[-1]
    _, after = edit.values()
    if _json(table.get(name)) != edit.before:
        raise ConflictError(
            f"{edit.place}: is now {_short(_json(table.get(name)))}, where the draft was made for {_short(edit.before)}"
        )
    if after is None:
        table.pop(name, None)
    else:
        table[name] = after


def _table(value: Any, edit: Edit) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedEditError(f"{edit.place}: leads through a value that is no table")
    return value


def new_id(title: str, table: Mapping[str, object]) -> str:
    """Return an id for a new entry called ``title`` that ``table`` does not have.

    It comes of the title, so that two new entries that wait for an approval at once don't take each other's.
    """
    slug = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")[:32].strip("-") or "entry"
    ids = (slug if number == 1 else f"{slug}-{number}" for number in count(1))
    return next(id_ for id_ in ids if id_ not in table)


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document, whatever the order of its keys."""
    return hashlib.sha256(_json(document).encode()).hexdigest()


def _json(value: object) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def _short(text: str) -> str:
    return (text if len(text) <= 80 else text[:80] + "...") or "nothing"
