import csv
import io
import re
from dataclasses import replace

import pytest

from gate_core.desk import ActivityFilter, ActivityView
from gate_core.events import MANY, EndedFlows, Event, Source
from gate_webui import activity
from gate_webui.words import asked_for


def names(page: str) -> list[str]:
    return re.findall(r'<td role="cell" class="sg-name">([^<\s]+)', page)


@pytest.fixture
def looking(coordinator):
    coordinator.look()
    return coordinator


def test_page_asks_why_first_and_goes_on_where_one_wanted_to(coordinator, full_desk):
    path = "/activity?text=films&action=block"
    page = coordinator.get(path)
    assert "Why do you look?" in page.text
    assert not names(page.text)
    answer = coordinator.post(
        "/activity/reason", {"reason": "Concern about a pupil", "next": path}, page=path
    )
    assert answer.headers["Location"] == path
    assert set(names(coordinator.get(path).text)) == {"films.example"}
    entry = full_desk.entry()
    assert (entry.actor, entry.action, entry.reason) == (
        "r.example",
        "looked at the log",
        "Concern about a pupil",
    )


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_page_wants_a_real_reason(coordinator, full_desk, reason: str):
    page = coordinator.post("/activity/reason", {"reason": reason}, page="/activity")
    assert page.status_code == 422
    assert 'id="reason-error"' in page.text
    assert "Why do you look?" in coordinator.get("/activity").text


def test_page_leads_nowhere_else_after_the_reason(coordinator):
    sent = {"reason": "Weekly check", "next": "//evil.example/"}
    answer = coordinator.post("/activity/reason", sent, page="/activity")
    assert answer.headers["Location"] == "/activity"


def test_page_asks_again_after_an_hour(looking, monkeypatch: pytest.MonkeyPatch):
    later = activity.time.monotonic() + activity.PURPOSE_S
    monkeypatch.setattr(activity.time, "monotonic", lambda: later)
    assert "Why do you look?" in looking.get("/activity").text


def test_page_shows_fifty_and_leads_to_older_ones(looking, full_desk):
    seen = []
    path = "/activity"
    for expected in (50, 50, 20):
        page = looking.get(path).text
        seen += names(page)
        assert len(names(page)) == expected
        older = re.search(r'href="([^"]+)" rel="next"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert path == ""
    wanted = ActivityFilter(limit=500)
    records = full_desk.activity(filter=wanted, actor="r.example", reason="x").records
    assert seen == [record.name for record in records]


def test_page_narrows_and_keeps_it_while_paging(looking, full_desk):
    page = looking.get("/activity?text=EXAMPLE&action=block&source=dns&group=&device=").text
    assert set(names(page)) >= {"www.games.example", "films.example", "chat.example"}
    assert "news.example" not in names(page)
    assert re.search(r'value="block"\s+selected', page)
    assert 'value="EXAMPLE"' in page
    older = re.search(r'href="(/activity\?[^"]+)" rel="next"', page)
    assert older is None or "text=EXAMPLE&amp;action=block&amp;source=dns" in older[1]


def test_page_of_one_device(looking, full_desk):
    page = looking.get("/activity?device=00:00:5e:00:53:20").text
    assert set(names(page)) == {"news.example", "tracker.example"}


def test_page_of_one_person_says_whose_it_is(looking, full_desk):
    page = looking.get("/activity?person=p-17").text
    assert set(names(page)) == {"www.games.example", "sums.example"}
    assert "used by Pupil 17" in page


def test_page_hides_people_from_it(technician, full_desk):
    technician.look()
    page = technician.get("/activity").text
    assert names(page)
    assert "Pupil 17" not in page
    assert "Names of people are not shown to your role." in page


@pytest.mark.parametrize("who", ["governor", "teacher", "auditor"])
def test_page_tells_others_who_may(request: pytest.FixtureRequest, full_desk, who: str):
    page = request.getfixturevalue(who).get("/activity")
    assert page.status_code == 403
    assert (
        "Your role may not search the log. These roles may: Head teacher, Safeguarding lead and"
        " E-safety coordinator." in page.text
    )


def test_page_says_why_in_plain_words(looking, full_desk):
    page = looking.get("/activity?text=films").text
    assert (
        "Blocked by the acceptable-use table: “Video sharing, such as YouTube” for EYFS and Key Stage 1."
        in page
    )
    assert 'href="/why?client=00:00:5e:00:53:11&amp;name=films.example&amp;record=' in page


def test_page_with_nothing_that_fits_says_so(looking, full_desk):
    assert "Nothing fits." in looking.get("/activity?text=no-such-name").text


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("action=maybe", "action-error"),
        ("source=x", "source-error"),
        ("group=ks9", "group-error"),
        ("device=x", "device-error"),
        ("person=x", "person-error"),
        ("text=" + "x" * 254, "text-error"),
    ],
)
def test_page_says_what_is_allowed(looking, full_desk, query: str, error: str):
    page = looking.get(f"/activity?{query}")
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert not names(page.text)


