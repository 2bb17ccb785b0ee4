"""Updates of lists: a steward at work, a real server of lists, and what comes into force."""

import re
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from name_servers import KEY, Server, write_zone

from gate_appliance.library import Library, vouched_lists
from gate_appliance.lists import work
from gate_appliance.sources import Sources
from gate_appliance.steward import Steward
from gate_core.categories import BY_ID
from gate_core.desk import RefusedError
from gate_core.sources import ListSource

GAMES = BY_ID["games"].mask
PATIENCE_S = 60


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        its = self.server
        with its.condition:
            its.asked.append(self.headers.get("If-None-Match", ""))
            its.condition.notify_all()
        its.open.wait()
        status, body, mark = its.content
        if mark and self.headers.get("If-None-Match") == mark:
            status, body = 304, b""
        self.send_response(status)
        if mark:
            self.send_header("ETag", mark)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Shelf:
    """A server with one list."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.condition = threading.Condition()
        self.server.asked = []
        self.server.open = threading.Event()
        self.server.open.set()
        self.url = f"http://127.0.0.1:{self.server.server_port}/list"

    def has(self, *names, mark="", status=200, body=None):
        octets = "".join(f"{n}\n" for n in names).encode() if body is None else body
        self.server.content = (status, octets, mark)


@pytest.fixture
def shelf():
    its = Shelf()
    threading.Thread(target=its.server.serve_forever, args=(0.01,), daemon=True).start()
    yield its
    its.server.open.set()
    its.server.shutdown()
    its.server.server_close()


@pytest.fixture
def updating(school):
    """The desk of a school, whose updates run."""
    updates = school._steward.updates
    updates._limits = {"reserve_octets": 0, "total_s": 20, "idle_s": 5}
    updates.start()
    return school


def wait(desk):
    deadline = time.monotonic() + PATIENCE_S
    while desk.sources().progress:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def add(desk, url, category="games", secret="", **more):
    trust = "official" if BY_ID[category].mask & 0b1111 else "curated"
    source = ListSource("ours", "Our list", url, "MIT", category, **{"trust": trust} | more)
    desk.add_source(source=source, secret=secret, actor="coordinator")
    wait(desk)


def look(desk):
    desk.update_lists(actor="it")
    wait(desk)
    (view,) = desk.sources().sources
    return view


def mask(desk, name):
    return desk._steward.around.index.mask(name)


def address_mask(desk, *octets):
    return desk._steward.around.index.address_mask(bytes(octets))


def component(desk):
    desk._steward.look()
    return next(c for c in desk.status().components if c.name == "lists")


def test_list_comes_into_force_with_its_entry_in_the_record(updating, shelf):
    shelf.has("play.example", "fun.example", mark='"1"')
    add(updating, shelf.url)
    (view,) = updating.sources().sources
    assert (view.state, view.reason, view.names) == ("ok", "", 2)
    assert mask(updating, "www.play.example") == GAMES
    entry = updating.record(actor="head")[0]
    assert (entry.actor, entry.action, entry.subject) == (
        "the appliance", "added a list", "ours to games",
    )  # fmt: skip
    assert entry.version == updating.status().version
    assert component(updating).state == "ok"


def test_list_that_has_not_changed_changes_nothing(updating, shelf):
    shelf.has("play.example", mark='"1"')
    add(updating, shelf.url)
    version = updating.status().version
    assert look(updating).state == "ok"
    assert shelf.server.asked == ["", '"1"']
    assert updating.status().version == version


@pytest.mark.parametrize(
    ("content", "reason", "state"),
    [
        ({"body": b"<!DOCTYPE html><html>sign in</html>"}, "HTML", "refused"),
        ({"body": b""}, "empty list", "refused"),
        ({"body": b"what is\nall this then\nplay.example\n"}, "not understood", "refused"),
        ({"status": 500, "body": b""}, "answers 500", "ok"),
    ],
)
def test_last_good_list_stays_and_it_is_said_why(updating, shelf, content, reason, state):
    shelf.has("play.example")
    add(updating, shelf.url)
    shelf.has(**content)
    view = look(updating)
    assert reason in view.reason
    assert view.state == state
    assert view.names == 1
    assert mask(updating, "play.example") == GAMES
    if state == "refused":
        assert component(updating).state == "degraded"
        assert reason in component(updating).detail
    shelf.has("play.example", "more.example")
    assert look(updating).state == "ok"
    assert mask(updating, "more.example") == GAMES
    assert component(updating).state == "ok"


def test_list_of_addresses_is_kept_up_to_date_like_one_of_names(updating, shelf):
    relays = [f"198.51.100.{n}" for n in range(1, 11)]
    shelf.has("# relays", *relays, "2001:db8::66")
    add(updating, shelf.url, category="tor")
    assert updating.sources().sources[0].names == 11
    for content, reason in (
        ({"body": b"<!DOCTYPE html><html>too many requests</html>"}, "HTML"),
        ({"body": b"# relays\n"}, "empty list"),
        ({"body": "\n".join(relays[:7]).encode()}, "lacks 4 of the 11 names"),
    ):
        shelf.has(**content)
        view = look(updating)
        assert (view.state, reason in view.reason) == ("refused", True)
        assert address_mask(updating, 198, 51, 100, 10) == BY_ID["tor"].mask
    shelf.has(*relays[:9], "2001:db8::66", "203.0.113.0/24")
    assert look(updating).state == "ok"
    assert address_mask(updating, 203, 0, 113, 7) == BY_ID["tor"].mask
    assert address_mask(updating, 198, 51, 100, 10) == 0


def test_list_that_was_refused_at_first_leaves_nothing_and_says_so(updating, shelf):
    shelf.has(body=b"<html>")
    add(updating, shelf.url)
    said = component(updating).detail
    assert "Nothing of it is in force." in said
    assert "The last good one" not in said
    shelf.has("play.example")
    look(updating)
    shelf.has(body=b"<html>")
    look(updating)
    said = component(updating).detail
    assert "The last good one stays." in said
    assert "Nothing of it" not in said


def test_list_that_can_not_be_put_in_force_is_said_until_one_is(updating, shelf, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    shelf.has("play.example")
    with monkeypatch.context() as its:
        its.setattr(updating._steward.updates, "_put", full)
        add(updating, shelf.url)
    said = ("New lists can't be put in force: No space left on device.",)
    assert updating.sources().faults == said
    assert component(updating).detail.startswith(said[0])
    assert look(updating).state == "ok"
    assert updating.sources().faults == ()


def test_list_that_can_not_be_reached_is_told_without_numbers_of_the_system(updating, free_port):
    add(updating, f"http://127.0.0.1:{free_port()}/list")
    (view,) = updating.sources().sources
    assert view.reason
    assert "Errno" not in view.reason + component(updating).detail


def test_numbers_of_names_have_separators(updating, shelf):
    shelf.has(*(f"n{n}.example" for n in range(1_500)))
    add(updating, shelf.url)
    assert updating.record(actor="head")[0].after.startswith("1,500 names from http")
    assert re.fullmatch(r"[1-9],\d{3} names are on the lists\.", component(updating).detail)
    shelf.has("n1.example")
    assert "lacks 1,499 of the 1,500 names" in look(updating).reason


def test_list_that_lacks_much_waits_for_a_person_who_may_approve(updating, shelf):
    names = [f"n{n}.example" for n in range(100)]
    shelf.has(*names)
    add(updating, shelf.url)
    shelf.has(*names[:71])
    assert look(updating).names == 71
    shelf.has(*names[:30])
    view = look(updating)
    assert (view.state, view.acceptable, view.names) == ("refused", True, 71)
    assert "lacks 41 of the 71 names" in view.reason
    assert mask(updating, "n50.example") == GAMES
    with pytest.raises(RefusedError, match="may not approve"):
        updating.accept_list(id="ours", reason="why not", actor="it")
    # What was accepted is that it lacks 41; what lacks more is something else.
    shelf.has(*names[:10])
    updating.accept_list(id="ours", reason="cleaned up", actor="head")
    wait(updating)
    assert updating.sources().sources[0].state == "refused"
    shelf.has(*names[:12])
    updating.accept_list(id="ours", reason="cleaned up again", actor="head")
    wait(updating)
    (view,) = updating.sources().sources
    assert (view.state, view.names, view.acceptable) == ("ok", 12, False)
    assert mask(updating, "n50.example") == 0
    with pytest.raises(RefusedError, match="nothing of this source waits"):
        updating.accept_list(id="ours", reason="again", actor="head")


def test_list_that_loses_a_little_each_day_waits_for_a_person(updating, shelf):
    shelf.has(*(f"n{n}.example" for n in range(100)))
    add(updating, shelf.url)
    shelf.has(*(f"n{n}.example" for n in range(75)))
    assert look(updating).names == 75
    # The same name a hundred times is one name.
    shelf.has(*(f"n{n}.example" for n in range(60)), *["n1.example"] * 100)
    view = look(updating)
    assert (view.state, view.acceptable, view.names) == ("refused", True, 75)
    assert view.reason == "it has 60 names, less exclusions, and one of before had 100"
    updating.accept_list(id="ours", reason="cleaned up", actor="head")
    wait(updating)
    shelf.has(*(f"n{n}.example" for n in range(45)))
    view = look(updating)
    assert (view.state, view.names) == ("ok", 45)
    places = updating._steward.places
    assert Sources(places.sources, places.outcomes, places.source_keys).most("ours") == 60


def test_list_whose_exclusions_open_all_of_it_is_refused(updating, shelf):
    names = [f"||n{n}.play.example^" for n in range(100)]
    shelf.has(*names)
    add(updating, shelf.url)
    shelf.has(*names, "@@||play.example^")
    view = look(updating)
    assert (view.state, view.acceptable) == ("refused", True)
    assert "lacks 101 of the 100 names" in view.reason
    assert mask(updating, "n5.play.example") == GAMES


def test_list_that_excludes_a_little_more_each_day_waits_for_a_person(updating, shelf):
    names = [f"||n{n}.example^" for n in range(100)]
    shelf.has(*names)
    add(updating, shelf.url)
    shelf.has(*names, *(f"@@||www.n{n}.example^" for n in range(25)))
    assert look(updating).state == "ok"
    shelf.has(*names, *(f"@@||www.n{n}.example^" for n in range(50)))
    assert look(updating).state == "refused"
    assert mask(updating, "www.n40.example") == GAMES


def test_list_that_ends_its_reader_does_not_stop_the_others(updating, shelf, monkeypatch):
    def killed(*_, **__):
        raise OSError("the work on lists ended with -9 before it was done")

    shelf.has("play.example")
    monkeypatch.setattr(Library, "stage", killed)
    add(updating, shelf.url)
    (view,) = updating.sources().sources
    assert "ended with -9" in view.reason
    assert updating.sources().faults == ()


def test_file_is_read_below_the_directory_of_imports_only(updating, tmp_path):
    (tmp_path / "keys").write_text("secret-key-of-the-trust\n")
    with pytest.raises(RefusedError, match="command line"):
        add(updating, (tmp_path / "keys").as_uri())
    imports = updating._steward.library.imports
    assert imports == updating._steward.places.state / "lists-import"
    sources = updating._steward.sources
    for id_, path in (("away", tmp_path / "keys"), ("here", imports / "list")):
        sources.add(ListSource(id_, id_, path.as_uri(), "MIT", "games"), "")
    updating.update_lists(actor="it")
    wait(updating)
    assert imports.is_dir()
    assert "only files below" in sources.outcome("away").reason
    assert "is no file" in sources.outcome("here").reason
    (imports / "list").write_text("play.example\n")
    updating.update_lists(actor="it")
    wait(updating)
    assert sources.outcome("here").state == "ok"
    assert mask(updating, "play.example") == GAMES


def test_exclusions_open_nothing_of_a_list_of_illegal_content(updating, shelf):
    updating._steward.sources.add(
        ListSource("ours", "Our list", shelf.url, "licence", "terrorism", "official"), ""
    )
    shelf.has("||one.bad.example^", "||two.example^", "@@||two.example^")
    look(updating)
    shelf.has("||one.bad.example^", "||three.example^", "@@||bad.example^", "@@||two.example^")
    assert look(updating).state == "ok"
    for name in ("one.bad.example", "two.example", "three.example"):
        assert mask(updating, name) == BY_ID["terrorism"].mask


def test_list_of_illegal_content_only_grows(updating, shelf):
    """Its source may drop names, be removed, or be added again: what was on it stays."""
    source = {"category": "terrorism", "url": shelf.url.replace("http:", "https:")}
    updating._steward.sources.add(
        ListSource("ours", "Our list", shelf.url, "licence", "terrorism", "official"), ""
    )
    shelf.has("one.example", "two.example", "192.0.2.66")
    look(updating)
    shelf.has("two.example", "three.example")
    assert look(updating).names == 4
    updating.remove_source(id="ours", reason="the licence ended", actor="head")
    wait(updating)
    assert updating.sources().sources == ()
    names = ("one.example", "two.example", "three.example")
    assert all(mask(updating, name) == BY_ID["terrorism"].mask for name in names)
    assert address_mask(updating, 192, 0, 2, 66) == BY_ID["terrorism"].mask
    with pytest.raises(RefusedError, match="there is a list of that name"):
        add(updating, **source)
    # At the next start the record vouches for what there is.
    places = updating._steward.places
    lists = Library(places.lists, places.snapshots, vouched_lists(places.policy)).compile()
    assert lists.faults == ()


def test_source_that_is_removed_takes_its_list_with_it(updating, shelf):
    shelf.has("play.example")
    add(updating, shelf.url)
    with pytest.raises(RefusedError, match="may not approve"):
        updating.remove_source(id="ours", reason="why", actor="it")
    updating.remove_source(id="ours", reason="not kept up", actor="coordinator")
    wait(updating)
    assert mask(updating, "play.example") == 0
    entry = updating.record(actor="head")[0]
    assert (entry.actor, entry.action) == ("coordinator", "took out a list")


def test_list_with_a_source_is_not_replaced_by_hand(updating, shelf, tmp_path):
    shelf.has("play.example")
    add(updating, shelf.url)
    (tmp_path / "list").write_text("other.example\n")
    with pytest.raises(RefusedError, match="comes from its source"):
        updating.add_list(name="ours", category="games", path=str(tmp_path / "list"), actor="it")


def test_pause_does_not_wait_for_lists(updating, shelf, monkeypatch):
    """While a list is being compiled, and while a download hangs, a pause is in force as ever."""
    shelf.has(*(f"n{n}.example" for n in range(100_000)))
    begun, go_on = threading.Event(), threading.Event()
    run = work.Worker.run

    def held(self, job, *arguments, **more):
        if job.__name__ == "compile_files":
            begun.set()
            assert go_on.wait(PATIENCE_S)
        return run(self, job, *arguments, **more)

    monkeypatch.setattr(work.Worker, "run", held)
    shelf.server.open.clear()
    source = ListSource("ours", "Our list", shelf.url, "MIT", "games")
    updating.add_source(source=source, actor="it")
    with shelf.server.condition:
        assert shelf.server.condition.wait_for(lambda: shelf.server.asked, PATIENCE_S)
    updating.start_pause(minutes=5, actor="head")
    shelf.server.open.set()
    assert begun.wait(PATIENCE_S)
    assert updating.sources().progress.phase in ("checking", "reading", "compiling")
    version = updating.status().version
    updating.start_pause(minutes=10, actor="head")
    assert updating.status().version == version + 1
    assert mask(updating, "n5.example") == 0
    go_on.set()
    wait(updating)
    assert mask(updating, "n5.example") == GAMES


def test_sources_outlive_a_start_and_a_damaged_file_is_said(updating, shelf, config):
    shelf.has("play.example", mark='"1"')
    add(updating, shelf.url)
    before = updating.sources().sources
    places = updating._steward.places

    def again():
        return Sources(places.sources, places.outcomes, places.source_keys)

    its = again()
    assert its.all() == (before[0].source,)
    assert its.outcome("ours").validators == {"etag": '"1"'}
    places.sources.write_text("{")
    assert "damaged" in again().fault


@pytest.mark.parametrize("program", ["named", "knotd"])
def test_zone_of_the_trust_comes_by_transfer_and_follows_its_serial(
    updating, tmp_path, program, free_port
):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed; tools/apt/test has its package")
    names = [f"bad{n}.example" for n in range(50)]
    write_zone(
        tmp_path / "server" / "zone", 10, names, "24.0.2.0.192.rpz-ip CNAME .\n"
        "32.1.2.0.192.rpz-ip CNAME rpz-passthru.\n" "32.1.2.0.192.rpz-nsip CNAME .\n"
        "*.zone.example CNAME .\nzone.example CNAME rpz-passthru.\n",
    )  # fmt: skip
    port = free_port()
    with Server(program, tmp_path / "server", port) as primary:
        add(
            updating,
            primary.url,
            secret=KEY["secret"],
            key_name=KEY["name"],
            key_algorithm=KEY["algorithm"],
            format="rpz",
        )
        (view,) = updating.sources().sources
        assert (view.state, view.names, view.reason) == ("ok", 52, "")
        assert view.note == "Not enforced: 1 rules rpz-nsip"
        assert address_mask(updating, 192, 0, 2, 2) == GAMES
        assert address_mask(updating, 192, 0, 2, 1) == 0
        assert mask(updating, "bad7.example") == mask(updating, "a.zone.example") == GAMES
        primary.update(add=["new.example"], delete=["bad7.example"])
        assert look(updating).names == 52
        assert mask(updating, "new.example") == GAMES
        assert mask(updating, "bad7.example") == 0
    assert "refused" in look(updating).reason
    assert mask(updating, "new.example") == GAMES
    write_zone(tmp_path / "server" / "zone", 3, names)
    shutil.rmtree(tmp_path / "server" / "journal", ignore_errors=True)
    for journal in (tmp_path / "server").glob("*.jnl"):
        journal.unlink()
    if program == "named":
        with Server(program, tmp_path / "server", port):
            view = look(updating)
            assert (view.state, view.acceptable) == ("refused", True)
            assert "serial" in view.reason
            updating.accept_list(id="ours", reason="set up anew", actor="head")
            wait(updating)
            assert updating.sources().sources[0].state == "ok"
            assert mask(updating, "bad7.example") == GAMES


def test_steward_ends_in_the_middle_of_an_update(config, shelf):
    shelf.has("play.example")
    shelf.server.open.clear()
    steward = Steward(config)
    steward.sources.add(ListSource("ours", "Our list", shelf.url, "MIT", "games"), "")
    steward.start()
    steward.updates.ask(["ours"])
    with shelf.server.condition:
        assert shelf.server.condition.wait_for(lambda: shelf.server.asked, PATIENCE_S)
    steward.close()
    assert not steward.updates._thread.is_alive()
