"""Programs that get round a filter: their servers in the laboratory's internet, and their clients.

Each is a shell script, so that it can be read as one would type it. Variables: ``FOLDER`` (keys and files, ``prepare``),
``SERVER`` (the address to connect to), ``HOST`` and ``NUMBER`` (of the client), ``PYTHON``, ``LAB`` (this directory).
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from internet import TUNNEL, TUNNEL_PORT
from laboratory import HERE, INSIDE, Laboratory
from plan import BOX, ROUTER, UNRESOLVED, Host, address_of
from sites import ALLOWED, BLOCKED

REMOTE = "remote.example"
"""A name on no list, at whose address all the servers are."""
PUBLIC_RESOLVER = "1.1.1.1"
"""One that serves DoH under its own address."""
FOLDER = INSIDE / "programs"
SHARED = b"what is shared " * 4000


@dataclass(frozen=True, slots=True)
class Program:
    """A client, and how to tell that it got through."""

    id: str
    protocol: str
    """Id of one of ``gate_core.protocols``; "" where nothing tells it from noise."""
    script: str
    works: str
    """Regular expression: what is in its output where it got through; "" where its datagram at the server is all."""
    server: str = str(address_of(REMOTE))
    closed_by: str = ""
    """What closes it to pupils before its protocol is asked for; "" for nothing."""


@dataclass(frozen=True, slots=True)
class Service:
    """A server, and how to tell that it is ready."""

    id: str
    script: str
    ready: str


KEYS = """
mkdir -p $FOLDER; cd $FOLDER; umask 077
for x in server laptop staff; do wg genkey > $x.wg; wg pubkey < $x.wg > $x.wg.pub; done
for x in server client; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -keyout $x.key -out $x.pem -subj /CN=$x
    openssl x509 -in $x.pem -noout -fingerprint -sha256 | cut -d= -f2 > $x.fingerprint
done
openvpn --genkey secret tls-crypt.key
for x in host user; do ssh-keygen -q -t ed25519 -N '' -f $x.ssh; done
# sshd runs as nobody of a user namespace of its own, which wants to read them.
chmod 755 .; chmod 644 user.ssh.pub
printf 'charon { \\n filelog { \\n stderr { \\n default = 1 \\n } \\n } \\n }' > strongswan.conf
"""

OPENVPN_SERVER = """
exec openvpn --multihome --dev ovpn{number} --dev-type tun --server 10.98.{number}.0 255.255.255.0 --dh none \
    --cert $FOLDER/server.pem --key $FOLDER/server.key --peer-fingerprint $(cat $FOLDER/client.fingerprint) {options}
"""
OPENVPN = """
exec openvpn --client --dev null --ifconfig-noexec --route-noexec --remote $SERVER {options} \
    --cert $FOLDER/client.pem --key $FOLDER/client.key --peer-fingerprint $(cat $FOLDER/server.fingerprint)
"""
OPENVPN_WORKS = "Initialization Sequence Completed"
SHADOWSOCKS = "-p 8388 -k secret -m chacha20-ietf-poly1305"
FETCH = f"curl -sS --max-time 4 http://{BLOCKED}/"
FETCHED = f"This is {BLOCKED}"
SSH = "ssh -F none -N -i $FOLDER/user.ssh -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
ARIA = "aria2c --dir=$(mktemp -d) --console-log-level=info --seed-time=0 --bt-stop-timeout=10"

SAY = """
exec $PYTHON -c '
import socket, sys
with socket.create_connection((sys.argv[1], {port}), 4) as s:
    s.sendall(bytes.fromhex("{octets}"))
    print("answered" if s.recv(9) else "")
