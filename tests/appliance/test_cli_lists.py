"""``gate lists``, as somebody types it."""

import io

import pytest

from gate_appliance.cli import main
from gate_appliance.cli_lists import _words
from gate_appliance.control import ControlServer
from gate_core.desk import Desk
from gate_core.sources import ListSource, Outcome, Progress


@pytest.fixture
def gate(school, steward, config, short_path, capsys):
    """``gate lists`` on the desk of a school whose updates run; exit code, output and complaints."""
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nstate_directory = "{config.appliance.state_directory}"\n'
        f'run_directory = "{config.appliance.run_directory}"\n[dns]\nupstreams = ["192.0.2.1"]\n'
    )
    server = ControlServer(steward.places.desk, Desk, school)
    server.start()
    steward.updates._limits = {"reserve_octets": 0}
    steward.updates.start()

    def run(*words):
        code = main(["lists", *words, "--config", str(path)])
        return code, *capsys.readouterr()

    yield run
    server.close()


@pytest.fixture
def imports(steward):
    """The directory of the files that a source may name."""
    steward.library.imports.mkdir(parents=True, exist_ok=True)
    return steward.library.imports


def added(gate, path, *more):
    words = ("ours", "games", path.as_uri(), "--title", "Ours", "--licence", "MIT", *more)
    return gate("add-source", *words)


def test_source_is_added_updated_and_shown(gate, imports):
    path = imports / "list"
    path.write_text("play.example\nfun.example\n")
    code, out, _ = added(gate, path)
    assert code == 0
    assert "up to date            2 names" in out
    path.write_text("<html>")
    code, out, _ = gate("update", "ours")
    assert code == 1
    assert "REFUSED" in out
    assert "HTML" in out
    assert "REFUSED" in gate("show")[1]


def test_update_prints_how_far_it_is(gate, imports):
    path = imports / "list"
    path.write_text("".join(f"n{n}.example\n" for n in range(200_000)))
    _, out, _ = added(gate, path)
    first = out.splitlines()[0]
    assert any(phase in first for phase in ("connecting", "downloading", "checking")), out


def test_show_tells_what_can_be_accepted_and_by_whom(gate, steward):
    steward.sources.add(ListSource("short", "Short", "https://a.example/", "MIT", "games"), "")
    reason = "it lacks 5 of the 9 names of the last good one"
    steward.sources.note("short", Outcome("refused", reason, names=9, refused_lost=5))
    code, out, _ = gate("show")
    assert code == 1
    assert reason in out
    assert "gate lists accept short --as USERNAME" in out
    code, _, complaint = gate("accept", "short", "--reason", "why not")
    assert code == 1
    assert complaint == (
        "actor: IT may not approve a change; allowed are: Head teacher, Safeguarding lead,"
        " E-safety coordinator\n"
    )


def test_catalogue_is_printed_and_nothing_of_it_is_added(gate, school):
    code, out, _ = gate("catalogue")
    assert code == 0
    assert "ut1-games" in out
    assert "CC BY-SA 4.0" in out
    assert gate("choose", "nonsense")[0] == 1
    assert school.sources().sources == ()


def test_key_is_read_and_not_printed(gate, steward, monkeypatch):
    secret = "c2Nob29sZ2F0ZSBzY2hvb2xnYXRl"  # noqa: S105  # for this test
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{secret}\n"))
    words = ("trust", "games", "rpz://127.0.0.1:1/rpz.example", "--title", "T", "--licence", "L")
    _, out, complaint = gate("add-source", *words, "--key-name", "school-key")
    assert steward.sources.key(steward.sources.get("trust"))["secret"] == secret
    assert secret not in out + complaint
    assert "not there yet" in out
    assert "refused" in out


def test_list_that_did_not_come_at_all_exits_1(gate, imports):
    code, out, _ = added(gate, imports / "missing")
    assert code == 1
    assert "not there yet" in out
    assert "missing is no file" in out
    # A source that nobody has looked at yet is no fault, nor is one whose list is there.
    (imports / "missing").write_text("play.example\n")
    assert gate("update", "ours")[0] == 0
    (imports / "missing").unlink()
    code, out, _ = gate("update", "ours")
    assert (code, "missing is no file" in out) == (0, True)


def test_show_says_that_lists_cannot_be_put_in_force(gate, steward, imports, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(steward.updates, "_put", full)
    (imports / "list").write_text("play.example\n")
    code, out, _ = added(gate, imports / "list")
    assert code == 1
    assert "New lists can't be put in force: No space left on device.\n" in out


def test_numbers_of_an_update_have_separators():
    assert _words(Progress("ours", "downloading", 1_250_000, 20_000_000, "octets")) == (
        "ours: downloading 1,250,000 of 20,000,000 octets"
    )
