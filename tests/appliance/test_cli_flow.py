import json
import os
import re
import struct
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter, wrpcap

from gate_appliance.cli import main

SHARED = Path(os.environ.get("SCHOOLGATE_SHARED", Path(__file__).parents[3] / "shared"))
HELLO = SHARED / "data" / "captures" / "suricata-verify" / "tls-client-hello-frag-mtu300.pcap"
CLIENT, SERVER = "10.77.0.10", "203.0.113.5"
TABLET, ROUTER = "00:00:5e:00:53:01", "00:00:5e:00:53:99"


@pytest.fixture
def explain(school, steward, config, short_path, capsys, monkeypatch):
    """The command on the snapshot that the steward of a small school has published."""
    monkeypatch.setenv("COLUMNS", "80")
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nstate_directory = "{config.appliance.state_directory}"\n'
        f'run_directory = "{config.appliance.run_directory}"\n[dns]\nupstreams = ["192.0.2.1"]\n'
    )

    def explain(*words):
        code = main(["flow", "explain", *map(str, words), "--config", str(path)])
        out, err = capsys.readouterr()
        return code, out, err

    return explain


def flat(text):
    """A text as it is before its lines are broken."""
    return " ".join(text.split())


@pytest.fixture
def visit(tmp_path):
    """A capture of a request to a server that answers."""

    def visit(host="www.bet365.com"):
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        up = Ether(src=TABLET, dst=ROUTER) / IP(src=CLIENT, dst=SERVER)
        down = Ether(src=ROUTER, dst=TABLET) / IP(src=SERVER, dst=CLIENT)
        path = tmp_path / "capture.pcap"
        wrpcap(
            str(path),
            [
                up / TCP(sport=40_000, dport=80, flags="S", seq=100),
                down / TCP(sport=80, dport=40_000, flags="SA", seq=500, ack=101),
                up / TCP(sport=40_000, dport=80, flags="PA", seq=101, ack=501) / request,
                down
                / TCP(sport=80, dport=40_000, flags="PA", seq=501, ack=101 + len(request))
                / b"x",
            ],
        )
        return path

    return visit


def test_explain_tells_each_packet_and_each_flow(explain, visit):
    code, out, err = explain(visit())
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    head, body = out.split("number  time  ")
    packets, flows = body.split("Flows, by their last packet:\n")
    assert head.startswith("By policy ")
    assert "This is a rehearsal: " in head
    assert "are imitated" in flat(head)
    numbers = [line.split()[0] for line in packets.splitlines() if re.match(" {5}[0-9]", line)]
    assert numbers == ["1", "2", "3", "4"]
    assert f"out  {CLIENT}:40000 > {SERVER}:80  TCP PSH ACK  40\n        classifier: an" in packets
    assert "classifier: an HTTP request for www.bet365.com; blocked" in flat(packets)
    assert "acceptable-use table" in flat(packets)
    assert "[matrix:gambling:" in packets
    assert "kernel: the flow has been blocked" in packets
    flow, verdict = flows.split("\n", 1)
    assert flow == f"  {CLIENT}:40000 > {SERVER}:80  TCP: 4 packets, 41 octets, asked about 2"
    assert "Tablet" in verdict
    assert "www.bet365.com" in verdict


DNS_UP = Ether(src=TABLET, dst=ROUTER) / IP(src=CLIENT, dst="192.0.2.53")
DNS_DOWN = Ether(src=ROUTER, dst=TABLET) / IP(src="192.0.2.53", dst=CLIENT)


def test_explain_tells_the_name_that_dns_asks_for_and_what_becomes_of_it(explain, tmp_path):
    query = DNS(id=1, qd=DNSQR(qname="maths.example", qtype="AAAA"))
    answer = DNS(id=1, qr=1, qd=DNSQR(qname="maths.example", qtype="AAAA"))
    length = struct.pack("!H", len(bytes(query)))
    over_tcp = TCP(sport=2, dport=53, flags="PA", seq=101, ack=501)
    path = tmp_path / "capture.pcap"
    wrpcap(
        str(path),
        [
            DNS_UP / UDP(sport=1, dport=53) / query,
            DNS_DOWN / UDP(sport=53, dport=1) / answer,
            DNS_UP / TCP(sport=2, dport=53, flags="S", seq=100),
            DNS_UP / over_tcp / (length + bytes(query)),
            DNS_UP / TCP(sport=3, dport=853, flags="S", seq=100),
        ],
    )
    code, out, err = explain(path)
    assert (code, err) == (0, "")
    packets, flows = map(flat, out.split("Flows, by their last packet:"))
    redirected = "DNS: redirected to the box's own name service, whatever address it was sent to"
    assert packets.count(f"kernel: asks for maths.example AAAA; {redirected}") == 2
    assert f"kernel: an answer for maths.example AAAA; {redirected}" in packets
    assert flows.count(f"{redirected}; it asked for maths.example AAAA") == 2
    assert "DNS over TLS or QUIC, to its own port: refused for all" in flows


