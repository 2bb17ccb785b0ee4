from __future__ import annotations

import pytest

from gate_core.names import parse_name
from gate_core.suffixes import PUBLIC_SUFFIXES, registered


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("example", "example"),
        ("", ""),
        ("dead.example", "dead.example"),
        ("a.b.c.dead.example", "dead.example"),
        ("co.uk", "co.uk"),
        ("www.school.sch.uk", "school.sch.uk"),
        ("school.sch.uk", "school.sch.uk"),
        ("x.abc.io", "abc.io"),
        ("x.co.io", "co.io"),
    ],
)
def test_registered_name_is_told_by_its_form(name, above):
    assert registered(name) == above


def test_public_suffixes_are_canonical_names_of_two_labels():
    for name in PUBLIC_SUFFIXES:
        assert parse_name(name) == name
        assert name.count(".") == 1
