"""The school's own lists as a response policy zone, for secondaries of the school or its trust; off unless configured.

A part of its own, beside the DNS workers: it answers SOA, AXFR and IXFR (by the whole zone) to named addresses with the right
TSIG key, and nobody else. Lists of illegal content are never served, since their names must not be published. Resolvers
that transfer the zone get what is on the lists, not what the school's policy makes of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.renderer
import dns.rrset
import dns.serial
import dns.tsig

from gate_appliance.durable import write_durably
from gate_appliance.library import is_illegal
from gate_appliance.lists import work
from gate_appliance.lists.jobs import gather
from gate_appliance.places import Places
from gate_core.config import ServedZoneConfig

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
TTL_S: Final = 300
REFRESH_S: Final = 300
"""How often secondaries look for a newer zone."""

_IDLE_S: Final = 30.0
_MOST_AT_ONCE: Final = 8
_MESSAGE_OCTETS: Final = 16 << 10
_LEAST_KEY_OCTETS: Final = 16
_SERIAL: Final = "served-zone.json"
_RECORDS: Final = "served-zone"

# Owner names end in a pointer to the question, which stands behind the header of each message (RFC 1035, section 4.1.4).
_TAIL: Final = struct.Struct("!HHHIH")
_ROOT: Final = b"\0"
_PASSTHRU: Final = b"\x0crpz-passthru\0"


class KeyFileError(ValueError):
    """The file of the key can't be used; the message tells why."""


class Contents:
    """What is served: a file of names and a serial that grows with each change of it."""

    def __init__(self, places: Places, categories: tuple[str, ...]) -> None:
        """Read what was served last."""
        self._places = places
        self._categories = tuple(c for c in categories if not is_illegal(c))
        self._seen: object = None
        try:
            known = json.loads((places.state / _SERIAL).read_bytes())
            self._sha256, self.serial = str(known["sha256"]), int(known["serial"])
        except (OSError, ValueError, KeyError, TypeError):
            self._sha256, self.serial = "", 0

    def refresh(self, now_s: int) -> bool:
        """Take what the lists have now; return whether it is something else, under a higher serial.

        Raises:
            OSError: The lists can't be read, or the disk is full.
        """
        files = sorted(p for c in self._categories for p in (self._places.lists / c).glob("*"))
        seen = [(str(p), s.st_mtime_ns, s.st_size) for p in files for s in (p.stat(),)]
        if seen == self._seen:
            return False
        arguments = {"files": [str(p) for p in files], "into": str(self._records)}
        sha256 = work.run(gather, arguments, sum(size for _, _, size in seen))["sha256"]
        changed = bool(sha256 != self._sha256)
        if changed:
            # The time, so that it is higher than any of a box that was set up before this one.
            self.serial = max((self.serial + 1) & 0xFFFFFFFF, now_s)
            self._sha256 = sha256
            kept = {"sha256": sha256, "serial": self.serial}
            write_durably(self._places.state / _SERIAL, json.dumps(kept).encode())
        self._seen = seen
        return changed

    def records(self) -> Iterator[bytes]:
        """Yield the records below the apex on the wire, owner names pointing to a question at octet 12."""
        with self._records.open("rb") as lines:
            for line in lines:
                name = line.strip()
                target = _ROOT
                if name.startswith(b"!"):
                    name, target = name[1:], _PASSTHRU
                labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
                # 255 octets on the wire are the most (RFC 1035, section 2.3.4); 60 are left for the zone's own name.
                if len(labels) > 190:
                    continue
                rest = _TAIL.pack(0xC00C, dns.rdatatype.CNAME, 1, TTL_S, len(target)) + target
                yield labels + rest + b"\x01*" + labels + rest

    @property
    def _records(self) -> Path:
        return self._places.run / _RECORDS


