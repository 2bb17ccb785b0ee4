import argparse
import io
import json
import time
from contextlib import closing
from datetime import timedelta

import pytest

from gate_appliance.cli import main
from gate_appliance.console import load
from gate_appliance.control import ControlServer
from gate_appliance.outbox import Outbox
from gate_core.config import reference
from gate_core.desk import Desk
from gate_core.events import Counters, EndedFlows, Event, InForce, Source, Traffic, Who

MAC = "00:00:5e:00:53:10"
PASSWORD = "a rather long password"  # noqa: S105  # nobody's
TABLE = """\
Actions\tAcceptable\tAcceptable at certain times\tAcceptable for nominated users\tUnacceptable
Online gaming (non educational)\t\t\t\tX
Online gambling\t\t\t\tX
"""


@pytest.fixture
def gate(desk, steward, config, short_path, capsys):
    """The command ``gate`` with a configuration file, on a steward that answers."""
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nstate_directory = "{config.appliance.state_directory}"\n'
        f'run_directory = "{config.appliance.run_directory}"\n[dns]\nupstreams = ["192.0.2.1"]\n'
    )
    server = ControlServer(steward.places.desk, Desk, desk)
    server.start()

    def run(*words):
        code = main([*words, "--config", str(path)])
        out, err = capsys.readouterr()
        return code, out, err

    yield run
    server.close()


@pytest.fixture
def typed(monkeypatch):
    """What is typed at the next command."""
    return lambda *lines: monkeypatch.setattr("sys.stdin", io.StringIO("\n".join((*lines, ""))))


def test_load_finds_how_many_processes_of_the_firewall_the_machine_has_room_for(
    tmp_path, monkeypatch
):
    path = tmp_path / "schoolgate.toml"
    arguments = argparse.Namespace(config=str(path))
    path.write_text("[firewall]\nworkers = 5\n")
    assert load(arguments).firewall.workers == 5
    path.write_text("")
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 0}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    for mib, cores, workers in ((1800, 4, 4), (1800, None, 1), (900, 4, 3), (400, 4, 1), (99, 4, 1), (1 << 20, 64, 16)):  # fmt: skip
        pages["SC_PHYS_PAGES"] = mib << 8
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert load(arguments).firewall.workers == workers


def test_status_says_that_nothing_checks_the_filter_of_illegal_content(gate):
    told = gate("status")[1]
    assert "Nothing checks that illegal content" in told
    assert "docs/watching.md" in told


def test_log_prints_the_newest_decisions(gate, steward, monkeypatch):
    at_ms = int(steward.clock.now().timestamp() * 1000)
    steward.activity.append(
        Event(
            at_ms, Source.DNS, "192.0.2.10", "", "Laptop", "ks2", name, "A", action, "default",
            "default:ks2", 0, 3, 2, "", took_us, upstream,
        )
        for name, action, took_us, upstream in (
            ("old.example", "allow", 12_345, "192.0.2.1"),
            ("new.example", "block", 0, ""),
        )
    )  # fmt: skip
    code, out, _ = gate("log")
    assert code == 0
    old, new = out.splitlines()
    assert old.split()[1:] == (
        [
            "allow",
            "Laptop",
            "ks2",
            "old.example",
            "A",
            "default:ks2",
            "x2",
            "policy",
            "3",
            "192.0.2.1",
            "12.3",
            "ms",
            "-",
        ]
    )
    assert new.split()[1:] == [
        "block",
        "Laptop",
        "ks2",
        "new.example",
        "A",
        "default:ks2",
        "x2",
        "policy",
        "3",
        "-",
        "-",
        "-",
    ]
    assert gate("log", "OLD")[1] == f"{old}\n"
    assert gate("log", "--blocked")[1] == f"{new}\n"
    assert gate("log", "--limit", "1")[1] == f"{new}\n"
    assert gate("log", "none-such") == (0, "nothing that is recorded fits\n", "")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    header, *lines = gate("log")[1].splitlines()
    assert lines == [old, new]
    assert header.split("  ") == [
        "time",
        "decision",
        "device",
        "group",
        "name",
        "type",
        "rule",
        "number",
        "policy version",
        "resolver or address",
        "response took",
        "carried",
    ]
    assert len(old.split("  ")) == len(header.split("  "))
    assert gate("log", "none-such")[1] == "nothing that is recorded fits\n"


