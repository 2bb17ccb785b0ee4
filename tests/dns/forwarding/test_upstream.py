from __future__ import annotations

import gc
import socket
from ipaddress import ip_address
from pathlib import Path

import dns.message
import pytest

from gate_core.config import DnsConfig
from gate_core.upstreams import Upstream
from gate_dns.forwarding.exchange import MAX_STRAYS, PORTS, QUESTIONS_A_PORT, LetterCase
from gate_dns.forwarding.handed_out import HandedOut
from gate_dns.forwarding.health import RESEND_S, SHUN_S, SOONEST_RESEND_S, EdnsSupport
from gate_dns.forwarding.upstream import (
    DEADLINE_S,
    FOLLOW_S,
    MAX_IN_FLIGHT,
    MAX_IN_FLIGHT_BELOW,
    MAX_WAITING,
    MAX_WAITING_BELOW,
    Failure,
    Forwarder,
)
from gate_dns.messages.answer import Answer
from gate_dns.messages.codes import Ede, Rcode
from gate_dns.messages.render import render
from gate_dns.messages.wire import parse_query
from gate_dns.poll import Poll
from gate_dns.settings import DnsSettings
from gate_dns.zones import Zone, Zones

QUESTION = "allowed.example"


def query(name=QUESTION, kind="A", **options):
    return parse_query(dns.message.make_query(name, kind, **options).to_wire())


def value_of(upstream) -> Upstream:
    if isinstance(upstream, str):
        return Upstream(ip_address(upstream), 9)
    return Upstream(ip_address(upstream.address), upstream.port)


class Asking:
    """A forwarder with time that stands still until it is moved."""

    def __init__(self, upstreams, **options) -> None:
        self.time = 1000.0
        self.poll = Poll()
        self.forwarder = Forwarder(
            tuple(map(value_of, upstreams)), self.poll, lambda: self.time, **options
        )
        self.named: list[str] = []
        """Who gave each outcome."""

    def ask(self, asked) -> list:
        """Ask; return the list that the outcome will be put into."""
        outcomes = []

        def answered(outcome, name) -> None:
            outcomes.append(outcome)
            self.named.append(name)

        self.forwarder.ask(asked, answered)
        return outcomes

    def until(self, condition):
        for _ in range(500):
            if condition():
                return
            self.forwarder.flush()
            self.poll.wait(0.02)
        raise AssertionError("nothing happened in time")

    def outcome(self, asked):
        outcomes = self.ask(asked)
        self.until(lambda: outcomes)
        assert len(outcomes) == 1
        return outcomes[0]

    def go_on(self, seconds) -> None:
        self.time += seconds
        self.forwarder.expire()

    def close(self) -> None:
        self.forwarder.close()
        self.poll.close()


