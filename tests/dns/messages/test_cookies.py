from __future__ import annotations

from gate_dns.messages.cookies import RENEWAL_S, ServerCookies

CLIENT = b"12345678"
SOURCE = bytes((192, 0, 2, 10))


def test_of_is_the_same_for_the_same_client_for_a_day():
    cookies = ServerCookies()
    first = cookies.of(CLIENT, SOURCE, 0.0)
    assert len(first) == 8
    # A server cookie behind it says nothing.
    assert cookies.of(CLIENT + b"x" * 8, SOURCE, RENEWAL_S - 1) == first


def test_of_differs_where_client_address_day_or_worker_does():
    cookies = ServerCookies()
    made = {
        cookies.of(CLIENT, SOURCE, 0.0),
        cookies.of(b"12345679", SOURCE, 0.0),
        cookies.of(CLIENT, bytes((192, 0, 2, 11)), 0.0),
        cookies.of(CLIENT, SOURCE, RENEWAL_S),
        ServerCookies().of(CLIENT, SOURCE, 0.0),
    }
    assert len(made) == 5
