import hashlib
import json
from dataclasses import astuple, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.record import NO_HASH, Entry, Verdict, seal, verify


def chain(length):
    """Return a whole record."""
    entries = []
    for number in range(1, length + 1):
        entry = Entry(
            number=number,
            at="2026-11-23T10:00:00+00:00",
            at_utc="2026-11-23T10:00:00Z",
            actor="änne",
            role="coordinator",
            action="change",
            subject=f"groups.ks2.cells.games.{number}",
            before='"times"',
            after='"unacceptable"',
            reason="a reason",
            approvers="",
            version=number,
            policy="ab" * 32,
            state="cd" * 32,
            previous=entries[-1].hash if entries else NO_HASH,
            hash="",
        )
        entries.append(replace(entry, hash=seal(entry)))
    return entries


WHOLE = chain(5)


def resealed(entries):
    """Return ``entries`` with fitting hashes, as somebody with this program could make them."""
    made = []
    for entry in entries:
        linked = replace(entry, previous=made[-1].hash if made else NO_HASH)
        made.append(replace(linked, hash=seal(linked)))
    return made


def test_verify_a_whole_record():
    assert verify(WHOLE) == Verdict(5, WHOLE[-1].hash, 0, "")
    assert verify(WHOLE, number=3, head=WHOLE[2].hash).broken == 0
    assert verify(iter(WHOLE)).entries == 5


def test_verify_no_record_at_all():
    assert verify([]) == Verdict(0, NO_HASH, 0, "")


def test_seal_is_what_the_module_promises():
    entry = WHOLE[1]
    array = json.dumps(list(astuple(entry)[:-1]), separators=(",", ":"))
    assert array.isascii()
    assert hashlib.sha256(array.encode()).hexdigest() == entry.hash
    assert entry.previous == WHOLE[0].hash


@pytest.mark.parametrize("name", [f.name for f in fields(Entry)])
def test_verify_names_the_first_entry_of_which_any_field_is_changed(name):
    value = getattr(WHOLE[2], name)
    other = value + 1 if isinstance(value, int) else value[:-1] + ("0" if value[-1:] != "0" else "1")  # fmt: skip
    verdict = verify([*WHOLE[:2], replace(WHOLE[2], **{name: other}), *WHOLE[3:]])
    assert (verdict.entries, verdict.head, verdict.broken) == (3, WHOLE[1].hash, 3)
    assert verdict.fault


@pytest.mark.parametrize(
    ("entries", "broken", "fault"),
    [
        pytest.param(
            [*WHOLE[:2], *WHOLE[3:]],
            3,
            "entry 3 is missing: entry 4 stands in its place",
            id="removed",
        ),
        pytest.param(
            WHOLE[1:], 1, "entry 1 is missing: entry 2 stands in its place", id="first removed"
        ),
        pytest.param(
            [*WHOLE[:2], WHOLE[1], *WHOLE[2:]],
            3,
            "entry 3 is missing: entry 2 stands in its place",
            id="inserted",
        ),
        pytest.param(
            [WHOLE[0], WHOLE[2], WHOLE[1], *WHOLE[3:]],
            2,
            "entry 2 is missing: entry 3 stands in its place",
            id="reordered",
        ),
        pytest.param(
            [*WHOLE[:2], *(replace(e, number=e.number - 1) for e in WHOLE[3:])],
            3,
            "entry 3 does not follow the entry before it",
            id="removed and numbered anew",
        ),
        pytest.param(
            [*WHOLE[:2], replace(WHOLE[2], reason="another")],
            3,
            "entry 3 has been changed: its hash does not fit its text",
            id="changed",
        ),
        pytest.param(
            [*WHOLE[:2], *resealed([replace(WHOLE[2], reason="another")]), *WHOLE[3:]],
            3,
            "entry 3 does not follow the entry before it",
            id="changed and sealed alone",
        ),
    ],
)
def test_verify_names_the_first_broken_entry(entries, broken, fault):
    verdict = verify(entries)
    assert (verdict.broken, verdict.fault) == (broken, fault)


def test_verify_of_a_record_made_anew_holds_but_for_a_hash_kept_elsewhere():
    forged = resealed([replace(WHOLE[0], reason="another"), *WHOLE[1:]])
    assert verify(forged).broken == 0
    verdict = verify(forged, number=4, head=WHOLE[3].hash)
    assert (verdict.broken, verdict.head) == (4, forged[2].hash)
    assert verdict.fault == "entry 4 is another one than was signed: its hash is not the one kept"


@pytest.mark.parametrize(("length", "broken"), [(0, 1), (2, 3), (4, 5)])
def test_verify_of_a_record_cut_short_holds_but_for_a_hash_kept_elsewhere(length, broken):
    assert verify(WHOLE[:length]).broken == 0
    verdict = verify(WHOLE[:length], number=5, head=WHOLE[4].hash)
    assert verdict.broken == broken
    assert verdict.fault == f"the record ends at entry {length}, before entry 5"


@given(st.permutations(range(5)), st.integers(0, 5))
def test_verify_of_any_other_order_or_part_is_broken_or_a_beginning(order, length):
    entries = [WHOLE[n] for n in order][:length]
    verdict = verify(entries)
    assert (verdict.broken == 0) is (entries == WHOLE[:length])