def test_log_prints_what_a_flow_carried(gate, steward):
    at_ms = int(steward.clock.now().timestamp() * 1000)
    remote = "203.0.113.5 443/tcp"
    steward.activity.append(
        [
            Event(
                at_ms, Source.FIREWALL, "192.0.2.10", "", "Laptop", "ks2", "a.example", "tls", "allow", "default",
                "default:ks2", 0, 3, remote=remote,
            )
        ]
    )  # fmt: skip
    assert gate("log")[1].endswith(f"  {remote}  -  -\n")
    steward.activity.append_sums(
        [EndedFlows([at_ms], ["192.0.2.10"], [remote], [5_300_000], [1500])]
    )
    assert gate("log")[1].endswith(f"  {remote}  -  5.3 MB down, 1.5 kB up\n")


def test_usage_prints_who_used_the_most(gate, steward):
    now = steward.clock.now()
    who = Who("192.0.2.10", MAC, "Laptop", "ks2", "p-17")
    columns = (0, 0), ("www.x.example", ""), (12_340_000, 99_900), (60_000, 0), (3, 1)
    steward.activity.append_sums([Traffic(int(now.timestamp() * 1000), (who,), *columns)])
    code, out, _ = gate("usage")
    assert code == 0
    assert out.splitlines() == [
        f"since {now.date()}: 12.4 MB down, 60.0 kB up",
        "What a connection carried counts once it has ended.",
        "Laptop  ks2  12.4 MB down  60.0 kB up  4 flows  x.example 12.4 MB, - 99.9 kB",
    ]
    monday = now.date() - timedelta(days=now.weekday())
    assert gate("usage", "--week")[1].startswith(f"since {monday}: 12.4 MB down")


def test_log_says_that_there_is_nothing_yet(gate):
    assert gate("log") == (0, "nothing is recorded yet\n", "")
    assert gate("log", "--blocked") == (0, "nothing that is recorded fits\n", "")


@pytest.mark.parametrize("words", [("log",), ("evidence", "show")])
@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "1e2", "²"])
def test_limit_that_is_none_is_refused_with_what_is_allowed(gate, capsys, words, limit):
    with pytest.raises(SystemExit) as ended:
        gate(*words, f"--limit={limit}")
    assert ended.value.code == 2
    assert f"argument --limit: '{limit}' is not a number from 1 to 500" in capsys.readouterr().err


def test_status_exits_1_while_it_does_not_filter(gate):
    code, out, _ = gate("status")
    assert code == 1
    assert "NOT FILTERING" in out
    code, out, _ = gate("status", "--json")
    assert json.loads(out)["filtering"] is False


def test_status_tells_what_waits_in_the_queues_and_what_was_dropped(gate, steward):
    deadline = time.monotonic() + 10

    def tell(full):
        counts = {"queue_waiting": {"10": 3}, "queue_dropped_full": {"10": full}}
        outbox.put(InForce(Source.FIREWALL, 1, steward.policy.version))
        outbox.put(Counters(Source.FIREWALL, 1, counts))
        outbox.flush()
        return gate("status")[1]

    with closing(Outbox(steward.places.events)) as outbox:
        for full, told in (
            (
                0,
                "\n  queue 10        3 packets wait, 0 dropped, of groups that fail closed\n",
            ),
            (1200, "1,200 packets were dropped within the last 10 minutes"),
        ):
            while told not in tell(full):
                assert time.monotonic() < deadline, f"not told: {told}"
                time.sleep(0.05)
    queue = {"number": 10, "groups": "closed", "waiting": 3, "dropped": 1200}
    assert json.loads(gate("status", "--json")[1])["queues"] == [queue]