@dataclass(frozen=True, slots=True)
class Zone:
    """What is served under which name, to whom."""

    origin: dns.name.Name
    key: dns.tsig.Key
    secondaries: frozenset[str]
    contents: Contents

    def answers(self, wire: bytes, source: str, *, over_tcp: bool) -> Iterator[bytes]:
        """Yield the messages that answer ``wire``; none where silence is the answer."""
        if source not in self.secondaries:
            return
        try:
            query = dns.message.from_wire(wire, keyring={self.key.name: self.key})
        except (
            dns.tsig.BadSignature,
            dns.tsig.BadKey,
            dns.tsig.BadTime,
            dns.message.UnknownTSIGKey,
            dns.tsig.BadAlgorithm,
        ):
            yield _bare(wire, dns.rcode.NOTAUTH)
            return
        except (dns.exception.DNSException, ValueError):
            yield from [_bare(wire, dns.rcode.FORMERR)] if len(wire) >= 12 else []
            return
        if query.flags & dns.flags.QR:
            return
        yield from self._answers(query, over_tcp)

    def _answers(self, query: dns.message.Message, over_tcp: bool) -> Iterator[bytes]:
        question = query.question[0] if len(query.question) == 1 else None
        response = dns.message.make_response(query)
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
        elif (
            not query.had_tsig
            or question is None
            or (question.name, question.rdclass) != (self.origin, dns.rdataclass.IN)
            or question.rdtype not in (dns.rdatatype.SOA, dns.rdatatype.AXFR, dns.rdatatype.IXFR)
            or (question.rdtype == dns.rdatatype.AXFR and not over_tcp)
        ):
            response.set_rcode(dns.rcode.REFUSED)
        elif question.rdtype == dns.rdatatype.SOA or self._is_up_to_date(query) or not over_tcp:
            # Over UDP an IXFR is answered by the SOA alone: then the secondary asks over TCP (RFC 1995, section 2).
            response.flags |= dns.flags.AA
            response.answer.append(dns.rrset.from_rdata(self.origin, TTL_S, self._soa()))
        else:
            yield from self._transfer(query, question.rdtype)
            return
        yield response.to_wire()

    def _is_up_to_date(self, query: dns.message.Message) -> bool:
        if query.question[0].rdtype != dns.rdatatype.IXFR:
            return False
        has = [rrset[0].serial for rrset in query.authority if rrset.rdtype == dns.rdatatype.SOA]
        return bool(has) and dns.serial.Serial(has[0]) >= dns.serial.Serial(self.contents.serial)

    def _soa(self) -> Any:
        # An expiry of four weeks: a school's holidays.
        numbers = f"{self.contents.serial} {REFRESH_S} 60 2419200 300"
        return dns.rdata.from_text("IN", "SOA", f"localhost. hostmaster.localhost. {numbers}")

    def _transfer(
        self, query: dns.message.Message, rdtype: dns.rdatatype.RdataType
    ) -> Iterator[bytes]:
        soa = self._apex(self._soa())
        ns = self._apex(dns.rdata.from_text("IN", "NS", "localhost."))
        context = None
        waiting = [(soa, 1), (ns, 1)]
        size = 0
        for record in self.contents.records():
            waiting.append((record, 2))
            size += len(record)
            if size >= _MESSAGE_OCTETS:
                message, context = self._message(query, rdtype, waiting, context)
                yield message
                waiting, size = [], 0
        yield self._message(query, rdtype, [*waiting, (soa, 1)], context)[0]

    def _apex(self, rdata: Any) -> bytes:
        octets = rdata.to_wire()
        return _TAIL.pack(0xC00C, rdata.rdtype, 1, TTL_S, len(octets)) + octets  # type: ignore[no-any-return]

    def _message(
        self,
        query: dns.message.Message,
        rdtype: dns.rdatatype.RdataType,
        records: list[tuple[bytes, int]],
        context: Any,
    ) -> tuple[bytes, Any]:
        """Return one message of a transfer, signed as what follows those that ``context`` tells of."""
        new: Any = dns.renderer.Renderer  # It has no types.
        renderer = new(query.id, dns.flags.QR | dns.flags.AA)
        renderer.add_question(self.origin, rdtype)
        renderer.output.write(b"".join(octets for octets, _ in records))
        renderer.counts[dns.renderer.ANSWER] = sum(count for _, count in records)
        renderer.section = dns.renderer.ANSWER
        renderer.write_header()
        context = renderer.add_multi_tsig(
            context, self.key.name, self.key, 300, query.id, 0, b"", query.mac, self.key.algorithm
        )
        return renderer.get_wire(), context


