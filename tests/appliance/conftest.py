"""A steward on real files, with sockets in a short directory; a small school on it; a clock that can be moved."""

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pyotp
import pytest

from gate_appliance.desk import StewardDesk
from gate_appliance.library import ADDED
from gate_appliance.steward import Steward
from gate_appliance.store import Change
from gate_core.config import ApplianceConfig, Config, DnsConfig, FirewallConfig
from gate_core.desk import ActivityFilter
from gate_core.edits import Edit
from gate_core.sources import ListSource, Outcome

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"
TABLET, LAPTOP, STAFF_LAPTOP = (f"00:00:5e:00:53:0{n}" for n in range(1, 4))
ROLES = ("head", "safeguarding", "coordinator", "it", "governor", "teacher", "auditor")


@pytest.fixture
def config(short_path):
    return config_in(short_path)


def config_in(path):
    return Config(
        appliance=ApplianceConfig(
            mode="inline",
            state_directory=str(path / "state"),
            run_directory=str(path / "run"),
        ),
        dns=DnsConfig(upstreams=("192.0.2.1",)),
        firewall=FirewallConfig(workers=1),
    )


@pytest.fixture
def first_state(request):
    """What a test's steward begins with a copy of."""
    furnished = "school" in request.fixturenames
    return request.getfixturevalue("furnished_state" if furnished else "blank_state")


@pytest.fixture
def steward(config, first_state, request):
    """A steward at work, before the first run; with the fixture ``school`` one of a school.

    There its threads do not run: a test tells it when to look at the clock.
    """
    shutil.copytree(first_state, config.appliance.state_directory)
    steward = Steward(config)
    if "school" not in request.fixturenames:
        steward.start()
    yield steward
    steward.close()


@pytest.fixture
def desk(steward):
    desk = StewardDesk(steward)
    yield desk
    desk.close()


class MovableClock:
    """A clock for ``gate_appliance.steward``: Monday 23 November 2026, 10:00, until it is moved."""

    def __init__(self):
        self.zone = ZoneInfo("Europe/London")
        self._at = datetime(2026, 11, 23, 10, 0, tzinfo=self.zone)
        self.known = True

    def now(self):
        return self._at if self.known else None

    def now_or_floor(self):
        return self._at

    def remember(self):
        pass

    def move(self, **by):
        """Move on by a ``timedelta`` of these arguments."""
        self._at = (self._at.astimezone(UTC) + timedelta(**by)).astimezone(self.zone)


@pytest.fixture
def clock(monkeypatch):
    """The clock of every steward that is made after this."""
    clock = MovableClock()
    monkeypatch.setattr("gate_appliance.steward.SystemClock", lambda *_: clock)
    return clock


@pytest.fixture
def school(desk):
    """The desk of a small school: see ``furnish``."""
    return desk


@pytest.fixture(scope="session")
def blank_state():
    """What a steward has made of an empty directory: it compiles the lists that it comes with."""
    path = Path(tempfile.mkdtemp(prefix="gate"))
    Steward(config_in(path)).close()
    yield path / "state"
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def furnished_state():
    path = Path(tempfile.mkdtemp(prefix="gate"))
    steward = Steward(config_in(path))
    desk = StewardDesk(steward)
    furnish(desk)
    desk.close()
    steward.close()
    yield path / "state"
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def open_copy():
    """How tests open a desk and its steward on a copy of a state, in a folder with a short path."""

    @contextlib.contextmanager
    def open_copy(state, folder):
        shutil.copytree(state, folder / "state")
        steward = Steward(config_in(folder))
        desk = StewardDesk(steward)
        yield desk, steward
        desk.close()
        steward.close()

    return open_copy


@pytest.fixture(scope="session")
def add_official():
    """How a list of illegal content comes into force: by the steward, as one of an official source does."""

    def add_official(steward, name, category, path):
        note = Change("the appliance", "", ADDED, f"{name} to {category}", after="1 names")
        with steward.library.lock:
            staged = steward.library.stage(name, category, path)
            steward.put_lists(steward.library.make([staged]), [(staged, note)])

    return add_official


@pytest.fixture(scope="module")
def kept_school(furnished_state, open_copy):
    """A desk and its steward that all tests of a module share: each leaves what the next one needs."""
    with (
        tempfile.TemporaryDirectory(prefix="gate") as folder,
        open_copy(furnished_state, Path(folder)) as opened,
    ):
        yield opened


def furnish(desk):
    """Complete the first run, and give the school rooms, people, devices, and an account for each role.

    An account is called by its role.
    """
    desk.set_up(
        code=desk._steward.places.first_run_code.read_text(),
        school="St Example",
        username="coordinator",
        full_name="The coordinator",
        password_hash=HASH,
    )
    edits = [
        Edit.of(("rooms", "room-1"), None, {"title": "Room 1"}),
        Edit.of(("rooms", "room-2"), None, {"title": "Room 2"}),
        Edit.of(("people", "p1"), None, {"name": "Pupil one"}),
        Edit.of(("people", "p2"), None, {"name": "Pupil two"}),
    ]
    edits += [
        Edit.of(("devices", mac), None, {"name": name, "group": group, "room": room})
        for mac, name, group, room in (
            (TABLET, "Tablet", "ks2", "room-1"),
            (LAPTOP, "Laptop", "ks1", "room-2"),
            (STAFF_LAPTOP, "Staff laptop", "staff", ""),
        )
    ]
    desk.propose(edits=tuple(edits), reason="what the school has", actor="coordinator")
    for role in ROLES:
        if role != "coordinator":
            join(desk, role, role, rooms=("ks2", "room-1") if role == "teacher" else ())


