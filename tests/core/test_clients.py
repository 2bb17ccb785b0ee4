import pytest

from gate_core.clients import MalformedMacError, is_randomised, parse_mac


@pytest.mark.parametrize("text", ["00:00:5E:00:53:10", "00-00-5e-00-53-10", " 00:00:5e:00:53:10 "])
def test_parse_mac_gives_one_form(text):
    assert parse_mac(text) == "00:00:5e:00:53:10"


@pytest.mark.parametrize("text", ["", "00:00:5e:00:53", "00:00:5e:00:53:zz", "00005e005310"])
def test_parse_mac_says_what_is_allowed(text):
    with pytest.raises(MalformedMacError, match="six pairs of hexadecimal digits"):
        parse_mac(text)


@pytest.mark.parametrize(
    ("mac", "holds"),
    [("02:00:00:00:00:01", True), ("da:a1:19:00:00:01", True), ("00:00:5e:00:53:10", False)],
)
def test_is_randomised_reads_the_local_bit(mac, holds):
    assert is_randomised(mac) is holds