' $SERVER
"""
SAID = "answered"

SERVICES = (
    Service("beyond", "exec $PYTHON $LAB/beyond.py /run/lab", "ready"),
    Service(
        "wireguard",
        """
        WG_PROCESS_FOREGROUND=1 wireguard-go -f wgserver &
        until wg set wgserver listen-port 51820 private-key $FOLDER/server.wg; do sleep 0.1; done
        wg set wgserver peer $(cat $FOLDER/laptop.wg.pub) allowed-ips 10.99.0.10/32
        wg set wgserver peer $(cat $FOLDER/staff.wg.pub) allowed-ips 10.99.0.20/32
        ip address add 10.99.0.1/24 dev wgserver
        ip link set wgserver up
        echo ready
        wait
        """,
        "ready",
    ),
    Service(
        "openvpn-udp",
        OPENVPN_SERVER.format(number=0, options="--proto udp --port 1194"),
        OPENVPN_WORKS,
    ),
    Service(
        "openvpn-tcp",
        OPENVPN_SERVER.format(number=1, options="--proto tcp-server --port 1194"),
        OPENVPN_WORKS,
    ),
    Service(
        "openvpn-tls-crypt",
        OPENVPN_SERVER.format(
            number=2, options="--proto udp --port 1195 --tls-crypt $FOLDER/tls-crypt.key"
        ),
        OPENVPN_WORKS,
    ),
    Service(
        "strongswan",
        "STRONGSWAN_CONF=$FOLDER/strongswan.conf exec /usr/lib/ipsec/charon",
        "spawning 16 worker threads",
    ),
    Service(
        "tor",
        """
        exec tor --ignore-missing-torrc -f $FOLDER/none --DataDirectory $FOLDER/tor-server --SocksPort 0 --ORPort '9001 IPv4Only' \
            --BridgeRelay 1 --AssumeReachable 1 --PublishServerDescriptor 0 --ExitPolicy 'reject *:*' \
            --Nickname laboratory --Address $SERVER
        """,
        "Bootstrapped 0%",
    ),
    Service(
        "sshd",
        """
        exec unshare --user --map-user=65534 /usr/sbin/sshd -D -e -f /dev/null -p 2222 -h $FOLDER/host.ssh \
            -o AuthorizedKeysFile=$FOLDER/user.ssh.pub -o StrictModes=no -o PidFile=none
        """,
        "Server listening",
    ),
    # A proxy like any other, though it is an SSH client that serves it.
    Service(
        "socks",
        f"until {SSH} -D 0.0.0.0:1080 nobody@127.0.0.1; do sleep 0.1; done",
        "Permanently added",
    ),
    Service("shadowsocks", f"exec ss-server -v -s 0.0.0.0 {SHADOWSOCKS}", "tcp server listening"),
    Service(
        "iodined",
        f"exec iodined -f -c -P secret -p {TUNNEL_PORT} -l 127.0.0.1 10.97.0.1/24 {TUNNEL}",
        "Listening to dns for domain",
    ),
    Service(
        "seeder",
        """
        exec aria2c --dir=$FOLDER --console-log-level=info --enable-dht=false --listen-port=6882 --seed-ratio=0 \
            --check-integrity=true --bt-seed-unverified=true $FOLDER/shared.torrent
        """,
        "listening on TCP port 6882",
    ),
)

PROGRAMS = (
    Program(
        "wireguard-go",
        "wireguard",
        """
        WG_PROCESS_FOREGROUND=1 wireguard-go -f wg$HOST &
        until wg set wg$HOST private-key $FOLDER/$HOST.wg; do sleep 0.1; done
        wg set wg$HOST peer $(cat $FOLDER/server.wg.pub) allowed-ips 10.99.0.1/32 endpoint $SERVER:51820
        ip address add 10.99.0.$NUMBER/24 dev wg$HOST
        ip link set wg$HOST up
        exec ping -c 1 -W 4 10.99.0.1
        """,
        "1 received",
    ),
    Program("openvpn-udp", "openvpn", OPENVPN.format(options="1194 --proto udp"), OPENVPN_WORKS),
    Program(
        "openvpn-tcp", "openvpn", OPENVPN.format(options="1194 --proto tcp-client"), OPENVPN_WORKS
    ),
    Program(
        "openvpn-tls-crypt",
        "openvpn",
        OPENVPN.format(options="1195 --proto udp --tls-crypt $FOLDER/tls-crypt.key"),
        OPENVPN_WORKS,
    ),
    # charon has no configuration for anybody: that it says so is an answer.
    Program("ike-scan", "ipsec", "exec ike-scan --sport=0 --retry=1 $SERVER", "1 returned notify"),
    Program(
        "ike-scan-2",
        "ipsec",
        "exec ike-scan --ikev2 --sport=0 --retry=1 $SERVER",
        "1 returned notify",
    ),
    Program(
        "tor",
        "tor",
        """
        exec tor --ignore-missing-torrc -f $FOLDER/none --DataDirectory $FOLDER/tor-$HOST --SocksPort 0 --UseBridges 1 --Bridge $SERVER:9001
        """,
        "Handshake with a relay done",
    ),
    Program(
        "ssh-d",
        "ssh",
        f"""
        {SSH} -D 127.0.0.1:1081 nobody@$SERVER &
        {FETCH} --retry 8 --retry-delay 1 --retry-connrefused --socks5-hostname 127.0.0.1:1081
        """,
        FETCHED,
    ),
    Program("curl-socks5", "socks", f"exec {FETCH} --socks5-hostname $SERVER:1080", FETCHED),
    Program("curl-socks4", "socks", f"exec {FETCH} --socks4a $SERVER:1080", FETCHED),
    Program(
        "curl-connect",
        "http-proxy",
        f"exec curl -sS -x http://$SERVER:80 -w 'said %{{http_connect}}' https://{ALLOWED}/",
        "said 501",
    ),
    Program("dig-udp", "dns", "exec dig +tries=1 -p 5300 @$SERVER x.example", "NOERROR"),
    Program("dig-tcp", "dns", "exec dig +tries=1 +tcp -p 5300 @$SERVER x.example", "NOERROR"),
    # Debian 12 has no dnscrypt-proxy. Whatever the resolver, this is what it asks for first.
    Program(
        "kdig-dnscrypt",
        "dnscrypt",
        "exec kdig -p 5300 @$SERVER 2.dnscrypt-cert.x.example TXT",
        "NOERROR",
    ),
    # Port 853 is closed by the kernel for everybody.
    Program("kdig-dot", "dot", "exec kdig +tls -p 8853 @$SERVER x.example", "NOERROR"),
    Program(
        "kdig-doq",
        "doq",
        "exec kdig +quic -p 8853 @$SERVER x.example",
        "NOERROR",
        closed_by="quic",
    ),
    Program(
        "curl-doh",
        "doh",
        "exec curl -sS --max-time 4 --doh-insecure --doh-url https://$SERVER/dns-query http://x.example/",
        "This is x.example",
        PUBLIC_RESOLVER,
    ),
    # Debian's clients bring a desktop, or want the kernel's PPP: their first octets stand for them.
    # MS-RDPBCGR, section 4.1.1: a connection request without a cookie.
    Program(
        "rdp", "rdp", SAY.format(port=3389, octets="030000130ee000000000000100080003000000"), SAID
    ),
    # RFC 2637, section 2.1: Start-Control-Connection-Request.
    Program(
        "pptp",
        "pptp",
        SAY.format(port=1723, octets="009c00011a2b3c4d000100000100" + "00" * 142),
        SAID,
    ),
    Program(
        "aria2-tracker",
        "bittorrent",
        f"exec {ARIA} --enable-dht --dht-file-path=$FOLDER/dht-$HOST $FOLDER/tracked.torrent",
        "",
    ),
    Program(
        "aria2-dht",
        "bittorrent",
        f"""
        exec {ARIA} --enable-dht --dht-file-path=$FOLDER/dht-$HOST --dht-entry-point=$SERVER:6881 \
            $FOLDER/shared.torrent
        """,
        "",
    ),
)
"""What the first octets of a flow show."""

NAMELESS = (
    Program(
        "shadowsocks",
        "",
        f"""
        ss-local -s $SERVER {SHADOWSOCKS} -b 127.0.0.1 -l 1090 &
        {FETCH} --retry 8 --retry-delay 1 --retry-all-errors --socks5-hostname 127.0.0.1:1090
        """,
        FETCHED,
        UNRESOLVED,
    ),
    # It encrypts from the first octet on (MSE), and takes the address from the tracker: here one on the computer itself.
    Program(
        "aria2-peer",
        "",
        f"""
        $PYTHON $LAB/tracker.py $SERVER &
        sleep 0.3
        exec {ARIA} --enable-dht=false $FOLDER/shared.torrent
        """,
        "Download complete",
        UNRESOLVED,
    ),
)
"""What shows nothing, and goes to addresses that no name was asked for."""

IODINE = Program(
    "iodine",
    "",
    f"""
    iodine -f -r -P secret $SERVER {TUNNEL} &
    until ping -I dns0 -c 1 -W 1 10.97.0.1; do sleep 0.2; done
    """,
    "1 received",
    BOX.v4,
)
"""Data in names, by way of the school's own name service."""


