"""Counters for Prometheus at ``/metrics``, in its text format; off unless configured. They name no device and no site."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gate_appliance.recorder import Recorder
from gate_core.config import MetricsConfig
from gate_core.desk import Status

_log = logging.getLogger(__name__)

_WAITING: Final = "queue_waiting"
"""What goes down again, of all that workers count."""


class MetricsServer:
    """Answers at the configured address, in threads."""

    def __init__(
        self, config: MetricsConfig, recorder: Recorder, status: Callable[[], Status]
    ) -> None:
        """Begin to answer; where the address can't be listened on, say so and go on without."""
        self._server: Any = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(recorder, status))
        try:
            self._server, self._thread = start_http_server(
                config.port, config.listen, registry=registry
            )
        except OSError as e:
            _log.error("action=listen address=%s port=%d fault=%s", config.listen, config.port, e)

    @property
    def port(self) -> int:
        """The port that is listened on; 0 where none is."""
        return int(self._server.server_port) if self._server else 0

    def close(self) -> None:
        """Stop."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=5)


class _Collector(Collector):
    def __init__(self, recorder: Recorder, status: Callable[[], Status]) -> None:
        self._recorder = recorder
        self._status = status

    def collect(self) -> Iterator[Metric]:
        yield from self._decisions()
        yield from self._workers()
        yield from _appliance(self._status())

    def _decisions(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "schoolgate_decisions",
            "Look-ups and connections that were decided, as far as they reached the recorder.",
            labels=("source", "action", "reason"),
        )
        for (source, action, reason), count in self._recorder.decisions().items():
            decisions.add_metric((source.value, action, reason), count)
        yield decisions
        lost = CounterMetricFamily(
            "schoolgate_decisions_lost", "Decisions that were not recorded.", labels=("action",)
        )
        for action, count in self._recorder.lost().items():
            lost.add_metric((action,), count)
        yield lost
        yield GaugeMetricFamily(
            "schoolgate_recorder_waiting",
            "Events not written yet.",
            value=self._recorder.waiting(),
        )
        yield CounterMetricFamily(
            "schoolgate_recorder_malformed",
            "Messages that nobody could read.",
            value=self._recorder.malformed,
        )

    def _workers(self) -> Iterator[Metric]:
        versions = GaugeMetricFamily(
            "schoolgate_policy_in_force",
            "Version of the policy that a worker acts on.",
            labels=("source", "worker"),
        )
        for message in self._recorder.alive():
            versions.add_metric((message.source.value, str(message.worker)), message.version)
        yield versions
        counted = CounterMetricFamily(
            "schoolgate_worker",
            "What a worker has counted since its start: what, and of which kind.",
            labels=("source", "worker", "what", "kind"),
        )
        waiting = GaugeMetricFamily(
            "schoolgate_queue_waiting",
            "Packets that wait to be judged.",
            labels=("source", "worker", "queue"),
        )
        for counters in self._recorder.counters():
            worker = counters.source.value, str(counters.worker)
            for what, kinds in counters.counts.items():
                for kind, count in kinds.items():
                    if what == _WAITING:
                        waiting.add_metric((*worker, kind), count)
                    else:
                        counted.add_metric((*worker, what, kind), count)
        yield counted
        yield waiting


def _appliance(status: Status) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "schoolgate_policy_version", "Version of the newest policy.", value=status.version
    )
    yield GaugeMetricFamily(
        "schoolgate_filtering",
        "1 where every part that filters is up and acts on the newest policy.",
        value=status.filtering,
    )
    yield GaugeMetricFamily(
        "schoolgate_listed_names", "Names on the lists.", value=status.listed_names
    )
    states = GaugeMetricFamily(
        "schoolgate_component", "1 for the state that a part is in.", labels=("name", "state")
    )
    for component in status.components:
        states.add_metric((component.name, component.state), 1)
    yield states