def test_pause_is_started_and_ended_by_the_command_line(gate, school):
    assert gate("pause", "start", "--minutes", "5", "--why", "assembly")[0] == 0
    entry = school.record(actor="head")[0]
    assert entry.action == "started the internet pause"
    assert entry.actor.startswith("command line (")
    assert entry.role == "it"
    assert "until" in gate("hold", "list")[1]
    assert gate("pause", "end")[0] == 0
    assert school.acts().pauses == ()


def test_device_and_cell_are_changed_where_nobody_has_to_approve(gate, school):
    words = ("device", "set", MAC.upper(), "--name", "New", "--group", "ks2", "--room", "room-1")
    assert gate(*words) == (0, f"change {newest(school)}: in force.\n", "")
    assert MAC in gate("device", "list")[1]
    assert school.written().devices[MAC].room == "room-1"
    assert "in force" in gate("cell", "set", "ks2", "games", "unacceptable", "--reason", "r")[1]
    assert gate(*words)[:2] == (0, "")


def newest(school):
    return school.proposals(actor="head", limit=1)[0].id


ZOOM = (
    *("direct", "add", "Zoom calls", "--network", "203.0.113.0/24", "--network", "198.51.100.7"),
    *("--protocol", "udp", "--reason", "lessons with a partner school"),
)


def test_direct_connection_waits_for_approval_is_listed_and_removed(gate, school):
    code, out, _ = gate(*ZOOM, "--ports", "8801-8810", "--group", "ks2")
    id_ = newest(school)
    assert (code, out.startswith(f"change {id_}: waiting. Waits for ")) == (0, True)
    out = gate("direct", "list")[1]
    assert out.startswith("the school has none of its own\n")
    assert "Microsoft Teams calls: 52.112.0.0/14 52.122.0.0/15 2603:1063::/38  udp 3478-3481" in out
    school.answer(id=id_, approve=True, actor="head")
    first = gate("direct", "list")[1].splitlines()[0]
    assert first.split("  ", 1)[0] == "zoom-calls"
    assert first.endswith(
        "Zoom calls: 203.0.113.0/24 198.51.100.7/32  udp 8801-8810  for ks2: lessons with a partner school"
    )
    assert gate("direct", "remove", "zoom-calls", "--reason", "over") == (
        0,
        f"change {newest(school)}: in force.\n",
        "",
    )
    assert school.written().direct == {}
    assert school.record(actor="head")[0].reason == "over"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*ZOOM, "--ports", "0"), "neither a port from 1 to 65535 nor a range such as 8801-8810"),
        ((*ZOOM, "--ports", "1", "--network", "0.0.0.0/1"), "it is wider than /8"),
        ((*ZOOM, "--ports", "1", "--group", "ks9"), "'ks9' is no group"),
        (("direct", "remove", "zoom", "--reason", "r"), "id: 'zoom' is no direct connection; the"),
    ],
)
def test_direct_connection_is_refused_with_what_is_allowed(gate, school, words, told):
    before = newest(school)
    code, _, err = gate(*words)
    assert (code, told in err) == (1, True), err
    assert newest(school) == before


def test_network_that_is_none_is_wrong_usage(gate, capsys):
    with pytest.raises(SystemExit) as ended:
        gate(*ZOOM, "--ports", "1", "--network", "zoom.us")
    assert ended.value.code == 2
    assert "'zoom.us' is no network such as 203.0.113.0/24" in capsys.readouterr().err


