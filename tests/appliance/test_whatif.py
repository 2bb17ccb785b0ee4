import json
import random
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from zoneinfo import ZoneInfo

import pytest

from gate_appliance.activity import ActivityLog
from gate_appliance.library import Library
from gate_appliance.whatif import Request, WhatIfJobs, replay
from gate_core.compile import Acts, Surroundings, compile_policy
from gate_core.desk import RefusedError
from gate_core.events import Event, Source
from gate_core.policy import decide
from gate_core.written import parse, plain, shipped

LONDON = ZoneInfo("Europe/London")
UNTIL = datetime(2026, 11, 23, 18, 0, tzinfo=LONDON)
LAPTOP, TABLET, STRANGER = (f"00:00:5e:00:53:{n:02x}" for n in (0x10, 0x20, 0x99))
NAMES = [
    "youtube.com", "www.youtube.com", "miniclip.com", "www.bbc.co.uk", "asked.example", "other.example",
    "tiktok.com", "use-application-dns.net", "bet365.com",
]  # fmt: skip


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lists")
    library = Library(directory / "school", directory)
    compiled = library.compile()
    return directory, library, compiled


@pytest.fixture
def log(tmp_path):
    return ActivityLog(tmp_path / "activity", LONDON)


@pytest.fixture
def jobs():
    jobs = WhatIfJobs()
    yield jobs
    jobs.close()


@pytest.fixture
def ask(tmp_path, lists):
    directory, library, compiled = lists

    def ask(present, draft, **more):
        fields = {
            "present": present, "draft": draft, "lists": str(directory), "sha256": compiled.sha256,
            "activity": str(tmp_path / "activity"), "zone": "Europe/London", "until": UNTIL.isoformat(), "days": 7,
            "essential": tuple(library.essential.rules), "canaries": tuple(library.canaries.rules),
            "protected": tuple(library.protected.rules),
        }  # fmt: skip
        return Request(**fields | more)

    return ask


def school(**changes):
    document = plain(shipped())
    document["people"] = {"p1": {"name": "One"}, "p2": {"name": "Two"}}
    document["devices"] = {
        LAPTOP: {"name": "Laptop", "group": "ks2", "person": "p1"},
        TABLET: {"name": "Tablet", "group": "staff"},
    }
    document["networks"] = {"192.0.2.0/24": {"group": "guest"}}
    return document | changes


def with_cell(document, group, row, cell):
    changed = json.loads(json.dumps(document))
    changed["groups"][group]["cells"][row] = cell
    return changed


def exception(**fields):
    return {
        "action": "allow", "scope": "school", "why": "asked", "names": ["asked.example"],
        "since": "2026-11-20T09:00", "until": "2026-11-21T09:00",
    } | fields  # fmt: skip


def event(name, at, mac=LAPTOP, **more):
    fields = {
        "at_ms": int(at.timestamp() * 1000), "source": Source.DNS, "address": "198.51.100.7", "mac": mac,
        "device": "", "group": "ks2", "name": name, "kind": "A", "action": "allow", "reason": "default",
        "rule_id": "default:ks2", "categories": 0, "version": 1,
    }  # fmt: skip
    return Event(**fields | more)


def found(outcome):
    return {(f.group, f.name, f.before, f.after): f.count for f in outcome.findings}


def by_hand(request, events, lists):
    """Decide every record by itself, under policies made for its very time."""
    _, library, compiled = lists
    around = Surroundings(
        compiled.index, LONDON, library.essential, library.canaries, library.protected
    )
    sides = [parse(document, LONDON) for document in (request.present, request.draft)]
    counts = Counter()
    for e in events:
        at = datetime.fromtimestamp(e.at_ms / 1000, LONDON)
        decisions, group = [], ""
        for written in sides:
            its = compile_policy(written, Acts(), around, version=1, at=at)
            client = its.client(ip_address(e.address), e.mac or None)
            if not e.mac and not client.known:
                client = replace(client, group=e.group)
            group = group or client.group
            decisions.append(decide(its, client, e.name, at).action.value)
        if decisions[0] != decisions[1]:
            counts[group, e.name, *decisions] += e.count
    return dict(counts)


