"""Suricata as an inline filter of names, which takes no more of a flow than it must.

Debian 12 has no package of it: it comes from a Debian 13 root, made once, in ``var/suricata``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench_firewall.network import Site, mount

ROOT: Final = Path(__file__).parents[2] / "var" / "suricata"
_WITHIN: Final = "/mnt"
"""Where it finds its files."""
_BYPASS: Final = "1/1"
"""Mark of flows that pass by it, and its mask."""

# It records names and what was dropped, as the firewall does. Without stream.bypass a download would be looked at for ever.
_CONFIG: Final = f"""%YAML 1.1
---
nfq:
  mode: accept
  bypass-mark: {_BYPASS[0]}
  bypass-mask: {_BYPASS[2]}
  fail-open: no
stream:
  inline: yes
  bypass: yes
app-layer:
  protocols:
    tls:
      enabled: yes
      detection-ports:
        dp: 443
      encryption-handling: bypass
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types: [tls, drop]
logging:
  outputs:
    - console:
        enabled: yes
unix-command:
  enabled: no
"""


def make_root() -> None:
    """Make the root if it is not there, from the machine's network: half a minute. Where it fails mmdebstrap says why."""
    if ROOT.is_dir():
        return
    new = ROOT.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    ROOT.parent.mkdir(exist_ok=True)
    words = ("--quiet", "--variant=minbase", "--include=suricata", "trixie", str(new))
    if subprocess.run(("mmdebstrap", *words), check=False).returncode == 0:  # noqa: S603, S607  # Debian's own
        new.rename(ROOT)


def render_rules(blocked: Sequence[str]) -> str:
    """Return rules that drop ``blocked`` names with all below them, and let every other flow pass by once it is known."""
    each = list(enumerate(blocked, start=1))
    drops = (
        f'drop tls any any -> any any (tls.sni; dotprefix; content:".{name}"; endswith; sid:{n};)'
        for n, name in each
    )
    others = " ".join(f'content:!"{name}";' for _, name in each)
    beyond = len(each) + 1
    return "\n".join(
        (
            *drops,
            f"alert tls any any -> any any (tls.sni; {others} bypass; noalert; sid:{beyond};)",
            f"alert tcp any any -> any !443 (flow:established; bypass; noalert; sid:{beyond + 1};)",
            f"alert udp any any -> any any (bypass; noalert; sid:{beyond + 2};)",
            "",
        )
    )


def render_hand_off(queues: int) -> str:
    """Return the mangle table: what is not marked as passed by waits in one of the ``queues``."""
    return "\n".join(
        (
            "*mangle",
            "-A FORWARD -j CONNMARK --restore-mark",
            f"-A FORWARD -m mark --mark {_BYPASS} -j ACCEPT",
            f"-A FORWARD -j NFQUEUE --queue-balance 0:{queues - 1}",
            f"-A POSTROUTING -m mark --mark {_BYPASS} -j CONNMARK --save-mark",
            "COMMIT",
            "",
        )
    )


def lay(site: Site, folder: Path, blocked: Sequence[str]) -> list[str]:
    """Lay bridge and rules at ``site``; return the command of Suricata, whose files are in ``folder``.

    It has a queue and a thread for each processor, two at least.
    """
    queues = max(2, os.cpu_count() or 2)
    (folder / "suricata.yaml").write_text(_CONFIG)
    (folder / "names.rules").write_text(render_rules(blocked))
    mount("--bind", str(folder), f"{ROOT}{_WITHIN}")
    mount("-t", "proc", "proc", f"{ROOT}/proc")
    mount("--rbind", "/dev", f"{ROOT}/dev")
    site.bridge(filtered=True)
    site.run("box", "iptables-nft-restore", text=render_hand_off(queues))
    numbers = [word for queue in range(queues) for word in ("-q", str(queue))]
    words = ("-c", f"{_WITHIN}/suricata.yaml", "-S", f"{_WITHIN}/names.rules", "-l", _WITHIN)
    return ["chroot", str(ROOT), "suricata", *words, "--runmode", "workers", *numbers]
