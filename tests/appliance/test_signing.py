import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_appliance.signing import Signer, fingerprint, verify


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer(tmp_path_factory.mktemp("key") / "signing-key")


def test_signer_makes_a_key_that_only_its_owner_reads(tmp_path):
    Signer(tmp_path / "signing-key")
    assert stat.S_IMODE((tmp_path / "signing-key").stat().st_mode) == 0o600


def test_signer_takes_the_key_that_is_there(tmp_path):
    path = tmp_path / "signing-key"
    assert Signer(path).public_key == Signer(path).public_key
    assert Signer(path).public_key != Signer(tmp_path / "another").public_key


@pytest.mark.parametrize("octets", [b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n"])
def test_signer_refuses_what_is_no_key_and_leaves_it(tmp_path, octets):
    path = tmp_path / "signing-key"
    path.write_bytes(octets)
    with pytest.raises(ValueError, match="signing-key is no Ed25519 key"):
        Signer(path)
    assert path.read_bytes() == octets


def test_fingerprint_is_eight_groups_of_four(signer):
    assert re.fullmatch("([0-9a-f]{4}-){7}[0-9a-f]{4}", signer.fingerprint)
    assert fingerprint(signer.public_key) == signer.fingerprint


def test_verify_holds_for_what_was_signed_and_nothing_else(signer):
    signature = signer.sign(b"the policy")
    assert verify(signer.public_key, signature, b"the policy")
    assert not verify(signer.public_key, signature, b"the Policy")
    assert not verify(signer.public_key, signer.sign(b"another"), b"the policy")


@given(st.text(max_size=100), st.text(max_size=100))
def test_verify_refuses_any_text_that_is_no_key_or_signature(signer, key, signature):
    assert not verify(key, signature, b"")
    assert not verify(signer.public_key, signature, b"")
