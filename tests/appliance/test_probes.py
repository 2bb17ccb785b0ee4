import time
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from gate_appliance.activity import ActivityLog
from gate_appliance.probes import VALIDATOR_GONE_AFTER, Probes
from gate_core.config import Config, DnsConfig, IllegalFilterConfig
from gate_core.desk import Component
from gate_core.events import Event, Source
from gate_core.upstreams import parse_upstream

SERVER = "00:00:5e:00:53:01"


@pytest.fixture
def log(tmp_path):
    log = ActivityLog(tmp_path / "activity", ZoneInfo("Europe/London"))
    yield log
    log.close()


@pytest.fixture
def news():
    return []


@pytest.fixture
def probes(log, news):
    return Probes(Config(), log, tuple, lambda: news.append(1))


@pytest.fixture
def until():
    def until(condition, within_s=5.0):
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.01)

    return until


def event(mac, name="", source=Source.DNS, ago_s=60.0, device="Device"):
    at_ms = int((time.time() - ago_s) * 1000)
    return Event(
        at_ms, source, "192.0.2.10", mac, device, "ks2", name, "A", "allow", "default", "default:ks2", 0, 1,
    )  # fmt: skip


def identity(probes):
    probes.look()
    (found,) = (c for c in probes.found() if c.name == "identity")
    return found


def behind_a_server(ago_s=60.0):
    asks = [event(SERVER, f"{n}.example", ago_s=ago_s, device="DC1") for n in range(300)]
    flows = [event(f"00:00:5e:00:53:{n:02x}", "x.example", Source.FIREWALL, ago_s) for n in range(16, 26)]  # fmt: skip
    return [*asks, *flows]


def test_look_tells_who_asks_for_everybody_and_what_to_do(log, probes, news):
    log.append(behind_a_server())
    found = identity(probes)
    assert found.state == "degraded"
    assert found.detail.startswith("DC1 asks for the names of all devices: 10 others")
    # Both words of the trade are explained, and no key of the configuration is named.
    assert "what tells devices their settings (DHCP) names this box" in found.detail
    assert "the school's own names only" in found.detail
    assert "dns.zones" not in found.detail
    assert news


def test_look_counts_each_name_once_and_the_last_hour_only(log, probes):
    log.append(behind_a_server(ago_s=4000.0))
    log.append([event(SERVER, "same.example") for _ in range(500)])
    assert identity(probes).state == "starting"


def test_look_claims_nothing_before_enough_was_seen(log, probes):
    (first,) = (c for c in probes.found() if c.name == "identity")
    assert (first.state, "not known yet" in first.detail) == ("starting", True)
    assert identity(probes) == first
    log.append(event(f"00:00:5e:00:53:{n:02x}", f"{m}.example") for n in range(16, 36) for m in range(20))  # fmt: skip
    assert identity(probes).state == "ok"


def test_look_names_both_of_two_servers(log, probes):
    log.append(behind_a_server())
    log.append([event("00:00:5e:00:53:02", f"{n}.example", device="DC2") for n in range(200)])
    found = identity(probes)
    assert found.state == "degraded"
    assert found.detail.startswith("DC1 and DC2 ask for the names of all devices: 10 others")


def test_look_of_a_quiet_hour_leaves_what_was_found(log, probes, news, monkeypatch):
    log.append(behind_a_server())
    assert identity(probes).state == "degraded"
    told = len(news)
    later = time.time() + 4000
    monkeypatch.setattr(time, "time", lambda: later)
    assert identity(probes).state == "degraded"
    assert len(news) == told


def test_look_takes_it_back_when_devices_ask(log, probes):
    log.append(behind_a_server())
    assert identity(probes).state == "degraded"
    log.append(
        event(f"00:00:5e:00:53:{n:02x}", f"{m}.example") for n in range(16, 26) for m in range(50)
    )
    assert identity(probes).state == "ok"


def test_uses_count_devices_without_a_mac_address_by_their_address(log):
    log.append([event("", "a.example"), event("", "b.example"), replace(event("", "a.example"), address="192.0.2.11")])  # fmt: skip
    now_ms = int(time.time() * 1000)
    uses = log.uses(now_ms - 3_600_000, now_ms)
    assert {key: use.names for key, use in uses.items()} == {"192.0.2.10": 2, "192.0.2.11": 1}


def test_found_tells_before_the_first_look_what_is_known(log):
    def illegal(**config):
        (found,) = (
            c
            for c in Probes(
                Config(illegal_filter=IllegalFilterConfig(**config)), log, tuple, lambda: None
            ).found()
            if c.name == "illegal-content"
        )
        return found.state

    assert illegal() == "off"
    assert illegal(resolvers=("192.0.2.1",), names=("test.example",)) == "starting"


def test_start_looks_at_once(log, probes, until):
    log.append(behind_a_server())
    probes.start()
    until(lambda: probes.found()[1].state == "degraded")
    probes.close()


def test_found_is_held_against_who_is_asked_now(log, monkeypatch):
    filter_, other = (parse_upstream(f"192.0.2.{n}") for n in (53, 54))
    config = Config(illegal_filter=IllegalFilterConfig((str(filter_),), ("test.example",)))
    asked = [filter_]
    probes = Probes(config, log, lambda: asked, lambda: None)
    tested = Component("illegal-content", "ok", "")
    monkeypatch.setattr("gate_appliance.illegal_filter.look", lambda *_: tested)
    probes.look()
    assert probes.found()[0] == tested
    # The router hands out another one: nobody waits for the next look.
    asked[:] = [other]
    assert probes.found()[0].state == "degraded"


def test_validator_that_does_not_run_is_told_and_taken_back(log, news, monkeypatch, free_port):
    probes = Probes(
        Config(dns=DnsConfig(dnssec="validate", validator_port=free_port())),
        log,
        tuple,
        lambda: news.append(1),
    )
    # Nothing listens there; one look in vain is a start.
    probes.look_at_validator()
    assert not probes.validator_gone
    for _ in range(VALIDATOR_GONE_AFTER - 1):
        probes.look_at_validator()
    assert probes.validator_gone
    assert news == [1]
    monkeypatch.setattr("gate_appliance.probes.answers", lambda _port: True)
    probes.look_at_validator()
    assert not probes.validator_gone
    assert news == [1, 1]


def test_resolver_behind_the_validator_is_silent_at_the_second_look(log, news, monkeypatch):
    first, second = (parse_upstream(f"192.0.2.{n}") for n in (53, 54))
    config = Config(dns=DnsConfig(dnssec="validate"))
    probes = Probes(config, log, lambda: (first, second), lambda: news.append(1))
    answering = {second}
    monkeypatch.setattr("gate_appliance.illegal_filter.replies", lambda u, _: u in answering)
    probes.look_behind_validator()
    assert probes.silent == set()
    probes.look_behind_validator()
    assert (probes.silent, news) == ({first}, [1])
    answering.add(first)
    probes.look_behind_validator()
    assert (probes.silent, news) == (set(), [1, 1])