def descriptors() -> int:
    # What another test has left in a circle of objects is closed by the collector, at any time.
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def asking(until):
    started = []
    before = []

    def start(*upstreams, **options) -> Asking:
        before.append(descriptors())
        started.append(Asking(upstreams, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
    # Whatever a test did, no descriptor of a forwarder outlives it; an upstream's end of a connection soon goes, too.
    until(lambda: not before or descriptors() <= before[0])


def addresses(outcome, asked):
    assert isinstance(outcome, Answer)
    answer = dns.message.from_wire(render(asked, outcome).message)
    return [r.to_text() for records in answer.answer for r in records]


@pytest.mark.parametrize(
    "manner",
    [
        None,
        "forged-id",
        "forged-name",
        "forged-source",
        "forged-often",
        "garbage",
        "truncated",
        "twice",
        "lower-case",
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ask_gets_the_right_answer_and_no_other(start_upstream, asking, manner, address):
    upstream = start_upstream(address)
    upstream.manners[QUESTION] = manner
    asked = query()
    asker = asking(upstream)
    assert addresses(asker.outcome(asked), asked) == ["192.0.2.10"]
    assert upstream.asked["tcp"] == (manner in ("truncated", "forged-often", "lower-case"))
    assert asker.named == [str(value_of(upstream))]


@pytest.mark.parametrize(
    ("manner", "counted"),
    [
        (None, {}),
        ("forged-id", {"upstream-message": 1}),
        ("forged-name", {"upstream-message": 1}),
        ("forged-source", {}),  # The kernel does not even hand it over.
        ("forged-often", {"upstream-message": MAX_STRAYS + 1, "upstream-spoofed": 1}),
        ("garbage", {"upstream-message": 3}),
        ("lower-case", {"upstream-case": 1}),
        ("truncated", {}),
    ],
)
def test_ask_counts_what_is_no_answer(upstream, asking, manner, counted):
    upstream.manners[QUESTION] = manner
    asker = asking(upstream)
    asker.outcome(query())
    assert asker.forwarder.faults == counted


def test_ask_counts_an_answer_that_comes_twice(upstream, asking):
    upstream.manners[QUESTION] = "twice"
    upstream.manners["waits.example"] = "silent"
    asker = asking(upstream)
    # Every socket has a question that stays open, so that it is read on.
    for number in range(PORTS * 8):
        upstream.manners[f"n{number}.example"] = "silent"
        asker.ask(query(f"n{number}.example"))
    asker.outcome(query())
    asker.until(lambda: asker.forwarder.faults["upstream-message"])
    assert asker.forwarder.faults == {"upstream-message": 1}


def test_ask_sends_mixed_case_until_an_upstream_has_lost_it_often(upstream, asking):
    asker = asking(upstream)
    long = "a-name-with-so-many-letters-that-none-stays-as-it-was.example"
    asker.outcome(query(long))
    sent = upstream.queries[-1][1].question[0].name.to_text(omit_final_dot=True)
    assert sent != long
    assert sent.lower() == long
    for number in range(LetterCase.TRIES + 2):
        upstream.manners[f"n{number}.{long}"] = "lower-case"
        asker.outcome(query(f"n{number}.{long}"))
    assert asker.forwarder.faults == {"upstream-case": LetterCase.TRIES}
    assert upstream.asked["tcp"] == LetterCase.TRIES
    assert not asker.forwarder.health()[0].mixed_case
    asker.outcome(query(f"www.{long}"))
    assert upstream.queries[-1][1].question[0].name.to_text(omit_final_dot=True) == f"www.{long}"


def test_ask_keeps_to_mixed_case_where_an_upstream_loses_it_now_and_then(upstream, asking):
    asker = asking(upstream)
    for number in range(LetterCase.TRIES * 4):
        upstream.manners[f"n{number}.example"] = "lower-case" if number % 2 else None
        asker.outcome(query(f"n{number}.example"))
    assert asker.forwarder.health()[0].mixed_case


def test_ask_gets_by_tcp_what_is_too_long_for_udp(upstream, asking):
    many = [f"60 IN A 192.0.2.{n}" for n in range(1, 101)]
    upstream.zone["many.example"] = many
    upstream.manners["many.example"] = "truncated"
    outcome = asking(upstream).outcome(query("many.example"))
    assert outcome.counts == (100, 0)
    assert not outcome.truncated


def test_ask_merges_what_is_the_same_to_an_upstream(upstream, asking):
    asker = asking(upstream)
    outcomes = [asker.ask(query(name)) for name in (QUESTION, QUESTION.upper(), QUESTION)]
    assert asker.forwarder.in_flight == 1
    asker.until(lambda: all(outcomes))
    assert upstream.asked["udp"] == 1
    assert asker.forwarder.in_flight == 0


@pytest.mark.parametrize(
    "options",
    [{"kind": "HTTPS"}, {"use_edns": 0}, {"use_edns": 0, "want_dnssec": True}, {"flags": 0}],
)
def test_ask_keeps_apart_what_is_not(upstream, asking, options):
    asker = asking(upstream)
    outcomes = [asker.ask(query(kind="TYPE97")), asker.ask(query(**options))]
    asker.until(lambda: all(outcomes))
    assert upstream.asked["udp"] == 2


def test_ask_passes_no_option_of_a_client_on(upstream, asking):
    options = [dns.edns.ECSOption("192.0.2.0", 24), dns.edns.GenericOption(65001, b"\0" * 6)]
    asking(upstream).outcome(query(use_edns=0, options=options))
    assert upstream.queries[0][1].edns == 0
    assert not upstream.queries[0][1].options


def test_ask_uses_another_id_for_each_question_and_ports_by_lot(upstream, asking):
    asker = asking(upstream)
    for number in range(64):
        asker.outcome(query(f"n{number}.example"))
    ports = [port for port, _ in upstream.queries]
    assert 3 < len(set(ports)) <= PORTS
    assert ports != sorted(ports)
    assert len({message.id for _, message in upstream.queries}) > 60


def test_ask_changes_ports_after_so_many_questions(upstream, asking):
    asker = asking(upstream)
    for number in range(PORTS * QUESTIONS_A_PORT + 1):
        asker.outcome(query(f"n{number}.example"))
    ports = [port for port, _ in upstream.queries]
    assert len(set(ports)) > PORTS
    assert max(ports.count(port) for port in set(ports)) <= QUESTIONS_A_PORT
    assert asker.forwarder.health()[0].ports <= PORTS


def test_expire_changes_ports_after_a_while(upstream, asking):
    asker = asking(upstream)
    asker.outcome(query())
    assert asker.forwarder.health()[0].ports == 1
    asker.go_on(60)
    assert asker.forwarder.health()[0].ports == 0


def test_expire_sends_again_what_may_be_lost(upstream, asking):
    upstream.manners[QUESTION] = "silent"
    asker = asking(upstream)
    outcomes = asker.ask(query())
    asker.until(lambda: upstream.asked["udp"] == 1)
    del upstream.manners[QUESTION]
    asker.go_on(RESEND_S)
    asker.until(lambda: outcomes)
    assert isinstance(outcomes[0], Answer)
    assert upstream.asked["udp"] == 2
    # The same question from the same port: a second chance for no forger.
    (first, one), (second, other) = upstream.queries
    assert (first, one.to_wire()) == (second, other.to_wire())


def test_expire_sends_again_sooner_where_answers_are_quick(upstream, asking):
    asker = asking(upstream)
    asker.outcome(query("quick.example"))
    upstream.manners[QUESTION] = "silent"
    asker.ask(query())
    asker.go_on(SOONEST_RESEND_S)
    asker.until(lambda: upstream.asked["udp"] == 3)


def test_expire_goes_on_to_the_next_upstream(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "silent"
    asker = asking(first, second)
    outcomes = asker.ask(query())
    asker.until(lambda: first.asked["udp"])
    asker.go_on(DEADLINE_S)
    asker.go_on(DEADLINE_S - RESEND_S)
    asker.until(lambda: outcomes)
    assert isinstance(outcomes[0], Answer)
    assert second.asked["udp"] == 1
    assert asker.named == [str(value_of(second))]


def silence(asker) -> None:
    """Let all that is in flight run into its deadline at one upstream."""
    asker.go_on(RESEND_S)
    asker.go_on(DEADLINE_S)


def over_tcp(asker) -> bool:
    """Tell whether all questions in flight are on a connection."""
    carriers = {flight.carrier for flight in asker.forwarder._flights.values()}
    return carriers == {
        flight.contact.stream.connection for flight in asker.forwarder._flights.values()
    }


def test_expire_ends_all_questions_of_a_silent_connection_once(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    asked = [f"n{number}.example" for number in range(3)]
    for name in asked:
        first.manners[name] = "silent-tcp"
        second.zone[name] = ["300 IN A 192.0.2.10"]
    asker = asking(first, second)
    outcomes = [asker.ask(query(name)) for name in asked]
    asker.until(lambda: over_tcp(asker))
    # Nothing is lost that has been sent elsewhere in the same round.
    asker.go_on(DEADLINE_S)
    asker.until(lambda: all(outcomes))
    assert [len(each) for each in outcomes] == [1, 1, 1]
    assert all(isinstance(each[0], Answer) for each in outcomes)
    assert asker.named == ["127.0.0.2:" + str(second.port)] * 3
    assert asker.forwarder.in_flight == 0


def test_expire_fails_all_questions_of_the_only_connection_once(upstream, asking):
    asked = [f"n{number}.example" for number in range(3)]
    for name in asked:
        upstream.manners[name] = "silent-tcp"
    asker = asking(upstream)
    outcomes = [asker.ask(query(name)) for name in asked]
    asker.until(lambda: over_tcp(asker))
    asker.go_on(DEADLINE_S)
    assert outcomes == [[Failure(Ede.NO_REACHABLE_AUTHORITY)]] * 3
    assert asker.forwarder.in_flight == 0
    del upstream.manners[asked[0]]
    upstream.zone[asked[0]] = ["300 IN A 192.0.2.10"]
    assert isinstance(asker.outcome(query(asked[0])), Answer)


def names(upstream) -> set[str]:
    return {m.question[0].name.to_text(omit_final_dot=True).lower() for _, m in upstream.queries}


def test_ask_asks_a_silent_upstream_last_and_finds_out_by_copies(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    asker = asking(first, second)
    for name in ("one.example", "three.example"):
        first.manners[name] = "silent"
    outcomes = asker.ask(query("one.example"))
    silence(asker)
    asker.until(lambda: outcomes)
    assert asker.forwarder.health()[0].shunned
    assert asker.forwarder.health()[0].fault == "the upstream is silent"
    asker.outcome(query("two.example"))
    # When it is due, a copy of a question finds out, and nobody waits for it.
    asker.go_on(SHUN_S)
    asker.outcome(query("three.example"))
    asker.outcome(query("four.example"))
    asker.until(lambda: "three.example" in names(first))
    silence(asker)
    asker.go_on(SHUN_S)
    asker.outcome(query("five.example"))
    assert set(asker.named) == {str(value_of(second))}
    asker.until(lambda: not asker.forwarder.health()[0].shunned)
    assert asker.forwarder.health()[0].fault == ""
    asker.outcome(query("six.example"))
    assert asker.named[-1] == str(value_of(first))
    assert names(first) == {"one.example", "three.example", "five.example", "six.example"}


def test_ask_does_not_shun_who_answers_others(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    # Its own servers are silent: no resolver can do anything about it.
    first.manners["lame.example"] = "silent"
    asker = asking(first, second)
    outcomes = asker.ask(query("lame.example"))
    asker.time += 0.1
    asker.outcome(query("one.example"))
    silence(asker)
    asker.until(lambda: outcomes)
    asker.outcome(query("two.example"))
    assert asker.named[-1] == str(value_of(first))
    assert not asker.forwarder.health()[0].shunned
    assert asker.forwarder.health()[0].failures == 1


@pytest.mark.parametrize("rcode", ["servfail", "refused"])
def test_ask_tries_the_others_before_it_passes_a_fault_on(start_upstream, asking, rcode):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners = {"one.example": rcode, "both.example": rcode}
    second.manners = {"both.example": rcode}
    asker = asking(first, second)
    assert asker.outcome(query("one.example")).rcode == Rcode.NXDOMAIN
    assert asker.outcome(query("both.example")).rcode == Rcode[rcode.upper()]
    assert (first.asked["udp"], second.asked["udp"]) == (2, 2)


@pytest.mark.parametrize(
    ("manner", "rcode", "ede"), [("bogus", Rcode.SERVFAIL, 6), ("filtered", Rcode.REFUSED, 17)]
)
def test_ask_takes_the_verdict_of_a_validator_or_filter(start_upstream, asking, manner, rcode, ede):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = manner
    outcome = asking(first, second).outcome(query(use_edns=0))
    assert (outcome.rcode, outcome.edes) == (rcode, (ede,))
    assert second.asked["udp"] == 0


def test_ask_takes_a_looping_answer_for_a_failure(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "looping"
    asked = query()
    assert addresses(asking(first, second).outcome(asked), asked) == ["192.0.2.10"]


def test_ask_goes_on_where_a_connection_ends_within_a_message(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "cut"
    asker = asking(first, second)
    asked = query()
    assert addresses(asker.outcome(asked), asked) == ["192.0.2.10"]
    assert asker.named == [str(value_of(second))]
    assert first.asked["tcp"] == 1
    assert asker.forwarder.faults == {"upstream-unreachable": 1}


def test_ask_tells_silence_from_unreachable(upstream, asking):
    upstream.manners[QUESTION] = "silent"
    asker = asking(upstream)
    outcomes = asker.ask(query())
    silence(asker)
    assert outcomes == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    assert asker.named == [""]
    dead = asking("127.0.0.9")
    assert dead.outcome(query()) == Failure(Ede.NETWORK_ERROR)
    assert dead.forwarder.health()[0].fault == "Connection refused"
    # No route: 255.255.255.255 is refused by the kernel itself.
    assert asking("255.255.255.255").ask(query()) == [Failure(Ede.NETWORK_ERROR)]


def test_ask_is_bounded(upstream, asking):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        asker = asking()
        asker.forwarder.use((Upstream(ip_address("127.0.0.1"), silent.getsockname()[1]),))
        before = descriptors()
        for number in range(MAX_IN_FLIGHT):
            assert not asker.ask(query(f"n{number}.example"))
        assert asker.ask(query("more.example")) == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
        assert asker.forwarder.faults["overload"] == 1
        for number in range(MAX_WAITING - MAX_IN_FLIGHT):
            assert not asker.ask(query(f"n{number % MAX_IN_FLIGHT}.example"))
        assert asker.ask(query("n0.example")) == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
        # Sockets that are full of questions stay open until those are over.
        assert descriptors() <= before + PORTS + MAX_IN_FLIGHT // QUESTIONS_A_PORT
        silence(asker)
        assert asker.forwarder.in_flight == 0
        asker.go_on(60)
        assert descriptors() == before
    asker.forwarder.use((value_of(upstream),))
    assert isinstance(asker.outcome(query()), Answer)


def test_ask_bounds_what_waits_below_one_registered_name(upstream, asking):
    asker = asking(upstream)
    most = MAX_IN_FLIGHT_BELOW
    for number in range(most):
        upstream.manners[f"n{number}.dead.example"] = "silent"
        assert not asker.ask(query(f"n{number}.dead.example"))
    overload = [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    assert asker.ask(query("more.dead.example")) == overload
    for number in range(MAX_WAITING_BELOW):
        assert not asker.ask(query(f"n{number % most}.dead.example"))
    assert asker.ask(query("n0.dead.example")) == overload
    assert asker.forwarder.faults["overload"] == 2
    assert isinstance(asker.outcome(query()), Answer)
    silence(asker)
    assert asker.forwarder.in_flight == 0
    # Nothing is left of it: there is as much room as before.
    upstream.manners.clear()
    assert isinstance(asker.outcome(query("more.dead.example")), Answer)
    for number in range(most):
        assert not asker.ask(query(f"n{number}.dead.example"))


def edns_of(upstream, name) -> list[bool]:
    """Return of each question for ``name`` over UDP whether it had EDNS."""
    return [
        message.edns == 0
        for _, message in upstream.queries
        if message.question[0].name.to_text(omit_final_dot=True).lower() == name
    ]


@pytest.mark.parametrize("manner", ["no-edns", "no-edns-short"])
def test_ask_leaves_edns_out_where_it_is_not_understood_for_that_question_only(
    upstream, asking, manner
):
    upstream.manners[QUESTION] = manner
    asked = query()
    asker = asking(upstream)
    assert addresses(asker.outcome(asked), asked) == ["192.0.2.10"]
    assert edns_of(upstream, QUESTION) == [True, False]
    # Without a question it could be anybody's: asked again over TCP.
    assert upstream.asked["tcp"] == (manner == "no-edns-short")
    asker.outcome(query("other.example"))
    assert edns_of(upstream, "other.example") == [True]


def test_ask_passes_a_fault_on_that_comes_without_edns_too(upstream, asking):
    upstream.manners[QUESTION] = "formerr"
    asker = asking(upstream)
    assert asker.outcome(query()).rcode == Rcode.FORMERR
    assert edns_of(upstream, QUESTION) == [True, False]
    asker.outcome(query("other.example"))
    assert edns_of(upstream, "other.example") == [True]


def test_ask_uses_edns_again_with_the_next_upstream(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "no-edns-servfail"
    asker = asking(first, second)
    assert isinstance(asker.outcome(query()), Answer)
    assert (edns_of(first, QUESTION), edns_of(second, QUESTION)) == ([True, False], [True])


def test_ask_spares_an_upstream_edns_that_never_understands_it_for_some_minutes(upstream, asking):
    asker = asking(upstream)
    for number in range(EdnsSupport.TRIES):
        upstream.manners[f"n{number}.example"] = "no-edns"
        asker.outcome(query(f"n{number}.example"))
    upstream.manners |= {"more.example": "no-edns", "later.example": "no-edns"}
    asker.outcome(query("more.example"))
    assert edns_of(upstream, "more.example") == [False]
    asker.go_on(EdnsSupport.OFF_S)
    asker.outcome(query("later.example"))
    assert edns_of(upstream, "later.example") == [True, False]


def test_ask_keeps_to_edns_where_only_one_zone_or_only_now_and_then_it_is_refused(upstream, asking):
    asker = asking(upstream)
    for number in range(EdnsSupport.TRIES * 2):
        upstream.manners[f"n{number}.evil.example"] = "no-edns"
        asker.outcome(query(f"n{number}.evil.example"))
    for number in range(EdnsSupport.TRIES * 2):
        upstream.manners[f"n{number}.example"] = "no-edns"
        asker.outcome(query(f"n{number}.example"))
        asker.outcome(query(f"good{number}.example"))
    assert all(
        edns_of(upstream, f"good{n}.example") == [True] for n in range(EdnsSupport.TRIES * 2)
    )


def test_ask_without_an_upstream_fails_at_once(asking):
    assert asking().ask(query()) == [Failure(Ede.NO_REACHABLE_AUTHORITY)]


def test_ask_asks_the_servers_of_a_zone_and_nobody_else(start_upstream, asking):
    everyone, ours = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    zones = Zones((Zone("school.example", (value_of(ours),)), Zone("www.school.example")))
    asker = asking(everyone, zones=zones)
    for name in ("school.example", "dc.school.example", "myschool.example", "www.school.example"):
        asker.outcome(query(name))
    us, them = str(value_of(ours)), str(value_of(everyone))
    assert asker.named == [us, us, them, them]
    ours.manners["silent.school.example"] = "silent"
    outcomes = asker.ask(query("silent.school.example"))
    silence(asker)
    assert outcomes == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    assert everyone.asked["udp"] == 2


def test_use_moves_what_is_in_flight_to_the_new_upstreams(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "silent"
    asker = asking(first)
    asked = query()
    outcomes = asker.ask(asked)
    asker.until(lambda: first.asked["udp"])
    asker.forwarder.use((value_of(second),))
    asker.until(lambda: outcomes)
    assert addresses(outcomes[0], asked) == ["192.0.2.10"]
    assert [h.name for h in asker.forwarder.health()] == [str(value_of(second))]


def test_use_leaves_alone_what_others_are_asked_and_asks_the_old_ones_no_more(
    start_upstream, asking
):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "silent"
    asker = asking(first, second)
    outcomes = asker.ask(query())
    asker.forwarder.use((value_of(first),))
    silence(asker)
    assert outcomes == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    assert second.asked["udp"] == 0


def test_expire_follows_what_the_network_hands_out(tmp_path: Path, upstream, asking):
    file = tmp_path / "resolv.conf"
    handed_out = HandedOut((file,), ours=lambda _: False)
    asker = asking(handed_out=handed_out)
    assert asker.ask(query()) == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    file.write_text("nameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    asker.go_on(FOLLOW_S)
    assert [h.name for h in asker.forwarder.health()] == ["192.0.2.1", "2001:db8::1"]
    file.write_text("# none for now\n")
    asker.go_on(FOLLOW_S)
    assert [h.name for h in asker.forwarder.health()] == ["192.0.2.1", "2001:db8::1"]


def test_of_follows_the_network_only_where_no_upstream_is_configured():
    poll = Poll()
    given = DnsSettings.of(DnsConfig(upstreams=("192.0.2.1", "tls://192.0.2.2#a.example")), ())
    forwarder = Forwarder.of(given.upstreams, given.zones, "", poll, lambda: 0.0)
    assert [h.name for h in forwarder.health()] == ["192.0.2.1", "tls://192.0.2.2#a.example"]
    validated = DnsSettings.of(DnsConfig(upstreams=("192.0.2.1",), dnssec="validate"), ())
    forwarder = Forwarder.of(validated.upstreams, validated.zones, "", poll, lambda: 0.0)
    assert [h.name for h in forwarder.health()] == ["127.0.0.1:5335"]
    poll.close()
