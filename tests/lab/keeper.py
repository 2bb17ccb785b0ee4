"""The first process of a laboratory: makes its namespaces, and takes everything with it when it ends.

Run as ``python keeper.py NAME`` with standard input held open by the owner. It is process 1 of its own PID namespace:
when it ends, the kernel kills every process of the laboratory, and with them go network namespaces, rules, mounts and files.
It ends when its standard input does, so that nothing is left behind even where the owner was killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

# <linux/sched.h>; os.unshare came with Python 3.12.
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000,
    0x10000000,
    0x20000000,
    0x40000000,
)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    if LIBC.unshare(flags):
        errno = ctypes.get_errno()
        raise OSError(errno, f"unshare(0x{flags:x}): {os.strerror(errno)}")


def leave() -> None:
    """Leave the machine's namespaces: as root directly, else as root of a user namespace of our own."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        unshare(CLONE_NEWUSER)
        for file, line in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            Path("/proc/self", file).write_text(line)
    unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)


def furnish() -> None:
    """Make a private /proc and /run, and let names be resolved by the laboratory's router."""

    def mount(*args: str) -> None:
        subprocess.run(["mount", *args], check=True)

    resolver = Path("/etc/resolv.conf").resolve()
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    # Hides the machine's named network namespaces and its name service, and xtables' lock file needs a place to write.
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for directory in ("netns", "lab", "lab/log", "lab/home", "lab/tmp"):
        Path("/run", directory).mkdir()
    own = Path("/run/lab/resolv.conf")
    own.touch()
    if resolver.is_relative_to("/run"):  # systemd-resolved's file, which has just been hidden
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.symlink_to(own)
    else:
        mount("--bind", str(own), str(resolver))


def main() -> int:
    leave()
    keeper = os.fork()
    if keeper:
        print(keeper, flush=True)  # as seen from outside; inside it is process 1
        sys.stdin.close()
        os.close(0)
        return os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    furnish()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans are reaped by the kernel
    print("ready", flush=True)
    while os.read(0, 4096):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