def test_change_waits_is_listed_and_answered(gate, school):
    code, out, _ = gate("cell", "set", "ks2", "social-media", "times", "--reason", "a club")
    id_ = str(newest(school))
    assert (code, f"change {id_}: waiting. Waits for 2 more people" in out) == (0, True)
    out = gate("change", "list", "--waiting")[1]
    assert "Key Stage 2 gains" in out
    assert "a club" in out
    code, _, err = gate("change", "approve", id_)
    assert (code, "nobody approves" in err) == (1, True)
    assert "withdrawn" in gate("change", "withdraw", id_)[1]
    assert gate("change", "refuse", id_, "--note", "no")[0] == 1


def test_account_is_opened_taken_up_used_and_ended(gate, school, typed):
    words = ("account", "invite", "new", "--full-name", "New", "--role", "teacher")
    code, out, err = gate(*words, "--room", "ks2", "--reason", "joins")
    assert (code, err) == (0, "")
    typed("short")
    assert gate("account", "accept", "new", out.strip())[2] == "password: at least 12 characters\n"
    typed(PASSWORD)
    assert gate("account", "accept", "new", out.strip())[0] == 0
    typed(PASSWORD)
    assert gate("pause", "start", "--group", "ks2", "--as", "new")[0] == 0
    assert school.record(actor="head")[0].actor == "new"
    typed(PASSWORD)
    assert gate("pause", "start", "--group", "ks1", "--as", "new")[0] == 1
    assert "new" in gate("account", "list")[1]
    assert gate("account", "remove", "new", "--reason", "leaves")[0] == 0
    typed(PASSWORD)
    assert "user name or password is wrong" in gate("pause", "end", "--as", "new")[2]


@pytest.mark.parametrize("username", ["head", "nobody"])
def test_wrong_password_is_nobody_s(gate, school, typed, username):
    typed("a wrong password")
    code, _, err = gate("pause", "start", "--as", username)
    assert (code, err) == (1, "as: user name or password is wrong\n")
    assert school.acts().pauses == ()


def test_account_that_needs_an_approval_says_whose(gate, school):
    words = ("account", "invite", "new", "--full-name", "New", "--role", "head", "--reason", "r")
    code, out, err = gate(*words)
    assert (code, len(out.strip())) == (0, 14)
    assert err.startswith("Somebody else has to approve this")


def test_device_is_isolated_and_released(gate, school):
    assert gate("hold", "isolate", MAC, "--why", "strange traffic")[0] == 0
    assert MAC in gate("hold", "list")[1]
    assert gate("hold", "release", MAC, "--why", "clean")[0] == 0
    assert school.acts().isolations == ()


def test_policy_explain_prints_each_place_and_marks_the_one_that_decides(gate, school):
    code, out, _ = gate("policy", "explain", "ks2", "www.bet365.com")
    assert code == 0
    assert "BLOCK  [matrix:gambling:ks2]" in out
    assert ">7. acceptable-use table" in out
    assert out.count("\n ") >= 8
    assert "ALLOW" in gate("policy", "explain", "Tablet", "free.example", "--at", "2027-01-22")[1]
    assert gate("policy", "explain", "ks2", "a.example", "--at", "x")[2].startswith("at: 'x'")