def test_page_tells_who_answered_and_how_long_it_took(looking, full_desk, known):
    at_ms = int(known.now.timestamp() * 1000)
    full_desk.steward.activity.append(
        Event(
            at_ms, Source.DNS, "192.0.2.10", "", "Laptop 7", "ks2", name, "A", "block" if name == MANY else "allow",
            reason, "default:ks2", 0, 1, 1, "", took_us, upstream,
        )
        for name, reason, took_us, upstream in (
            ("fetched.example", "default", 12_345, "192.0.2.53"),
            ("kept.example", "default", 0, "192.0.2.53"),
            ("ours.example", "default", 0, ""),
            (MANY, "default", 0, ""),
            ("", "flood", 0, ""),
        )
    )  # fmt: skip
    rows = {
        row.split("<")[0]: row for row in looking.get("/activity").text.split('class="sg-name">')
    }
    assert "Resolver 192.0.2.53, 12.3 ms<" in rows["fetched.example"]
    assert "Resolver 192.0.2.53<" in rows["kept.example"]
    assert "Resolver" not in rows["ours.example"]
    # There is no name to ask "Why?" about.
    assert "/why" not in rows["Many names"]
    assert "/why" not in rows["No name seen"]
    assert "Left unanswered: the device asked for more names at once" in rows["No name seen"]


@pytest.mark.parametrize(
    ("fields", "shown", "small"),
    [
        pytest.param({}, "203.0.113.5 port 9000/udp", "", id="without a name"),
        pytest.param(
            {"kind": "wireguard"}, "WireGuard: 203.0.113.5 port 9000/udp", "", id="by a protocol"
        ),
        pytest.param(
            {"name": "a.example"}, "a.example", "203.0.113.5 port 9000/udp", id="blocked by name"
        ),
        pytest.param({"name": "b.example", "action": "allow"}, "b.example", "", id="allowed"),
    ],
)
def test_page_tells_where_a_connection_went(looking, full_desk, known, fields, shown, small):
    made = {
        "at_ms": int(known.now.timestamp() * 1000), "source": Source.FIREWALL, "address": "192.0.2.10",
        "mac": "", "device": "Laptop 7", "group": "ks2", "name": "", "kind": "udp/9000", "action": "block",
        "reason": "unasked", "rule_id": "unasked:ks2", "categories": 0, "version": 1,
        "remote": "203.0.113.5 9000/udp",
    }  # fmt: skip
    full_desk.steward.activity.append([Event(**made | fields)])
    page = looking.get("/activity?text=9000/udp").text
    cell = page.split('class="sg-name">')[1].split("</td>")[0]
    assert cell.split("<")[0] == shown
    assert (f'<span class="sg-small">{small}</span>' in cell) is bool(small)


def test_page_and_copy_tell_what_a_connection_carried(looking, full_desk, known):
    at_ms, remote = int(known.now.timestamp() * 1000), "203.0.113.5 443/tcp"
    made = {
        "at_ms": at_ms, "source": Source.FIREWALL, "address": "192.0.2.10", "mac": "", "device": "Laptop 7",
        "group": "ks2", "name": "carried.example", "kind": "tls", "action": "allow", "reason": "default",
        "rule_id": "default:ks2", "categories": 0, "version": 1, "remote": remote,
    }  # fmt: skip
    activity_log = full_desk.steward.activity
    activity_log.append([Event(**made)])
    path = "?text=carried.example"
    assert '<span class="sg-small">Connected</span>' in looking.get(f"/activity{path}").text
    activity_log.append_sums([EndedFlows([at_ms], ["192.0.2.10"], [remote], [12_300_000], [4600])])
    page = looking.get(f"/activity{path}").text
    assert '<span class="sg-small">Connected: 12 MB received, 0.01 MB sent</span>' in page
    head, row = rows(looking.get(f"/activity/copy{path}"))
    told = dict(zip(head, row, strict=True))
    assert (told["Bytes received"], told["Bytes sent"]) == ("12300000", "4600")


