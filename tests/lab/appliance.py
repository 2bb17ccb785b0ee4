"""The appliance in the laboratory's box: its configuration, its start, its command line, its end."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from laboratory import INSIDE, Laboratory, LaboratoryError
from plan import BOX, CLIENTS, ROUTER, Host

from gate_appliance.console import MAX_WORKERS
from gate_appliance.control import control_client
from gate_core.desk import ActivityFilter, ActivityRecord, Desk, PanelButtons, ProposalView
from gate_core.edits import Edit

CONFIG_FILE = INSIDE / "schoolgate.toml"
STATE = INSIDE / "state"
RUN = INSIDE / "gate"
GATE = str(Path(sys.executable).with_name("gate"))
PARTS = ("steward", "dns", "firewall", "webui", "panel")

USERNAME = "coordinator"
APPROVERS = {"head": "head", "lead": "safeguarding"}
"""User name to role of those who approve what the coordinator proposes."""
PASSWORD = "correct horse battery staple"  # noqa: S105  # of a school that lasts as long as the test

_COMMON = f"""\
[appliance]
state_directory = "{STATE}"
run_directory = "{RUN}"
[dns]
upstreams = ["{ROUTER.v4}", "{ROUTER.v6}"]
"""
_MODES = {
    "inline": f"""\
[bridge]
addresses = ["{BOX.v4}/24", "{BOX.v6}/64"]
gateways = ["{ROUTER.v4}", "{ROUTER.v6}"]
""",
    "resolver": f"""\
