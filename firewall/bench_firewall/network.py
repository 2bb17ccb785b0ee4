"""Client, box and server in three network namespaces; a set of them for each way to pass packets."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import enter_own_network

PUPIL: Final = "10.77.0.10"
STAFF: Final = "10.77.0.20"
"""Two addresses of the client, of two groups."""
BOX: Final = "10.77.0.2/24"
ROUTER: Final = "10.77.0.1"
SERVER: Final = "203.0.113.5"
"""Behind the router's address; one machine has both."""
BRIDGE, SWITCH_PORT, ROUTER_PORT = "br0", "lan0", "wan0"

_CLONE_NEWNS: Final = 0x00020000
_NAMED: Final = Path("/run/netns")
"""Where iproute2 keeps the names of network namespaces."""

_CLIENT: Final = f"""
link set lo up
link set eth0 up
address add {PUPIL}/24 dev eth0
address add {STAFF}/24 dev eth0
route add default via {ROUTER}
"""
_BOX: Final = f"""
link set lo up
link set {SWITCH_PORT} up
link set {ROUTER_PORT} up
"""
_SERVER: Final = f"""
link set lo up
link set eth0 up
address add {ROUTER}/24 dev eth0
address add {SERVER}/32 dev lo
"""
# As the firewall makes its own: no spanning tree, no delay, no snooping.
_BRIDGED: Final = f"""
link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set {SWITCH_PORT} master {BRIDGE}
link set {ROUTER_PORT} master {BRIDGE}
link set {BRIDGE} up
"""


def enter_own_room() -> None:
    """Move this process to where the mounts and networks that it makes are nobody else's, and end with it."""
    enter_own_network(())
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "making a mount namespace, for which root is needed")
    mount("--make-rprivate", "/")
    _NAMED.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "tmpfs", str(_NAMED))


def mount(*words: str) -> None:
    """Mount, with the words that the program of that name takes."""
    subprocess.run(("mount", *words), check=True)  # noqa: S603, S607  # Debian's own


@dataclass(frozen=True, slots=True)
class Site:
    """Client, box and server, in a row."""

    name: str

    def build(self) -> None:
        """Make the namespaces and the cables between them; the box passes nothing on."""
        client, box, server = (self.namespace(place) for place in ("client", "box", "server"))
        _ip(f"netns add {client}\nnetns add {box}\nnetns add {server}\n")
        _ip(
            f"link add eth0 netns {client} type veth peer name {SWITCH_PORT} netns {box}\n"
            f"link add eth0 netns {server} type veth peer name {ROUTER_PORT} netns {box}\n"
        )
        for namespace, text in ((client, _CLIENT), (box, _BOX), (server, _SERVER)):
            _ip(text, namespace)
        # Ports of a connection that is over are held for a minute, and thousands are opened in a second.
        self.run("client", "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")

    def bridge(self, *, filtered: bool) -> None:
        """Let the box pass frames on; ``filtered``: past the rules for IP packets, of which there are none yet."""
        for family in ("ip", "ip6", "arp"):
            key = f"net.bridge.bridge-nf-call-{family}tables"
            self.run("box", "sysctl", "-qw", f"{key}={int(filtered)}")
        _ip(_BRIDGED, self.namespace("box"))

    def namespace(self, place: str) -> str:
        """Return the name of the namespace of ``client``, ``box`` or ``server``."""
        return f"{self.name}-{place}"

    def path(self, place: str) -> Path:
        """Return the file that stands for the namespace of ``client``, ``box`` or ``server``."""
        return _NAMED / self.namespace(place)

    def inside(self, place: str, *words: str) -> list[str]:
        """Return the command ``words``, run in ``client``, ``box`` or ``server``."""
        return ["ip", "netns", "exec", self.namespace(place), *words]

    def run(self, place: str, *words: str, text: str = "") -> str:
        """Run ``words`` in ``client``, ``box`` or ``server`` with ``text`` as input, and return the output.

        Raises:
            OSError: It failed; with what it said.
        """
        command = self.inside(place, *words)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout


def _ip(text: str, namespace: str = "") -> None:
    where = ("-n", namespace) if namespace else ()
    subprocess.run(("ip", *where, "-batch", "-"), input=text, text=True, check=True)  # noqa: S603, S607  # Debian's own
