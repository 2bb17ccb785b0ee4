"""``gate lists``, as somebody types it."""

import gzip
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
    assert out.splitlines()[-1] == "added ours: 2 names in games"
    assert "up to date            2 names" in gate("show")[1]
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
        " E-safety coordinator; --as USERNAME does it in the name of one of them\n"
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


# One's own lists


def test_list_of_ones_own_is_added_shown_and_removed(clock, gate, school, tmp_path, monkeypatch):
    path = tmp_path / "list"
    path.write_text("play.example\nfun.example\n")
    code, out, _ = gate("add", "mine", "games", str(path))
    assert (code, out) == (0, "added mine: 2 names in games\n")
    line = gate("show")[1].splitlines()[0]
    assert line.startswith("mine                 by hand               2 names, since 2026-11-23 ")
    assert ", by command line (" in line
    assert line.endswith(", games")
    code, _, complaint = gate("remove", "mine", "--reason", "too strict")
    assert code == 1
    assert "--as USERNAME" in complaint
    assert school.own_lists()
    code, _, complaint = gate("remove", "other", "--reason", "too strict")
    assert (code, "'other' is no list of your own" in complaint) == (1, True)
    monkeypatch.setattr("argon2.PasswordHasher.verify", lambda *_: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("password\n"))
    code, out, _ = gate("remove", "mine", "--as", "head", "--reason", "too strict")
    assert (code, out) == (0, "removed mine from games\n")
    assert school.own_lists() == ()
    assert school.record(actor="head")[0].actor == "head"


def test_list_of_illegal_content_is_not_added_by_hand(gate, tmp_path):
    (tmp_path / "list").write_text("google.com\n")
    code, _, complaint = gate("add", "mine", "terrorism", str(tmp_path / "list"))
    assert code == 1
    assert complaint.startswith("category: 'terrorism': what is on a list of illegal content")
    assert "only official sources feed those" in complaint


def test_name_in_two_categories_has_to_be_told_apart(gate, tmp_path):
    (tmp_path / "list").write_text("play.example\n")
    for category in ("games", "video"):
        assert gate("add", "mine", category, str(tmp_path / "list"))[0] == 0
    code, _, complaint = gate("remove", "mine", "--reason", "too strict")
    assert code == 1
    assert complaint == ("category: lists of that name are in games and video; name one of them\n")


def test_check_reads_what_is_packed_and_says_what_is_none(capsys, tmp_path):
    path = tmp_path / "list"
    path.write_bytes(gzip.compress(b"play.example\nfun.example\n"))
    assert main(["lists", "check", str(path)]) == 0
    assert "names, 2 names," in capsys.readouterr().out
    for octets, part in (
        (gzip.compress(b"play.example\n")[:-9], "the end of the packed list is missing"),
        (b"\x7fELF\x02\x01\x01\x00\x1b[2J", "a binary file, or text that is not in UTF-8"),
    ):
        path.write_bytes(octets)
        assert main(["lists", "check", str(path)]) == 1
        complaint = capsys.readouterr().err
        assert part in complaint
        assert complaint.removesuffix("\n").isprintable()
    for what, part in ((tmp_path / "none", "no such file"), (tmp_path, "a directory; a file is")):
        assert main(["lists", "check", str(what)]) == 1
        assert capsys.readouterr().err.startswith(f"'{what}': {part}")


# What was done is told, whatever became of other lists


@pytest.fixture
def bad(steward):
    """A source whose list was refused."""
    steward.sources.add(ListSource("bad", "Bad", "https://a.example/", "MIT", "games"), "")
    steward.sources.note(
        "bad", Outcome("refused", "it is HTML", looked_at="2026-11-23T09:59:00+00:00")
    )


@pytest.mark.usefixtures("bad")
def test_commands_exit_by_the_outcome_of_the_list_they_name(gate, imports):
    (imports / "list").write_text("play.example\n")
    code, out, _ = added(gate, imports / "list")
    assert (code, out.splitlines()[-1]) == (0, "added ours: 1 names in games")
    code, out, _ = gate("update", "ours")
    assert (code, out.splitlines()[-1]) == (0, "looked at ours: 1 names in games")
    assert "bad" not in out
    code, out, _ = gate("remove-source", "bad", "--reason", "never came")
    assert (code, out.splitlines()[-1]) == (0, "removed bad")
    assert gate("show")[0] == 0


def test_show_exits_1_for_any_list(gate, bad):
    assert gate("show")[0] == 1


def test_source_that_can_never_work_is_refused_at_once(gate, school, imports):
    for url, part in (
        ("file:/etc/passwd", f"url: 'file:/etc/passwd': only files below {imports} are read\n"),
        (f"file:{imports}/../x", "are read"),
        ("ftp://a.example/list", "url: allowed are https://HOST/PATH"),
    ):
        code, _, complaint = gate(
            "add-source", "ours", "games", url, "--title", "T", "--licence", "L"
        )
        assert (code, part in complaint) == (1, True), complaint
    assert school.sources().sources == ()


def test_second_source_of_a_title_is_refused(gate, imports):
    (imports / "list").write_text("play.example\n")
    assert added(gate, imports / "list")[0] == 0
    words = ("second", "games", (imports / "list").as_uri(), "--title", "OURS", "--licence", "L")
    code, _, complaint = gate("add-source", *words)
    assert code == 1
    assert (
        complaint
        == "title: 'OURS' is what the source ours is called; each has a title of its own\n"
    )