block_page_addresses = ["{BOX.v4}", "{BOX.v6}"]
[bridge]
router_port = "wan0"
switch_port = "lan0"
""",
}


class Appliance:
    """One appliance: started as a school's would be, seeded by the command line; a context manager."""

    def __init__(self, lab: Laboratory, more: str = "") -> None:
        """Write the configuration, with ``more`` tables at its end."""
        self.lab = lab
        self._process: subprocess.Popen[str] | None = None
        text = (
            _COMMON.replace("[appliance]", f'[appliance]\nmode = "{lab.mode}"') + _MODES[lab.mode]
        )
        lab.path(CONFIG_FILE).write_text(text + more)

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_filtering()
        self.wait_for_pages()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start ``gate up``, with further environment variables; does not wait until anything works."""
        self._process = self.lab.popen(
            BOX.name, [GATE, "up", "--config", str(CONFIG_FILE)], log="gate", env=env
        )

    def stop(self) -> None:
        """End ``gate up`` as a service manager would, and wait for it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LaboratoryError(
                f"gate up did not end within 20 s of SIGTERM\n{self.lab.log('gate')[-3000:]}"
            ) from None
        finally:
            self._process = None

    def wait(self) -> None:
        """Wait until ``gate up`` ends by itself, which it should not.

        Raises:
            LaboratoryError: It did.
        """
        assert self._process is not None
        self._process.wait()
        raise LaboratoryError(f"gate up has ended\n{self.lab.log('gate')[-3000:]}")

    def gate(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run a ``gate`` command on the box; return what it printed.

        Raises:
            LaboratoryError: It failed, and ``check`` is true.
        """
        argv = [GATE, *words, "--config", str(CONFIG_FILE)]
        done = self.lab.run(BOX.name, argv, input=text, timeout_s=60)
        if check and done.returncode:
            raise LaboratoryError(
                f"gate {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}\n{self.lab.log('gate')[-3000:]}"
            )
        return done.stdout

    def wait_until_filtering(self, deadline_s: int = 30) -> None:
        """Wait until every part acts on the policy in force."""
        self.gate("status", "--wait", str(deadline_s))

    def wait_for_pages(self) -> None:
        """Wait until the coordinator's pages and the block page are served."""
        ask = ["curl", "-sk", "-o", "/dev/null", f"https://{BOX.v4}:8443/", f"http://{BOX.v4}/"]
        self.lab.wait_for(
            lambda: self.lab.run(BOX.name, ask).returncode == 0, "the pages to be served", 20
        )

    def status(self) -> dict[str, Any]:
        """Return ``gate_core.desk.Status`` as the command line prints it."""
        status: dict[str, Any] = json.loads(self.gate("status", "--json"))
        return status

    def seed(self) -> None:
        """Put the laboratory's devices into their groups, and complete the first run with three people."""
        self.place_devices()
        self.gate(
            "setup",
            *("--school", "Laboratory Primary School", "--username", USERNAME),
            *("--full-name", "Alex Coordinator", "--password-stdin"),
            text=PASSWORD + "\n",
        )
        for username, role in APPROVERS.items():
            self.add_account(username, role)

    def place_devices(self) -> None:
        """Put the laboratory's devices into their groups."""
        for client in CLIENTS:
            self.gate("device", "set", client.mac, "--name", client.name, "--group", client.group)
        self.wait_until_filtering()

    def add_account(self, username: str, role: str) -> None:
        """Open an account with the laboratory's password, approved by the head where it takes somebody."""
        desk = self.desk
        invitation = desk.invite(
            username=username,
            full_name=username.title(),
            role=role,
            reason="a test",
            actor=USERNAME,
        )
        if invitation.waits_for:
            waiting = desk.proposals(actor=USERNAME, waiting=True)
            desk.answer(id=waiting[0].id, approve=True, actor="head")
        self.gate("account", "accept", username, invitation.code, text=PASSWORD + "\n")

    def adopt(self, *edits: Edit) -> ProposalView:
        """Have the coordinator propose ``edits``, and as many others approve them as it takes."""
        proposal = self.desk.propose(edits=edits, reason="a test", actor=USERNAME)
        for username in APPROVERS:
            if proposal.state == "waiting":
                proposal = self.desk.answer(id=proposal.id, approve=True, actor=username)
        assert proposal.state == "in force", proposal
        return proposal

    @contextmanager
    def cells(self, cells: Mapping[str, str], row: str) -> Iterator[None]:
        """Hold the cells of a row (group to cell), and put back what was there."""
        before = {group: self._cell(group, row) for group in cells}
        self._set_cells(cells, row)
        try:
            yield
        finally:
            self._set_cells(before, row)

    def _set_cells(self, cells: Mapping[str, str], row: str) -> None:
        edits = [
            Edit.of(("groups", group, "cells", row), before, cell)
            for group, cell in cells.items()
            if (before := self._cell(group, row)) != cell
        ]
        if edits:
            self.adopt(*edits)
        self.wait_until_filtering()

    def _cell(self, group: str, row: str) -> str:
        return self.desk.written().groups[group].cells[row]

    @property
    def desk(self) -> Desk:
        """The steward's desk, over its control socket."""
        return control_client(Desk, self.lab.path(RUN / "steward.sock"))

    @property
    def buttons(self) -> PanelButtons:
        """The panel's simulated buttons."""
        return control_client(PanelButtons, self.lab.path(RUN / "panel.sock"))

    def pid(self, part: str) -> int:
        """Return the process of a part, as numbered inside the laboratory."""
        return int(self.lab.path(RUN / "pids" / part).read_text())

    def living_pid(self, part: str) -> int | None:
        """Return the process of a part; None where it is dead."""
        try:
            pid = self.pid(part)
        except (FileNotFoundError, ValueError):
            # Not there, or just being written.
            return None
        return pid if self.lab.path(Path(f"/proc/{pid}")).is_dir() else None

    def kill(self, part: str) -> int:
        """Kill a part with SIGKILL; return the process that it was."""
        pid = self.pid(part)
        self.lab.run(BOX.name, ["kill", "-KILL", str(pid)], check=True)
        return pid

    def kill_supervisor(self) -> None:
        """Kill ``gate up`` with SIGKILL."""
        assert self._process is not None
        self._process.kill()  # which takes the command that it runs with it
        self._process.wait(10)
        self._process = None

    def firewalls(self) -> dict[str, int]:
        """Return the processes of the firewall that run, by their parts' names; the first one leads."""
        names = ("firewall", *(f"firewall-{n}" for n in range(2, MAX_WORKERS + 1)))
        return {name: pid for name in names if (pid := self.living_pid(name))}

    @contextmanager
    def without_firewall(self) -> Iterator[None]:
        """Kill all of it and keep it from being started again until the end of the block; then wait for another."""
        killed = self.firewalls()
        stat = self.lab.path(Path(f"/proc/{killed['firewall']}/stat")).read_text()
        supervisor = stat.rpartition(")")[2].split()[1]  # proc(5)
        self.lab.run(BOX.name, ["kill", "-STOP", supervisor], check=True)
        try:
            for part in killed:
                self.kill(part)
            yield
        finally:
            self.lab.run(BOX.name, ["kill", "-CONT", supervisor], check=True)
        self.lab.wait_for(
            lambda: (
                (now := self.firewalls()).keys() == killed.keys()
                and not {*now.values()} & {*killed.values()}
            ),
            "another firewall",
            10,
        )
        self.wait_until_filtering()

    @contextmanager
    def other_firewall(
        self, *before: str, env: Mapping[str, str] | None = None
    ) -> Iterator[list[subprocess.Popen[str]]]:
        """Have another firewall judge until the end of the block, of as many processes; what they log is in ``gate-other``.

        Args:
            before: Words before its command.
            env: Further environment variables.
        """
        names = list(self.firewalls())
        with self.without_firewall():
            running = [
                self.run_firewall(name, *before, log="gate-other", env=env) for name in names
            ]
            try:
                self.wait_until_filtering()
                yield running
            finally:
                for process in running:
                    process.kill()
                    process.wait(10)
                self.lab.path(INSIDE / "log" / "gate-other").unlink()

    def run_firewall(
        self, name: str, *before: str, log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process of the firewall that ``gate up`` knows nothing of."""
        run = [*before, GATE, "run", name, "--config", str(CONFIG_FILE)]
        return self.lab.popen(BOX.name, run, log=log, env=env)

    @property
    def first_run_code(self) -> str:
        return self.lab.path(STATE / "first-run-code").read_text().strip()


def blocked(
    appliance: Appliance, host: Host, since: float, source: Literal["dns", "firewall"] = "firewall"
) -> list[ActivityRecord]:
    """Return what the firewall or the sinkhole has blocked of a host, newest first; ``since`` in seconds since 1970."""
    wanted = ActivityFilter(device=host.mac, action="block", source=source, limit=100)
    found = appliance.desk.activity(filter=wanted, actor="command line (test)")
    return [r for r in found.records if dt.datetime.fromisoformat(r.at).timestamp() >= since]
