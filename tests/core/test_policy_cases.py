"""What two real e-safety policies say, asked as twenty-three questions.

The first is the printed acceptable-use table of 22 rows with its rules for staff, guests and investigations; the second
the rules of a small primary school for its pupils. Only their facts are here, none of their words.
"""

from datetime import datetime
from ipaddress import ip_address
from zoneinfo import ZoneInfo

import pytest

from gate_core.categories import mask_of
from gate_core.compile import Acts, Loan, Surroundings, compile_policy
from gate_core.names import NameSet, suffixes
from gate_core.policy import Pause, decide, explain
from gate_core.timetable import Span
from gate_core.written import parse, plain, shipped

LONDON = ZoneInfo("Europe/London")
LISTED = {
    "bet.example": ["gambling"],
    "social.example": ["social-media"],
    "sums.games.example": ["games-educational"],
    "games.example": ["games"],
    "tunnel.example": ["vpn"],
    "drop.example": ["file-sharing"],
    "clips.example": ["video"],
    "adult.example": ["pornography"],
    "abuse.example": ["child-abuse"],
    "chat.example": ["messaging"],
    "shop.example": ["shopping"],
    "party.example": ["school-blocked"],
    "ads.example": ["advertising"],
    "ngl.link": ["anonymous-chat"],
}
ADDRESS = ip_address("192.0.2.1")
LAPTOP, DESK, PHONE, VISITOR, CASE, TROLLEY = (f"00:00:5e:00:53:0{n}" for n in range(1, 7))
STRANGER = "02:00:00:00:00:01"
MONDAY = datetime(2026, 11, 23, tzinfo=LONDON)


class Index:
    """The lists."""

    def mask(self, name):
        return mask_of(id_ for suffix in suffixes(name) for id_ in LISTED.get(suffix, ()))


def monday(time):
    hour, minute = map(int, time.split(":"))
    return MONDAY.replace(hour=hour, minute=minute)


def school():
    """Return what both schools have written down besides their tables: devices, people, names."""
    document = plain(shipped())
    document["people"] = {
        "p1": {"name": "A pupil", "kind": "pupil"},
        "t1": {"name": "A member of staff", "kind": "staff"},
    }
    document["devices"] = {
        LAPTOP: {"name": "Laptop", "group": "ks2"},
        DESK: {"name": "Desk", "group": "staff", "person": "t1"},
        VISITOR: {"name": "Visitor", "group": "guest"},
        CASE: {"name": "Set aside", "group": "investigation"},
        TROLLEY: {"name": "Trolley 4", "group": "ks2"},
    }
    document["names"] = {
        "essential": ["records.example", "helpline.example"],
        "protected": ["helpline.example"],
    }
    return document


def first():
    """The printed table; staff may write to pupils' families from 07:30 to 21:30; two seniors look into incidents."""
    document = school()
    document["groups"]["own-devices"] = {
        **document["groups"]["staff"],
        "title": "Staff's own devices",
        "number": 8,
        "times": {"contact": {"days": "Mon-Sun", "since": "07:30", "until": "21:30"}},
    }
    document["devices"][PHONE] = {"name": "Phone", "group": "own-devices"}
    return document


def nominated():
    """The first policy while an incident is looked into: the set-aside device is nominated."""
    document = first()
    document["nominees"] = {"pornography": [f"device:{CASE}"]}
    return document


def second():
    """Pupils: nothing for gain, no politics, no advertising, nothing anonymous; private use with the head's leave."""
    document = school()
    document["groups"]["staff"]["cells"]["shopping"] = "nominated"
    document["nominees"] = {"shopping": ["person:t1"]}
    document["exceptions"] = {
        "e-1": {
            "action": "allow",
            "scope": "person",
            "subject": "p1",
            "names": ["clips.example"],
            "since": "2026-11-23T10:00",
            "until": "2026-11-23T11:00",
            "why": "the site that was looked at for the lesson",
        }
    }
    return document


PAUSE = Pause("1", frozenset({"ks1", "ks2"}), Span(monday("09:10"), monday("09:20")), "button")
LOAN = Loan("1", TROLLEY, "p1", "Art", Span(monday("10:00"), monday("11:00")), "t1")
CASES = [
    # The first policy, by row of its table
    (1, first, LAPTOP, "bet.example", "12:30", "block", "matrix:gambling:ks2"),
    (2, first, DESK, "social.example", "12:30", "allow", "matrix:social-media:staff"),
    (3, first, DESK, "social.example", "10:00", "block", "matrix:social-media:staff"),
    (4, first, LAPTOP, "sums.games.example", "10:00", "allow", "matrix:games-educational:ks2"),
    (5, first, LAPTOP, "games.example", "10:00", "block", "matrix:games:ks2"),
    (6, first, LAPTOP, "tunnel.example", "16:00", "block", "matrix:bypass:ks2"),
    (7, first, DESK, "drop.example", "16:00", "block", "matrix:file-sharing:staff"),
    (8, first, LAPTOP, "clips.example", "12:30", "allow", "matrix:video:ks2"),
    (9, first, CASE, "adult.example", "10:00", "block", "matrix:pornography:investigation"),
    (10, nominated, CASE, "adult.example", "10:00", "allow", "matrix:pornography:investigation"),
    (11, nominated, CASE, "abuse.example", "10:00", "block", "illegal:child-abuse"),
    (12, first, PHONE, "chat.example", "07:30", "allow", "matrix:messaging:own-devices"),
    (13, first, PHONE, "chat.example", "21:30", "block", "matrix:messaging:own-devices"),
    (14, first, VISITOR, "shop.example", "10:00", "block", "matrix:shopping:guest"),
    (15, first, STRANGER, "sums.games.example", "12:30", "block", "matrix:games-educational:quarantine"),
    # The second policy
    (16, second, LAPTOP, "party.example", "12:30", "block", "matrix:ethos:ks2"),
    (17, second, LAPTOP, "ads.example", "12:30", "block", "matrix:private-business:ks2"),
    (18, second, LAPTOP, "ngl.link", "12:30", "block", "matrix:messaging:ks2"),
    (19, second, DESK, "shop.example", "10:00", "allow", "matrix:shopping:staff"),
    (20, second, TROLLEY, "clips.example", "10:30", "allow", "exception:e-1"),
    # Both, while the button's pause lasts and after it
    (21, second, LAPTOP, "www.helpline.example", "09:15", "allow", "essential:helpline.example"),
    (22, second, LAPTOP, "sums.games.example", "09:15", "block", "pause:1"),
    (23, second, LAPTOP, "www.helpline.example", "09:20", "allow", "protected:helpline.example"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "mac", "name", "time", "action", "rule_id"),
    [pytest.param(*case, id=f"{n} {case[2]} {case[3]}") for n, *case in CASES],
)
def test_decide_and_explain_answer_as_the_policy_says(written, mac, name, time, action, rule_id):
    at = monday(time)
    around = Surroundings(Index(), LONDON, canaries=NameSet.of(["canary.example"]))
    acts = Acts(pauses=(PAUSE,), loans=(LOAN,))
    policy = compile_policy(parse(written(), LONDON), acts, around, version=1, at=at)
    client = policy.client(ADDRESS, mac)
    decision = decide(policy, client, name, at)
    assert (decision.action.value, decision.rule_id) == (action, rule_id)
    assert next(d for _, d in explain(policy, client, name, at) if d) == decision