def rows(answer) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))


def test_page_narrows_by_category_and_time(looking, full_desk):
    games = names(looking.get("/activity?category=games").text)
    assert "www.games.example" in games
    assert "news.example" not in games
    wanted = ActivityFilter(limit=500)
    records = full_desk.activity(filter=wanted, actor="r.example", reason="x").records
    at = records[40].at[:16]
    page = looking.get(f"/activity?since={at}").text
    assert names(page) == [r.name for r in records if r.at[:16] >= at][:50]
    before = looking.get(f"/activity?until={at}").text
    assert names(before) == [r.name for r in records if r.at[:16] < at][:50]
    assert f'value="{at}"' in page
    answer = looking.get("/activity?since=2026-11-22T10:00&until=2026-11-22T10:00")
    assert answer.status_code == 422
    assert "Enter a time after the one in “From”." in answer.text
    assert 'value="2026-11-22T10:00"' in answer.text


def test_page_says_how_far_back_it_looked(looking, full_desk, monkeypatch):
    found = ActivityView((), older=738_000 * 10**9, back_to="2026-11-20")
    monkeypatch.setattr(full_desk, "activity", lambda **_: found)
    page = looking.get("/activity?text=rare").text
    assert "Looked back to 20 November 2026 so far." in page
    assert re.search(r'href="/activity\?text=rare&amp;before=\d+" rel="next">Look further', page)
    assert "Nothing fits" not in page


def test_copy_holds_what_the_page_shows_and_is_recorded(looking, full_desk):
    answer = looking.get("/activity/copy?action=block")
    entry = full_desk.entry()
    assert (entry.actor, entry.action) == ("r.example", "took a copy of the log")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="activity.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    head, *copied = rows(answer)
    wanted = ActivityFilter(action="block", limit=500)
    records = full_desk.activity(filter=wanted, actor="r.example", reason="x").records
    site, what = head.index("Site"), head.index("What happened")
    assert [row[site] for row in copied] == [asked_for(record) for record in records]
    assert {row[what] for row in copied} == {"Blocked"}


def test_copy_goes_on_over_many_pages_and_ends(looking, full_desk, monkeypatch):
    monkeypatch.setattr(activity, "MAX_RECORDS", 50)
    everything = full_desk.activity(filter=ActivityFilter(limit=500), actor="r.example", reason="x")
    monkeypatch.setattr(activity._Asked.search, "__kwdefaults__", {"before": 0, "limit": 7, "copy": False})  # fmt: skip
    assert len(rows(looking.get("/activity/copy"))) == len(everything.records) + 1
    monkeypatch.setattr(activity, "COPIED", 20)
    assert len(rows(looking.get("/activity/copy"))) == 21


@pytest.mark.parametrize("name", ['=cmd|"/c calc"!A1', "+1", "-2", "@sum(1)", "\tx"])
def test_copy_is_no_formula_for_a_spreadsheet(looking, full_desk, name):
    wanted = ActivityFilter(limit=1)
    (record,) = full_desk.activity(filter=wanted, actor="r.example", reason="x").records
    found = ActivityView((replace(record, device=name, name=name),))
    full_desk.activity = lambda **_: found
    head, row = rows(looking.get("/activity/copy"))
    assert row[head.index("Device")] == f"'{name}"
    assert row[head.index("Site")].startswith("'")


def test_copy_of_what_is_no_search_leads_back(looking):
    answer = looking.get("/activity/copy?since=yesterday")
    assert answer.headers["Location"] == "/activity?since=yesterday"


def test_technician_copies_no_names_of_people(technician, full_desk):
    technician.look()
    head, *copied = rows(technician.get("/activity/copy"))
    assert "Person" not in head
    assert copied
    answer = technician.get("/activity/copy?person=p1")
    assert answer.status_code == 302
