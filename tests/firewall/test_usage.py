from ipaddress import ip_address

import pytest

from gate_core.events import MANY, MAX_DATAGRAM_OCTETS, Who, parse_datagram, render_datagram
from gate_firewall import usage
from gate_firewall.conntrack import Carried, End
from gate_firewall.usage import EVERY_S, MESSAGES, ROWS, Usage

LAPTOP = Who("192.0.2.10", "00:00:5e:00:53:10", "Laptop", "ks2", "p-17")
TABLET = Who("2001:db8::10", "00:00:5e:00:53:11", "Tablet", "ks2", "")
WEB = "198.51.100.1"


def end(initiator, responder=WEB, sent=0, received=0, port=443):
    addresses = [ip_address(a).packed for a in (initiator, responder)]
    return End(
        6, addresses[0], 49152, addresses[1], port, Carried(1, sent), Carried(1, received), 0
    )


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
    named = {443: (LAPTOP, "maths.example"), 80: (LAPTOP, "films.example")}
    summed = Usage(lambda end: named.get(end.responder_port))
    for port, sent, received in ((443, 10, 1000), (443, 1, 100), (80, 5, 50), (22, 7, 7)):
        summed.note(end(LAPTOP.address, sent=sent, received=received, port=port))
    messages = drained(summed)
    assert rows(messages) == {
        (LAPTOP, "maths.example"): (1100, 11, 2),
        (LAPTOP, "films.example"): (50, 5, 1),
    }
    assert {message.at_ms for message in messages} == {1}
    assert summed.counts() == {"flows_ended": {"named": 3, "unknown": 1}}
    assert drained(summed, now_s=2 * EVERY_S) == []


@pytest.mark.parametrize("who", [LAPTOP, TABLET])
def test_usage_knows_down_from_up_whoever_opened_the_flow(who):
    summed = Usage(lambda _: (who, "x.example"))
    far = WEB if who is LAPTOP else "2001:db8:1::1"
    summed.note(end(who.address, far, sent=1, received=20))
    summed.note(end(far, who.address, sent=300, received=4000))
    assert rows(drained(summed)) == {(who, "x.example"): (320, 4001, 2)}


def test_usage_gives_away_a_minute_a_few_messages_at_a_time():
    names = (f"{n}.example" for n in range(10_000))
    summed = Usage(lambda _: (LAPTOP, next(names)))
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
    summed = Usage(lambda _: next(coming))
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
        lambda _: (Who(WEB, LAPTOP.mac, long, "g" * 40, f"{next(clients)}" * 8), "n" * 253)
    )
    for _ in range(ROWS):
        summed.note(end(LAPTOP.address, sent=2**50, received=2**50))
    (message,) = drained(summed)
    datagram = render_datagram(message)
    assert len(datagram) <= MAX_DATAGRAM_OCTETS
    assert rows([parse_datagram(datagram)]) == rows([message])
