from __future__ import annotations

import dns.message
import pytest

from gate_dns.messages.soa import soa_record


@pytest.mark.parametrize(
    ("name", "owner"),
    [(".", "."), ("example.", "."), ("www.example.", "example."), ("a.b.example.", "b.example.")],
)
def test_soa_record_is_owned_by_the_name_above(name, owner):
    asked = dns.message.make_query(name, "TXT", id=1).to_wire()
    octets = b"\0\1\x80\0\0\1\0\0\0\1\0\0" + asked[12:] + soa_record(asked[12:], (1 << 32) + 7, 5)
    assert dns.message.from_wire(octets).authority[0].to_text() == (
        f"{owner} 5 IN SOA schoolgate.invalid. coordinator.schoolgate.invalid. 7 3600 600 86400 5"
    )
