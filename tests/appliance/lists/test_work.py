"""Work on lists in a process of its own."""

import json
import subprocess
import sys
import threading

import pytest

from gate_appliance.lists import work
from gate_appliance.lists.formats import ListError
from gate_appliance.lists.index import open_index
from gate_appliance.lists.jobs import examine, gather, unite
from gate_appliance.lists.work import SHORT_OCTETS, Worker, run, silent
from gate_core.categories import BY_ID

MILLION = 1_000_000
BOUND_MB = 160
"""What compiling a million names may take at most; the greater part is marisa-trie's."""


def write(path, names):
    with path.open("w") as file:
        file.writelines(f"{name}\n" for name in names)
    return path


def test_run_gives_the_same_here_and_in_a_process(tmp_path):
    path = write(tmp_path / "list", ["a.example", "b.example"])
    old = write(tmp_path / "old", ["b.example", "c.example"])
    arguments = {"path": str(path), "olds": [str(old)]}
    told = []
    here = run(examine, arguments, 0)
    there = run(examine, arguments, SHORT_OCTETS + 1, lambda *step: told.append(step))
    assert here == there
    assert (here["names"], here["lost"], here["example"]) == (2, 1, "c.example")
    assert told[0][0] == "checking"


def test_examine_counts_what_exclusions_cover(tmp_path):
    """Two lines at the end of a list must not open all of it unseen."""
    names = [f"n{n}.games.example" for n in range(10)] + ["a.other.example", "b.other.example"]
    rules = [f"||{name}^" for name in names]
    old = write(tmp_path / "old", [*rules, "@@||b.other.example^"])
    new = write(tmp_path / "new", ["@@||other.example^", *rules, "@@||games.example^"])
    found = examine(str(new), [str(old)], progress=silent)
    # Eleven that were covered are not, and two exclusions are new; what was excluded before is not lost.
    assert (found["names"], found["kept"], found["lost"]) == (12, 0, 11 + 2 + 0)
    same = examine(str(old), [str(old)], progress=silent)
    assert (same["kept"], same["lost"]) == (11 - 1, 0)


def test_examine_takes_the_nearest_in_a_policy_zone(tmp_path):
    head = ["$ORIGIN rpz.example.", "@ SOA . . 1 1 1 1 1"]
    old = write(tmp_path / "old", [*head, "a.b.example CNAME .", "c.example CNAME ."])
    passing = ["b.example CNAME rpz-passthru.", "c.example CNAME rpz-passthru."]
    new = write(tmp_path / "new", [*head, "a.b.example CNAME .", *passing])
    found = examine(str(new), [str(old)], progress=silent)
    # "a.b.example" stays listed below what passes; "c.example" is lost, and two rules that let pass are new.
    assert (found["kept"], found["lost"]) == (0, 3)


def test_examine_counts_different_names(tmp_path):
    path = write(tmp_path / "list", ["a.example", "b.example"] * 10)
    assert examine(str(path), [], progress=silent)["kept"] == 2


def test_refusal_quotes_nothing(tmp_path):
    """What a list is refused for is shown to people who may not read the file."""
    for text in ("root:$y$secret:19700\n", "{secret: 1}\n" * 5 + "a.example\n"):
        path = tmp_path / "list"
        path.write_text(text)
        with pytest.raises(ListError, match=r"no list of names|5 of 6 lines") as refusal:
            examine(str(path), [], progress=silent)
        assert "secret" not in str(refusal.value)


def test_run_ends_what_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "TOTAL_S", 0.2)
    path = write(tmp_path / "list", (f"n{n}.example" for n in range(300_000)))
    with pytest.raises(TimeoutError, match="not there after"):
        run(examine, {"path": str(path), "olds": []}, SHORT_OCTETS + 1)


def test_worker_hands_on_what_the_job_raises(tmp_path):
    (tmp_path / "list").write_text("<html></html>")
    with pytest.raises(ListError, match="HTML"):
        Worker().run(examine, {"path": str(tmp_path / "list"), "olds": []})
    with pytest.raises(FileNotFoundError):
        Worker().run(examine, {"path": str(tmp_path / "nowhere"), "olds": []})


def test_worker_is_ended_by_another_thread(tmp_path):
    worker = Worker()
    begun = threading.Event()

    def told(*_):
        begun.set()

    def end():
        begun.wait(60)
        worker.end()

    path = write(tmp_path / "list", (f"n{n}.example" for n in range(300_000)))
    threading.Thread(target=end).start()
    with pytest.raises(InterruptedError):
        worker.run(examine, {"path": str(path), "olds": [str(path)] * 50}, told)


def test_worker_that_dies_is_no_success():
    with pytest.raises(OSError, match="before it was done"):
        Worker().run(examine, {"wrong": "arguments"})


def test_examine_counts_new_exclusions_as_lost(tmp_path):
    path = tmp_path / "list"
    path.write_text("||a.example^\n@@||good.a.example^\n")
    old = write(tmp_path / "old", ["a.example"])
    found = examine(str(path), [str(old)], progress=silent)
    assert (found["lost"], found["example"]) == (1, "good.a.example")
    old.write_text("<html>")
    found = examine(str(path), [str(old)], progress=silent)
    assert (found["lost"], "HTML" in found["unread"]) == (0, True)


def test_unite_lists_all_and_excludes_nothing(tmp_path):
    path, old = tmp_path / "list", write(tmp_path / "old", ["b.example", "c.example"])
    path.write_text("||a.example^\n||b.example^\n@@||good.b.example^\n")
    unite(str(path), str(old), progress=silent)
    assert path.read_text() == "a.example\nb.example\nc.example\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list", "old"]


def test_gather_names_each_once_and_exclusions_last(tmp_path):
    (tmp_path / "one").write_text("||a.example^\n@@||good.a.example^\n@@||b.example^\n")
    (tmp_path / "two").write_text("b.example\na.example\n")
    (tmp_path / "broken").write_text("<html>")
    files = [str(tmp_path / name) for name in ("one", "broken", "two")]
    gather(files, str(tmp_path / "all"), progress=silent)
    assert (tmp_path / "all").read_text() == "a.example\nb.example\n!good.a.example\n"


def test_million_names_are_compiled_in_bounded_memory(tmp_path):
    """By a process of its own, whose memory the kernel tells; every name is found, and what is left out is said."""
    path = write(tmp_path / "list", (f"n{n}.{n % 997}.example" for n in range(MILLION)))
    (tmp_path / "broken").write_text("<html></html>")
    files = [("games", str(path), "games"), ("video", str(tmp_path / "broken"), "broken")]
    # VmHWM, not getrusage: the latter begins with what the parent had.
    program = (
        "import json, re, sys\n"
        "from gate_appliance.lists.jobs import compile_files\n"
        "from gate_appliance.lists.work import silent\n"
        "made = compile_files(*json.loads(sys.argv[1]), progress=silent)\n"
        "peak = re.search('VmHWM:\\\\s*([0-9]+) kB', open('/proc/self/status').read())[1]\n"
        "print(json.dumps([made, int(peak)]))\n"
    )
    argv = [sys.executable, "-c", program, json.dumps([files, str(tmp_path)])]
    made, peak = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert peak / 1024 < BOUND_MB
    assert made["names"] == MILLION
    (fault,) = made["faults"]
    assert "“broken” can't be used: HTML" in fault
    index = open_index(tmp_path / f"{made['sha256']}.lists", made["sha256"])
    games = BY_ID["games"].mask
    assert all(index.mask(f"n{n}.{n % 997}.example") == games for n in range(0, MILLION, 999))
    assert index.mask("n1.2.example") == 0
