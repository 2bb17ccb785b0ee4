from __future__ import annotations

import pytest

from gate_dns.forwarding.health import RESEND_S, SHUN_S, SOONEST_RESEND_S, EdnsSupport, Health


def test_heard_smooths_the_round_trip():
    health = Health()
    health.heard(0.1, 1.0)
    assert health.rtt_s == pytest.approx(0.1)
    health.heard(0.9, 2.0)
    # RFC 6298, section 2: an eighth of the newest.
    assert health.rtt_s == pytest.approx(0.2)
    health.heard(None, 3.0)
    assert health.rtt_s == pytest.approx(0.2)
    assert (health.answers, health.took_s) == (3, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("took_s", "resend_s"),
    [(None, RESEND_S), (0.001, SOONEST_RESEND_S), (0.1, 0.4), (5.0, RESEND_S)],
)
def test_resend_follows_the_round_trip_within_bounds(took_s, resend_s):
    health = Health()
    if took_s:
        health.heard(took_s, 1.0)
    assert health.resend_s == pytest.approx(resend_s)


def test_failed_shuns_who_has_answered_nobody_since():
    health = Health()
    health.heard(0.1, 10.0)
    assert not health.failed("silent", asked_at=9.0, now=11.0)
    assert health.failed("silent", asked_at=10.5, now=12.0)
    assert (health.fault, health.failures) == ("silent", 2)
    assert not health.due(12.0 + SHUN_S - 0.1)
    assert health.due(12.0 + SHUN_S)
    health.heard(0.1, 13.0)
    assert health.shunned_until is None
    assert not health.due(99.0)
    assert health.fault == ""


def test_edns_is_spared_after_so_many_names_in_a_row_and_tried_again():
    edns = EdnsSupport()
    for number in range(EdnsSupport.TRIES - 1):
        edns.refused(f"n{number}.example", 10.0)
    edns.understood()
    for number in range(EdnsSupport.TRIES - 1):
        edns.refused(f"n{number}.example", 20.0)
        edns.refused(f"n{number}.example", 20.0)
    assert edns.off_until <= 20.0
    edns.refused("last.example", 20.0)
    assert edns.off_until == 20.0 + EdnsSupport.OFF_S
    edns.refused("one.example", 900.0)
    assert edns.off_until <= 900.0
