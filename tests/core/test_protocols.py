import pytest

from gate_core import categories
from gate_core.protocols import BY_ID, PROTOCOLS, of_category


def test_protocols_have_one_id_and_one_title_each():
    assert len({p.id for p in PROTOCOLS}) == len({p.title for p in PROTOCOLS}) == len(PROTOCOLS)
    assert list(BY_ID.values()) == list(PROTOCOLS)


def test_protocols_belong_to_categories_that_exist():
    assert {p.category for p in PROTOCOLS} <= set(categories.BY_ID)


def test_protocols_are_never_of_the_illegal_tier():
    assert of_category(categories.ILLEGAL_MASK) == ()


@pytest.mark.parametrize(
    ("id_", "row"),
    [
        ("wireguard", "bypass"),
        ("tor", "bypass"),
        ("doh", "bypass"),
        ("ssh", "bypass"),
        ("ech", "bypass"),
        ("anydesk", "bypass"),
        ("bittorrent", "file-sharing"),
    ],
)
def test_protocol_is_decided_by_the_row_of_its_category(id_, row):
    assert categories.BY_ID[BY_ID[id_].category].row == row


def test_of_category_gives_the_protocols_of_each_category_of_the_mask():
    found = of_category(categories.mask_of(["tor", "encrypted-dns", "games"]))
    assert [p.id for p in found] == ["tor", "dot", "doq", "doh", "dnscrypt", "dns"]


def test_of_category_of_no_category_is_empty():
    assert of_category(0) == ()
