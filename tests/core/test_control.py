import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.control import (
    MalformedMessageError,
    arguments_of,
    hints_of,
    parse_answer,
    parse_request,
    render_answer,
    render_fault,
    render_refusal,
    render_request,
    value_of,
)
from gate_core.desk import (
    ActivityFilter,
    Component,
    Desk,
    GroupView,
    Lamp,
    PanelReport,
    PauseView,
    RefusedError,
    Status,
)

STATUS = Status(
    3, "2026-11-22T10:00:00+00:00", "St Example", "inline", 9, True,
    (Component("dns", "ok", "fine"),), PauseView("p1", ("ks2",), ("room-3",), "a", "b", "button", "", False),
    0, 1, 2, 3, 4, PanelReport(True, (Lamp("red", "red", "off", "fault"),)), ("x",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "value"),
    [
        (Desk.status, STATUS),
        (
            Desk.groups,
            (
                GroupView(
                    "ks2", "KS2", {"games": "times"}, "allow", True, False, 3, True, "off", True
                ),
            ),
        ),
        (Desk.account, None),
        (Desk.is_set_up, True),
    ],
)
def test_answer_round_trip(method, value):
    assert parse_answer(render_answer(value), hints_of(method)["return"]) == value


def test_request_round_trip():
    wanted = ActivityFilter(text="x", limit=5)
    op, args = parse_request(render_request("activity", {"filter": wanted}))
    assert op == "activity"
    assert arguments_of(Desk.activity, args) == {"filter": wanted}


def test_refusal_comes_back_as_it_was():
    with pytest.raises(RefusedError, match=r"^too long$") as caught:
        parse_answer(render_refusal(RefusedError("too long", "name")), bool)
    assert caught.value.field == "name"


def test_fault_of_the_other_side_is_no_answer():
    with pytest.raises(MalformedMessageError, match=r"disk full"):
        parse_answer(render_fault("disk full"), bool)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        ({"minutes": "ten"}, "minutes: 'ten' is not a whole number"),
        ({"minutes": True}, "minutes: 'True' is not a whole number"),
        ({"groups": "ks2"}, "groups: 'ks2' is not a list"),
        ({"groups": [1]}, r"groups\[0\]: '1' is not a text"),
        ({"self": 1}, "unknown argument 'self'"),
        ({"return": None}, "unknown argument 'return'"),
    ],
)
def test_arguments_that_do_not_fit_name_their_place(args, part):
    with pytest.raises(MalformedMessageError, match=part):
        arguments_of(Desk.start_pause, args)


def test_value_of_a_literal_names_what_is_allowed():
    with pytest.raises(MalformedMessageError, match=r"'sleepy' is not 'ok' or 'starting'"):
        value_of(Component, {"name": "dns", "state": "sleepy", "detail": ""})


@pytest.mark.parametrize("value", [{}, {"name": "x"}, {"name": "x", "more": 1}, [], "x"])
def test_value_of_a_dataclass_refuses_missing_and_unknown_fields(value):
    with pytest.raises(MalformedMessageError):
        value_of(Component, value)


@given(st.binary(max_size=100))
def test_parse_request_of_any_octets_is_a_request_or_malformed(line):
    try:
        op, args = parse_request(line)
    except MalformedMessageError:
        return
    assert isinstance(op, str)
    assert isinstance(args, dict)
