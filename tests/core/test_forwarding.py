import pytest

from gate_core.forwarding import Forwarding, Unclear, find_forwarding

SERVER, SECOND = "00:00:5e:00:53:01", "00:00:5e:00:53:02"
OTHERS = [f"00:00:5e:00:53:{n:02x}" for n in range(16, 46)]


def test_find_forwarding_tells_of_a_server_that_asks_for_all():
    assert find_forwarding({SERVER: 900}, [SERVER, *OTHERS]) == Forwarding((SERVER,), 30)


def test_find_forwarding_lets_a_few_devices_ask_besides_the_server():
    asked = {SERVER: 900} | dict.fromkeys(OTHERS[:3], 40)
    assert find_forwarding(asked, [SERVER, *OTHERS]) == Forwarding((SERVER,), 27)


@pytest.mark.parametrize(("first", "second"), [(450, 450), (700, 300), (300, 700)])
def test_find_forwarding_tells_of_two_servers_that_ask_for_all(first, second):
    busiest_first = (SERVER, SECOND) if first >= second else (SECOND, SERVER)
    found = find_forwarding({SERVER: first, SECOND: second}, [SERVER, SECOND, *OTHERS])
    assert found == Forwarding(busiest_first, 30)


def test_find_forwarding_takes_nobody_for_a_server_who_asks_for_itself():
    asked = {SERVER: 750} | dict.fromkeys(OTHERS[:10], 25)
    assert find_forwarding(asked, [SERVER, *OTHERS]) == Forwarding((SERVER,), 20)


def test_find_forwarding_where_names_only_are_seen():
    assert find_forwarding({SERVER: 1500}, []) == Forwarding((SERVER,), 0)
    both = {SERVER: 1500, SECOND: 1200}
    assert find_forwarding(both, []) == Forwarding((SERVER, SECOND), 0)
    # One busy device of a small school.
    assert find_forwarding({SERVER: 900}, []) is None
    assert find_forwarding({SERVER: 900, OTHERS[0]: 100}, []) is None


@pytest.mark.parametrize(
    ("asked", "present"),
    [
        pytest.param(dict.fromkeys(OTHERS, 100), OTHERS, id="all ask"),
        pytest.param(
            {SERVER: 5000} | dict.fromkeys(OTHERS[:25], 100),
            OTHERS,
            id="one asks much, few are silent",
        ),
        pytest.param({OTHERS[0]: 900}, OTHERS[:5], id="four cameras and a computer"),
        pytest.param({SERVER: 300, SECOND: 300}, OTHERS[:9], id="two computers and nine cameras"),
        pytest.param(
            {SERVER: 3000} | dict.fromkeys(OTHERS, 20),
            [SERVER, *OTHERS],
            id="a busy smart board, and everybody asks",
        ),
        pytest.param(
            {SERVER: 3000} | dict.fromkeys(OTHERS[:24], 20),
            [SERVER, *OTHERS],
            id="a busy smart board and six cameras",
        ),
        pytest.param({SERVER: 1900, SECOND: 900}, [], id="two busy devices of a small school"),
        pytest.param(
            {OTHERS[0]: 940} | dict.fromkeys(OTHERS[1:10], 20),
            OTHERS[:15],
            id="more ask than are silent",
        ),
    ],
)
def test_find_forwarding_leaves_a_school_alone_whose_devices_ask(asked, present):
    assert find_forwarding(asked, present) is None


def test_find_forwarding_of_a_quiet_hour_is_unclear():
    assert find_forwarding({}, OTHERS) is Unclear.UNCLEAR
    assert find_forwarding({SERVER: 199}, OTHERS) is Unclear.UNCLEAR
