"""A real worker with real sockets, asked by dnspython and dig."""

from __future__ import annotations

import concurrent.futures
import random
import socket
import subprocess
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from gate_core.events import InForce, Source
from gate_core.policy import Pause
from gate_core.timetable import Span, Term, Timetable
from gate_dns import strangers
from gate_dns.sinkhole import CLOCK_READ_S

CLIENTS = pytest.mark.parametrize("to", ["127.0.0.1", "::1"])
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])
STAFF_PC = "00:00:5e:00:53:20"
LAPTOP = "00:00:5e:00:53:10"


def lines(answer) -> list[str]:
    return [line for records in answer.answer for line in records.to_text().splitlines()]


def without_id(message) -> bytes:
    return message.to_wire()[2:]


@CLIENTS
@TRANSPORTS
def test_serve_answers_blocked_and_allowed_names(worker, to, transport):
    ask = getattr(worker, transport)
    for _ in range(2):
        blocked = ask("www.games.example", to=to, use_edns=0)
        assert lines(blocked) == ["www.games.example. 1 IN A 192.0.2.2"]
        assert [int(o.code) for o in blocked.options] == [15, 4]
        assert lines(ask("games.example", "AAAA", to=to)) == [
            "games.example. 1 IN AAAA 2001:db8::2"
        ]
        nodata = ask("games.example", "HTTPS", to=to)
        assert (nodata.rcode(), lines(nodata), len(nodata.authority)) == (0, [], 1)
        canary = ask("use-application-dns.net", to=to)
        assert (canary.rcode(), lines(canary)) == (dns.rcode.NXDOMAIN, [])
    assert lines(ask("allowed.example", to=to)) == ["allowed.example. 300 IN A 192.0.2.10"]
    assert ask("missing.example", to=to).rcode() == dns.rcode.NXDOMAIN