def test_replay_finds_what_deciding_each_record_by_itself_finds(log, ask, lists):
    some = random.Random(5)  # noqa: S311  # the same records each time
    events = []
    for n in range(2500):
        at = UNTIL - timedelta(seconds=some.uniform(1, 7 * 86400))
        mac = some.choice((LAPTOP, TABLET, STRANGER, ""))
        address = some.choice(("198.51.100.7", "192.0.2.9"))
        group = some.choice(("ks1", "ks2"))
        more = {"mac": mac, "address": address, "group": group, "count": 1 + n % 3}
        events.append(event(some.choice(NAMES), at, **more))
    log.append(events)
    present = school(exceptions={"e1": exception(), "e2": exception(scope="person", subject="p1")})
    present["devices"][TABLET]["until"] = "2026-11-19T12:00"
    draft = with_cell(present, "ks2", "video", "acceptable")
    draft["devices"][TABLET]["group"] = "ks1"
    draft["groups"]["quarantine"]["default"] = "block"
    draft["groups"]["ks1"]["default"] = "block"
    draft["networks"]["192.0.2.0/24"]["group"] = "ks1"
    draft["timetable"]["times"] = {"lunch": {"days": "Mon-Fri", "since": "12:15", "until": "13:20"}}
    draft["exceptions"]["e3"] = exception(
        action="block", scope="device", subject=LAPTOP, names=["other.example"], services=["tiktok"]
    )
    request = ask(present, draft)
    outcome, _ = replay(request)
    expected = by_hand(request, events, lists)
    assert len(expected) > 15
    assert found(outcome) == expected
    assert outcome.changed == sum(expected.values())
    assert outcome.total == sum(e.count for e in events)
    counts = [f.count for f in outcome.findings]
    assert counts == sorted(counts, reverse=True)


def test_replay_follows_a_device_into_another_group(log, ask):
    at = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
    log.append([event("youtube.com", at), event("youtube.com", at, mac=TABLET)])
    draft = school()
    draft["devices"][TABLET]["group"] = "ks2"
    outcome, _ = replay(ask(school(), draft))
    (finding,) = outcome.findings
    assert (finding.group, finding.name, finding.before, finding.after) == (
        "staff", "youtube.com", "allow", "block"
    )  # fmt: skip
    assert (finding.rule_id, finding.count, finding.devices) == ("matrix:video:ks2", 1, 1)


def test_replay_counts_devices_once(log, ask):
    at = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
    log.append([event("youtube.com", at), event("youtube.com", at + timedelta(hours=1), count=4)])
    outcome, _ = replay(ask(school(), with_cell(school(), "ks2", "video", "acceptable")))
    (finding,) = outcome.findings
    assert (finding.count, finding.devices, outcome.changed) == (5, 1, 5)


def test_replay_knows_the_certain_times_to_the_second(log, ask):
    noon = datetime(2026, 11, 23, 12, 0, tzinfo=LONDON)
    second = timedelta(seconds=1)
    for at in (noon - second, noon, noon + timedelta(hours=1) - second, noon + timedelta(hours=1)):
        log.append([event("youtube.com", at)])
    # Lunch is a certain time: what the draft closes was open then, and only then.
    outcome, _ = replay(ask(school(), with_cell(school(), "ks2", "video", "unacceptable")))
    assert found(outcome) == {("ks2", "youtube.com", "allow", "block"): 2}


@pytest.mark.parametrize(
    ("hour", "fold", "changed"),
    [
        pytest.param(0, 0, 0, id="before"),
        pytest.param(1, 0, 1, id="in summer time"),
        pytest.param(1, 1, 1, id="the same hour again"),
        pytest.param(2, 0, 0, id="after"),
    ],
)
def test_replay_on_the_sunday_when_clocks_go_back(log, ask, hour, fold, changed):
    log.append([event("youtube.com", datetime(2026, 10, 25, hour, 30, fold=fold, tzinfo=LONDON))])
    times = {"night": {"days": "Sun", "since": "01:00", "until": "02:00"}}
    present = school()
    present["timetable"]["times"] = times
    draft = with_cell(present, "ks2", "video", "unacceptable")
    until = datetime(2026, 10, 26, 0, 0, tzinfo=LONDON)
    outcome, _ = replay(ask(present, draft, until=until.isoformat(), days=2))
    assert outcome.changed == changed


def test_replay_on_the_sunday_when_clocks_go_forward(log, ask):
    # 00:59 is followed by 02:00: the certain time from 01:30 on begins with it.
    before = datetime(2026, 3, 29, 0, 59, tzinfo=LONDON)
    after = datetime(2026, 3, 29, 2, 0, tzinfo=LONDON)
    assert after.timestamp() - before.timestamp() == 60
    log.append([event("youtube.com", at) for at in (before, after)])
    present = school()
    present["timetable"]["times"] = {"early": {"days": "Sun", "since": "01:30", "until": "03:00"}}
    draft = with_cell(present, "ks2", "video", "unacceptable")
    until = datetime(2026, 3, 30, 0, 0, tzinfo=LONDON)
    outcome, _ = replay(ask(present, draft, until=until.isoformat()))
    assert outcome.changed == 1


def test_replay_sees_who_held_a_lent_device(log, ask):
    at = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
    log.append([event("other.example", at, mac=TABLET, person=who) for who in ("", "p1", "p2")])
    span = {"since": "2026-11-20T09:00", "until": "2026-11-27T09:00", "names": ["other.example"]}
    block = exception(action="block", scope="person", subject="p2", **span)
    outcome, _ = replay(ask(school(), school(exceptions={"e1": block})))
    assert outcome.changed == 1


