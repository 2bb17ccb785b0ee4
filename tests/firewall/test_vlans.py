import json
import threading

import pytest

from gate_core.events import MAX_DATAGRAM_OCTETS, Tagged, parse_datagram, render_datagram
from gate_firewall.vlans import TELL_ALL_EVERY_S, News, Watch, parse_vlans

ONE, OTHER = "00:00:5e:00:53:10", "00:00:5e:00:53:20"


def element(value, expires):
    return {"elem": {"val": value, "expires": expires}}


def tagged(mac, vlan, expires=3600):
    return element({"concat": [mac, vlan]}, expires)


def listing(elements):
    """Return what nft prints; a set without elements has no such key."""
    learnt = {"name": "learnt", "size": 2048, **({"elem": elements} if elements else {})}
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": learnt}]})


@pytest.mark.parametrize(
    ("tags", "plain", "vlans"),
    [
        pytest.param([], [], {}, id="nobody"),
        pytest.param([tagged(ONE, 20)], [element(OTHER, 9)], {ONE: 20, OTHER: 0}, id="one of each"),
        pytest.param([tagged(ONE, 20, 8), tagged(ONE, 30, 9)], [], {ONE: 30}, id="moved"),
        pytest.param([tagged(ONE, 20, 8)], [element(ONE, 9)], {ONE: 0}, id="left"),
        pytest.param([tagged(ONE, 20, 9)], [element(ONE, 8)], {ONE: 20}, id="came"),
        pytest.param([tagged(ONE, 20, 0)], [element(ONE, 0)], {ONE: 0}, id="both at once"),
        pytest.param([tagged(ONE, 0)], [], {ONE: 0}, id="priority tag"),
    ],
)
def test_parse_vlans_takes_the_one_of_the_last_frame(tags, plain, vlans):
    assert parse_vlans(listing(tags), listing(plain)) == vlans


def test_news_are_what_changed_and_now_and_then_all():
    news = News()
    assert news.of({ONE: 20, OTHER: 0}, 100.0) == [Tagged([ONE, OTHER], [20, 0])]
    assert news.of({ONE: 20, OTHER: 0}, 103.0) == []
    assert news.of({ONE: 30, OTHER: 0}, 106.0) == [Tagged([ONE], [30])]
    assert news.of({OTHER: 0}, 109.0) == []
    assert news.of({ONE: 30, OTHER: 0}, 112.0) == [Tagged([ONE], [30])]
    everybody = [Tagged([ONE, OTHER], [30, 0])]
    assert news.of({ONE: 30, OTHER: 0}, 100.0 + TELL_ALL_EVERY_S) == everybody


def test_news_of_thousands_are_a_few_messages_that_fit_into_a_datagram():
    everybody = {f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}": n % 4095 for n in range(4096)}
    told = News().of(everybody, 0.0)

    assert len(told) == 5
    assert max(len(render_datagram(message)) for message in told) < MAX_DATAGRAM_OCTETS
    parsed = [parse_datagram(render_datagram(message)) for message in told]
    rows = {mac: vlan for t in parsed for mac, vlan in zip(t.macs, t.vlans, strict=True)}
    assert rows == everybody


def test_watch_goes_on_after_a_fault(monkeypatch, caplog):
    monkeypatch.setattr("gate_firewall.vlans.READ_EVERY_S", 0.0)
    reads = iter([OSError("no table"), OSError("no table"), {ONE: 20}])
    ended = threading.Event()

    def read():
        got = next(reads, None)
        if got is None:
            ended.set()
            return {ONE: 20}
        if isinstance(got, OSError):
            raise got
        return got

    with Watch(read) as watch:
        assert ended.wait(10)
        assert watch.take() == [Tagged([ONE], [20])]
    assert [r.getMessage() for r in caplog.records] == ["action=read_vlans fault=no table"]
