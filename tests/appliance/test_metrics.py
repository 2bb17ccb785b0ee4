"""The page as Prometheus' own parser reads it."""

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gate_appliance.metrics import MetricsServer
from gate_appliance.outbox import Outbox
from gate_core.config import MetricsConfig
from gate_core.events import Counters, Event, InForce, Source


@pytest.fixture
def server(steward):
    server = MetricsServer(
        MetricsConfig(port=0), steward.recorder, lambda: steward.status(since=-1, wait_s=0.0)
    )
    yield server
    server.close()


@pytest.fixture
def outbox(steward):
    outbox = Outbox(steward.places.events)
    yield outbox
    outbox.close()


def samples(server):
    url = f"http://127.0.0.1:{server.port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as response:
        assert response.headers.get_content_type() == "text/plain"
        text = response.read().decode()
    return {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def until(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def event(action, reason, count):
    return Event(
        int(time.time() * 1000), Source.DNS, "192.0.2.10", "00:00:5e:00:53:10", "Secret laptop", "ks2",
        "secret.example", "A", action, reason, "rule", 0, 1, count,
    )  # fmt: skip


def test_metrics_count_what_workers_told(steward, server, outbox):
    outbox.put(event("allow", "default", 5))
    outbox.put(event("block", "matrix", 2))
    outbox.put(event("block", "matrix", 4))
    outbox.put(Counters(Source.DNS, 2, {"responses": {"kept": 7}, 'odd "what"\n': {"": 1}}))
    outbox.put(InForce(Source.DNS, 2, 41))
    outbox.flush()
    until(lambda: len(steward.recorder.decisions()) == 2)
    until(steward.recorder.counters)
    found = samples(server)
    blocked = ("action", "block"), ("reason", "matrix"), ("source", "dns")
    assert found["schoolgate_decisions_total", *blocked] == 6
    worker = ("source", "dns"), ("worker", "2")
    kept = ("kind", "kept"), ("source", "dns"), ("what", "responses"), ("worker", "2")
    assert found["schoolgate_worker_total", *kept] == 7
    assert found["schoolgate_policy_in_force", *worker] == 41
    assert found["schoolgate_policy_version",] == steward.policy.version
    assert found["schoolgate_listed_names",] > 0
    assert found["schoolgate_decisions_lost_total", ("action", "block")] == 0
    assert found["schoolgate_component", ("name", "clock"), ("state", "ok")] == 1
    assert found["schoolgate_filtering",] == 0


def test_metrics_tell_what_waits_now_apart_from_what_is_counted(steward, server, outbox):
    counts = {"queue_waiting": {"7": 3}, "queue_dropped_full": {"7": 5}}
    outbox.put(Counters(Source.FIREWALL, 0, counts))
    outbox.flush()
    until(steward.recorder.counters)
    found = samples(server)
    worker = ("source", "firewall"), ("worker", "0")
    assert found["schoolgate_queue_waiting", ("queue", "7"), *worker] == 3
    dropped = ("kind", "7"), worker[0], ("what", "queue_dropped_full"), worker[1]
    assert found["schoolgate_worker_total", *dropped] == 5
    assert "queue_waiting" not in {dict(labels).get("what") for _, *labels in found}


def test_metrics_name_no_device_and_no_site(steward, server, outbox):
    outbox.put(event("block", "matrix", 2))
    outbox.flush()
    until(steward.recorder.decisions)
    text = str(samples(server))
    assert "secret" not in text.lower()
    assert "192.0.2.10" not in text
    assert "00:00:5e" not in text


def test_metrics_go_on_without_an_address_that_is_taken(steward, server, caplog):
    second = MetricsServer(MetricsConfig(port=server.port), steward.recorder, lambda: None)
    assert second.port == 0
    assert f"port={server.port}" in caplog.text
    second.close()
