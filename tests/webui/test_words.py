from datetime import datetime
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

import gate_webui
from gate_core.acceptable_use import Cell
from gate_core.desk import ActivityRecord, Component, Lamp, PauseView, ProposalState, Status
from gate_core.policy import PLACES
from gate_core.record import Entry
from gate_core.sources import Progress
from gate_webui.words import (
    CELL_WORDS,
    PLACE_WORDS,
    PROPOSAL_WORDS,
    SHORT_WORDS,
    Titles,
    amount,
    approvers_of,
    banner_words,
    capitalize_first,
    clock_time,
    entry_words,
    exact_time,
    headline,
    lamp_words,
    last_moment,
    minutes_left,
    reason_words,
    role_words,
    sentence,
    thousands,
    visits,
    when,
    with_times,
)

NOW = datetime(2027, 1, 12, 10, 41, 7, tzinfo=ZoneInfo("Europe/London"))


def status(
    *states: str, filtering: bool = True, pause: bool = False, on_the_wire: bool = True
) -> Status:
    names = ("dns", "firewall", "lists")
    return Status(
        revision=1,
        at=NOW.isoformat(),
        school="",
        mode="inline",
        version=1,
        filtering=filtering,
        components=tuple(Component(n, s, "") for n, s in zip(names, states, strict=False)),
        pause=PauseView("1", ("ks1",), (), "", "", "button", "", on_the_wire) if pause else None,
        waiting=0,
        allowed_today=0,
        blocked_today=0,
        devices_today=0,
        listed_names=0,
        panel=None,
        uncovered=(),
    )


@pytest.mark.parametrize(
    ("given", "tone", "sentence"),
    [
        pytest.param(status("ok", "ok", "ok"), "good", "Filtering is working", id="all well"),
        pytest.param(
            status("ok", "ok", "degraded"),
            "warn",
            "Filtering is working, but something needs attention",
            id="a list is stale",
        ),
        pytest.param(
            status("starting", "starting", filtering=False),
            "warn",
            "Filtering is starting",
            id="just switched on",
        ),
        pytest.param(
            status("down", "starting", filtering=False),
            "bad",
            "Filtering is not fully working",
            id="a part is down",
        ),
        pytest.param(
            status("ok", "ok", filtering=False),
            "bad",
            "Filtering is not fully working",
            id="no part says why",
        ),
        pytest.param(
            status("ok", pause=True),
            "pause",
            "Internet pause is on. Filtering is working",
            id="paused",
        ),
        pytest.param(
            status("ok", pause=True, on_the_wire=False),
            "pause",
            "Internet pause is starting. Filtering is working",
            id="not yet on the wire",
        ),
        pytest.param(
            status("down", filtering=False, pause=True),
            "bad",
            "Filtering is not fully working",
            id="a pause hides no fault",
        ),
    ],
)
def test_headline_says_the_worst_first(given: Status, tone: str, sentence: str):
    assert (headline(given).tone, headline(given).sentence) == (tone, sentence)


def test_headline_names_what_needs_attention():
    assert headline(status("ok", "down", "degraded")).detail == (
        "Needs attention: Connections (packet filter), Block lists."
    )


@pytest.mark.parametrize(
    ("iso", "words"),
    [
        ("2027-01-12T09:05:00+00:00", "today, 09:05"),
        ("2027-01-11T23:59:59+00:00", "yesterday, 23:59"),
        ("2026-11-03T08:00:00+00:00", "3 November 2026, 08:00"),
        ("", "never"),
        ("soon", "soon"),
    ],
)
def test_when_says_the_day(iso: str, words: str):
    assert when(iso, NOW) == words


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ("2026-11-23T00:00:00+00:00", "the end of 22 November 2026"),
        ("2027-01-13T00:00", "the end of today"),
        ("2026-11-22T15:30", "22 November 2026, 15:30"),
        ("", "never"),
    ],
)
def test_last_moment_at_midnight_is_the_end_of_the_day_before(until: str, words: str):
    assert last_moment(until, NOW) == words


def test_when_without_a_clock_says_the_date():
    assert when("2027-01-12T09:05:00+00:00", None) == "12 January 2027, 09:05"


def test_clock_time_keeps_the_zone_it_comes_with():
    assert clock_time("2027-06-12T09:05:59+01:00") == "09:05"
    assert exact_time("2027-06-12T09:05:59.250+01:00") == "09:05:59"


@pytest.mark.parametrize(
    ("until", "left"),
    [
        ("2027-01-12T10:51:07+00:00", 10),
        ("2027-01-12T10:41:08+00:00", 1),
        ("2027-01-12T10:41:07+00:00", 0),
        ("2027-01-12T09:00:00+00:00", 0),
        ("2027-01-12T10:51:07", None),
        ("", None),
    ],
)
def test_minutes_left_rounds_up(until: str, left: int | None):
    assert minutes_left(until, NOW) == left


