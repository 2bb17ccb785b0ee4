"""The other servers: what each is told, bare, and doing our work.

Bare: block the list, forward and keep the rest; no record, no clients. Same work: besides, a record of each query, and a
short list for the first client only where the server can; with a rate limit for each client where it can, so high that it
limits nobody. Each has one thread for queries, and caches that hold all that is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.lists import Names
from bench.load import CLIENTS, NETWORK
from bench.processes import module

FIRST: Final = CLIENTS[0]
ENTRIES: Final = 500_000
"""What a cache must hold."""
NO_LIMIT_QPS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server is to serve."""

    folder: Path
    """Its own, empty."""
    port: int
    upstream: int
    """Port on 127.0.0.1."""
    names: Names
    record: str
    """Which record it is to keep; "" for bare."""
    reader: int
    """TCP port for a reader of the record."""

    @property
    def kept(self) -> Path:
        """File in which the record ends up."""
        return self.folder / "record"

    @property
    def tap(self) -> Path:
        """Unix socket for a reader of Frame Streams."""
        return self.folder / "tap"

    def write(self, name: str, lines: Iterable[str]) -> Path:
        """Write a file of the folder, and return its path."""
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path

    def capture(self) -> list[str]:
        """Return the command of a reader of dnstap."""
        what = ("-t", "protobuf:dnstap.Dnstap", "-u", str(self.tap), "-w", str(self.kept))
        return ["fstrm_capture", *what]


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of Debian."""

    name: str
    program: str
    command: Callable[[Site], list[str]]
    """Writes the configuration and returns the command, which stays in the foreground."""
    records: tuple[str, ...]
    """Each record of queries that it is measured with."""
    reader: Callable[[Site], list[str]] | None = None
    """The command of who reads the record; not charged to the server."""
    by_client: bool = True
    """Whether it can have a list for one client."""


def _dnsmasq(site: Site) -> list[str]:
    lines = [f"address=/{name}/" for name in site.names.listed]
    if site.record:
        lines += ["log-queries", f"log-facility={site.kept}", "log-async=100"]
    config = site.write("dnsmasq.conf", lines)
    return [
        *("dnsmasq", "--keep-in-foreground", f"--conf-file={config}", "--no-resolv", "--no-hosts"),
        *("--user=root", f"--pid-file={site.folder}/pid", "--listen-address=127.0.0.1"),
        *("--bind-interfaces", f"--port={site.port}", f"--server=127.0.0.1#{site.upstream}"),
        *("--cache-size=50000", "--dns-forward-max=1000"),
    ]


def _unbound(site: Site) -> list[str]:
    """Local zones; by client through tags."""
    lines = [
        "server:",
        f"interface: 127.0.0.1@{site.port}",
        "access-control: 127.0.0.0/8 allow",
        f"access-control: {NETWORK} allow",
        'username: ""\nchroot: ""\ndo-daemonize: no\nuse-syslog: no',
        f'directory: "{site.folder}"\npidfile: "{site.folder}/pid"',
        'module-config: "iterator"\nnum-threads: 1\ndo-not-query-localhost: no',
        "minimal-responses: yes\nso-rcvbuf: 4m\nso-sndbuf: 4m",
        "msg-cache-size: 256m\nrrset-cache-size: 256m",
        "outgoing-range: 4096\nnum-queries-per-thread: 2048",
    ]
    if site.record:
        lines += [f'define-tag: "all first"\nip-ratelimit: {NO_LIMIT_QPS}']
        for client in CLIENTS:
            tags = "all first" if client == FIRST else "all"
            lines += [f'access-control-tag: {client}/32 "{tags}"']
        for tag, names in (("all", site.names.listed), ("first", site.names.first_only)):
            for name in names:
                lines += [
                    f'local-zone: "{name}" always_nxdomain',
                    f'local-zone-tag: "{name}" "{tag}"',
                ]
    else:
        lines += [f'local-zone: "{name}" always_nxdomain' for name in site.names.listed]
    lines += ["remote-control:\ncontrol-enable: no"]
    lines += [f'forward-zone:\nname: "."\nforward-addr: 127.0.0.1@{site.upstream}']
    if site.record:
        lines += [f'dnstap:\ndnstap-enable: yes\ndnstap-socket-path: "{site.tap}"']
        lines += ["dnstap-log-client-response-messages: yes"]
    return ["unbound", "-d", "-c", str(site.write("unbound.conf", lines))]


def _dnsdist(site: Site) -> list[str]:
    """Packet cache and suffix match. Its log of queries is cheap and tells no outcome; dnstap of answers does."""
    names = site.write("names", site.names.listed)
    lines = [
        "setSecurityPollSuffix('')",
        f"setACL({{'127.0.0.0/8', '{NETWORK}'}})",
        "setUDPMultipleMessagesVectorSize(64)",
        f"setLocal('127.0.0.1:{site.port}')",
        f"newServer({{address='127.0.0.1:{site.upstream}'}})",
        f"getPool(''):setCache(newPacketCache({ENTRIES}))",
    ]
    if site.record:
        lines += [f"addAction(MaxQPSIPRule({NO_LIMIT_QPS}), DropAction())"]
    if site.record == "query log":
        # Binary, appended to, buffered, also when not verbose, with time.
        lines += [f"addAction(AllRule(), LogAction('{site.kept}', true, true, true, false, true))"]
    if site.record == "dnstap":
        lines += [
            f"tap = newFrameStreamUnixLogger('{site.tap}')",
            "tell = DnstapLogResponseAction('bench', tap)",
            *(
                f"add{when}ResponseAction(AllRule(), tell)"
                for when in ("", "CacheHit", "SelfAnswered")
            ),
        ]
    if site.record:
        lines += [
            "only = newSuffixMatchNode()",
            *(f"only:add(newDNSName('{name}'))" for name in site.names.first_only),
            f"addAction(AndRule({{makeRule('{FIRST}/32'), SuffixMatchNodeRule(only)}}), RCodeAction(DNSRCode.NXDOMAIN))",
        ]
    lines += [
        "listed = newSuffixMatchNode()",
        f"for line in io.lines('{names}') do listed:add(newDNSName(line)) end",
        "addAction(SuffixMatchNodeRule(listed), RCodeAction(DNSRCode.NXDOMAIN))",
    ]
    config = site.write("dnsdist.conf", lines)
    return ["dnsdist", "--supervised", "--disable-syslog", "-C", str(config)]


def _pdns_recursor(site: Site) -> list[str]:
    """A response policy zone; by client through a tag and a hook."""
    lua = [f"rpzFile('{_response_policy_zone(site)}', {{policyName='listed'}})"]
    lines = [
        f"config-dir={site.folder}\nsocket-dir={site.folder}",
        f"local-address=127.0.0.1\nlocal-port={site.port}\nallow-from=127.0.0.0/8,{NETWORK}",
        f"forward-zones-recurse=.=127.0.0.1:{site.upstream}\ndont-query=",
        "daemon=no\nthreads=1\npdns-distributes-queries=no\nloglevel=3\nquiet=yes",
        "dnssec=off\nsecurity-poll-suffix=\nqname-minimization=no\nnothing-below-nxdomain=no",
        f"max-cache-entries={ENTRIES}\nmax-packetcache-entries={ENTRIES}\npacketcache-ttl=3600",
        f"lua-config-file={site.folder}/listed.lua",
    ]
    if site.record:
        lua += [
            f"protobufServer('127.0.0.1:{site.reader}', {{logQueries=false, logResponses=true}})"
        ]
        names = ", ".join(f"'{name}'" for name in site.names.first_only)
        hook = [
            f"only = newDS()\nonly:add({{{names}}})",
            f"function gettag(remote) if remote:toString() == '{FIRST}' then return 1 end return 2 end",
            "function preresolve(q)",
            "  if q.tag == 1 and only:check(q.qname) then q.rcode = pdns.NXDOMAIN return true end",
            "  return false",
            "end",
        ]
        lines += [f"lua-dns-script={site.write('hook.lua', hook)}"]
    site.write("listed.lua", lua)
    site.write("recursor.conf", lines)
    return ["pdns_recursor", f"--config-dir={site.folder}"]


def _knot_resolver(site: Site) -> list[str]:
    """A response policy zone; by client through a view."""
    idle = ("priming", "ta_update", "ta_signal_query", "ta_sentinel", "detect_time_skew")
    lines = [
        "net.ipv6 = false",
        f"net.listen('127.0.0.1', {site.port}, {{kind='dns'}})",
        "trust_anchors.remove('.')",
        *(f"modules.unload('{name}')" for name in idle),
        "cache.size = 256 * MB",
    ]
    if site.record:
        only = ", ".join(f"todname('{name}')" for name in site.names.first_only)
        lines += [
            "modules.load('view')",
            f"view:addr('{FIRST}/32', policy.suffix(policy.DENY, {{{only}}}))",
            "modules.load('dnstap')",
            f"dnstap.config({{socket_path='{site.tap}', client={{log_queries=false, log_responses=true}}}})",
        ]
    lines += [
        f"policy.add(policy.rpz(policy.DENY, '{_response_policy_zone(site)}', false))",
        f"policy.add(policy.all(policy.STUB('127.0.0.1@{site.upstream}')))",
    ]
    return ["kresd", "-n", "-q", "-c", str(site.write("kresd.conf", lines)), str(site.folder)]


def _response_policy_zone(site: Site) -> Path:
    """Write the list as a zone: each name, and all below it."""
    head = ("$TTL 3600", "@ SOA localhost. root.localhost. 1 3600 600 86400 60", "@ NS localhost.")
    rules = (f"{name} CNAME .\n*.{name} CNAME ." for name in site.names.listed)
    return site.write("listed.rpz", (*head, *rules))


def _protobuf_reader(site: Site) -> list[str]:
    return module("sink", str(site.reader), str(site.kept))


PEERS: Final = (
    Peer("dnsmasq", "dnsmasq", _dnsmasq, ("log-queries",), by_client=False),
    Peer("unbound", "unbound", _unbound, ("dnstap",), Site.capture),
    Peer("dnsdist", "dnsdist", _dnsdist, ("query log", "dnstap"), Site.capture),
    Peer("pdns-recursor", "pdns_recursor", _pdns_recursor, ("protobuf",), _protobuf_reader),
    Peer("knot-resolver", "kresd", _knot_resolver, ("dnstap",), Site.capture),
)
