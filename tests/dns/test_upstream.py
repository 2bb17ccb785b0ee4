from __future__ import annotations

from ipaddress import ip_address

import dns.message
import pytest

from gate_dns.poll import Poll
from gate_dns.upstream import (
    DEADLINE_S,
    MAX_IN_FLIGHT,
    RESEND_S,
    SHUN_S,
    Failure,
    Forwarder,
)
from gate_dns.wire import Answer, Ede, Rcode, parse_query, render

QUESTION = "allowed.example"


def query(name=QUESTION, kind="A", **options):
    return parse_query(dns.message.make_query(name, kind, **options).to_wire())


class Asking:
    """A forwarder with time that stands still until it is moved."""

    def __init__(self, upstreams) -> None:
        self.time = 1000.0
        self.poll = Poll()
        addresses = tuple(ip_address(getattr(u, "address", u)) for u in upstreams)
        port = next((u.port for u in upstreams if not isinstance(u, str)), 9)
        self.forwarder = Forwarder(addresses, port, self.poll, lambda: self.time)

    def ask(self, asked) -> list:
        """Ask; return the list that the outcome will be put into."""
        outcomes = []
        self.forwarder.ask(asked, outcomes.append)
        return outcomes

    def until(self, condition):
        for _ in range(500):
            if condition():
                return
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


@pytest.fixture
def asking():
    started = []

    def start(*upstreams) -> Asking:
        started.append(Asking(upstreams))
        return started[-1]

    yield start
    for one in started:
        one.close()


def addresses(outcome, asked):
    assert isinstance(outcome, Answer)
    answer = dns.message.from_wire(render(asked, outcome).message)
    return [r.to_text() for records in answer.answer for r in records]


@pytest.mark.parametrize(
    "manner", [None, "forged-id", "forged-name", "forged-source", "garbage", "truncated"]
)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ask_gets_the_right_answer_and_no_other(start_upstream, asking, manner, address):
    upstream = start_upstream(address)
    upstream.manners[QUESTION] = manner
    asked = query()
    assert addresses(asking(upstream).outcome(asked), asked) == ["192.0.2.10"]
    assert upstream.asked["tcp"] == (manner == "truncated")


def test_ask_gets_by_tcp_what_is_too_long_for_udp(upstream, asking):
    many = [f"60 IN A 192.0.2.{n}" for n in range(1, 200)]
    upstream.zone["many.example"] = many
    upstream.manners["many.example"] = "truncated"
    outcome = asking(upstream).outcome(query("many.example"))
    assert outcome.counts == (199, 0)
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


def test_ask_uses_another_port_and_id_for_each_question(upstream, asking):
    asker = asking(upstream)
    for number in range(12):
        asker.outcome(query(f"n{number}.example"))
    assert len({port for port, _ in upstream.queries}) > 8
    assert len({message.id for _, message in upstream.queries}) > 8


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


def test_expire_goes_on_to_the_next_upstream(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners[QUESTION] = "silent"
    asker = asking(first, second)
    outcomes = asker.ask(query())
    asker.until(lambda: first.asked["udp"])
    asker.go_on(DEADLINE_S)
    asker.until(lambda: outcomes)
    assert isinstance(outcomes[0], Answer)
    assert second.asked["udp"] == 1


def test_ask_asks_a_silent_upstream_last_until_it_is_back(start_upstream, asking):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners["one.example"] = first.manners["three.example"] = "silent"
    asker = asking(first, second)
    asker.ask(query("one.example"))
    asker.until(lambda: first.asked["udp"] == 1)
    asker.go_on(DEADLINE_S)
    asker.until(lambda: asker.forwarder.in_flight == 0)
    asker.outcome(query("two.example"))
    assert (first.asked["udp"], second.asked["udp"]) == (1, 2)
    asker.go_on(SHUN_S)
    # One question finds out; the next one does not wait for it.
    asker.ask(query("three.example"))
    asker.until(lambda: first.asked["udp"] == 2)
    asker.outcome(query("four.example"))
    assert (first.asked["udp"], second.asked["udp"]) == (2, 3)
    asker.go_on(DEADLINE_S)
    asker.until(lambda: asker.forwarder.in_flight == 0)
    asker.go_on(SHUN_S)
    asker.outcome(query("five.example"))
    asker.outcome(query("six.example"))
    assert (first.asked["udp"], second.asked["udp"]) == (4, 4)


@pytest.mark.parametrize("rcode", ["servfail", "refused"])
def test_ask_tries_the_others_before_it_passes_a_fault_on(start_upstream, asking, rcode):
    first, second = start_upstream("127.0.0.1"), start_upstream("127.0.0.2")
    first.manners = {"one.example": rcode, "both.example": rcode}
    second.manners = {"both.example": rcode}
    asker = asking(first, second)
    assert asker.outcome(query("one.example")).rcode == Rcode.NXDOMAIN
    assert asker.outcome(query("both.example")).rcode == Rcode[rcode.upper()]
    assert (first.asked["udp"], second.asked["udp"]) == (2, 2)


def test_ask_tells_silence_from_unreachable(upstream, asking):
    upstream.manners[QUESTION] = "silent"
    asker = asking(upstream)
    outcomes = asker.ask(query())
    asker.go_on(DEADLINE_S)
    assert outcomes == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    assert asking("127.0.0.9").outcome(query()) == Failure(Ede.NETWORK_ERROR)
    # No route: 240.0.0.0/4 is refused by the kernel itself.
    assert asking("255.255.255.255").ask(query()) == [Failure(Ede.NETWORK_ERROR)]


def test_ask_is_bounded(upstream, asking):
    asker = asking(upstream)
    for number in range(MAX_IN_FLIGHT):
        upstream.manners[f"n{number}.example"] = "silent"
        assert not asker.ask(query(f"n{number}.example"))
    assert asker.ask(query("more.example")) == [Failure(Ede.NO_REACHABLE_AUTHORITY)]
    assert asker.forwarder.faults["overload"] == 1
    assert not asker.ask(query("n0.example"))
    asker.go_on(DEADLINE_S)
    assert asker.forwarder.in_flight == 0
