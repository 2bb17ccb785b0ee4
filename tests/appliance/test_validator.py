"""A real Unbound before a real named with a signed zone."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dns.dnssec
import dns.message
import dns.query
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gate_appliance.places import Places
from gate_appliance.validator import PROGRAM, MissingPackageError, Validator, render_unbound
from gate_appliance.validator import answers as answers_at
from gate_core.config import DnsConfig, ZoneConfig
from gate_core.upstreams import parse_upstream
from gate_dns.forwarding.upstream import Forwarder
from gate_dns.messages.wire import parse_query
from gate_dns.poll import Poll
from gate_dns.settings import DnsSettings

NAMED = "/usr/sbin/named"
NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
ZONE = """\
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 30
@ NS ns
ns A 192.0.2.53
good A 192.0.2.10
bogus A 192.0.2.11
"""


@dataclass
class FakeClock:
    at: datetime | None = NOW

    def now(self) -> datetime | None:
        return self.at


def until(condition, within_s=15.0):
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return value


def answers(port: int, name: str, **options) -> dns.message.Message | None:
    query = dns.message.make_query(name, "A", **options)
    try:
        return dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2)
    except (OSError, dns.exception.Timeout):
        return None


@pytest.fixture(scope="module")
def signed(tmp_path_factory, free_port):
    """Return the port of a named with the zone signed.example, one answer of which is forged, and its trust anchor."""
    if not (Path(NAMED).exists() and Path(PROGRAM).exists()):
        pytest.skip("no named or no unbound here")
    place = tmp_path_factory.mktemp("named")
    zone = dns.zone.from_text(ZONE, "signed.example.", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)
    began = int(time.time()) - 3600
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, [(key, public)], inception=began, lifetime=7200)
    text = zone.to_text(relativize=False)
    (place / "zone").write_text(text.replace("192.0.2.11", "203.0.113.66"))
    (place / "anchor").write_text(f"signed.example. 300 IN DNSKEY {public.to_text()}\n")
    port = free_port()
    (place / "named.conf").write_text(
        f'options {{ directory "{place}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};'
        " pid-file none; session-keyfile none; recursion no; dnssec-validation no; };\n"
        'controls { };\nzone "signed.example" { type primary; file "zone"; };\n'
    )
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([NAMED, "-g", "-c", str(place / "named.conf")], stderr=log)
    until(lambda: answers(port, "good.signed.example"))
    yield port, place / "anchor"
    process.terminate()
    process.wait(10)


@pytest.fixture
def start(signed, tmp_path, free_port):
    """Start the Unbound of an appliance."""
    started = []

    def starting(clock) -> tuple[Validator, DnsConfig]:
        port, anchor = signed
        config = DnsConfig(
            upstreams=(f"127.0.0.1:{port}",), dnssec="validate", validator_port=free_port()
        )
        places = Places(tmp_path / "state", tmp_path / "run")
        places.make()
        started.append(Validator(config, places, clock, anchor))
        started[-1].look()
        until(lambda: answers(config.validator_port, "good.signed.example"))
        return started[-1], config

    yield starting
    for validator in started:
        validator.close()


def ask(config: DnsConfig, name: str):
    """Return what a worker of ``config`` gets."""
    poll = Poll()
    settings = DnsSettings.of(config, ())
    forwarder = Forwarder.of(settings.upstreams, settings.zones, "", poll, time.monotonic)
    message = dns.message.make_query(name, "A", use_edns=0, want_dnssec=True).to_wire()
    outcomes = []
    forwarder.ask(parse_query(message), lambda outcome, _: outcomes.append(outcome))
    while not outcomes:
        forwarder.flush()
        poll.wait(0.05)
        forwarder.expire()
    forwarder.close()
    poll.close()
    return outcomes[0]


def test_a_worker_gets_what_is_signed_as_authentic_and_what_is_forged_not_at_all(start):
    _, config = start(FakeClock())
    good = ask(config, "good.signed.example")
    assert (good.rcode, good.authentic) == (dns.rcode.NOERROR, True)
    bogus = ask(config, "bogus.signed.example")
    # RFC 8914, section 4.7: DNSSEC Bogus.
    assert (bogus.rcode, bogus.edes, bogus.addresses) == (dns.rcode.SERVFAIL, (6,), ())


def test_look_checks_times_once_the_clock_is_known(start, tmp_path):
    clock = FakeClock(None)
    validator, config = start(clock)
    file = tmp_path / "run" / "unbound.conf"
    assert "val-override-date: -1" in file.read_text()
    clock.at = NOW
    validator.look()
    assert "val-override-date" not in file.read_text()
    until(lambda: answers(config.validator_port, "good.signed.example"))


def test_run_ends_with_unbound(start):
    validator, config = start(FakeClock())
    assert answers_at(config.validator_port)
    validator._process.terminate()
    with pytest.raises(ChildProcessError, match="has ended"):
        validator.run()
    assert not answers_at(config.validator_port)


@pytest.mark.skipif(not shutil.which("unbound-checkconf"), reason="no unbound here")
@pytest.mark.parametrize("clock_known", [True, False])
@pytest.mark.parametrize(
    "upstreams",
    [
        ("192.0.2.1", "[2001:db8::1]:5353"),
        ("tls://192.0.2.1#dns.example.net", "tls://[2001:db8::1]:8853#b.example"),
    ],
)
def test_render_unbound_is_what_unbound_takes(tmp_path, upstreams, clock_known):
    config = DnsConfig(dnssec="validate", zones={"Own.example": ZoneConfig()})
    (tmp_path / "anchor").write_text("")
    text = render_unbound(
        config,
        tuple(map(parse_upstream, upstreams)),
        clock_known=clock_known,
        anchor=tmp_path / "anchor",
    )
    (tmp_path / "unbound.conf").write_text(text)
    checked = subprocess.run(
        ["unbound-checkconf", str(tmp_path / "unbound.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert 'domain-insecure: "own.example."' in text
    assert ("forward-tls-upstream: yes" in text) == upstreams[0].startswith("tls")


@pytest.mark.parametrize("missing", ["unbound", "root.key"])
def test_look_says_what_to_install(tmp_path, monkeypatch, missing):
    for name in {"unbound", "root.key"} - {missing}:
        (tmp_path / name).touch()
    monkeypatch.setattr("gate_appliance.validator.PROGRAM", str(tmp_path / "unbound"))
    places = Places(tmp_path / "state", tmp_path / "run")
    validator = Validator(
        DnsConfig(upstreams=("192.0.2.1",)), places, FakeClock(), tmp_path / "root.key"
    )
    with pytest.raises(MissingPackageError) as caught:
        validator.run()
    assert f"{missing} is missing" in str(caught.value)
    assert "apt install unbound dns-root-data" in str(caught.value)


def test_look_starts_nothing_without_an_upstream(tmp_path, monkeypatch):
    places = Places(tmp_path / "state", tmp_path / "run")
    places.make()
    monkeypatch.setattr("gate_appliance.validator.PROGRAM", str(tmp_path))
    validator = Validator(DnsConfig(), places, FakeClock(), tmp_path)
    monkeypatch.setattr(validator, "_handed_out", None)
    validator.look()
    assert not (tmp_path / "run" / "unbound.conf").exists()