def test_policy_is_exported_checked_and_imported(gate, school, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(gate("policy", "export")[1])
    assert ": good." in gate("policy", "check", str(path))[1]
    assert "says what the policy in force says" in gate("policy", "import", str(path))[1]
    path.write_text(path.read_text().replace('school = "St Example"', 'school = "St Other"'))
    out = gate("policy", "import", str(path))[1]
    assert "- The school is called “St Other”, before “St Example”" in out
    assert "Nothing has changed" in out
    assert school.written().school == "St Example"
    assert "in force" in gate("policy", "import", str(path), "--reason", "a new name")[1]
    assert school.written().school == "St Other"


def test_policy_check_prints_every_fault_with_its_line(gate, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("school = 1\ncolour = 'red'\n")
    code, out, err = gate("policy", "check", str(path))
    assert (code, out) == (1, "")
    assert "line 1: school: 1 is not a text" in err
    assert "line 2: colour: unknown key; allowed are school" in err
    assert gate("policy", "import", str(path))[0] == 1


def test_pasted_table_is_shown_and_proposed(gate, school, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(TABLE)
    out = gate("policy", "table", str(path))[1]
    assert "unacceptable  games" in out
    assert "Name the groups it is for" in out
    words = ("policy", "table", str(path), "--group", "ks2")
    assert "Key Stage 2 loses" in gate(*words)[1]
    assert "in force" in gate(*words, "--reason", "the policy of 2026")[1]
    assert school.written().groups["ks2"].cells["games"] == "unacceptable"


def test_refusal_goes_to_standard_error_with_its_field(gate, school):
    code, out, err = gate("hold", "isolate", "zz", "--why", "x")
    assert (code, out) == (1, "")
    assert err.startswith("mac: 'zz': not six pairs")


def test_setup_refuses_a_short_password(gate, desk, typed):
    words = ("setup", "--school", "S", "--username", "u", "--full-name", "F", "--password-stdin")
    typed("short")
    code, _, err = gate(*words)
    assert code == 1
    assert "at least 12 characters" in err
    typed(PASSWORD)
    assert gate(*words)[0] == 0
    assert desk.account(username="u").password_hash.startswith("$argon2id$")
    typed(PASSWORD)
    assert "the first run has been completed" in gate(*words)[2]


def test_command_without_a_steward_says_what_to_do(short_path, capsys):
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nrun_directory = "{short_path}"\n[dns]\nupstreams = ["192.0.2.1"]'
    )
    assert main(["status", "--config", str(path)]) == 3
    assert "gate up --config" in capsys.readouterr().err


def test_config_check_prints_every_fault(tmp_path, capsys):
    path = tmp_path / "schoolgate.toml"
    path.write_text('[dns]\nblok = 1\nport = 0\n[appliance]\ntimezone = "Mars/Phobos"\n')
    assert main(["config", "check", str(path)]) == 1
    err = capsys.readouterr().err
    assert "dns.blok: unknown key" in err
    assert "dns.port: 0 is not a port" in err
    path.write_text('[dns]\nupstreams = ["192.0.2.1"]\n[appliance]\ntimezone = "Mars/Phobos"\n')
    assert main(["config", "check", str(path)]) == 1
    assert "'Mars/Phobos' is no zone" in capsys.readouterr().err


def test_config_reference_is_the_core_s(capsys):
    assert main(["config", "reference"]) == 0
    assert capsys.readouterr().out == reference() + "\n"


def test_lists_check_says_what_was_not_understood(tmp_path, capsys):
    path = tmp_path / "list"
    path.write_text("good.example\nbad line here\nalso.example\n")
    assert main(["lists", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "2 names" in out
    assert "line 2" in out
    path.write_text("<html><head></head></html>")
    assert main(["lists", "check", str(path)]) == 1


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"\xff\xfe", "not UTF-8 text, at octet 0"), (None, "can't be read: No such file")],
)
def test_config_that_is_no_text_or_not_there_is_said(tmp_path, capsys, content, part):
    path = tmp_path / "schoolgate.toml"
    if content is not None:
        path.write_bytes(content)
    assert main(["config", "check", str(path)]) == 1
    assert part in capsys.readouterr().err


def test_config_check_names_the_zone_beside_other_faults(tmp_path, capsys):
    path = tmp_path / "schoolgate.toml"
    path.write_text('[appliance]\ntimezone = "Mars/Phobos"\nmodus = 1\n')
    assert main(["config", "check", str(path)]) == 1
    err = capsys.readouterr().err
    assert "'Mars/Phobos' is no zone" in err
    assert "appliance.modus: unknown key" in err


def test_account_sign_out_ends_its_sessions_and_no_other_account_is_invented(gate, school):
    assert gate("account", "sign-out", "Head")[0] == 0
    assert school.account(username="head").session_epoch == 2
    code, _, err = gate("account", "sign-out", "nobody")
    assert code == 1
    assert "'nobody' is no account" in err
