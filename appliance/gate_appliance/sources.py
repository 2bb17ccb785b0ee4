"""The school's sources of lists on disk: what they are, what came of looking at them, and their keys.

Three files below the state directory. The keys have one of their own, which only its owner reads, so that neither a page,
nor the record, nor a message ever comes near them.
"""

from __future__ import annotations

import json
import logging
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gate_appliance.durable import write_durably
from gate_core.control import MalformedMessageError, value_of
from gate_core.sources import ListSource, Outcome, SourceError, Suggestion, check_source

_log = logging.getLogger(__name__)

_CATALOGUE: Final = "catalogue.toml"
_MOST: Final = "most"


class Sources:
    """What is known of the sources; its methods may be called from any thread."""

    def __init__(self, settings: Path, outcomes: Path, keys: Path) -> None:
        """Read the files; what can't be read counts as empty, and is said."""
        self._paths = settings, outcomes, keys
        self._lock = threading.RLock()
        self.fault = ""
        """Why sources are missing; "" where none are."""
        self._keys = {k: str(v) for k, v in self._load(keys).items()}
        self._sources: dict[str, ListSource] = {}
        for entry in self._load(settings).get("sources", []):
            self._take(entry)
        self._outcomes: dict[str, Outcome] = {}
        self._most: dict[str, int] = {}
        for id_, entry in self._load(outcomes).items():
            try:
                most = entry.pop(_MOST, 0) if isinstance(entry, dict) else 0
                self._outcomes[id_] = value_of(Outcome, entry)
                self._most[id_] = value_of(int, most)
            except MalformedMessageError as e:
                _log.warning("action=read_outcome source=%s fault=%s", id_, e)

    def all(self) -> tuple[ListSource, ...]:
        """Return all sources, by title."""
        with self._lock:
            return tuple(sorted(self._sources.values(), key=lambda s: (s.title.lower(), s.id)))

    def get(self, id_: str) -> ListSource | None:
        """Return one source."""
        with self._lock:
            return self._sources.get(id_)

    def outcome(self, id_: str) -> Outcome:
        """Return what came of looking at a source last."""
        with self._lock:
            return self._outcomes.get(id_, Outcome())

    def most(self, id_: str) -> int:
        """Return how many names the longest list of a source had that came into force since a person accepted one."""
        with self._lock:
            return self._most.get(id_, 0)

    def key(self, source: ListSource) -> dict[str, str]:
        """Return name, algorithm and secret of the key of ``source``; nothing where it has none."""
        with self._lock:
            if not source.key_name:
                return {}
            return {
                "name": source.key_name,
                "algorithm": source.key_algorithm,
                "secret": self._keys.get(source.id, ""),
            }

    def add(self, source: ListSource, secret: str) -> None:
        """Add a source that was checked.

        Raises:
            OSError: The disk refuses; nothing has changed.
        """
        with self._lock:
            if secret:
                self._store(2, self._keys | {source.id: secret}, mode=0o600)
                self._keys[source.id] = secret
            self._store(0, _settings([*self._sources.values(), source]))
            self._sources[source.id] = source

    def remove(self, id_: str) -> None:
        """Remove a source, its key and what is known of it.

        Raises:
            OSError: The disk refuses.
        """
        with self._lock:
            self._store(0, _settings([s for s in self._sources.values() if s.id != id_]))
            self._sources.pop(id_, None)
            if self._keys.pop(id_, None) is not None:
                self._store(2, self._keys, mode=0o600)
            self._most.pop(id_, None)
            if self._outcomes.pop(id_, None):
                self._store_outcomes()

    def note(self, id_: str, outcome: Outcome, most: int | None = None) -> None:
        """Note what came of looking at a source.

        Args:
            id_: Of the source.
            outcome: What came of it.
            most: What ``most`` is to return from now on; None where that stays.

        Raises:
            OSError: The disk refuses.
        """
        with self._lock:
            if id_ in self._sources:
                self._outcomes[id_] = outcome
                if most is not None:
                    self._most[id_] = most
                self._store_outcomes()

    def _take(self, entry: Any) -> None:
        try:
            source: ListSource = value_of(ListSource, entry)
            self._sources[source.id] = check_source(source, self._keys.get(source.id, ""))
        except (MalformedMessageError, SourceError) as e:
            self.fault = f"A source of lists in {self._paths[0].name} can't be used: {e}."
            _log.error("action=read_source fault=%s", e)  # the message says it all

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            read = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as e:
            read = None
            _log.error("action=read file=%s fault=%s", path.name, e)  # the message says it all
        if isinstance(read, dict):
            return read
        self.fault = f"The file {path.name} with the sources of lists is damaged."
        return {}

    def _store_outcomes(self) -> None:
        entries = {i: asdict(o) | {_MOST: self.most(i)} for i, o in self._outcomes.items()}
        self._store(1, entries)

    def _store(self, which: int, value: Mapping[str, Any], mode: int = 0o640) -> None:
        write_durably(self._paths[which], json.dumps(value, indent=1).encode(), mode=mode)


def _settings(sources: Sequence[ListSource]) -> dict[str, Any]:
    return {"sources": [asdict(source) for source in sources]}


def suggestions() -> tuple[Suggestion, ...]:
    """Return the published lists that a school may choose from."""
    text = files("gate_appliance.lists").joinpath(_CATALOGUE).read_text("utf-8")
    return tuple(Suggestion(**entry) for entry in tomllib.loads(text)["list"])