def join(desk, username, role, rooms=(), until=""):
    """Give somebody an account, approved by the head where it has to be."""
    invitation = desk.invite(
        username=username,
        full_name=f"The {role}",
        role=role,
        rooms=rooms,
        until=until,
        reason="joins",
        actor="coordinator",
    )
    if invitation.waits_for:
        waiting = desk.proposals(actor="coordinator", waiting=True)
        (id_,) = (p.id for p in waiting if f"({username})" in p.sentences[0])
        desk.answer(id=id_, approve=True, actor="head")
    desk.accept_invitation(username=username, code=invitation.code, password_hash=HASH)
    return invitation


@pytest.fixture(scope="session")
def people():
    """How tests get people and things: ``join``, the roles, a password hash and the devices."""
    return SimpleNamespace(
        join=join, roles=ROLES, hash=HASH, tablet=TABLET, laptop=LAPTOP, staff_laptop=STAFF_LAPTOP
    )


@pytest.fixture(scope="session")
def samples():
    """For each method of the desk that has an actor: how to ask for something that can be done."""
    return Samples


class Samples:
    """Arguments without the actor; ``number`` is another one each time.

    A method ``x`` gives what ``actor`` may be let do, ``x_beyond`` what is beyond a role that may do it in part only.
    What is needed for it is made first, by others than ``actor``.
    """

    def __init__(self, desk, actor, number):
        self.desk, self.actor, self.number = desk, actor, number

    @property
    def other(self):
        """Somebody who may approve, and is not the actor."""
        return "safeguarding" if self.actor == "head" else "head"

    def mac(self, at=0):
        return f"02:00:00:{self.number // 256:02x}:{self.number % 256:02x}:{at:02x}"

    def exception(self, **more):
        now = self.desk._steward.clock.now()
        table = {
            "action": "allow",
            "scope": "school",
            "since": now.isoformat(),
            "until": (now + timedelta(days=1)).isoformat(),
            "why": "a lesson",
            "names": [f"site-{self.number}.example"],
        }
        return Edit.of(("exceptions", f"e-{self.number}"), None, table | more)

    def proposed(self, actor, **more):
        return self.desk.propose(edits=(self.exception(**more),), reason="a lesson", actor=actor).id

    def proposer(self):
        return "teacher" if self.actor == "coordinator" else "coordinator"

    def accounts(self):
        return {}

    def invite(self):
        return {
            "username": f"new-{self.number}",
            "full_name": "New",
            "role": "teacher",
            "reason": "joins",
        }

    def change_account(self):
        self.desk.invite(**self.invite(), actor="coordinator")
        username = f"new-{self.number}"
        return {"username": username, "rooms": ("ks1",), "until": "", "reason": "a new class"}

    def renew_invitation(self):
        self.desk.invite(**self.invite(), actor="coordinator")
        return {"username": f"new-{self.number}", "reason": "lost the code"}

    def remove_account(self):
        self.desk.invite(**self.invite(), actor="coordinator")
        return {"username": f"new-{self.number}", "reason": "leaves"}

    def end_sessions(self):
        self.desk.invite(**self.invite(), actor="coordinator")
        return {"username": f"new-{self.number}"}

    def choose_language(self):
        return {"language": "cy"}

    def offer_second_factor(self):
        return {}

    def begin_second_factor(self):
        secret = pyotp.random_base32()
        now = self.desk._steward.clock.now_or_floor()
        return {"secret": secret, "code": pyotp.TOTP(secret).at(now)}

    def end_second_factor(self):
        other = "auditor" if self.actor != "auditor" else "teacher"
        if not self.desk.account(username=other).second_factor:
            self.desk.begin_second_factor(**self.begin_second_factor(), actor=other)
        return {"username": other}

    def make_recovery_codes(self):
        return {}

    def recovery_codes(self):
        return {}

    def change_password(self):
        return {"password_hash": self.desk.account(username="head").password_hash}

    def activity(self):
        return {"filter": ActivityFilter(), "reason": f"reason {self.number}"}

    def blocked_most(self):
        return {}

    def usage(self):
        return {"span": "week", "reason": f"reason {self.number}"}

    def activity_beyond(self):
        return {"filter": ActivityFilter(person="p1"), "reason": f"reason {self.number}"}

    def propose(self):
        return {"edits": (self.exception(),), "reason": "a lesson"}

    def propose_beyond(self):
        table = {"name": f"Device {self.number}", "group": "ks2"}
        return {"edits": (Edit.of(("devices", self.mac()), None, table),), "reason": "new"}

    def proposals(self):
        return {}

    def answer(self):
        id_ = self.proposed(self.proposer())
        self.desk.answer(id=id_, approve=True, actor=self.other)
        return {"id": id_, "approve": True}

    def answer_beyond(self):
        return {"id": self.proposed(self.proposer()), "approve": True}

    def withdraw(self):
        may = (*ROLES[:4], "teacher", "command line (test)")
        return {"id": self.proposed(self.actor if self.actor in may else "coordinator")}

    def withdraw_beyond(self):
        return {"id": self.proposed(self.proposer())}

    def audit_exception(self):
        now = self.desk._steward.clock.now()
        ended = {"since": now - timedelta(days=2), "until": now - timedelta(days=1)}
        edit = self.exception(action="block", **{k: v.isoformat() for k, v in ended.items()})
        self.desk.propose(edits=(edit,), reason="a lesson", actor="coordinator")
        return {"id": edit.path[1], "note": "looked at"}

    def export_policy(self):
        return {}

    def start_what_if(self):
        self.desk.close()  # What others have begun: only so many replays run at once.
        return {"edits": self.propose_beyond()["edits"], "days": 1}

    def start_pause(self):
        return {"groups": ("ks2",), "minutes": 5}

    def start_pause_beyond(self):
        return {"groups": ("ks1",), "minutes": 5}

    def end_pause(self):
        self.desk.end_pause(actor="head")
        # A teacher ends what the button began; what the head began, the head ends.
        self.desk.start_pause(**self.start_pause(), actor="button")
        return {}

    def end_pause_beyond(self):
        self.desk.start_pause(**self.start_pause_beyond(), actor="head")
        return {}

    def start_lesson(self):
        return {"group": "ks2", "mode": "only", "names": ("a.example",), "minutes": 5}

    def start_lesson_beyond(self):
        return self.start_lesson() | {"group": "ks1"}

    def _lesson(self, arguments):
        self.desk.start_lesson(**arguments, actor="head")
        found = (x for x in self.desk.acts().lessons if x.group == arguments["group"])
        return {"id": next(found).id}

    def end_lesson(self):
        return self._lesson(self.start_lesson())

    def end_lesson_beyond(self):
        return self._lesson(self.start_lesson_beyond())

    def isolate(self):
        return {"mac": self.mac(1), "why": "looked into"}

    def end_isolation(self):
        self.desk.isolate(mac=self.mac(2), why="looked into", actor="coordinator")
        return {"mac": self.mac(2), "why": "clean"}

    def suspend(self):
        until = self.desk._steward.clock.now() + timedelta(days=1)
        return {
            "kind": "device",
            "subject": self.mac(3),
            "until": until.isoformat(),
            "why": "an incident",
        }

    def end_suspension(self):
        self.desk.suspend(**self.suspend(), actor="head")
        return {"id": self.desk.acts().suspensions[-1].id, "why": "settled"}

    def lend(self):
        return {"mac": TABLET, "person": "p1", "minutes": 5}

    def lend_beyond(self):
        return {"mac": LAPTOP, "person": "p1", "minutes": 5}

    def _loan(self, arguments):
        self.desk.lend(**arguments, actor="head")
        return {"id": self.desk.acts().loans[0].id}

    def take_back(self):
        return self._loan(self.lend())

    def take_back_beyond(self):
        return self._loan(self.lend_beyond())

    def record(self):
        return {}

    def verify_record(self):
        return {}

    def sign_record(self):
        return {"number": 1}

    def evidence(self):
        return {}

    def add_list(self):
        path = self.desk._steward.places.state / f"list-{self.number}"
        path.write_text(f"listed-{self.number}.example\n")
        return {"name": f"list-{self.number}", "category": "games", "path": str(path)}

    def add_source(self):
        return {"source": self._source("new")}

    def _source(self, kind):
        return ListSource(
            f"{kind}-{self.number}",
            f"A list, {kind}, {self.number}",
            "https://lists.example/names",
            "MIT",
            "games",
        )

    def _known_source(self, kind):
        source = self._source(kind)
        self.desk._steward.sources.add(source, "")
        return source.id

    def remove_list(self):
        arguments = self.add_list()
        self.desk.add_list(**arguments, actor="coordinator")
        return {k: arguments[k] for k in ("name", "category")} | {"reason": "too strict"}

    def remove_source(self):
        return {"id": self._known_source("never-came"), "reason": "not kept up"}

    def remove_source_beyond(self):
        id_ = self._known_source("old")
        self.desk._steward.sources.note(
            id_, Outcome("ok", good_at="2026-11-20T10:00:00+00:00", names=1)
        )
        return {"id": id_, "reason": "not kept up"}

    def update_lists(self):
        return {"ids": (self._known_source("due"),)}

    def accept_list(self):
        id_ = self._known_source("short")
        outcome = Outcome("refused", "it lacks 5 of 9 names", names=9, refused_lost=5)
        self.desk._steward.sources.note(id_, outcome)
        return {"id": id_, "reason": "the list was cleaned up"}
