import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.given import (
    MAX_ADDRESSES,
    MAX_DATAGRAM_OCTETS,
    MAX_ROWS,
    Given,
    MalformedGivenError,
    News,
    Request,
    parse_news,
    parse_request,
    render_news,
    render_request,
)

FOUR, SIXTEEN = bytes((192, 0, 2, 1)), bytes(15) + b"\1"
ROWS = (
    Given(FOUR, "00:00:5e:00:53:10", False, "a.example", (FOUR, SIXTEEN)),
    Given(SIXTEEN, "", True, "b.example", ()),
)


@pytest.mark.parametrize("rows", [(), ROWS])
def test_news_come_back_as_they_were(rows):
    news = News(3, 17.5, 4, rows)
    assert parse_news(render_news(news)) == news


@pytest.mark.parametrize("request_", [Request(0, True), Request(12)])
def test_requests_come_back_as_they_were(request_):
    assert parse_request(render_request(request_)) == request_


def test_as_much_as_is_allowed_fits_a_datagram():
    row = Given(SIXTEEN, "00:00:5e:00:53:10", False, "n" * 253, (SIXTEEN,) * MAX_ADDRESSES)
    assert len(render_news(News(1, 1e9, 1, (row,) * MAX_ROWS))) <= MAX_DATAGRAM_OCTETS


@pytest.mark.parametrize(
    "value",
    [
        [],
        7,
        [1, 2.0, 3],
        [1, 2.0, 3, [["c0000201"]]],
        [1, 2.0, 3, [["c0000201", 1, False, "a.example"]]],
        [1, 2.0, 3, [["c000", "", False, "a.example"]]],
        [1, 2.0, 3, [["c0000201", "", False, "a.example", "zz"]]],
        [1, 2.0, 3, [["c0000201", "", False, "a.example", "c000020101"]]],
    ],
)
def test_parse_news_refuses_what_is_none(value):
    with pytest.raises(MalformedGivenError, match="parsing"):
        parse_news(json.dumps(value).encode())


@given(st.binary(max_size=80))
def test_any_octets_are_read_or_malformed(octets):
    for parse in (parse_news, parse_request):
        with suppress(MalformedGivenError):
            parse(octets)