def test_minutes_left_without_a_clock_is_not_known():
    assert minutes_left("2027-01-12T10:51:07+00:00", None) is None


def test_lamp_words_say_colour_and_rhythm():
    assert lamp_words(Lamp("pause", "blue", "flash", "")) == "blue, flashing"
    assert lamp_words(Lamp("pause", "blue", "off", "")) == "off"


def test_thousands_has_commas():
    assert thousands(1062937) == "1,062,937"


def test_every_cell_and_place_has_words():
    assert set(CELL_WORDS) == set(SHORT_WORDS) == {cell.value for cell in Cell}
    assert set(PROPOSAL_WORDS) == set(get_args(ProposalState))
    assert set(PLACE_WORDS) == {place for place, _ in PLACES}


def record(at: str, source: str = "dns", **more: str | int) -> ActivityRecord:
    values = {
        "mac": "00:00:5e:00:53:10",
        "name": "a.example",
        "action": "allow",
        "rule_id": "",
        **more,
    }
    return ActivityRecord(
        id=1,
        at=f"2027-01-12T10:41:{at}+00:00",
        source=source,
        device="Laptop 7",
        address="192.0.2.10",
        group="ks2",
        kind="",
        reason="",
        categories=(),
        sentence="",
        count=1,
        version=1,
        **values,
    )


def test_visits_joins_what_one_visit_made():
    records = [
        record("08", "firewall"),
        record("07.5", name="b.example"),
        record("07", mac="00:00:5e:00:53:11"),
        record("06"),
        record("05"),
        record("05", action="block"),
    ]
    assert [(v.record, v.how) for v in visits(records)] == [
        (records[0], "Looked up 2 times, connected"),
        (records[1], "Looked up"),
        (records[2], "Looked up"),
        (records[5], "Looked up"),
    ]


def test_visits_sums_what_connections_carried():
    connected = [
        record("08", "firewall", down=1000, up=10),
        record("07", "firewall"),
        record("06", "firewall", down=0, up=5),
    ]
    (visit,) = visits([record("09"), *connected])
    assert (visit.down, visit.up) == (1000, 15)


def test_visits_shows_the_look_up_that_got_a_safe_version_and_not_the_connection_to_it():
    connected = record("09", "firewall", rule_id="default:ks2")
    looked_up = [record(at, rule_id="safesearch:google") for at in ("08", "07")]
    (visit,) = visits([connected, *looked_up])
    assert (visit.record, visit.how) == (looked_up[0], "Looked up 2 times, connected")


def test_visits_tells_the_resolver_that_was_asked_before_one_whose_answer_was_kept():
    connected = record("09", "firewall")
    kept = record("08", upstream="192.0.2.53")
    asked = record("07", upstream="192.0.2.54", took_us=2500)
    found = [visits(rows)[0] for rows in ([connected, kept, asked], [connected, asked, kept])]
    assert [(v.resolver, v.took_us) for v in found] == [("192.0.2.54", 2500)] * 2
    (visit,) = visits([connected, kept])
    assert (visit.resolver, visit.took_us) == ("192.0.2.53", 0)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("1 to 100 characters are allowed", "1 to 100 characters are allowed."),
        ("Write why.", "Write why."),
        ("is it known?", "Is it known?"),
    ],
)
def test_sentence_ends_with_one_full_stop(message, text):
    assert sentence(message) == text


def test_pages_write_apostrophes_as_the_messages_of_the_desk_do():
    pages = Path(gate_webui.__file__).parent
    files = [*pages.rglob("*.html"), *pages.glob("*.py")]
    assert len(files) > 50
    assert [
        file.name for file in files if "\N{RIGHT SINGLE QUOTATION MARK}" in file.read_text()
    ] == []


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress("a", "downloading", 5_000_000, 20_000_000, "octets"), "5.0 of 20.0 MB"),
        (Progress("a", "downloading", 1_250_000, 0, "octets"), "1.2 MB"),
        (Progress("a", "downloading", 12_000, 0, "records"), "12,000 records"),
        (Progress("", "reading", 2, 31, "lists"), "2 of 31 lists"),
        (Progress("", "connecting", 0, 0, "lists"), ""),
    ],
)
def test_amount_is_written_as_people_do(progress, words):
    assert amount(progress) == words


def test_reason_is_without_numbers_of_the_system_and_forms():
    assert reason_words("[Errno 113] No route to host") == "No route to host"
    assert reason_words("an empty list; allowed are hosts lines") == "An empty list"
    assert reason_words("it lacks 5 of the 9 names") == "It lacks 5 of the 9 names"