@CLIENTS
@pytest.mark.parametrize(
    "options", [[], ["+tcp"], ["+noedns"], ["+dnssec"], ["+nocookie", "+bufsize=4096"]]
)
def test_serve_answers_dig(worker, to, options):
    def dig(*words):
        command = ["dig", f"@{to}", "-p", str(worker.port), "+tries=1", "+time=5", *options, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert ";; WARNING" not in done.stdout
        assert ";; Got bad packet" not in done.stdout
        return done.stdout

    assert dig("+short", "allowed.example").split() == ["192.0.2.10"]
    assert dig("+short", "AAAA", "www.games.example").split() == ["2001:db8::2"]
    full = dig("games.example")
    assert "status: NOERROR" in full
    assert ("EDE: 15 (Blocked): (school policy matrix:games:ks2)" in full) == (
        "+noedns" not in options
    )
    assert "status: NXDOMAIN" in dig("use-application-dns.net")
    assert "status: REFUSED" in dig("CH", "TXT", "version.bind")


def test_serve_answers_the_same_from_the_cache_as_without(worker):
    for name, kind in (
        ("games.example", "A"),
        ("games.example", "TXT"),
        ("use-application-dns.net", "A"),
    ):
        for options in (
            {},
            {"use_edns": 0},
            {"use_edns": 0, "want_dnssec": True},
            {"flags": dns.flags.RD | dns.flags.CD},
        ):
            first, second = (worker.udp(name, kind, **options) for _ in range(2))
            assert without_id(first) == without_id(second)


def test_serve_keeps_the_letter_case_of_the_question(worker):
    for name in ("gAmes.Example", "GAMES.example", "allOwed.example", "ALLOWED.example"):
        assert worker.udp(name).question[0].name.to_text() == f"{name}."


def test_serve_tells_apart_types_that_are_equal_in_lower_case(worker, upstream):
    upstream.zone["allowed.example"].append("300 IN TYPE97 \\# 1 00")
    assert lines(worker.udp("allowed.example", "HTTPS")) == []
    assert lines(worker.udp("allowed.example", "TYPE97")) == [
        "allowed.example. 300 IN TYPE97 \\# 1 00"
    ]
    assert lines(worker.udp("allowed.example", "HTTPS")) == []


def test_serve_asks_the_upstream_once_for_all_who_ask_the_same(worker, upstream):
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    for options in ({}, {"options": [cookie]}):
        for _ in range(3):
            worker.udp("allowed.example", use_edns=0, **options)
    assert upstream.asked["udp"] == 1


def test_serve_lets_ttls_run_down(worker):
    first, second = (worker.udp("allowed.example").answer[0].ttl for _ in range(2))
    assert first == 300
    assert 300 - 300 / 16 - 2 <= second < 300


def test_serve_lets_no_ttl_outlive_the_decision(worker, upstream):
    # Twelve hours to midnight, when the timetable is asked again.
    upstream.zone["long.example"] = ["80000 IN A 192.0.2.10"]
    assert worker.udp("long.example").answer[0].ttl == 12 * 3600
    worker.clock.at += timedelta(hours=11, minutes=59)
    time.sleep(2 * CLOCK_READ_S)
    upstream.zone["other.example"] = ["80000 IN A 192.0.2.10"]
    assert worker.udp("other.example").answer[0].ttl == 60


def test_serve_decides_by_the_device(worker, upstream, until):
    upstream.zone["video.example"] = ["60 IN A 192.0.2.20"]
    worker.neighbours.macs["::1"] = STAFF_PC
    for _ in range(2):
        assert lines(worker.udp("video.example", to="127.0.0.1")) == [
            "video.example. 1 IN A 192.0.2.2"
        ]
        assert lines(worker.udp("video.example", to="::1"))[0].endswith("IN A 192.0.2.20")
    worker.neighbours.macs["127.0.0.1"] = STAFF_PC
    until(lambda: lines(worker.udp("video.example", to="127.0.0.1"))[0].endswith("IN A 192.0.2.20"))


def test_serve_waits_for_who_is_not_known_yet_and_for_nobody_meanwhile(
    worker, upstream, until, monkeypatch
):
    monkeypatch.setattr(strangers, "WAIT_S", 60.0)
    upstream.zone["video.example"] = ["60 IN A 192.0.2.20"]
    worker.neighbours.reachable.add("127.0.0.1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        new = [pool.submit(ask, "video.example") for ask in (worker.udp, worker.tcp)]
        until(lambda: worker.neighbours.solicited["127.0.0.1"])
        assert lines(worker.udp("video.example", to="::1"))[0].endswith("IN A 192.0.2.2")
        assert not upstream.asked
        worker.neighbours.macs["127.0.0.1"] = STAFF_PC
        for each in new:
            assert lines(each.result())[0].endswith("IN A 192.0.2.20")


def test_serve_answers_all_that_a_waking_device_asks_and_soon(worker, until):
    worker.neighbours.reachable.add("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(8)
        device.connect(("127.0.0.1", worker.port))
        for number in range(40):
            device.send(dns.message.make_query("games.example", "A", id=number).to_wire())
        until(lambda: worker.neighbours.solicited["127.0.0.1"])
        worker.neighbours.macs["127.0.0.1"] = LAPTOP
        got = {int.from_bytes(device.recv(512)[:2], "big") for _ in range(40)}
    assert got == set(range(40))
    # The kernel is asked again at once, not when the loop would wake up anyway.
    assert worker.neighbours.asked["127.0.0.1"] >= 2


def test_serve_answers_who_stays_unknown(worker):
    worker.neighbours.reachable.add("127.0.0.1")
    assert lines(worker.udp("games.example"))[0].endswith("IN A 192.0.2.2")


def test_serve_answers_by_the_policy_that_it_says_is_in_force(worker, school, until):
    def in_force(version: int) -> None:
        until(lambda: InForce(Source.DNS, 3, version) in worker.events.in_force)

    pause = Pause(
        "17",
        frozenset(["ks2"]),
        Span(worker.clock.at - timedelta(hours=1), worker.clock.at + timedelta(hours=1)),
        "button",
    )
    for number in range(0, 20, 2):
        in_force(school.version + number)
        assert lines(worker.udp("allowed.example")) != ["allowed.example. 1 IN A 192.0.2.2"]
        worker.policies.publish(pauses=(pause,))
        in_force(school.version + number + 1)
        assert lines(worker.udp("allowed.example")) == ["allowed.example. 1 IN A 192.0.2.2"], number
        worker.policies.publish(pauses=())


def test_serve_decides_again_when_the_policy_changes_while_the_upstream_is_asked(
    worker, upstream, until
):
    upstream.manners["allowed.example"] = "silent"
    query = dns.message.make_query("allowed.example", "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(8)
        client.connect(("127.0.0.1", worker.port))
        client.send(query.to_wire())
        until(lambda: upstream.asked["udp"])
        span = Span(worker.clock.at - timedelta(hours=1), worker.clock.at + timedelta(hours=1))
        worker.policies.publish(pauses=(Pause("17", frozenset(["ks2"]), span, "button"),))
        del upstream.manners["allowed.example"]
        answer = dns.message.from_wire(client.recv(4096))
    assert lines(answer) == ["allowed.example. 1 IN A 192.0.2.2"]


def test_serve_stops_an_alias_of_a_blocked_name(worker, upstream, until):
    upstream.zone["www.alias.example"] = ["300 IN CNAME a.tracker.example.", "300 IN A 192.0.2.66"]
    for _ in range(2):
        answer = worker.udp("www.alias.example", use_edns=0)
        assert lines(answer) == ["www.alias.example. 1 IN A 192.0.2.2"]
        assert answer.options[0].text == "school policy matrix:pornography:ks2"
    seen = until(lambda: worker.events.events)
    assert (seen[0].name, seen[0].rule_id, seen[0].action) == (
        "www.alias.example",
        "matrix:pornography:ks2",
        "block",
    )


def test_serve_fails_where_no_upstream_answers_and_recovers(start_worker, start_upstream, until):
    first = start_upstream("127.0.0.1")
    first.close()
    worker = start_worker([first])
    for _ in range(2):
        answer = worker.udp("allowed.example", use_edns=0)
        assert (answer.rcode(), [int(o.code) for o in answer.options]) == (dns.rcode.SERVFAIL, [23])
        assert lines(worker.udp("games.example")) == ["games.example. 1 IN A 192.0.2.2"]
    start_upstream("127.0.0.1")
    until(lambda: worker.udp("allowed.example").rcode() == dns.rcode.NOERROR)


def test_serve_keeps_answering_while_an_upstream_is_silent(worker, upstream):
    upstream.manners["slow.example"] = "silent"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", worker.port))
        client.send(dns.message.make_query("slow.example", "A").to_wire())
        for name in ("allowed.example", "games.example"):
            assert lines(worker.udp(name, timeout=1.5))


def test_serve_truncates_over_udp_and_gives_all_over_tcp(worker, upstream):
    upstream.zone["many.example"] = [f"60 IN A 192.0.2.{n}" for n in range(1, 200)]
    upstream.manners["many.example"] = "truncated"
    for _ in range(2):
        over_udp = worker.udp("many.example")
        assert (bool(over_udp.flags & dns.flags.TC), lines(over_udp)) == (True, [])
        assert len(lines(worker.tcp("many.example"))) == 199


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        (b"\x12\x34\x29\0" + b"\0\1" + bytes(6) + b"\0\0\1\0\1", dns.rcode.NOTIMP),
        (b"\x12\x34\1\0" + b"\0\2" + bytes(6) + b"\0\0\1\0\1", dns.rcode.FORMERR),
        (b"\x12\x34\1\0" + b"\0\1" + bytes(6) + b"\xc0\x0c\0\1\0\1", dns.rcode.FORMERR),
    ],
)
def test_serve_answers_what_it_does_not_serve(worker, octets, rcode):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", worker.port))
        client.send(octets)
        assert client.recv(4096) == octets[:2] + bytes((0x80 | octets[2] & 0x79, rcode)) + bytes(8)


def test_serve_is_silent_where_it_must_and_answers_on(worker):
    numbers = random.Random(20)  # noqa: S311  # the same octets in each run
    real = dns.message.make_query("games.example", "A").to_wire()
    response = dns.message.make_response(dns.message.from_wire(real)).to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", worker.port))
        for octets in (
            b"",
            b"\0",
            response,
            real[:11],
            numbers.randbytes(2) + b"\x80" + numbers.randbytes(3000),
        ):
            client.send(octets)
        for _ in range(200):
            octets = bytearray(real)
            octets[numbers.randrange(2, len(octets))] = numbers.randrange(256)
            client.send(numbers.randbytes(2) + octets[2:])
        client.send(b"\xab\xcd" + real[2:])
        heard = []
        while not heard or heard[-1][:2] != b"\xab\xcd":
            heard.append(client.recv(4096))
    # Of the first five none is answered; a bit of the header decides for the others.
    assert len(heard) <= 201
    assert all(octets[2] & 0x80 for octets in heard)


def test_serve_answers_from_the_address_that_was_asked(start_worker, upstream):
    worker = start_worker([upstream], listen=("0.0.0.0", "::"))
    for to in ("127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"):
        for name in (
            "games.example",
            "games.example",
            f"{to.replace(':', '0')}.example",
            "allowed.example",
        ):
            # dnspython refuses an answer from another address; the third name is forwarded first.
            worker.udp(name, to=to)
            worker.tcp(name, to=to)


def test_serve_shares_its_port_among_workers(start_worker, upstream):
    one = start_worker([upstream])
    other = start_worker([upstream], port=one.port)
    for _ in range(60):
        assert lines(one.udp("games.example"))
        assert lines(one.tcp("games.example"))
    for served in (one, other):
        served.policies.publish()


def test_serve_records_every_query(worker, until):
    asked = {"games.example": 7, "allowed.example": 4, "www.games.example": 1}
    for name, times in asked.items():
        for _ in range(times):
            worker.udp(name)
    worker.tcp("games.example")

    def counts():
        found = {}
        for event in worker.events.events:
            assert event.address == "127.0.0.1"
            assert (event.action == "block") == ("games" in event.name)
            found[event.name] = found.get(event.name, 0) + event.count
        return found

    until(lambda: counts() == {**asked, "games.example": 8})
    assert len(worker.events.events) < 12


def test_serve_records_who_answered_and_how_long_it_took(worker, upstream, until):
    # Silence first: the question is sent again.
    upstream.manners["allowed.example"] = "silent"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(worker.udp, "allowed.example")
        until(lambda: upstream.asked["udp"])
        time.sleep(0.05)
        del upstream.manners["allowed.example"]
        assert answer.result().rcode() == dns.rcode.NOERROR
    worker.udp("allowed.example")
    worker.udp("games.example")
    name = str(worker.settings.upstreams[0])

    def told():
        rows = [(e.name, e.upstream, e.took_us >= 50_000) for e in worker.events.events]
        return sorted(rows) if len(rows) == 3 else None

    assert until(told) == [
        ("allowed.example", name, False),
        ("allowed.example", name, True),
        ("games.example", "", False),
    ]
    assert {e.version for e in worker.events.events} == {worker.policies.current().version}


def test_serve_decides_anew_when_the_clock_is_set(start_worker, school, upstream, until):
    term = Term(date(2026, 9, 1), date(2026, 12, 18))
    worker = start_worker([upstream], policy=replace(school, timetable=Timetable(terms=(term,))))
    upstream.zone["video.example"] = ["60 IN A 192.0.2.20"]
    worker.clock.at = None
    # Without a time, it is not the time for videos, and nothing tells when it will be.
    assert lines(worker.udp("video.example")) == ["video.example. 1 IN A 192.0.2.2"]
    worker.clock.at = datetime(2026, 12, 24, 12, 0, tzinfo=UTC)
    until(lambda: lines(worker.udp("video.example"))[0].endswith("IN A 192.0.2.20"))


def test_serve_says_again_that_it_is_alive(worker, until):
    until(lambda: len(worker.events.in_force) >= 2)
    assert set(worker.events.in_force) == {InForce(Source.DNS, 3, 7)}


def test_serve_frees_its_port_when_it_ends(start_worker, upstream, until):
    worker = start_worker([upstream])
    worker.udp("allowed.example")
    worker.stop()
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as after:
            after.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            after.bind(("127.0.0.1", worker.port))
    # What was counted is put out at the end.
    assert [e.name for e in worker.events.events] == ["allowed.example"]


def test_serve_raises_where_it_cannot_listen(start_worker, upstream):
    with pytest.raises(OSError, match="Cannot assign requested address"):
        start_worker([upstream], listen=("127.0.0.1", "192.0.2.77"), port=9999)
