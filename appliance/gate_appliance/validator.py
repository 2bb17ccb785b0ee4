"""An Unbound of our own between the sinkhole and the upstreams, which checks signatures (DNSSEC, RFC 4035).

It asks the same upstreams and nobody else: what the school's ISP filters stays filtered.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from gate_appliance.places import Places
from gate_appliance.supervisor import die_with_parent
from gate_core.config import DnsConfig
from gate_core.names import parse_name
from gate_core.ports import Clock
from gate_core.upstreams import Upstream, parse_upstream
from gate_dns.forwarding.handed_out import HandedOut

_log = logging.getLogger(__name__)

PROGRAM: Final = "/usr/sbin/unbound"
ROOT_ANCHOR: Final = Path("/usr/share/dns/root.key")
"""The root's key, of Debian's package dns-root-data: it is renewed with the system."""
AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
LOOK_S: Final = 1.0
"""How often is looked whether something has changed."""
_STOP_WITHIN_S: Final = 5.0


def render_unbound(
    config: DnsConfig,
    upstreams: tuple[Upstream, ...],
    *,
    clock_known: bool,
    anchor: Path = ROOT_ANCHOR,
) -> str:
    """Return the configuration of Unbound (unbound.conf(5)).

    Args:
        config: The table ``dns``.
        upstreams: Whom it forwards to: at least one, all of them over TLS or none.
        clock_known: Whether the times of signatures can be checked: without it none would hold, and there would be no
            name to set the clock by.
        anchor: File of the keys that are trusted.
    """
    lines = [
        "server:",
        "interface: 127.0.0.1",
        f"port: {config.validator_port}",
        "access-control: 127.0.0.0/8 allow",
        "do-daemonize: no",
        "use-syslog: no",
        'logfile: ""',
        # Privileges belong to systemd.
        'username: ""',
        'chroot: ""',
        'pidfile: ""',
        # One small process: the answers are kept by the sinkhole.
        "num-threads: 1",
        "msg-cache-size: 4m",
        "rrset-cache-size: 8m",
        "key-cache-size: 1m",
        "neg-cache-size: 1m",
        "infra-cache-numhosts: 100",
        "outgoing-range: 256",
        "edns-buffer-size: 1232",
        'module-config: "validator iterator"',
        f'trust-anchor-file: "{anchor}"',
        "ede: yes",
        "hide-identity: yes",
        "hide-version: yes",
        # Names of the school and of private addresses, so far as they come here at all, are the upstreams'.
        "unblock-lan-zones: yes",
        "insecure-lan-zones: yes",
        "do-not-query-localhost: no",
        f'tls-cert-bundle: "{config.tls_authorities or AUTHORITIES}"',
        *(f'domain-insecure: "{parse_name(name)}."' for name in config.zones),
        *([] if clock_known else ["val-override-date: -1"]),
        "remote-control:",
        "control-enable: no",
        "forward-zone:",
        'name: "."',
        *(f"forward-addr: {_forward_address(upstream)}" for upstream in upstreams),
        *(["forward-tls-upstream: yes"] if any(u.tls_name for u in upstreams) else []),
    ]
    return "\n".join(lines) + "\n"


def _forward_address(upstream: Upstream) -> str:
    name = f"#{upstream.tls_name}" if upstream.tls_name else ""
    return f"{upstream.address}@{upstream.port}{name}"


def answers(port: int) -> bool:
    """Tell whether an Unbound runs at ``port``; may take a second."""
    # It knows this name by itself (RFC 6761, section 6.3): no resolver's silence is taken for its own.
    query = dns.message.make_query("localhost.", dns.rdatatype.A)
    try:
        dns.query.udp(query, "127.0.0.1", timeout=1.0, port=port)
    except (OSError, dns.exception.DNSException):
        return False
    return True


class MissingPackageError(OSError):
    """A package of the system is not installed; the message says what to install."""


class Validator:
    """The Unbound of an appliance, kept to the upstreams and the clock."""

    def __init__(
        self, config: DnsConfig, places: Places, clock: Clock, anchor: Path = ROOT_ANCHOR
    ) -> None:
        """Start nothing yet; for ``anchor`` see ``render_unbound``."""
        self._config = config
        self._clock = clock
        self._anchor = anchor
        self._file = places.run / "unbound.conf"
        self._upstreams = tuple(map(parse_upstream, config.upstreams))
        self._handed_out = None if self._upstreams else HandedOut()
        self._written = ""
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Run it until an exception ends it.

        Raises:
            ChildProcessError: It has ended by itself.
            MissingPackageError: It, or the root's key, is not installed.
        """
        try:
            while True:
                self.look()
                if self._process:
                    self._wait(LOOK_S)
                else:
                    time.sleep(LOOK_S)
        finally:
            self.close()

    def look(self) -> None:
        """Start it, or tell it what has changed.

        Raises:
            MissingPackageError: It, or the root's key, is not installed.
        """
        if not self._process:
            for file in (Path(PROGRAM), self._anchor):
                if not file.exists():
                    raise MissingPackageError(
                        f"dns.dnssec = 'validate' needs Debian's packages unbound and dns-root-data: {file} is missing."
                        " Install them (apt install unbound dns-root-data), or set dns.dnssec = 'pass'"
                    )
        if self._handed_out:
            self._upstreams = self._handed_out.read() or self._upstreams
        if not self._upstreams:
            return  # Without a resolver to forward to it would ask the whole world, past the ISP's filter.
        text = render_unbound(
            self._config,
            self._upstreams,
            clock_known=self._clock.now() is not None,
            anchor=self._anchor,
        )
        if text == self._written:
            return
        self._file.write_text(text)
        self._written = text
        if self._process:
            self._process.send_signal(signal.SIGHUP)
        else:
            self._process = subprocess.Popen(  # noqa: S603  # the system's own program, by its full path
                [PROGRAM, "-d", "-p", "-c", str(self._file)],
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,  # noqa: PLW1509  # this part has one thread
            )
        _log.info("action=validate upstreams=%s", ",".join(map(str, self._upstreams)))

    def _wait(self, within_s: float) -> None:
        if self._process:
            try:
                code = self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                return
            raise ChildProcessError(f"{PROGRAM} has ended with exit code {code}")

    def close(self) -> None:
        """End it."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
