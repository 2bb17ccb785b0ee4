from __future__ import annotations

import pytest

from gate_core.names import parse_name
from gate_core.suffixes import PUBLIC_SUFFIXES, registered, too_wide


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


@pytest.mark.parametrize("rule", ["com", "uk", "co.uk", "sch.uk"])
def test_rule_for_a_public_suffix_is_too_wide(rule):
    assert "allowed" in too_wide(rule)


@pytest.mark.parametrize("rule", ["bbc.co.uk", "example.org", "github.io", "=co.uk", "=com"])
def test_rule_for_one_site_is_not(rule):
    assert too_wide(rule) == ""
