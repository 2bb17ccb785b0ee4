"""Real name servers as primaries and secondaries: BIND and Knot of Debian, on this machine."""

import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update

ZONE = "rpz.trust.example"
KEY = {"name": "school-key.", "algorithm": "hmac-sha256", "secret": "c2Nob29sZ2F0ZSBzY2hvb2xnYXRlIHNjaG9vbGdhdGU="}  # fmt: skip
TSIG = dns.tsig.Key(KEY["name"], KEY["secret"], KEY["algorithm"])

NAMED = """
options {{
  directory "{folder}"; pid-file none; session-keyfile none; lock-file none;
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; notify no; dnssec-validation no;
}};
controls {{}};
key school-key {{ algorithm hmac-sha256; secret "{secret}"; }};
server 127.0.0.1 {{ keys school-key; }};
zone "{zone}" {{ {role} file "{folder}/zone"; }};
"""
NAMED_PRIMARY = (
    "type primary; allow-transfer { key school-key; }; allow-update { key school-key; };"
)
NAMED_SECONDARY = "type secondary; primaries port %d { 127.0.0.1 key school-key; }; masterfile-format text; min-refresh-time 1; max-refresh-time 2;"

KNOT = """
server:
    rundir: "{folder}"
    listen: 127.0.0.1@{port}
database:
    storage: "{folder}"
key:
  - id: school-key
    algorithm: hmac-sha256
    secret: "{secret}"
{role}
zone:
  - domain: {zone}
    file: "{folder}/zone"
    semantic-checks: off
    {more}
"""
KNOT_PRIMARY = """
acl:
  - id: all
    key: school-key
    action: [transfer, update]
"""
KNOT_SECONDARY = """
remote:
  - id: school
    address: 127.0.0.1@%d
    key: school-key
"""
KNOT_MORE = {
    False: "acl: all\n    journal-content: all\n    zonefile-load: difference",
    True: "master: school\n    refresh-max-interval: 2",
}


@dataclass
class Server:
    """One name server; a context while it runs."""

    program: str
    folder: Path
    port: int
    primary: int = 0
    """Port of the primary, where it is a secondary."""
    zone: str = ZONE
    process: subprocess.Popen | None = field(default=None, repr=False)

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        named = self.program == "named"
        if self.primary:
            role = (NAMED_SECONDARY if named else KNOT_SECONDARY) % self.primary
        else:
            role = NAMED_PRIMARY if named else KNOT_PRIMARY
        text = (NAMED if named else KNOT).format(
            folder=self.folder,
            port=self.port,
            secret=KEY["secret"],
            role=role,
            more=KNOT_MORE[bool(self.primary)],
            zone=self.zone,
        )
        (self.folder / "conf").write_text(text)
        argv = [shutil.which(self.program) or self.program, "-c", str(self.folder / "conf")]
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [*argv, *(["-g"] if named else [])], stdout=self.log, stderr=self.log
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def _wait(self):
        query = dns.message.make_query(self.zone, "SOA")
        for _ in range(200):
            try:
                answer = dns.query.tcp(query, "127.0.0.1", port=self.port, timeout=2)
                if self.primary or answer.answer:
                    return
            except (OSError, EOFError, dns.exception.DNSException):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    @property
    def url(self):
        return f"rpz://127.0.0.1:{self.port}/{self.zone}"

    def update(self, *, add=(), delete=()):
        """Change the zone, as its owner does (RFC 2136)."""
        update = dns.update.UpdateMessage(self.zone, keyring=TSIG)
        for name in delete:
            update.delete(name)
        for name in add:
            update.add(name, 60, "CNAME", ".")
        answer = dns.query.tcp(update, "127.0.0.1", port=self.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR, answer


def write_zone(path, serial, names, more=""):
    path.parent.mkdir(exist_ok=True)
    head = (
        f"$TTL 60\n@ SOA localhost. root.localhost. {serial} 3600 600 86400 60\n@ NS localhost.\n"
    )
    path.write_text(head + "".join(f"{name} CNAME .\n" for name in names) + more)
