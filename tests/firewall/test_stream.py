from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_firewall.host import MAX_OCTETS
from gate_firewall.stream import ConflictError, Stream

TEXT = bytes(range(256)) * 2


@given(st.integers(0, 2**32 - 1), st.data())
def test_add_puts_segments_in_order_however_they_arrive(first, data):
    borders = sorted({0, len(TEXT), *data.draw(st.lists(st.integers(0, len(TEXT)), max_size=12))})
    segments = list(pairwise(borders))
    arrivals = data.draw(st.permutations(segments + data.draw(st.lists(st.sampled_from(segments)))))
    stream = Stream(first)
    for start, end in arrivals:
        stream.add((first + start) % 2**32, TEXT[start:end])

    assert stream.prefix() == TEXT


def test_prefix_ends_at_the_first_hole():
    stream = Stream(100)
    stream.add(103, b"def")
    assert (stream.prefix(), stream.is_empty()) == (b"", False)
    stream.add(100, b"ab")

    assert stream.prefix() == b"ab"


def test_add_takes_an_overlap_that_says_the_same():
    stream = Stream(0)
    stream.add(0, b"abcd")
    stream.add(2, b"cdef")

    assert stream.prefix() == b"abcdef"


def test_add_refuses_an_overlap_that_differs():
    stream = Stream(0)
    stream.add(0, b"abcd")

    with pytest.raises(ConflictError, match="differs"):
        stream.add(2, b"cXef")


@pytest.mark.parametrize("octets", [b"abcX", b"Xbcd", b"abXdefgh"])
def test_add_refuses_a_segment_that_comes_again_with_other_octets(octets):
    stream = Stream(0)
    stream.add(0, b"abcd")

    with pytest.raises(ConflictError, match="differs"):
        stream.add(0, octets)
    assert stream.prefix() == b"abcd"


@pytest.mark.parametrize(("octets", "differs"), [(b"xyz\0\0ef", False), (b"xyz\0\0eX", True)])
def test_add_compares_nothing_with_a_hole(octets, differs):
    stream = Stream(0)
    stream.add(5, b"ef")
    if differs:
        with pytest.raises(ConflictError, match="differs"):
            stream.add(0, octets)
    else:
        stream.add(0, octets)

    assert stream.prefix() == (b"" if differs else octets)


def test_add_goes_on_in_order_behind_a_hole_that_was_filled():
    stream = Stream(0)
    stream.add(2, b"c")
    stream.add(0, b"ab")
    stream.add(3, b"d")
    with pytest.raises(ConflictError, match="differs"):
        stream.add(1, b"bX")

    assert stream.prefix() == b"abcd"


def test_add_refuses_what_lies_beyond_the_bound():
    stream = Stream(0)
    stream.add(0, bytes(MAX_OCTETS))

    with pytest.raises(ConflictError, match="at most"):
        stream.add(MAX_OCTETS, b"x")


def test_add_passes_over_a_keep_alive_before_the_first_octet():
    stream = Stream(0)
    stream.add(2**32 - 1, b"k")

    assert stream.is_empty()


@pytest.mark.parametrize(("back", "octets"), [(2, b"xxabc"), (1, b"xa"), (2, b"x"), (300, b"x")])
def test_add_refuses_all_else_before_the_first_octet(back, octets):
    with pytest.raises(ConflictError, match="before the first"):
        Stream(0).add(2**32 - back, octets)
