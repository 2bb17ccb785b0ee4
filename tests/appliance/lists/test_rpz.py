"""Response policy zones as text, judged by dnspython's own reader of zone files."""

import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_appliance.lists.formats import Format, ListError, parse_list
from gate_appliance.lists.rpz import MalformedRecordError, ZoneText

HEAD = """$TTL 300
@ IN SOA localhost. hostmaster.localhost. (
    2026110201 ; serial
    3600 600 86400 300 )
  IN NS localhost.
"""


def read(text):
    return parse_list(text.encode().splitlines(keepends=True))


@pytest.mark.parametrize(
    ("line", "names", "exclusions"),
    [
        ("bad.example CNAME .", ["bad.example"], []),
        ("bad.example 60 IN CNAME .", ["bad.example"], []),
        ("bad.example IN 60 CNAME .", ["bad.example"], []),
        ("BAD.Example\tCNAME\t. ; why", ["bad.example"], []),
        ("*.bad.example CNAME .", ["bad.example"], []),
        ("bad.example CNAME *.", ["bad.example"], []),
        ("bad.example CNAME rpz-drop.", ["bad.example"], []),
        ("good.example CNAME rpz-passthru.", [], ["good.example"]),
        ("good.example CNAME good.example.", [], ["good.example"]),
        ("bad.example CNAME ( . )", ["bad.example"], []),
        ("bad.example (\n CNAME\n . )", ["bad.example"], []),
        ("$ORIGIN bad.example\n@ CNAME .\nwww CNAME .", ["bad.example", "www.bad.example"], []),
        ("bad.example CNAME .\n TXT why", ["bad.example"], []),
    ],
)
def test_parse_list_takes_the_rules_of_a_zone(line, names, exclusions):
    parsed = read(f"{HEAD}settled.example CNAME .\n{line}\n")
    assert parsed.format is Format.RPZ
    assert list(parsed.names[1:]) == names
    assert list(parsed.exclusions) == exclusions


@pytest.mark.parametrize("origin", ["", "$ORIGIN rpz.trust.example.\n"])
def test_parse_list_takes_names_out_of_the_zone_they_stand_in(origin):
    soa = "rpz.trust.example. 300 IN SOA . . 1 2 3 4 5\n"
    text = f"{origin}{soa}bad.example.rpz.trust.example. 300 IN CNAME .\nworse.example CNAME .\n"
    assert read(text).names == ("bad.example", "worse.example")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("24.0.2.0.192.rpz-client-ip CNAME rpz-drop.", "rpz-client-ip"),
        ("ns.bad.example.rpz-nsdname CNAME .", "rpz-nsdname"),
        ("128.zz.db8.2001.rpz-nsip CNAME .", "rpz-nsip"),
        ("bad.example CNAME rpz-tcp-only.", "rpz-tcp-only"),
        ("32.1.2.0.192.rpz-ip CNAME rpz-tcp-only.", "rpz-tcp-only"),
    ],
)
def test_parse_list_counts_what_is_not_about_names(line, kind):
    parsed = read(f"{HEAD}settled.example CNAME .\n{line}\n")
    assert parsed.names == ("settled.example",)
    assert parsed.report.others == ((kind, 1),)
    assert parsed.report.not_understood == 0


@pytest.mark.parametrize(
    ("line", "networks", "exclusions"),
    [
        ("32.1.2.0.192.rpz-ip CNAME .", ["192.0.2.1/32"], []),
        ("24.0.2.0.192.rpz-ip 60 IN CNAME *.", ["192.0.2.0/24"], []),
        ("24.0.2.0.192.rpz-ip CNAME rpz-drop.", ["192.0.2.0/24"], []),
        ("32.1.2.0.192.rpz-ip CNAME rpz-passthru.", [], ["192.0.2.1/32"]),
        ("32.1.2.0.192.rpz-ip CNAME 32.1.2.0.192.rpz-ip.", [], ["192.0.2.1/32"]),
        ("128.1.zz.db8.2001.RPZ-IP CNAME .", ["2001:db8::1/128"], []),
        ("32.zz.DB8.2001.rpz-ip CNAME .", ["2001:db8::/32"], []),
        ("48.zz.1.db8.2001.rpz-ip CNAME .", ["2001:db8:1::/48"], []),
        ("128.8.7.6.5.4.3.db8.2001.rpz-ip CNAME .", ["2001:db8:3:4:5:6:7:8/128"], []),
    ],
)
def test_parse_list_takes_rules_about_addresses(line, networks, exclusions):
    parsed = read(f"{HEAD}settled.example CNAME .\n{line}\n")
    assert parsed.names == ("settled.example",)
    assert list(parsed.networks) == networks
    assert list(parsed.exclusions) == exclusions
    report = parsed.report
    assert (report.networks, report.exclusions) == (len(networks), len(exclusions))
    assert (report.addresses, report.others, report.not_understood) == (0, (), 0)