def test_replay_sees_who_gets_a_device_by_the_draft(log, ask):
    log.append([event("other.example", UNTIL - timedelta(hours=1), person="p1")])
    span = {"since": "2026-11-20T09:00", "until": "2026-11-27T09:00", "names": ["other.example"]}
    present = school(
        exceptions={"e1": exception(action="block", scope="person", subject="p2", **span)}
    )
    draft = json.loads(json.dumps(present))
    draft["devices"][LAPTOP]["person"] = "p2"
    outcome, _ = replay(ask(present, draft))
    assert outcome.changed == 1


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"reason": "quic", "name": ""}, id="no name"),
        pytest.param({"reason": "unreadable"}, id="a flow"),
        pytest.param({"reason": "time"}, id="a question for the time"),
        pytest.param({"at_ms": int((UNTIL - timedelta(days=7, hours=1)).timestamp() * 1000)}, id="too old"),
        pytest.param({"at_ms": int(UNTIL.timestamp() * 1000)}, id="later"),
    ],
)  # fmt: skip
def test_replay_passes_over(log, ask, more):
    log.append([replace(event("youtube.com", UNTIL - timedelta(hours=20)), **more)])
    draft = school()
    draft["groups"]["ks2"]["default"] = "block"
    outcome, _ = replay(ask(school(), with_cell(draft, "ks2", "video", "acceptable")))
    assert outcome.findings == ()


def test_replay_passes_over_a_damaged_day_and_says_so(log, ask, tmp_path):
    log.append([event("youtube.com", datetime(2026, 11, day, 10, 0, tzinfo=LONDON)) for day in (19, 20, 23)])  # fmt: skip
    damaged = tmp_path / "activity" / "activity-2026-11-20.db"
    for path in damaged.parent.glob(f"{damaged.name}-*"):
        path.unlink()
    damaged.write_bytes(b"no database" * 1000)
    (damaged.parent / "activity-2026-11-19.db").unlink()
    outcome, _ = replay(ask(school(), with_cell(school(), "ks2", "video", "acceptable")))
    assert outcome.changed == 1
    assert outcome.passed_over == ("2026-11-20",)


def test_replay_tells_how_far_it_is(log, ask, monkeypatch):
    log.append([event(f"n{n}.example", UNTIL - timedelta(minutes=n + 1), count=9_000) for n in range(5)])  # fmt: skip
    told = []
    replay(ask(school(), school()), lambda done, total: told.append((done, total)))
    assert told == [(27_000, 45_000)]


def ended(jobs, id_, within_s=30.0):
    deadline = time.monotonic() + within_s
    while (view := jobs.view(id_)).state == "running":
        assert time.monotonic() < deadline, "the replay does not end"
        time.sleep(0.02)
    return view


def test_jobs_replay_in_a_process_of_their_own(log, ask, jobs):
    at = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
    log.append([event("youtube.com", at, count=3), event("other.example", at)])
    id_ = jobs.start(ask(school(), with_cell(school(), "ks2", "video", "acceptable")))
    view = ended(jobs, id_)
    assert (view.state, view.done, view.total, view.changed, view.fault) == ("done", 4, 4, 3, "")
    (change,) = view.changes
    assert (change.group, change.group_title, change.name) == ("ks2", "Key Stage 2", "youtube.com")
    assert (change.before, change.after, change.count, change.devices) == ("block", "allow", 3, 1)
    assert change.sentence.startswith("Allowed by the acceptable-use table:")


def test_jobs_say_which_days_were_passed_over(log, ask, jobs, tmp_path):
    (tmp_path / "activity" / "activity-2026-11-20.db").write_bytes(b"no database" * 1000)
    view = ended(jobs, jobs.start(ask(school(), school())))
    assert view.state == "done"
    assert view.fault == "The log of 2026-11-20 can't be read and was passed over."


def test_jobs_tell_why_a_replay_failed(ask, jobs):
    view = ended(jobs, jobs.start(ask(school(), school(), sha256="0" * 64)))
    assert view.state == "failed"
    assert view.fault.startswith("no compiled lists at ")


def test_jobs_refuse_a_third_and_know_no_other_id(ask, jobs):
    running = {jobs.start(ask(school(), school())) for _ in range(2)}
    with pytest.raises(RefusedError, match="2 replays are running already"):
        jobs.start(ask(school(), school()))
    assert len(running) == 2
    for id_ in running:
        ended(jobs, id_)
    assert jobs.view("0" * 16) is None
    jobs.start(ask(school(), school()))


def test_jobs_forget_what_is_an_hour_old(ask, jobs, monkeypatch):
    id_ = jobs.start(ask(school(), school()))
    ended(jobs, id_)
    monkeypatch.setattr("gate_appliance.whatif.KEPT_S", -1.0)
    deadline = time.monotonic() + 5
    while jobs.view(id_):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_jobs_end_with_the_steward(ask):
    jobs = WhatIfJobs()
    id_ = jobs.start(ask(school(), school()))
    job = jobs._jobs[id_]
    jobs.close()
    assert job._process.returncode is not None
    assert not job._path.exists()
    assert jobs.view(id_) is None
