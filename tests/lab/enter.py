"""Runs a command in a laboratory: ``python enter.py KEEPER_PID HOST COMMAND [ARGUMENT...]``.

Joins the keeper's namespaces and the network namespace of HOST ("-" for none of them), hands on signals and the exit
status. The command dies with this process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def setns(fd: int) -> None:
    # os.setns came with Python 3.12.
    if LIBC.setns(fd, 0):
        errno = ctypes.get_errno()
        raise OSError(errno, f"setns: {os.strerror(errno)}")
    os.close(fd)


def join(keeper: str, host: str) -> None:
    """Join the namespaces; that of processes holds for children only."""
    directory = Path.cwd()
    spaces = Path("/proc", keeper, "ns")
    foreign = (spaces / "user").readlink() != Path("/proc/self/ns/user").readlink()
    # All are opened before the first is joined: afterwards /proc is another. The user namespace comes first, for it
    # gives the right to join the others.
    fds = [
        os.open(spaces / kind, os.O_RDONLY) for kind in ("user", "mnt", "net", "pid")[not foreign :]
    ]
    for fd in fds:
        setns(fd)
    if host != "-":
        setns(os.open(f"/run/netns/{host}", os.O_RDONLY))
    if directory.is_dir():  # joining a mount namespace moves us to its root
        os.chdir(directory)


def main() -> int:
    keeper, host, *command = sys.argv[1:]
    join(keeper, host)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    child = os.fork()
    if not child:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)  # noqa: S606  # what a launcher is for
        except OSError as e:
            print(f"{command[0]}: {e.strerror}", file=sys.stderr)
            os._exit(127)
    for number in HANDED_ON:
        signal.signal(number, lambda number, _: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main())
