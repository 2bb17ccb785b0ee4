from __future__ import annotations

import dns.edns
import dns.rcode
import dns.rdatatype
import pytest

from gate_dns.messages.codes import Ede, Option, Qtype, Rcode, mnemonic


@pytest.mark.parametrize("registry", [(Qtype, dns.rdatatype.RdataType), (Ede, dns.edns.EDECode)])
def test_codes_are_those_of_dnspython(registry):
    ours, theirs = registry
    known = {code.name: int(code) for code in theirs}
    assert {c.name: int(c) for c in ours if c.name in known} == {
        name: number for name, number in known.items() if name in ours.__members__
    }
    assert len(known.keys() & ours.__members__.keys()) >= len(ours) - 3


def test_rcodes_and_options_are_those_of_dnspython():
    assert [dns.rcode.to_text(r) for r in Rcode if r != 16] == [r.name for r in Rcode if r != 16]
    assert [dns.edns.OptionType(o).name for o in Option] == [o.name for o in Option]


@pytest.mark.parametrize(
    ("number", "name"), [(1, "A"), (65, "HTTPS"), (255, "ANY"), (0, "TYPE0"), (65000, "TYPE65000")]
)
def test_mnemonic_names_every_type(number, name):
    assert mnemonic(number) == name
