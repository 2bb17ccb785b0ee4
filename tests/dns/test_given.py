from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from gate_core.given import MAX_ROWS, News, Request
from gate_dns.askers import Askers, Limits
from gate_dns.cache import Entries
from gate_dns.given import ALIVE_S, MAX_TOLD, MAX_UNSENT, TOLD_S, GivenRecord

ONE, TWO = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
CLIENT, SERVER = ip_address("10.0.0.7"), ip_address("10.0.0.2")
MAC = "00:00:5e:00:53:10"


class Link:
    """A classifier that reads now and then."""

    def __init__(self):
        self.sent: list[News] = []
        self.asked: list[Request] = []
        self.takes = True

    def fileno(self):
        raise NotImplementedError

    def requests(self):
        asked, self.asked = self.asked, []
        return asked

    def send(self, news):
        if self.takes:
            self.sent.append(news)
        return self.takes


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def record(link):
    record = GivenRecord(link, 3, 10.0)
    link.asked.append(Request(0, everything=True))
    record.hear(10.0)
    return record


@pytest.fixture
def held(school):
    """The school, whose pupils reach only what they were given."""
    groups = dict(school.groups)
    groups["ks2"] = replace(groups["ks2"], named_only=True)
    return replace(school, groups=groups)


@pytest.fixture
def find(held, neighbours):
    askers = Askers(held, neighbours, Entries(), Limits(50, 100, (SERVER,)))
    neighbours.macs[str(CLIENT)] = MAC
    return lambda address=CLIENT: askers.find(address.packed, 10.0)


def rows(link):
    return [row for news in link.sent for row in news.rows]


def test_find_holds_to_names_whose_group_is(find, held, neighbours):
    assert find().held_to_names == (CLIENT.packed, MAC, False)
    staff = ip_address("10.0.0.9")
    neighbours.macs[str(staff)] = next(d.mac for d in held.devices.values() if d.group == "staff")
    assert find(staff).held_to_names is None


def test_find_takes_a_server_of_the_school_for_everyone(find):
    assert find(SERVER).held_to_names == (SERVER.packed, "", True)
    assert find(ip_address("127.0.0.1")).held_to_names is None


def test_put_is_sent_once(record, link, find):
    record.put(find(), "a.example", [ONE, TWO], 11.0)
    record.put(find(), "a.example", [TWO], 12.0)
    record.flush(12.0)
    record.put(find(), "a.example", [TWO], 13.0)
    record.flush(13.0)

    (row,) = rows(link)
    assert (row.client, row.mac, row.name) == (CLIENT.packed, MAC, "a.example")
    assert set(row.addresses) == {ONE, TWO}


def test_put_says_again_what_is_new_or_old(record, link, find):
    for at, addresses in ((11.0, [ONE]), (12.0, [TWO]), (13.0 + TOLD_S, [ONE])):
        link.asked.append(Request(0))
        record.hear(at)
        record.put(find(), "a.example", addresses, at)
    record.flush(13.0 + TOLD_S)

    assert [set(row.addresses) for row in rows(link)] == [{ONE}, {TWO}, {ONE}]


def test_put_keeps_nothing_for_nobody(link, find):
    record = GivenRecord(link, 3, 10.0)
    record.put(find(), "a.example", [ONE], 11.0)

    assert not record.waiting


def test_flush_keeps_what_is_not_taken_while_somebody_lives(record, link, find):
    link.takes = False
    record.put(find(), "a.example", [ONE], 11.0)
    record.flush(11.0)
    assert record.waiting
    link.takes = True
    record.flush(11.0)
    assert [row.name for row in rows(link)] == ["a.example"]
    record.put(find(), "b.example", [ONE], 11.0)
    record.flush(11.0 + ALIVE_S)
    assert not record.waiting
    assert len(rows(link)) == 1


def test_hear_answers_when_all_before_has_been_said(record, link, find):
    for number in range(MAX_ROWS + 1):
        record.put(find(), f"a{number}.example", [ONE], 11.0)
    link.asked.append(Request(8))
    assert record.hear(11.0)
    record.flush(11.0)

    assert [(len(news.rows), news.answered) for news in link.sent] == [(MAX_ROWS, 0), (1, 8)]


def test_hear_begins_from_the_start_for_whom_knows_nothing(record, link, find):
    record.put(find(), "a.example", [ONE], 11.0)
    record.flush(11.0)
    link.asked.append(Request(0, everything=True))
    assert not record.hear(11.0)
    record.flush(11.0)

    assert [row.name for row in rows(link)] == ["a.example", "a.example"]


def test_renew_says_from_when_on_the_record_is_whole(record, link):
    record.renew(11.0)
    record.renew(12.0 + ALIVE_S)

    assert [news.since_s for news in link.sent] == [10.0, 12.0 + ALIVE_S]


def test_what_is_held_is_bounded(record, link, find):
    link.takes = False
    for number in range(MAX_UNSENT + 10):
        record.put(find(), f"a{number}.example", [ONE], 11.0)

    assert len(record.unsent) <= MAX_UNSENT
    assert len(record._told) <= MAX_TOLD