def test_banner_says_what_is_wrong_and_not_what_should_be():
    heading, first = banner_words(Component("illegal-content", "off", ""))
    assert heading == "Nobody has checked that illegal content is filtered"
    assert "Internet Watch Foundation" in first
    assert banner_words(Component("identity", "down", "")) == ("Telling devices apart", "")


def test_visits_keeps_apart_what_came_later_and_what_has_no_name():
    assert len(visits([record("09"), record("03")])) == 2
    assert len(visits([record("09", name=""), record("09", name="")])) == 2


def test_visits_says_what_was_tried_and_stopped():
    assert visits([record("09", "firewall", action="block")])[0].how == "Tried to connect"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("until 2027-01-12T10:51:07+00:00", "until today, 10:51"),
        ("Block a.example until 2027-02-05T15:30", "Block a.example until 5 February 2027, 15:30"),
        ("from 2027-01-11T09:00 on", "from yesterday, 09:00 on"),
        ("until 2026-11-23T00:00", "until the end of 22 November 2026"),
        ("until 2027-01-13T00:00:00+00:00, review none", "until the end of today, review none"),
        ("since 2026-11-23T00:00", "since 23 November 2026, 00:00"),
        ("until Fri 15 Jan 2027 00:00", "until the end of Thu 14 Jan 2027"),
        ("until Fri 1 Jan 2027 00:00", "until the end of Thu 31 Dec 2026"),
        ("until Fri 15 Jan 2027 15:30", "until Fri 15 Jan 2027 15:30"),
        ("until Mon 1 Jan 0001 00:00", "until Mon 1 Jan 0001 00:00"),
        ("until 0001-01-01T00:00", "until 1 January 1, 00:00"),
        ("until Fri 45 Jan 2027 00:00", "until Fri 45 Jan 2027 00:00"),
        ("2027-13-45T99:99", "2027-13-45T99:99"),
        ("on 2027-01-12", "on 2027-01-12"),
    ],
)
def test_with_times_tells_times_in_words(text: str, words: str):
    assert with_times(text, NOW) == words


def test_capitalize_first_leaves_names_alone():
    assert capitalize_first("the Head of Year 5") == "The Head of Year 5"
    assert capitalize_first("") == ""


def test_role_words_keeps_what_it_does_not_know():
    assert role_words("safeguarding") == "Safeguarding lead"
    assert role_words("caretaker") == "Caretaker"


TITLES = Titles(
    groups={"ks1": "Key Stage 1", "ks2": "Key Stage 2"},
    devices={"00:00:5e:00:53:10": "Laptop 7"},
    people={"r.example": "Robin Example", "h.example": "Harper Example"},
)


def entry(**values: str) -> Entry:
    texts = dict.fromkeys(
        ("actor", "role", "action", "subject", "before", "after", "reason", "approvers"), ""
    )
    return Entry(
        number=1,
        at="",
        at_utc="",
        version=1,
        policy="",
        state="",
        previous="",
        hash="",
        **texts | values,
    )


@pytest.mark.parametrize(
    ("actor", "who"),
    [
        ("r.example", "Robin Example"),
        ("gone.example", "gone.example"),
        ("button", "The button on the panel"),
        ("the appliance", "The box itself"),
        ("command line (root)", "The command line of the box (root)"),
        ("command line (1000)", "The command line of the box"),
    ],
)
def test_entry_words_name_who_it_was(actor: str, who: str):
    assert entry_words(entry(actor=actor), TITLES, NOW).who == who


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("ks1, ks2", "Key Stage 1, Key Stage 2"),
        ("00:00:5e:00:53:10", "Laptop 7"),
        ("h.example", "Harper Example"),
        ("to entry 7", "to entry 7"),
    ],
)
def test_entry_words_have_titles_for_ids(subject: str, words: str):
    assert entry_words(entry(subject=subject), TITLES, NOW).subject == words


def test_entry_words_keep_the_form_of_the_policy_apart():
    given = entry(
        action="changed the policy",
        before='a.b: "x"',
        after='a.b: "y"',
        approvers="h.example (head)",
    )
    words = entry_words(given, TITLES, NOW)
    assert (words.before, words.after) == ("", "")
    assert words.written == 'Before:\na.b: "x"\n\nAfter:\na.b: "y"'
    assert words.approvers == "Harper Example (Head teacher)"
    assert approvers_of(given) == ("h.example",)


def test_entry_words_of_other_acts_say_times_in_words():
    given = entry(action="started the internet pause", after="until 2027-01-12T10:51:07+00:00")
    words = entry_words(given, TITLES, NOW)
    assert (words.after, words.written) == ("until today, 10:51", "")