def test_parse_list_takes_a_zone_of_addresses_alone():
    assert read(f"{HEAD}32.1.2.0.192.rpz-ip CNAME .\n").networks == ("192.0.2.1/32",)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("www.google.example CNAME safe.search.example.", "leads elsewhere"),
        ("bad.example A 192.0.2.1", "leads elsewhere"),
        ("bad.example CNAME", "not a record"),
        ("bad.elsewhere.test. CNAME .", "out of the zone"),
        ("$INCLUDE /etc/passwd", r"only \$ORIGIN and \$TTL"),
        ("bad.example CNAME . )", "brackets"),
        ("bad.example ( CNAME .", "brackets"),
        ("com CNAME .", "a single label"),
        ("-bad-.example CNAME .", "label"),
        ("32.1.2.0.192.rpz-ip A 192.0.2.99", "leads elsewhere"),
        ("33.1.2.0.192.rpz-ip CNAME .", "no address or network"),
        ("24.1.2.0.192.rpz-ip CNAME .", "192.0.2.0/24 is allowed"),
        ("0.0.0.0.0.rpz-ip CNAME .", "wider than is allowed"),
        ("8.0.0.0.10.rpz-ip CNAME .", "private"),
        ("rpz-ip CNAME .", "no address or network"),
        ("*.32.1.2.0.192.rpz-ip CNAME .", "no address or network"),
        ("128.zz.1.zz.2001.rpz-ip CNAME .", "no address or network"),
    ],
)
def test_parse_list_reports_what_it_does_not_enforce(line, part):
    parsed = read(f"{HEAD}settled1.example CNAME .\nsettled2.example CNAME .\n{line}\n")
    assert parsed.names == ("settled1.example", "settled2.example")
    (unread,) = parsed.report.unread
    assert part.replace("\\", "") in unread.reason


def test_origin_does_not_grow_without_bound():
    """Each line puts an origin before the one of before."""
    zone = ZoneText()
    line = f"$ORIGIN {'a' * 60}"
    for _ in range(4):
        zone.read(line)
    for _ in range(9):
        with pytest.raises(MalformedRecordError, match="longer than 253 octets"):
            zone.read(line)
    with pytest.raises(MalformedRecordError, match="longer than 253 octets"):
        zone.read(f"{'a.' * 200} CNAME .")


def test_longest_name_is_read_where_the_zone_has_no_name():
    name = ".".join(["a" * 61] * 4) + ".test"
    assert len(name) == 252
    assert read(f"a.example CNAME .\n*.{name} CNAME rpz-drop.\n").names == ("a.example", name)


def test_public_suffix_is_not_understood():
    parsed = read(
        HEAD + "a.example CNAME .\nb.example CNAME .\nco.uk CNAME .\n*.sch.uk CNAME rpz-passthru.\n"
    )
    assert (parsed.names, parsed.exclusions) == (("a.example", "b.example"), ())
    assert parsed.report.not_understood == 2


def test_parse_list_refuses_a_zone_that_mostly_leads_elsewhere():
    with pytest.raises(ListError, match="leads elsewhere"):
        read(HEAD + "".join(f"n{n}.example CNAME portal.example.\n" for n in range(9)))


owners = st.lists(st.sampled_from(["a", "b", "www", "A-1", "_x"]), min_size=2, max_size=4).map(
    ".".join
)
records = st.tuples(
    st.sampled_from(["", "*."]),
    owners,
    st.sampled_from(["", " ", "\t60", " IN", " 1h IN"]),
    st.sampled_from([".", "*.", "rpz-passthru.", "rpz-drop.", "( . )"]),
    st.sampled_from(["", " ; a comment", "\n\n; another"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(records, min_size=1, max_size=6, unique_by=lambda r: (r[0], r[1].lower())))
def test_parse_list_agrees_with_a_second_reader(rules):
    text = HEAD + "".join(f"{w}{o}{middle} CNAME {to}{end}\n" for w, o, middle, to, end in rules)
    zone = dns.zone.from_text(text, origin="rpz.example.", check_origin=False)
    expected = {True: set(), False: set()}
    for name, rdataset in zone.iterate_rdatasets(dns.rdatatype.CNAME):
        passes = rdataset[0].target.to_text() == "rpz-passthru."
        expected[passes].add(name.to_text().lower().removeprefix("*."))
    if not expected[False]:
        return
    parsed = read(text)
    assert set(parsed.names) == expected[False]
    assert set(parsed.exclusions) == expected[True]
    assert parsed.report.not_understood == 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text('ab.*() \t"\\;$@-0IN CNAME', max_size=40), max_size=12))
def test_parse_list_gives_a_list_or_a_list_error_for_any_zone(lines):
    try:
        parsed = read(HEAD + "\n".join(["a.example CNAME .", *lines]))
    except ListError:
        return
    assert parsed.names
