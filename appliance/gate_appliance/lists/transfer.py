"""Zone transfers of response policy zones: whole (AXFR) or what has changed (IXFR), signed with TSIG where there is a key.

dnspython speaks to the primary; what it reads goes to a file record by record, so that a zone of any size takes no room.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.xfr

from gate_appliance.lists.download import Limits, Room
from gate_appliance.lists.formats import ListError
from gate_appliance.lists.work import Progress
from gate_core.sources import zone_of

_MAX_CHANGES: Final = 500_000
"""Records of an IXFR that are held at once; a zone that changes more is transferred whole."""

_MAX_HELD: Final = 32 << 20
"""Octets of such records."""

_TELL_EVERY: Final = 1000

_FAULTS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    (
        (dns.tsig.PeerBadKey, dns.tsig.PeerBadSignature),
        "the primary does not accept the key",
    ),
    (
        (dns.tsig.PeerBadTime, dns.tsig.BadTime),
        "the clocks of the primary and of this box differ too much",
    ),
    (
        (dns.tsig.BadSignature, dns.tsig.PeerError, dns.message.UnknownTSIGKey),
        "the answer is not signed with the key",
    ),
    ((EOFError,), "cut short: the primary ended the connection"),
)


def transfer(
    url: str,
    into: str,
    last: str,
    validators: Mapping[str, str],
    key: Mapping[str, str],
    limits: Mapping[str, Any],
    *,
    progress: Progress,
) -> dict[str, Any]:
    """Put the zone that ``url`` names into the file ``into``, unless it has the serial that ``validators`` tell of.

    Args:
        url: ``rpz://ADDRESS[:PORT]/ZONE``.
        into: Where to put it, as a zone file; nothing is left there where this raises.
        last: The zone file of the last time.
        validators: ``serial`` of the last time; empty to get the zone whole.
        key: ``name``, ``algorithm`` and ``secret`` of the TSIG key; empty without one.
        limits: ``download.Limits``.
        progress: Is told of ``connecting`` and ``downloading``, in records.

    Returns:
        ``changed``, and, where it is: ``octets`` and ``validators`` of this time.

    Raises:
        ListError: The zone went back to an older serial.
        OSError: It can't be got: no answer, refused, wrong key, cut short, no room.
    """
    zone = zone_of(url)
    path = Path(into)
    bounds = Limits(**limits)
    room = Room(path.parent, bounds)
    room.demand(2 * Path(last).stat().st_size if Path(last).exists() else 0)
    serial = int(validators["serial"]) if validators.get("serial") and Path(last).exists() else None
    progress("connecting", 0, 0)
    try:
        while True:
            sink = _Sink(dns.name.from_text(zone.name), Path(last), path, room, progress)
            query = _query(sink.origin, serial, key)
            try:
                dns.query.inbound_xfr(
                    zone.address,
                    sink,  # type: ignore[arg-type]  # what of a transaction manager is used here
                    query,
                    port=zone.port,
                    timeout=bounds.idle_s,
                    lifetime=bounds.total_s,
                )
            except (_UnfitError, dns.exception.FormError) as e:
                if serial is None or isinstance(e, dns.xfr.SerialWentBackwards):
                    raise
                # What has changed does not fit what we have: the whole zone then.
                serial = None
                continue
            if not sink.octets:
                return {"changed": False}
            return {
                "changed": True,
                "octets": sink.octets,
                "validators": {"serial": str(sink.serial)},
            }
    except BaseException as e:
        path.unlink(missing_ok=True)
        raise _told(e) from e


def _query(
    origin: dns.name.Name, serial: int | None, key: Mapping[str, str]
) -> dns.message.Message:
    kind = dns.rdatatype.AXFR if serial is None else dns.rdatatype.IXFR
    query = dns.message.make_query(origin, kind, dns.rdataclass.IN)
    if serial is not None:
        soa = dns.rdata.from_text("IN", "SOA", f". . {serial} 0 0 0 0")
        query.find_rrset(
            query.authority, origin, dns.rdataclass.IN, dns.rdatatype.SOA, create=True
        ).add(soa)
    if key:
        name = dns.name.from_text(key["name"])
        query.use_tsig(dns.tsig.Key(name, key["secret"], key["algorithm"]))
    return query


def _told(fault: BaseException) -> BaseException:
    """Return ``fault`` as a builtin kind, with a message for people."""
    if isinstance(fault, dns.xfr.SerialWentBackwards):
        return ListError("the serial of the zone went back; the primary may have been set up anew")
    if isinstance(fault, dns.xfr.TransferError):
        return OSError(f"the primary refuses: {dns.rcode.to_text(fault.rcode)}")
    if isinstance(fault, dns.exception.Timeout):
        return TimeoutError("the primary does not answer in time")
    for kinds, text in _FAULTS:
        if isinstance(fault, kinds):
            return OSError(text)
    if isinstance(fault, _UnfitError | dns.exception.DNSException):
        return OSError(f"the transfer makes no sense ({str(fault)[:100] or type(fault).__name__})")
    return fault


class _UnfitError(ValueError):
    """Changes that do not fit the zone as it was."""


class _Sink:
    """What ``dns.xfr.Inbound`` uses of a transaction manager and its transaction; the zone is a file."""

    def __init__(
        self, origin: dns.name.Name, last: Path, path: Path, room: Room, progress: Progress
    ) -> None:
        self.origin = origin
        self.serial = 0
        self.octets = 0
        """Length of the file, once it is whole; 0 where nothing has changed."""
        self._last = last
        self._path = path
        self._room = room
        self._progress = progress
        self._file: Any = None
        self._added: dict[str, None] = {}
        self._deleted: set[str] = set()
        self._records = 0
        self._held = self._written = 0
        """Octets, of changes and in the file."""

    # The manager

    def origin_information(self) -> tuple[dns.name.Name, bool, dns.name.Name]:
        return self.origin, True, dns.name.empty

    def from_wire_origin(self) -> dns.name.Name:
        return self.origin

    def writer(self, replacement: bool = False) -> _Sink:
        self.rollback()
        if replacement:
            self._written = 0
            self._file = self._path.open("w", encoding="ascii")
            # The serial is kept apart: what has changed is told by whole lines.
            self._write(f"$ORIGIN {self.origin.to_text()}\n@ SOA . . 0 0 0 0 0\n")
        return self

    # The transaction

    def add(self, name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> None:
        for line in self._lines(name, rdataset):
            if self._file:
                self._write(line)
            elif line in self._deleted:
                self._deleted.remove(line)
            else:
                self._added[line] = None
                self._hold(line)
        self._count()

    def delete_exact(self, name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> None:
        for line in self._lines(name, rdataset):
            if line in self._added:
                del self._added[line]
            else:
                self._deleted.add(line)
                self._hold(line)
        self._count()

    def replace(self, _name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> None:
        """Take the zone's SOA."""
        self.serial = rdataset[0].serial

    def commit(self) -> None:
        if not self._file:
            self._merge()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.octets = self._file.tell()
        self._file.close()
        self._file = None

    def rollback(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _merge(self) -> None:
        self._file = self._path.open("w", encoding="ascii")
        missing = set(self._deleted)
        with self._last.open(encoding="ascii") as lines:
            for line in lines:
                if line in missing:
                    missing.remove(line)
                else:
                    self._write(line)
        if missing:
            raise _UnfitError(f"{len(missing)} records were to go that are not there")
        for line in self._added:
            self._write(line)

    def _lines(self, name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> list[str]:
        owner = name.canonicalize().to_text()
        kind = dns.rdatatype.to_text(rdataset.rdtype)
        # Names in the data stay absolute: "rpz-passthru." means something else below the zone.
        return [
            f"{owner} {kind} {rdata.to_text(origin=self.origin, relativize=False)}\n"
            for rdata in rdataset
        ]

    def _hold(self, line: str) -> None:
        self._held += len(line)
        if self._held > _MAX_HELD or len(self._added) + len(self._deleted) > _MAX_CHANGES:
            raise _UnfitError("too many changes at once")

    def _write(self, line: str) -> None:
        # By octets, not by records: one of those may have 64 KiB.
        self._written += len(line)
        self._room.demand(self._written)
        self._file.write(line)

    def _count(self) -> None:
        self._records += 1
        if self._records % _TELL_EVERY == 0:
            self._progress("downloading", self._records, 0)
