import functools
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_firewall import marks
from gate_firewall.marks import Answer, Request, next_epoch, parse_request, render_answer

MARKS = st.integers(0, 2**32 - 1)


def test_fields_share_no_bit():
    fields = (
        marks.OTHERS,
        marks.EPOCH,
        marks.VERDICT,
        marks.GROUP,
        marks.FROM_ROUTER,
        marks.UNSHAKEN,
    )

    assert sum(fields) == functools.reduce(operator.or_, fields)


def test_settled_is_set_in_no_other_answer():
    settled = [a for a in Answer if marks.field(a) & marks.SETTLED]

    assert settled == [Answer.ACCEPT, Answer.BLOCK, Answer.WATCH]


@given(MARKS, st.sampled_from(Answer), st.integers(1, 255), st.integers(1, 63))
def test_render_answer_keeps_others_bits_and_what_the_kernel_says(asked, answer, epoch, group):
    kept = marks.OTHERS | marks.FROM_ROUTER | marks.UNSHAKEN

    assert render_answer(asked, answer, epoch, group) & kept == asked & kept


def test_render_answer_says_epoch_verdict_and_group():
    assert render_answer(0x0080_4ABC, Answer.BLOCK, 0x2A, 3) == 0x2A20_3ABC


def test_render_answer_leaves_an_undecided_flow_without_a_mark():
    assert render_answer(0x0088_4ABC, Answer.NONE, 0x2A, 3) == 0x0008_0ABC


@pytest.mark.parametrize(
    ("mark", "request_"),
    [
        pytest.param(0x0080_0000, Request(from_router=False, reply=False, decided=False), id="new"),
        pytest.param(0x0088_1000, Request(from_router=True, reply=True, decided=False), id="reply"),
        pytest.param(
            0x0080_6FFF, Request(from_router=False, reply=False, decided=True), id="decided"
        ),
        pytest.param(
            0x0084_0000,
            Request(from_router=False, reply=False, decided=False, unshaken=True),
            id="unshaken",
        ),
    ],
)
def test_parse_request_reads_each_bit(mark, request_):
    assert parse_request(mark) == request_


def test_next_epoch_passes_through_all_and_never_gives_zero():
    epoch, seen = 0, []
    for _ in range(255):
        epoch = next_epoch(epoch)
        seen.append(epoch)

    assert sorted(seen) == list(range(1, 256))
    assert next_epoch(epoch) == seen[0]
