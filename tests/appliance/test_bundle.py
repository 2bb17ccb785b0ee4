"""Policies as text: what is written is read back, whatever people have put into their policy."""

import re
import tomllib
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate_appliance.bundle import MAX_BUNDLE_OCTETS, MAX_LINE_CHARACTERS, read_bundle, render_bundle
from gate_appliance.signing import Signer
from gate_core.edits import digest
from gate_core.services import SERVICES
from gate_core.written import (
    DeviceText,
    ExceptionText,
    NamesText,
    OneOffText,
    PersonText,
    PlaceText,
    PolicyError,
    RoomText,
    RowText,
    TermText,
    TimesText,
    parse,
    plain,
    shipped,
)

ZONE = ZoneInfo("Europe/London")
AT = datetime(2027, 1, 11, 9, 30, tzinfo=ZONE)


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer(tmp_path_factory.mktemp("key") / "signing-key")


def rendered(written, signer):
    return render_bundle(written, signer, version=7, at=AT)


# What str.isprintable() takes: all but "other" and separators, and the space.
PRINTABLE = st.characters(exclude_categories=("C", "Z"))


def texts(most, least=0):
    character = st.one_of(PRINTABLE, st.sampled_from("\"'\\#[]{}= "))
    return st.text(character, min_size=least, max_size=most)


IDS = st.from_regex("[a-z0-9_-]{1,8}", fullmatch=True)
DAYS = st.dates(datetime(2026, 1, 1).date(), datetime(2029, 1, 1).date()).map(str)  # noqa: DTZ001  # for its date
MACS = (
    st.integers(0, 2**40)
    .map(lambda n: f"02:{n:010x}")
    .map(lambda t: ":".join([t[:2], *re.findall("..", t[3:])]))
)


