import pytest

from gate_webui.sessions import MAX_SESSIONS, Sessions


class Hand:
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def sessions(hand: Hand) -> Sessions:
    return Sessions(60.0, 300.0, hand)


def test_find_returns_what_began(sessions: Sessions):
    found = sessions.find(sessions.begin("r.example", 3), touch=False)
    assert found is not None
    assert (found.username, found.epoch) == ("r.example", 3)


@pytest.mark.parametrize("id_", ["", "x", "0" * 43])
def test_find_knows_no_other_id(sessions: Sessions, id_: str):
    sessions.begin("r.example", 1)
    assert sessions.find(id_, touch=True) is None


def test_find_ends_what_is_idle(sessions: Sessions, hand: Hand):
    id_ = sessions.begin("r.example", 1)
    hand.now += 60
    assert sessions.find(id_, touch=True) is None


def test_find_touched_keeps_it_from_growing_idle(sessions: Sessions, hand: Hand):
    id_ = sessions.begin("r.example", 1)
    for _ in range(3):
        hand.now += 50
        assert sessions.find(id_, touch=True)


def test_find_untouched_lets_it_grow_idle(sessions: Sessions, hand: Hand):
    id_ = sessions.begin("r.example", 1)
    hand.now += 50
    assert sessions.find(id_, touch=False)
    hand.now += 50
    assert sessions.find(id_, touch=False) is None


def test_find_ends_it_however_busy(sessions: Sessions, hand: Hand):
    id_ = sessions.begin("r.example", 1)
    for _ in range(6):
        hand.now += 49.9
        sessions.find(id_, touch=True)
    hand.now += 1
    assert sessions.find(id_, touch=True) is None


def test_end_ends_one_only(sessions: Sessions):
    first, second = sessions.begin("r.example", 1), sessions.begin("r.example", 1)
    sessions.end(first)
    assert sessions.find(first, touch=True) is None
    assert sessions.find(second, touch=True)


def test_begin_keeps_a_bounded_number_and_drops_the_one_unused_longest(
    sessions: Sessions, hand: Hand
):
    first = sessions.begin("r.example", 1)
    hand.now += 1
    second = sessions.begin("r.example", 1)
    for _ in range(MAX_SESSIONS - 1):
        sessions.begin("r.example", 1)
    assert sessions.find(first, touch=False) is None
    assert sessions.find(second, touch=False)