def bencode(value: int | bytes | Mapping[bytes, object]) -> bytes:
    """Return ``value`` as BEP 3 writes it."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    pairs = (bencode(key) + bencode(value[key]) for key in sorted(value))  # type: ignore[arg-type]
    return b"d" + b"".join(pairs) + b"e"


def torrent(announce: str) -> bytes:
    """Return what a tracker and its clients share: the pieces of ``SHARED``, and where peers are told."""
    size = 16_384
    pieces = (SHARED[at : at + size] for at in range(0, len(SHARED), size))
    info = {
        b"name": b"shared",
        b"piece length": size,
        b"length": len(SHARED),
        b"pieces": b"".join(hashlib.sha1(p, usedforsecurity=False).digest() for p in pieces),
    }
    return bencode({b"announce": announce.encode(), b"info": info})


def prepare(lab: Laboratory) -> None:
    """Write keys and files."""
    lab.run(ROUTER.name, _argv(KEYS, ROUTER, ""), check=True)
    folder = lab.path(FOLDER)
    (folder / "shared").write_bytes(SHARED)
    (folder / "shared.torrent").write_bytes(torrent("http://127.0.0.1:6969/announce"))
    (folder / "tracked.torrent").write_bytes(torrent(f"udp://{address_of(REMOTE)}:6969/announce"))


def _argv(script: str, host: Host, server: str) -> list[str]:
    variables = {
        "FOLDER": str(FOLDER),
        "SERVER": server,
        "HOST": host.name,
        "NUMBER": host.number,
        "PYTHON": sys.executable,
        "LAB": str(HERE),
    }
    # With the first process of a PID namespace, all that it has started ends.
    own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["env", *(f"{k}={v}" for k, v in variables.items()), *own, "sh", "-euc", script]


@contextmanager
def running(lab: Laboratory, host: Host, script: str, server: str, log: str) -> Iterator[None]:
    """Run a script on ``host`` until the end of the block."""
    process: subprocess.Popen[str] = lab.popen(host.name, _argv(script, host, server), log=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def http3(lab: Laboratory, *names: str) -> Iterator[None]:
    """Run the server of HTTP/3 and DNS over QUIC at the addresses of ``names``."""
    script = f"exec $PYTHON $LAB/http3.py serve {INSIDE} {' '.join(names)}"
    with running(lab, ROUTER, script, "", "service-http3"):
        lab.wait_for(lambda: "ready" in lab.log("service-http3"), "HTTP/3 to be served", 20)
        try:
            yield
        finally:
            lab.path(INSIDE / "log" / "service-http3").unlink()


@contextmanager
def services(lab: Laboratory) -> Iterator[None]:
    """Run all servers."""
    prepare(lab)
    with ExitStack() as stack:
        for one in SERVICES:
            log = f"service-{one.id}"
            stack.enter_context(running(lab, ROUTER, one.script, str(address_of(REMOTE)), log))
        stack.enter_context(http3(lab, REMOTE))
        for one in SERVICES:
            _wait_until_ready(lab, one)
        yield


def _wait_until_ready(lab: Laboratory, one: Service) -> None:
    lab.wait_for(lambda: one.ready in lab.log(f"service-{one.id}"), f"{one.id} to serve", 20)


@contextmanager
def client(lab: Laboratory, host: Host, program: Program) -> Iterator[str]:
    """Run a program on ``host`` until the end of the block; yield the name of its log, which is new."""
    log = f"{program.id}-{host.name}"
    lab.path(INSIDE / "log" / log).unlink(missing_ok=True)
    with running(lab, host, program.script, program.server, log):
        yield log


@contextmanager
def firefox(lab: Laboratory, host: Host, url: str, *, at: str) -> Iterator[None]:
    """Show ``url`` in a Firefox for which every name has the address ``at``, until the end of the block."""
    script = f"""
    profile=$(mktemp -d)
    certutil -N -d $profile --empty-password
    certutil -A -d $profile -n laboratory -t C,, -i $SSL_CERT_FILE
    echo "user_pref('network.dns.forceResolve', '$SERVER');" > $profile/user.js
    exec firefox --headless --no-remote --profile $profile --screenshot $profile/page.png {url}
    """
    with running(lab, host, script, at, f"firefox-{host.name}"):
        yield


def works(lab: Laboratory, host: Host, program: Program, since: int) -> bool:
    """Tell whether a program of ``host`` got through, by its own word or by the servers'."""
    if program.works:
        return bool(re.search(program.works, lab.log(f"{program.id}-{host.name}")))
    return any(served.client == host.v4 and served.kind == "udp" for served in lab.served(since))