@st.composite
def policies(draw):
    """Return policies with something in each table."""
    base = shipped()
    rows = {
        f"own-{i}": text for i, text in draw(st.dictionaries(IDS, texts(40, 1), max_size=3)).items()
    }
    own_rows = {
        id_: RowText(title, 100 + n, note=draw(texts(20)))
        for n, (id_, title) in enumerate(rows.items())
    }
    groups = {
        id_: replace(
            g,
            title=draw(texts(20, 1)),
            default=draw(st.sampled_from(["allow", "block"])),
            cells={**g.cells, **dict.fromkeys(own_rows, "nominated")},
            times={"own-1": TimesText("Tue", "12:00", "13:00", draw(texts(10)))}
            if id_ == "ks1"
            else {},
        )
        for id_, g in base.groups.items()
    }
    rooms = draw(st.dictionaries(IDS, st.builds(RoomText, texts(20, 1)), max_size=4))
    people = draw(st.dictionaries(IDS, st.builds(PersonText, texts(20, 1)), max_size=4))
    place = st.builds(
        PlaceText, st.sampled_from(sorted(groups)), st.sampled_from(["", *sorted(rooms)])
    )
    macs = draw(st.lists(MACS, max_size=4, unique=True))
    devices = {
        mac: DeviceText(
            f"{n} {draw(texts(20))}",
            "ks2",
            draw(st.sampled_from(["", *sorted(rooms)])),
            draw(st.sampled_from(["", *sorted(people)])),
        )
        for n, mac in enumerate(macs)
    }
    who = [*(f"person:{p}" for p in people), *(f"device:{m}" for m in macs)]
    exception = st.builds(
        ExceptionText,
        st.sampled_from(["allow", "block"]),
        st.just("school"),
        st.just("2027-01-11T09:00"),
        st.just("2027-01-12T09:00"),
        texts(60, 1),
        names=st.lists(st.sampled_from(["example.org", "=www.example.org"]), min_size=1).map(tuple),
        services=st.lists(st.sampled_from([s.id for s in SERVICES])).map(tuple),
    )
    return replace(
        base,
        school=draw(texts(40)),
        rows={**base.rows, **own_rows},
        groups=dict(draw(st.permutations(list(groups.items())))),
        timetable=replace(
            base.timetable,
            periods={"p1": TimesText("Mon-Fri", "09:00", "10:00", draw(texts(10)))},
            terms={"spring": TermText("2027-01-04", "2027-03-25", draw(texts(10)))},
            holidays=draw(st.dictionaries(DAYS, texts(20), max_size=4)),
            one_off={"2027-02-01": OneOffText(draw(texts(20, 1)), ("12:00-13:00",))},
        ),
        rooms=rooms,
        networks={"192.0.2.0/24": draw(place), "2001:db8::/64": draw(place)},
        vlans={"20": draw(place), "3": draw(place)},
        people=people,
        devices=devices,
        nominees={row: tuple(who) for row in draw(st.permutations(["games", *own_rows]))},
        exceptions=draw(st.dictionaries(IDS, exception, max_size=4)),
        names=NamesText(("example.net",), tuple(f"n{n}.example" for n in range(30))),
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(policies())
def test_render_bundle_is_read_back_as_the_same_document(signer, written):
    document = parse(plain(written), ZONE)
    assert document == written  # what is generated is a policy
    text = rendered(written, signer)
    assert tomllib.loads(text) == plain(written)
    bundle = read_bundle(text, ZONE, signer.fingerprint)
    assert bundle.written == written
    assert bundle.signature == "This file is as this appliance has written it."


def test_render_bundle_is_the_same_whatever_the_order_of_the_policy(signer):
    written = replace(
        shipped(), rooms={f"room-{n}": RoomText(f"Room {n}") for n in (10, 9, 1)}, school="Example"
    )
    turned = replace(
        written,
        rows=dict(reversed(written.rows.items())),
        groups={
            i: replace(g, cells=dict(reversed(g.cells.items())))
            for i, g in reversed(written.groups.items())
        },
        rooms=dict(sorted(written.rooms.items())),
    )
    assert turned == written
    assert rendered(turned, signer) == rendered(written, signer)


def test_render_bundle_says_what_people_ask_of_it(signer):
    written = replace(
        shipped(), school="Example Primary", rooms={"r10": RoomText("Ten"), "r9": RoomText("Nine")}
    )
    text = rendered(written, signer)
    head = text.split("\n\n")[0]
    for words in ("Example Primary", "Version      7", "2027-01-11 09:30", signer.fingerprint):
        assert words in head
    assert digest(plain(written)) in head
    assert '\nvideo = "times"                    # Video sharing, such as YouTube\n' in text
    assert '\nr9 = { title = "Nine" }\nr10 = { title = "Ten" }\n' in text
    assert max(map(len, text.split("\n")[:-2])) <= 110
    assert (
        text.index("[rows.child-abuse]") < text.index("[rows.video]") < text.index("[groups.ks1]")
    )


def test_render_bundle_names_every_category_and_service_that_is_allowed(signer):
    said = " ".join(
        line.removeprefix("# ")
        for line in rendered(shipped(), signer).split("\n")
        if line[:1] == "#"
    )
    assert all(re.search(rf"[ :]{re.escape(s.id)}[,.]", said) for s in SERVICES)


def test_render_bundle_says_when_the_clock_is_not_known(signer):
    assert "Written      time not known" in render_bundle(shipped(), signer, version=1, at=None)


def test_read_bundle_tells_of_another_appliance(signer, tmp_path):
    other = Signer(tmp_path / "other")
    told = read_bundle(rendered(shipped(), other), ZONE, signer.fingerprint).signature
    assert told.startswith("Another appliance has signed this file")
    assert other.fingerprint in told


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.replace('video = "times"', 'video = "unacceptable"'), id="value"),
        pytest.param(lambda t: t.replace("# Devices", "# The devices"), id="comment"),
        pytest.param(lambda t: t + "# more\n", id="added at the end"),
        pytest.param(lambda t: re.sub(r"(ed25519 \S+ ).*", r"\1AAAA", t), id="signature"),
        pytest.param(lambda t: t.replace("ed25519", "rsa"), id="kind"),
        pytest.param(lambda t: re.sub("# signature: .*", "# signature: ", t), id="emptied"),
    ],
)
def test_read_bundle_tells_of_a_change_and_reads_it_all_the_same(signer, change):
    text = change(rendered(shipped(), signer))
    bundle = read_bundle(text, ZONE, signer.fingerprint)
    assert bundle.signature == "This file has been changed since it was signed."
    assert plain(bundle.written) == tomllib.loads(text)


def test_read_bundle_tells_that_nobody_has_signed(signer):
    text = rendered(shipped(), signer)
    bundle = read_bundle(text[: text.index("# signature")], ZONE, signer.fingerprint)
    assert bundle.signature == "Nobody has signed this file."


