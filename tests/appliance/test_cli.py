import io
import json

import pytest

from gate_appliance.cli import main
from gate_appliance.control import ControlServer
from gate_core.config import reference
from gate_core.desk import Desk

MAC = "00:00:5e:00:53:10"


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


def test_status_exits_1_while_it_does_not_filter(gate):
    code, out, _ = gate("status")
    assert code == 1
    assert "NOT FILTERING" in out
    code, out, _ = gate("status", "--json")
    assert json.loads(out)["filtering"] is False


def test_device_cell_and_pause_are_set_and_seen(gate, desk):
    assert gate("device", "set", MAC, "--name", "laptop", "--group", "ks2")[0] == 0
    assert MAC in gate("device", "list")[1]
    assert gate("cell", "set", "ks2", "video", "unacceptable", "--reason", "r")[0] == 0
    assert gate("pause", "start", "--minutes", "5")[0] == 0
    assert desk.audit()[0].action == "started the internet pause"
    assert desk.audit()[0].actor.startswith("command line (")
    assert gate("pause", "end")[0] == 0


def test_policy_explain_prints_each_place_and_marks_the_one_that_decides(gate):
    code, out, _ = gate("policy", "explain", "ks2", "www.bet365.com")
    assert code == 0
    assert "BLOCK  [matrix:gambling:ks2]" in out
    assert ">7. acceptable-use table" in out
    assert out.count("\n ") >= 8


def test_refusal_goes_to_standard_error_with_its_field(gate):
    code, out, err = gate("device", "set", "zz", "--name", "x", "--group", "ks2")
    assert (code, out) == (1, "")
    assert err.startswith("mac: 'zz': not six pairs")


def test_setup_refuses_a_short_password(gate, desk, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    words = ("setup", "--school", "S", "--username", "u", "--full-name", "F", "--password-stdin")
    code, _, err = gate(*words)
    assert code == 1
    assert "at least 12 characters" in err
    monkeypatch.setattr("sys.stdin", io.StringIO("a rather long password\n"))
    assert gate(*words)[0] == 0
    assert desk.account(username="u").password_hash.startswith("$argon2id$")


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


def test_account_sign_out_ends_its_sessions_and_no_other_account_is_invented(gate, desk, steward):
    desk.set_up(
        code=steward.places.first_run_code.read_text(),
        school="S",
        username="ann",
        full_name="Ann",
        password_hash="$argon2id$x",  # noqa: S106  # no password has this hash
    )
    assert gate("account", "sign-out", "Ann")[0] == 0
    assert desk.account(username="ann").session_epoch == 2
    code, _, err = gate("account", "sign-out", "nobody")
    assert code == 1
    assert "'nobody' is no account" in err
