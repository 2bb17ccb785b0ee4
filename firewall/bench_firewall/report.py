"""The tables, the goals, and the last line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench_firewall.measure import Figure, Results
from bench_firewall.ways import ACCEPT, EMPTY, OURS, PLAIN, SURICATA, WAYS

_NAME: Final = 36
_COLUMN: Final = 12
_SHORT: Final = {
    Figure.BULK: "Gbit/s",
    Figure.PACKETS: "kpackets/s",
    Figure.CONNECTIONS: "TLS/s",
    Figure.CPU_BUSY: "us/packet",
    Figure.CPU: "us, idle",
    Figure.QUEUED_TLS: "of TLS",
    Figure.QUEUED_QUIC: "of QUIC",
    Figure.P50: "p50 ms",
    Figure.P99: "p99 ms",
}
_ADDED: Final = (Figure.P50, Figure.P99)
"""Figures of which the table shows by how much they are above those of the bridge with an empty ruleset, too."""


class Goal(NamedTuple):
    """What is to be reached."""

    text: str
    value: float | None
    most: float | None = None
    least: float | None = None

    @property
    def missed(self) -> bool:
        """Whether it was measured and is not reached."""
        return self.value is not None and not (
            (self.most is None or self.value <= self.most)
            and (self.least is None or self.value >= self.least)
        )

    def __str__(self) -> str:
        bound = f"at most {self.most}" if self.most is not None else f"at least {self.least}"
        if self.value is None:
            return f"{'not measured':>13}  {self.text}: {bound}"
        state = "NOT REACHED" if self.missed else "reached"
        return f"{state:>13}  {self.text}: {self.value:.2f}, {bound}"


def table(results: Results, ways: Sequence[str]) -> str:
    """Return what was measured: a row for each way, a column for each figure."""
    heads = [*_SHORT.values(), *(f"+{_SHORT[figure]}" for figure in _ADDED)]
    rows = [("", heads), *((WAYS[way], _cells(results, way)) for way in ways)]
    legend = [f"{short}: {figure.value}" for figure, short in _SHORT.items()]
    return "\n".join(
        (
            *(
                f"{name:{_NAME}}" + "".join(f"{c:>{_COLUMN}}" for c in cells)
                for name, cells in rows
            ),
            "",
            *legend,
            "+: above that of the bridge with an empty ruleset",
        )
    )


def _cells(results: Results, way: str) -> list[str]:
    plain = [results.get(figure, way) for figure in _SHORT]
    added = [added_ms(results, figure, way) for figure in _ADDED]
    return ["-" if value is None else f"{value:,.2f}" for value in (*plain, *added)]


def added_ms(results: Results, figure: Figure, way: str) -> float | None:
    """Return by how much ``figure`` of ``way`` is above that of the bridge with an empty ruleset."""
    mine, base = results.get(figure, way), results.get(figure, EMPTY)
    return None if mine is None or base is None else mine - base


def parse_again_ms(told: str) -> float | None:
    """Return how long 5,000 flows took that were judged again, from what ``bench_change.py`` has ``told``."""
    found = re.search(r"^ask again about 5000 flows +median +([\d.]+) ms", told, re.MULTILINE)
    return float(found[1]) if found else None


def goals(results: Results, again_ms: float | None) -> list[Goal]:
    """Return what we want to reach, and how we stand; ``again_ms`` is of ``parse_again_ms``."""
    return [
        Goal(
            "bulk, of the bridge with an empty ruleset",
            results.ratio(Figure.BULK, OURS, EMPTY),
            least=0.9,
        ),
        Goal(
            "CPU a queued packet, of the accept loop's",
            results.ratio(Figure.CPU_BUSY, OURS, ACCEPT),
            most=2.5,
        ),
        Goal(
            "the same of a machine that has little to do",
            results.ratio(Figure.CPU, OURS, ACCEPT),
            most=2.5,
        ),
        Goal(
            "new TLS connections, of Suricata's",
            results.ratio(Figure.CONNECTIONS, OURS, SURICATA),
            least=1.0,
        ),
        Goal("packets queued of a TLS flow", results.get(Figure.QUEUED_TLS, OURS), most=3.0),
        Goal("packets queued of a QUIC flow", results.get(Figure.QUEUED_QUIC, OURS), most=3.0),
        Goal(
            "added to connect and hello, median in ms",
            added_ms(results, Figure.P50, OURS),
            most=0.5,
        ),
        Goal("5,000 flows judged again, median in ms", again_ms, most=100.0),
    ]


def last_line(results: Results) -> str:
    """Return the line that says how we stand; ``none`` where there was nobody to compare with."""

    def told(figure: Figure, other: str) -> str:
        ratio = results.ratio(figure, OURS, other)
        return "none" if ratio is None else f"{ratio:.2f}"

    return (
        f"firewall: bulk {told(Figure.BULK, PLAIN)} of plain bridge,"
        f" hello cost {told(Figure.CPU_BUSY, ACCEPT)} of accept loop,"
        f" {told(Figure.CONNECTIONS, SURICATA)} of suricata"
    )