def test_explain_folds_what_came_to_the_same_and_prints_all_where_asked(explain, tmp_path):
    up = Ether(src=TABLET, dst=ROUTER) / IP(src=CLIENT, dst=SERVER)
    other = DNS_UP / UDP(sport=1, dport=53) / DNS(qd=DNSQR(qname="maths.example"))
    syn = up / TCP(sport=1, dport=443, flags="S", seq=100)
    path = tmp_path / "capture.pcap"
    reset = up / TCP(sport=1, dport=443, flags="R", seq=101)
    wrpcap(str(path), [syn, *[other, syn] * 999, reset, syn])
    code, out, err = explain(path)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) < 40
    assert "        999 more like packet 1, the last of them 1999\n" in out
    assert "        998 more like packet 2, the last of them 1998\n" in out
    every = explain(path, "--all")[1]
    assert "more like packet" not in every
    assert [f"\n{n:>6} " in every for n in (1, 2, 1000, 2001)] == [True] * 4


def test_explain_folds_each_direction_of_a_flow_by_itself(explain, tmp_path):
    path = tmp_path / "capture.pcap"
    query = DNS_UP / UDP(sport=1, dport=853) / b"x"
    answer = DNS_DOWN / UDP(sport=853, dport=1) / b"y"
    wrpcap(str(path), [query, answer] * 20)
    _, out, _ = explain(path)
    assert "        19 more like packet 1, the last of them 39\n" in out
    assert "        19 more like packet 2, the last of them 40\n" in out


def test_explain_tells_how_to_ask_for_a_group_where_nothing_tells_whose_traffic_it_is(
    explain, visit, tmp_path
):
    assert explain(visit())[2] == ""
    path = visit()
    path.write_bytes(path.read_bytes().replace(bytes.fromhex("00005e005301"), b"\2\0\0\0\0\1"))
    code, _, err = explain(path)
    assert code == 0
    assert max(map(len, err.splitlines())) <= 80
    assert "no device or network of the policy tells whose traffic some of this is" in flat(err)
    assert "--group ID decides as for another; there are " in flat(err)
    assert "ks2" in err
    assert explain(path, "--group", "ks2")[2] == ""


def test_explain_decides_as_for_another_group(explain, visit):
    assert "[matrix:gambling:ks2]" in explain(visit(), "--group", "ks2")[1]
    assert "Staff" in explain(visit(), "--group", "staff")[1]
    code, _, err = explain(visit(), "--group", "ks9")
    assert code == 1
    assert err.startswith("group: 'ks9' is no group; allowed are ")


def test_explain_knows_an_address_that_a_list_of_the_school_holds(
    explain, visit, school, steward, tmp_path
):
    """A file, compiled, published, mapped, and asked by the classifier."""
    relays = tmp_path / "relays"
    relays.write_text(f"# relays\n198.51.100.0/24\n{SERVER}\n2001:db8::66\n")
    for group in ("ks2", "staff"):
        assert "[default:" in explain(visit("maths.example"), "--group", group)[1]
    school.add_list(name="relays", category="tor", path=str(relays), actor="coordinator")
    steward.look()
    for group in ("ks2", "staff"):
        out = flat(explain(visit("maths.example"), "--group", group)[1])
        assert "an HTTP request for maths.example; blocked" in out
        assert "the address it goes to is on a list: “Getting round" in out
        assert f"[matrix:bypass:{group}]" in out


def test_explain_prints_json_a_line(explain, visit):
    lines = [json.loads(line) for line in explain(visit(), "--json")[1].splitlines()]
    assert [line.get("packet") for line in lines] == [1, 2, 3, 4, None]
    assert (lines[2]["by"], lines[2]["outcome"], lines[2]["flags"]) == (
        "classifier",
        "blocked",
        ["PSH", "ACK"],
    )
    assert lines[2]["event"]["name"] == lines[4]["event"]["name"] == "www.bet365.com"
    assert lines[4]["flow"] == f"{CLIENT}:40000 > {SERVER}:80"


