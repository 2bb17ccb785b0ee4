"""How many flows show a name: where fewer do than usual, browsers hide it (ECH) or look names up elsewhere (DoH)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from gate_core.events import ReadableFlows

EVERY_S: Final = 60.0


class Readable:
    """Counts flows by group, with and without a name that could be read."""

    def __init__(self) -> None:
        self._readable: Counter[str] = Counter()
        self._flows: Counter[str] = Counter()
        self._told = Counter[str](), Counter[str]()
        self._told_at_s = float("-inf")

    def note(self, group: str, *, readable: bool) -> None:
        """Count a flow of ``group`` that could have shown a name."""
        self._readable[group] += readable
        self._flows[group] += 1

    def take(self, at_ms: int, now_s: float) -> list[ReadableFlows]:
        """Return what there is to tell, once a minute; arguments as for ``usage.Usage.take``."""
        if now_s - self._told_at_s < EVERY_S:
            return []
        readable, flows = self._readable - self._told[0], self._flows - self._told[1]
        self._told, self._told_at_s = (self._readable.copy(), self._flows.copy()), now_s
        if not flows:
            return []
        groups = list(flows)
        return [ReadableFlows(at_ms, groups, [readable[g] for g in groups], [*flows.values()])]

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the flows of each group, and those that showed a name (``gate_core.events.Counters``)."""
        return {"flows": dict(self._flows), "flows_readable": dict(self._readable)}
