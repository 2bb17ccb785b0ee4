from ipaddress import ip_address

import pytest

from gate_core.events import (
    MANY,
    MAX_DATAGRAM_OCTETS,
    EndedFlows,
    Who,
    parse_datagram,
    render_datagram,
)
from gate_firewall import usage
from gate_firewall.conntrack import Carried, End
from gate_firewall.usage import ENDED_ROWS, EVERY_S, MESSAGES, ROWS, Ended, Usage

LAPTOP = Who("192.0.2.10", "00:00:5e:00:53:10", "Laptop", "ks2", "p-17")
TABLET = Who("2001:db8::10", "00:00:5e:00:53:11", "Tablet", "ks2", "")
WEB = "198.51.100.1"


def end(initiator, responder=WEB, sent=0, received=0, port=443):
    addresses = [ip_address(a).packed for a in (initiator, responder)]
    return End(
        6, addresses[0], 49152, addresses[1], port, Carried(1, sent), Carried(1, received), 0
    )


def its(who, name, remote="", allowed_ms=0):
    return Ended(who, name, remote, allowed_ms) if name else None


def rows(messages):
    return {
        (message.whos[who], name): (down, up, flows)
        for message in messages
        for who, name, down, up, flows in zip(
            message.who, message.names, message.down, message.up, message.flows, strict=True
        )
    }


def drained(summed, at_ms=1, now_s=EVERY_S):
    """Return all messages of the minute that ends now."""
    summed.take(at_ms, now_s)
    messages = []
    while some := summed.take(at_ms, now_s + 1):
        assert len(some) <= MESSAGES
        messages += some
    return messages


def test_usage_sums_by_client_and_name():
    names = {443: "maths.example", 80: "films.example"}
    summed = Usage(lambda end: its(LAPTOP, names.get(end.responder_port)))
    for port, sent, received in ((443, 10, 1000), (443, 1, 100), (80, 5, 50), (22, 7, 7)):
        summed.note(end(LAPTOP.address, sent=sent, received=received, port=port))
    messages = drained(summed)
    assert rows(messages) == {
        (LAPTOP, "maths.example"): (1100, 11, 2),
        (LAPTOP, "films.example"): (50, 5, 1),
    }
    assert {message.at_ms for message in messages} == {1}
    assert summed.counts() == {"flows_ended": {"named": 3, "unknown": 1, "summed": 0}}
    assert drained(summed, now_s=2 * EVERY_S) == []


@pytest.mark.parametrize("who", [LAPTOP, TABLET])
def test_usage_knows_down_from_up_whoever_opened_the_flow(who):
    summed = Usage(lambda _: its(who, "x.example"))
    far = WEB if who is LAPTOP else "2001:db8:1::1"
    summed.note(end(who.address, far, sent=1, received=20))
    summed.note(end(far, who.address, sent=300, received=4000))
    assert rows(drained(summed)) == {(who, "x.example"): (320, 4001, 2)}


def test_usage_gives_away_a_minute_a_few_messages_at_a_time():
    names = (f"{n}.example" for n in range(10_000))
    summed = Usage(lambda _: its(LAPTOP, next(names)))
    for _ in range(ROWS * MESSAGES + 1):
        summed.note(end(LAPTOP.address))
    assert summed.take(1, 0.0) == []
    assert len(summed.take(2, 1.0)) == MESSAGES
    summed.note(end(LAPTOP.address))
    (last,) = summed.take(3, 2.0)
    assert (last.at_ms, len(last.names)) == (1, 1)
    assert summed.take(4, EVERY_S - 1) == []


def test_usage_is_bounded(monkeypatch):
    monkeypatch.setattr(usage, "LIMIT", 2)
    others = [TABLET._replace(address=f"2001:db8::{n}") for n in range(5)]
    flows = [(LAPTOP, "a.example"), (LAPTOP, "b.example"), (LAPTOP, "c.example")]
    flows += [(who, "d.example") for who in others] + [(LAPTOP, "a.example")]
    coming = iter(flows)
    summed = Usage(lambda _: its(*next(coming)))
    for _ in flows:
        summed.note(end(LAPTOP.address, received=1))
    got = rows(drained(summed))
    assert {key: flows for key, (_, _, flows) in got.items()} == {
        (LAPTOP, "a.example"): 2,
        (LAPTOP, "b.example"): 1,
        (LAPTOP, MANY): 1,
        (others[0], MANY): 1,
        (Who("", "", "", "ks2", ""), MANY): 4,
    }


def test_messages_of_the_longest_names_fit_into_a_datagram():
    long = "\U0001f4bb" * 60
    clients = iter(range(10_000))
    summed = Usage(
        lambda _: its(Who(WEB, LAPTOP.mac, long, "g" * 40, f"{next(clients)}" * 8), "n" * 253)
    )
    for _ in range(ROWS):
        summed.note(end(LAPTOP.address, sent=2**50, received=2**50))
    (message,) = drained(summed)
    datagram = render_datagram(message)
    assert len(datagram) <= MAX_DATAGRAM_OCTETS
    assert rows([parse_datagram(datagram)]) == rows([message])


@pytest.mark.parametrize("who", [LAPTOP, TABLET])
def test_take_ended_tells_of_each_flow_that_was_allowed_once(who):
    remote = "198.51.100.1 443/tcp"
    coming = iter([its(who, "x.example", remote, 5), its(who, "x.example", remote), None])
    ended = Usage(lambda _: next(coming))
    ended.note(end(WEB if who is LAPTOP else "2001:db8:1::1", who.address, sent=20, received=1))
    ended.note(end(who.address, sent=7, received=7))
    ended.note(end(who.address, sent=7, received=7))

    assert list(ended.take_ended()) == [EndedFlows([5], [who.address], [remote], [20], [1])]
    assert list(ended.take_ended()) == []


def test_take_ended_is_bounded_and_counts_what_is_in_sums_alone(monkeypatch):
    monkeypatch.setattr(usage, "ENDED", 3)
    coming = iter(range(1, 6))
    ended = Usage(lambda _: its(LAPTOP, "x.example", "", next(coming)))
    for _ in range(5):
        ended.note(end(LAPTOP.address))

    assert [message.at_ms for message in ended.take_ended()] == [[3, 4, 5]]
    assert ended.counts()["flows_ended"] == {"named": 5, "unknown": 0, "summed": 2}


def test_messages_of_the_longest_ends_fit_into_a_datagram():
    longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    far = Ended(LAPTOP._replace(address=longest), "x", f"{longest} 65535/tcp", 2**43 - 1)
    ended = Usage(lambda _: far)
    for _ in range(ENDED_ROWS + 1):
        ended.note(end(LAPTOP.address, sent=2**50, received=2**50))
    first, last = ended.take_ended()

    assert (len(first.at_ms), len(last.at_ms)) == (ENDED_ROWS, 1)
    datagram = render_datagram(first)
    assert len(datagram) <= MAX_DATAGRAM_OCTETS
    assert parse_datagram(datagram) == first