def test_explain_takes_a_time_and_a_snapshot(explain, visit, steward, tmp_path):
    assert "as at 2027-01-22 10:30." in explain(visit(), "--at", "2027-01-22T10:30")[1]
    code, _, err = explain(visit(), "--at", "noon")
    assert (code, err) == (1, "at: 'noon' is no date and time such as 2027-01-22T10:30\n")
    snapshot = steward.places.snapshots / "policy"
    assert explain(visit(), "--snapshot", snapshot)[0] == 0
    damaged = tmp_path / "policy"
    damaged.write_bytes(snapshot.read_bytes()[:-1])
    code, _, err = explain(visit(), "--snapshot", damaged)
    assert code == 1
    assert f"{damaged}: snapshot cut short" in err
    damaged.write_bytes(snapshot.read_bytes())
    code, _, err = explain(visit(), "--snapshot", damaged)
    assert code == 1
    assert "no compiled lists at" in err
    code, _, err = explain(visit(), "--snapshot", tmp_path / "none")
    assert (code, "no snapshot at" in err) == (1, True)


def test_explain_says_where_it_took_who_opened_a_flow_for_the_client(explain, tmp_path):
    path = tmp_path / "capture.pcap"
    segment = IP(src="198.51.100.7", dst=SERVER) / TCP(sport=1, dport=443, flags="S")
    wrpcap(str(path), [Ether(src=ROUTER, dst=ROUTER) / segment])
    code, out, err = explain(path)
    assert code == 0
    assert f"out  198.51.100.7:1 > {SERVER}:443" in out
    assert err.startswith("the addresses of 1 packets do not tell which side")
    assert "--client ADDRESS" in err
    assert explain(path, "--client", "198.51.100.7")[2] == ""
    code, out, err = explain(path, "--client", TABLET.upper())
    assert (code, TABLET in out) == (0, False)
    assert "1 frames were left out" in err
    code, _, err = explain(path, "--client", "tablet")
    assert code == 1
    assert err.startswith("client: 'tablet' is neither an address such as 192.168.1.20")


def test_explain_says_what_is_wrong_with_a_file(explain, visit, tmp_path):
    path = visit()
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = explain(path)
    assert code == 1
    assert "\n     3 " in out
    assert err == f"{path}: behind packet 3: the file is cut short\n"
    path.write_text("no capture")
    code, out, err = explain(path)
    assert (code, out) == (2, "")
    assert f"{path}: begins with 6e6f2063; allowed are captures in pcap or pcapng" in err
    none = tmp_path / "none"
    told = f"{none}: can't be read: No such file or directory\n"
    assert explain(none) == (2, "", told)
    # Before it is looked whether there is a policy at all.
    assert explain(none, "--snapshot", none) == (2, "", told)


def test_explain_hands_the_terminal_nothing_that_it_obeys(explain, tmp_path):
    path = tmp_path / "a\x1b[31m.pcap"
    with PcapWriter(str(path), linktype=1) as writer:
        writer.write_header(None)
        hostile = b"GET / HTTP/1.1\r\nHost: \x1b]0;x\x07.example\r\n\r\n"
        up = Ether(src=TABLET, dst=ROUTER) / IP(src=CLIENT, dst=SERVER)
        for segment in (
            TCP(sport=1, dport=80, flags="S", seq=100),
            TCP(sport=1, dport=80, flags="PA", seq=101) / hostile,
        ):
            writer.write_packet(bytes(up / segment))
        writer.write_packet(struct.pack("!6s6sH", b"\2" * 6, b"\2" * 6, 0x0800) + b"\x1b[2J")
    with path.open("ab") as file:
        file.write(b"x")
    code, out, err = explain(path)
    assert code == 1
    assert "classifier: unreadable: " in out
    assert "\\x1b[31m.pcap" in err
    assert {c for c in out + err if not c.isprintable()} == {"\n"}


@pytest.mark.skipif(
    not HELLO.exists(),
    reason=f"../shared is absent: no capture at {HELLO}; SCHOOLGATE_SHARED may say where it is",
)
def test_explain_reads_a_hello_in_three_segments(explain):
    code, out, err = explain(HELLO, "--group", "ks2")
    assert (code, err) == (0, "")
    assert "a TLS hello, not complete after 496 octets" in out
    assert "the server's own hello: from here on the kernel carries the flow" in out
    assert "62 packets" in out