def test_read_bundle_takes_what_a_windows_editor_has_saved(signer):
    text = "\ufeff" + rendered(shipped(), signer).replace("\n", "\r\n")
    bundle = read_bundle(text, ZONE, signer.fingerprint)
    assert bundle.written == shipped()
    assert bundle.signature == "This file is as this appliance has written it."


def test_read_bundle_takes_dates_without_quotes(signer):
    text = rendered(shipped(), signer).replace(
        "[timetable.terms]", "[timetable.terms]\nspring = { first = 2027-01-04, last = 2027-03-25 }"
    )
    terms = read_bundle(text, ZONE, "").written.timetable.terms
    assert terms == {"spring": TermText("2027-01-04", "2027-03-25")}


def line_of(text, start):
    return next(n for n, line in enumerate(text.split("\n"), start=1) if line.startswith(start))


def faults(text):
    with pytest.raises(PolicyError) as caught:
        read_bundle(text, ZONE, "")
    return caught.value.faults


def test_read_bundle_names_line_and_column_of_what_is_no_toml():
    (fault,) = faults('school = "Example"\nrows = oops\n')
    assert fault.startswith("line 2, column 8: Invalid value")
    assert "TOML" in fault


def test_read_bundle_names_every_fault_with_its_line(signer):
    text = (
        rendered(shipped(), signer)
        .replace("[rooms]", '[rooms]\nten = { title = "Ten", seats = 30 }')
        .replace(
            "[names]\nessential = []", '[names]\nessential = [\n  "example.org", # ]\n  "a*.b",\n]'
        )
        .replace("protected = []", 'protected = ["x y"]')
        .replace('games = "times"', 'games = "sometimes"', 1)
        .replace("[vlans]", '[vlans]\n20 = { group = "ks9" }')
    )
    found = faults(text)
    expected = {
        line_of(text, 'games = "sometimes"'): "groups.ks2.cells.games: 'sometimes' is none of",
        line_of(text, "ten = "): "rooms.ten.seats: unknown key",
        line_of(text, "essential"): "names.essential: ",
        line_of(text, "protected"): "names.protected: ",
    }
    for number, words in expected.items():
        assert any(f.startswith(f"line {number}: {words}") for f in found), (number, words, found)
    assert len(found) == len(expected)


def test_read_bundle_shows_the_table_of_what_is_missing(signer):
    text = rendered(shipped(), signer).replace('title = "Key Stage 2"\n', "")
    assert faults(text) == (f"line {line_of(text, '[groups.ks2]')}: groups.ks2.title: is missing",)


def test_read_bundle_names_the_line_of_what_refers_to_nothing(signer):
    mac = '"02:00:00:00:00:01"'
    text = rendered(shipped(), signer).replace(
        "[devices]", f'[devices]\n{mac} = {{ name = "Tablet", group = "ks9" }}'
    )
    (fault,) = faults(text)
    assert fault.startswith(f"line {line_of(text, mac)}: devices.{mac}.group: 'ks9' is no group")


def test_read_bundle_refuses_a_lowered_illegal_tier(signer):
    text = rendered(shipped(), signer).replace('grooming = "illegal"', 'grooming = "acceptable"', 1)
    (fault,) = faults(text)
    assert "groups.ks1.cells.grooming" in fault
    assert "is refused: this row is illegal content" in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("#" * (MAX_BUNDLE_OCTETS + 1), f"at most {MAX_BUNDLE_OCTETS}", id="size"),
        pytest.param("a" + ".a" * MAX_LINE_CHARACTERS + " = 1", "a line has at most", id="line"),
        pytest.param("a = " + "[" * 4000, "without end", id="nesting"),
        pytest.param("school" + ".a" * 2000 + " = 1", "without end", id="tables"),
        pytest.param("a = " + "9" * 4500, "without end", id="number"),
        pytest.param("school = '\ud800'", "printable", id="surrogate"),
    ],
)
def test_read_bundle_refuses_what_no_policy_has(text, words):
    assert words in faults(text)[0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_read_bundle_gives_a_policy_or_its_faults_whatever_the_text(signer, data):
    lines = rendered(shipped(), signer).split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        awkward = st.sampled_from(
            [
                "[[rooms]]",
                "x = [",
                "vlans.x = 1",
                "school = 1e9",
                "[groups]",
                'times = "a"',
                "[rows.x",
                "]",
            ]
        )
        lines[at] = data.draw(st.one_of(st.text(max_size=30), awkward))
    with suppress(PolicyError):
        read_bundle("\n".join(lines), ZONE, signer.fingerprint)