def _bare(wire: bytes, rcode: int) -> bytes:
    """Return a header alone, unsigned: to whom can't prove who it is, no more is said."""
    flags = struct.unpack_from("!H", wire, 2)[0] & 0x7900 | 0x8000 | rcode
    return wire[:2] + struct.pack("!HHHHH", flags, 0, 0, 0, 0)


def read_key(config: ServedZoneConfig) -> dns.tsig.Key:
    """Return the TSIG key of the configuration.

    Raises:
        KeyFileError: The file is missing, others may read it, or it holds no key.
    """
    path = Path(config.key_file)
    try:
        mode = path.stat().st_mode
        key = dns.tsig.Key(config.key_name, path.read_text("ascii").strip(), config.key_algorithm)
    except (OSError, ValueError, dns.exception.DNSException) as e:
        raise KeyFileError(f"{path}: {e}; the key in base64 is wanted") from e
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"{path}: others may read it; chmod 600 is wanted")
    if len(key.secret) < _LEAST_KEY_OCTETS:
        raise KeyFileError(
            f"{path}: a key of {_LEAST_KEY_OCTETS} octets or more in base64 is wanted"
        )
    return key


class _Tcp(socketserver.StreamRequestHandler):
    timeout = _IDLE_S

    def handle(self) -> None:
        server = self.server
        if not server.room.acquire(blocking=False):  # type: ignore[attr-defined]
            return
        try:
            with contextlib.suppress(OSError):
                while len(length := self.rfile.read(2)) == 2:
                    wire = self.rfile.read(int.from_bytes(length, "big"))
                    source = self.client_address[0]
                    for answer in server.zone.answers(wire, source, over_tcp=True):  # type: ignore[attr-defined]
                        self.wfile.write(len(answer).to_bytes(2, "big") + answer)
        finally:
            server.room.release()  # type: ignore[attr-defined]


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, its = self.request
        source = self.client_address[0]
        for answer in self.server.zone.answers(wire, source, over_tcp=False):  # type: ignore[attr-defined]
            with contextlib.suppress(OSError):
                its.sendto(answer, self.client_address)


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def verify_request(self, _: Any, client_address: Any) -> bool:
        # A stranger takes up no room.
        return client_address[0] in self.zone.secondaries  # type: ignore[attr-defined]


class ZoneServer:
    """Serves the zone at one address, UDP and TCP."""

    def __init__(self, zone: Zone, address: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address can't be listened on.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        tcp_kind = type("_Tcp", (_TcpServer,), {"address_family": family})
        udp_kind = type("_Udp", (socketserver.UDPServer,), {"address_family": family})
        self._servers: list[Any] = [tcp_kind((address, port), _Tcp)]
        self.port = self._servers[0].server_address[1]
        try:
            self._servers.append(udp_kind((address, self.port), _Udp))
        except OSError:
            self.close()
            raise
        for server in self._servers:
            server.zone = zone
            server.room = threading.BoundedSemaphore(_MOST_AT_ONCE)
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        for server in self._servers:
            if hasattr(server, "zone"):
                server.shutdown()
            server.server_close()


def serve(
    config: ServedZoneConfig,
    places: Places,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Serve the zone until the process ends.

    Raises:
        KeyFileError: The key can't be used.
        OSError: An address can't be listened on.
    """
    contents = Contents(places, config.categories)
    contents.refresh(int(time.time()))
    zone = Zone(
        dns.name.from_text(config.name), read_key(config), frozenset(config.secondaries), contents
    )
    for address in config.listen:
        ZoneServer(zone, address, config.port)
    while True:
        sleep(LOOK_EVERY_S)
        try:
            if contents.refresh(int(time.time())):
                _log.info("action=serve zone=%s serial=%d", config.name, contents.serial)
        except OSError as e:
            _log.error("action=refresh_zone fault=%s", e)  # the message says it all
