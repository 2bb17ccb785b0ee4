"""The tables, and the last line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench.measure import MISS, Results
from bench.servers import OURS, RELAY, Kind, Server

Worst = tuple[float, str, str]
"""Ratio, scenario, peer."""


def tables(results: Results, servers: Sequence[Server]) -> str:
    """Return what was measured, a table for each thing."""
    names = [s.name for s in servers]
    scenarios = list(results.samples)

    def cpu(scenario: str, name: str) -> str:
        return (
            f"{results.worker_us(scenario, name):.1f}" if results.samples[scenario][name] else "-"
        )

    def everything(scenario: str, name: str) -> str:
        return f"{results.all_us(scenario, name):.1f}" if results.samples[scenario][name] else "-"

    def qps(scenario: str, name: str) -> str:
        samples = results.samples[scenario][name]
        return f"{median(s.qps for s in samples):,.0f}" if samples else "-"

    def lost(scenario: str, name: str) -> str:
        return str(sum(s.lost for s in results.samples[scenario][name]))

    def latency(mix: str, name: str) -> str:
        pair = results.latency_ms[mix].get(name)
        return f"{pair[0]:.2f} / {pair[1]:.2f}" if pair else "-"

    ours = [f"{OURS}, recorder too"] if OURS in names else []
    cpu_rows = [(n, [cpu(s, n) for s in scenarios]) for n in names]
    cpu_rows += [(row, [everything(s, OURS) for s in scenarios]) for row in ours]
    parts = [
        _table("CPU microseconds a query, of server processes (median)", scenarios, cpu_rows),
        _table(
            "queries a second (median)",
            scenarios,
            [(n, [qps(s, n) for s in scenarios]) for n in names],
        ),
        _table(
            "queries lost (sum)", scenarios, [(n, [lost(s, n) for s in scenarios]) for n in names]
        ),
    ]
    if results.latency_ms:
        mixes = list(results.latency_ms)
        rows = [(n, [latency(m, n) for m in mixes]) for n in names]
        parts.append(_table("latency in ms at 5,000 queries a second, p50 / p99", mixes, rows))
    rows = [
        (s.name, [*(f"{mb:.0f}" for mb in results.memory[s.name]), f"{s.started_s:.1f}"])
        for s in servers
        if s.name in results.memory
    ]
    parts.append(_table("memory in MB, start in s", ["RSS", "PSS", "first answer"], rows))
    return "\n\n".join(parts)


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    width = max(13, *(len(cell) + 2 for _, cells in rows for cell in cells))
    lines = [("", columns), *rows]
    return "\n".join(
        [title, *(f"{name:30}" + "".join(f"{c:>{width}}" for c in cells) for name, cells in lines)]
    )


def miss_ratio(results: Results, servers: Sequence[Server]) -> str:
    """Return what a miss costs beside dnsdist's."""
    scenario = next((s for s in results.samples if s.startswith(MISS)), None)
    samples = results.samples[scenario] if scenario else {}
    if scenario is None or not samples.get(OURS) or not samples.get("dnsdist"):
        return "miss: not measured with both"
    ours, theirs = (results.worker_us(scenario, name) for name in (OURS, "dnsdist"))
    told = f"miss: worker {ours:.1f} us, dnsdist {theirs:.1f} us, ratio {ours / theirs:.2f}"
    if samples.get(RELAY):
        told += (
            f"; a relay in Python that reads nothing {results.worker_us(scenario, RELAY):.1f} us"
        )
    return told


def last_line(results: Results, servers: Sequence[Server]) -> str:
    """Return the line that says how we stand; ``none`` where there was nobody to compare with."""
    bare = _worst(results, servers, Kind.BARE, results.worker_us)
    same = _worst(results, servers, Kind.SAME_WORK, results.all_us)
    floor = _worst(results, servers, Kind.FLOOR, results.worker_us)
    return (
        f"dns: bare worst ratio {_told(bare)}, same-work worst ratio {_told(same)},"
        f" floor ratio {f'{floor[0]:.2f}' if floor else 'none'}"
    )


def _worst(
    results: Results,
    servers: Sequence[Server],
    kind: Kind,
    ours_us: Callable[[str, str], float],
) -> Worst | None:
    """Return the scenario in which we stand worst beside the best of ``kind``."""
    ratios: list[Worst] = []
    for scenario, samples in results.samples.items():
        if scenario.startswith(MISS) or not samples.get(OURS):
            continue
        peers = [
            (results.all_us(scenario, s.name), s.name)
            for s in servers
            if s.kind is kind and samples.get(s.name)
        ]
        if peers:
            best_us, best = min(peers)
            ratios.append((ours_us(scenario, OURS) / best_us, scenario, best))
    return max(ratios, default=None)


def _told(worst: Worst | None) -> str:
    return f"{worst[0]:.2f} ({worst[1]}, vs {worst[2]})" if worst else "none"
