"""The resolvers that the network hands out: those of the router, as DHCP or router advertisements told this machine."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

from gate_core.clients import Address
from gate_core.upstreams import Upstream

_log = logging.getLogger(__name__)

RESOLV_FILES: Final = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
"""Best first: where systemd-resolved runs, the second names nobody but itself."""
MAX_UPSTREAMS: Final = 3
"""As many as the C library takes (resolv.conf(5))."""


def parse_resolv(text: str) -> tuple[Address, ...]:
    """Return the addresses of the name servers in a text as of resolv.conf(5); what is none is passed over."""
    found: list[Address] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                try:
                    found.append(ip_address(address))
                except ValueError:
                    continue
    return tuple(dict.fromkeys(found))


def is_ours(address: Address) -> bool:
    """Tell whether ``address`` is this machine's own: it would be asked what it asks."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


class HandedOut:
    """Files that name them, followed as they change."""

    def __init__(
        self,
        files: tuple[Path, ...] = RESOLV_FILES,
        ours: Callable[[Address], bool] = is_ours,
    ) -> None:
        """Read nothing yet.

        Args:
            files: Best first; the first that names a resolver counts.
            ours: Tells of an address whether it is to be left out.
        """
        self._files = files
        self._ours = ours
        self._seen: tuple[object, ...] = ()
        self._upstreams: tuple[Upstream, ...] = ()

    def read(self) -> tuple[Upstream, ...] | None:
        """Return the resolvers where they have changed; None where they have not, or none is named any more."""
        seen = tuple(_stamp(file) for file in self._files)
        if seen == self._seen:
            return None
        self._seen = seen
        found = next(filter(None, map(self._read, self._files)), ())
        if not found or found == self._upstreams:
            # A file that is just being written, or a cable pulled: the last good ones stay.
            return None
        _log.info("action=follow upstreams=%s", ",".join(map(str, found)))
        self._upstreams = found
        return found

    def _read(self, file: Path) -> tuple[Upstream, ...]:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ()
        good = [a for a in parse_resolv(text) if not _is_nobody(a) and not self._ours(a)]
        return tuple(map(Upstream, good[:MAX_UPSTREAMS]))


def _is_nobody(address: Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = mapped or address
    return address.is_loopback or address.is_unspecified or address.is_multicast


def _stamp(file: Path) -> object:
    """Return what changes when ``file`` does."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
