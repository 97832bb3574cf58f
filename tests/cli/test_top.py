"""`p2pframe top`: what two looks say together, what is drawn, and a terminal that is as it was afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata

import psutil
import pytest
from rich.cells import cell_len
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2pframe.admin.values import Alert, Happened, SlotUse
from p2pframe.cli.remote.client import RemoteError
from p2pframe.cli.remote.samples import SORTS, Rates, Sample, ordered, rates
from p2pframe.cli.remote.screen import Picture, lines
from p2pframe.cli.remote.top import PATIENCE, Watch
from tests.cli.remote import a_node, a_peer, filled, refused, run, said

HOSTILE = "/\x1b[2J\x1b]0;t\x07[red]evil[/red]\r\n\u202e\ud800\u0301中文/"


def node(**changes):
    found = a_node()
    network = found.networks[0].model_copy(update={"slots": {"outbound": SlotUse(used=3, allowed=8)}})
    return found.model_copy(update={"networks": [network], "uptime": 100.0, **changes})


def event(number, **changes):
    values = {"number": number, "time": 0.0, "kind": "session.opened", "network": "bitcoin", "session": 1,
              "address": None, "fields": {}}  # fmt: skip
    return Happened.model_validate(values | changes)


def sample(*peers, at=0.0, events=(), **changes):
    return Sample(at, node(**changes), peers, events)


# --- two samples ---


def test_rates_are_of_what_has_moved_in_between():
    before = sample(a_peer(id=1, bytes_in=100, bytes_out=10), a_peer(id=2, bytes_in=9_000), at=10.0)
    after = sample(a_peer(id=1, bytes_in=300, bytes_out=20), a_peer(id=3, bytes_in=40, bytes_out=0, age=1.0), at=12.0)
    found = rates(before, after)
    # One has ended, and one has begun since.
    assert found.peers == {("bitcoin", 1): (100.0, 5.0), ("bitcoin", 3): (20.0, 0.0)}
    assert found.networks == {"bitcoin": (120.0, 5.0)}


def test_one_sample_has_no_rates():
    assert rates(None, sample()) == Rates() == rates(sample(at=1.0), sample(at=1.0))


def test_a_session_of_a_node_that_has_begun_anew_is_another_one():
    before = sample(a_peer(id=1, bytes_in=5_000, age=60.0), at=0.0)
    after = sample(a_peer(id=1, bytes_in=10_000, age=1.0), at=2.0)
    assert rates(before, after).peers["bitcoin", 1][0] == 5_000.0


@pytest.mark.parametrize(
    ("sort", "order"),
    [("in", [1, 2, 3]), ("out", [3, 1, 2]), ("ping", [2, 1, 3]), ("age", [3, 2, 1]), ("score", [1, 2, 3]),
     ("useful", [3, 1, 2])],
)  # fmt: skip
def test_the_best_is_first(sort, order):
    peers = [
        a_peer(id=1, ping=0.2, age=1.0, score=0.9, useless=5.0),
        a_peer(id=2, ping=0.1, age=2.0, score=None, useless=None),
        a_peer(id=3, ping=None, age=3.0, score=None, useless=1.0),
    ]
    moved = Rates({}, {("bitcoin", 1): (9.0, 2.0), ("bitcoin", 2): (5.0, 1.0), ("bitcoin", 3): (1.0, 7.0)})
    assert [one.id for one in ordered(sample(*peers), moved, sort)] == order
    # The other end first; who has no figure is last all the same.
    known = [one for one in order if {"ping": one != 3, "score": one == 1, "useful": one != 2}.get(sort, True)]
    turned = known[::-1] + [one for one in order if one not in known]
    assert [one.id for one in ordered(sample(*peers), moved, sort, True)] == turned


# --- the picture ---


def picture(*peers, **changes):
    more = {name: changes.pop(name) for name in ("failed", "since", "sort", "keys", "rates") if name in changes}
    return Picture(**{"url": "http://127.0.0.1:1", "sample": sample(*peers, **changes), "rates": Rates(),
                      "sort": "in"} | more)  # fmt: skip


def text(*args, width=120, height=None, **changes):
    return "\n".join(line.plain for line in lines(picture(*args, **changes), width, height))


def test_the_verdict_comes_first():
    alerts = [filled(Alert, name="a", critical=False, text="the disk is filling", runbook="look")]
    drawn = text(healthy=False, reasons=["no peers"], alerts=alerts).splitlines()
    assert drawn[1:3] == ["not healthy: no peers", "look at: the disk is filling look"]
    assert "\nhealthy\n" in text()


def test_slots_rates_and_the_busiest_are_shown():
    rates_ = Rates({"bitcoin": (1_500.0, 20.0)}, {("bitcoin", 8): (1_500.0, 20.0)})
    drawn = text(a_peer(id=7), a_peer(id=8, address="192.0.2.8:8333"), rates=rates_).splitlines()
    assert next(line for line in drawn if line.startswith("bitcoin")).split() == [
        "bitcoin", "1.5", "kB", "20", "B", "2", "3/8",
    ]  # fmt: skip
    assert "2 peers, by in" in drawn
    busiest, other = (line.split() for line in drawn if "192.0.2." in line)
    assert busiest[:7] == ["8", "192.0.2.8:8333", "outbound", "1.5", "kB", "20", "B"]
    assert other[0] == "7"


def test_nobody_and_nothing_have_words():
    assert "no peers" in text()
    assert "no networks" in text(networks=[])
    assert "latest events" not in text()
    assert "session.opened bitcoin session 1" in text(events=[event(1)])


def test_a_silent_node_is_said_and_what_is_shown_is_old():
    drawn = text(a_peer(), failed="no node answers", since=130.0)
    assert "no answer for 2 min 10 s, and what stands here is from before: no node answers" in drawn
    assert "192.0.2.7:8333" in drawn


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("width", [1, 2, 7, 20, 40, 80, 250])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 24, 100])
def test_it_fits_every_terminal_whatever_peers_say(width, height, sort):
    peers = [a_peer(id=one, agent=HOSTILE * 9, slot=HOSTILE, address=HOSTILE * one) for one in range(1, 12)]
    events = [event(one, kind=HOSTILE, fields={HOSTILE: HOSTILE}) for one in range(9)]
    alerts = [filled(Alert, name="a", critical=False, text=HOSTILE, runbook=HOSTILE)] * 9
    shown = picture(*peers, events=events, alerts=alerts, healthy=False, reasons=[HOSTILE] * 9, version=HOSTILE,
                    failed=HOSTILE, sort=sort, keys=True)  # fmt: skip
    drawn = lines(shown, width, height)
    assert len(drawn) <= height
    for line in drawn:
        assert cell_len(line.plain) <= width
        assert not [one for one in line.plain if unicodedata.category(one) in ("Cc", "Cf", "Cs")]
        assert not [span for span in line.spans if "red" in str(span.style) and "bold" not in str(span.style)]


def test_a_narrow_one_keeps_what_it_is_sorted_by():
    drawn = text(a_peer(score=0.5), sort="score", width=45)
    assert "192.0.2.7:8333" in drawn and "0.50" in drawn and "/x/" not in drawn
    assert "/x/" in text(a_peer(score=0.5), sort="score", width=150)


def test_who_does_not_fit_is_counted():
    drawn = text(*(a_peer(id=one) for one in range(40)), height=20, keys=True).splitlines()
    heading = next(line for line in drawn if " of 40 peers" in line)
    assert int(heading.split()[0]) == sum("192.0.2.7" in line for line in drawn) > 5
    assert len(drawn) == 20 and drawn[-1].startswith("q ends")


# --- looking again and again ---


class Answering:
    """A node's API in memory; `broken` is what every request ends with instead, `silent` answers none."""

    url = "http://node"

    def __init__(self):
        self.node = node()
        self.peers = []
        self.events = []
        self.broken = None
        self.silent = False
        self.asked = []
        self.log_ins = 0

    async def get(self, path, cursor="[0]", limit=100):
        self.asked.append(path)
        if self.silent:
            await Deferred()
        if self.broken is not None:
            raise self.broken
        if path == "/node":
            return self.node if isinstance(self.node, dict) else self.node.model_dump()
        after = json.loads(cursor)[0]
        found = [one for one in self.events if one.number > after][:limit]
        more = f"[{found[-1].number}]" if len(found) == limit else None
        return {"events": [one.model_dump() for one in found], "next": more}

    async def pages(self, path, key, network=None):
        return {"peers": [one.model_dump() for one in self.peers if network in (None, one.network)], "next": None}

    async def log_in(self):
        self.log_ins += 1


class Watched:
    """A watch over it, on a clock that the test advances; `seen` are the pictures."""

    def __init__(self, **options):
        self.api, self.clock, self.seen = Answering(), Clock(), []
        self.watch = Watch(self.api, self.clock, 2.0, **options)

    def start(self):
        self.running = Deferred.fromCoroutine(self.watch.run(lambda watch: self.seen.append(watch.picture())))
        return self

    def tick(self, seconds=2.0):
        self.clock.advance(seconds)
        return self.seen[-1]


def test_it_draws_at_once_and_then_with_rates():
    one = Watched()
    one.api.peers = [a_peer(bytes_in=1_000)]
    one.start()
    assert (len(one.seen), one.seen[0].rates) == (1, Rates())
    one.api.peers = [a_peer(bytes_in=5_000, age=3602.0)]
    assert one.tick().rates.networks == {"bitcoin": (2_000.0, 0.0)}


def test_a_counted_one_has_rates_from_the_first_and_ends():
    one = Watched(count=2).start()
    assert one.seen == []
    one.tick(2.0), one.tick(2.0)
    assert len(one.seen) == 2
    assert one.running.called and not one.clock.getDelayedCalls()


def test_it_goes_on_trying_while_there_is_no_answer():
    one = Watched()
    one.api.peers = [a_peer()]
    one.start()
    one.api.broken = RemoteError("no node answers")
    assert (one.tick().failed, one.tick().since) == ("no node answers", 4.0)
    assert one.seen[-1].sample.peers, "what was known stays"
    one.api.broken = None
    one.api.peers = [a_peer(bytes_in=601, age=3606.0)]
    shown = one.tick()
    assert shown.failed == "" and shown.rates.networks["bitcoin"] == (100.0, 0.0)


def test_an_answer_that_is_none_is_no_end_either():
    one = Watched().start()
    one.api.node = {"version": 7}
    assert "none that this version" in one.tick().failed
    one.api.node = node()
    assert one.tick().failed == ""


def test_a_node_that_hangs_is_said_after_a_while():
    one = Watched().start()
    one.api.silent = True
    one.clock.advance(2.0)
    assert len(one.seen) == 1
    assert f"not answered within {PATIENCE:g} s" in one.tick(PATIENCE).failed
    one.api.silent = False
    assert one.tick().failed == ""


def test_a_node_that_was_never_there_ends_it():
    one = Watched()
    one.api.broken = RemoteError("no node answers")
    one.start()
    one.running.addErrback(lambda why: why.trap(RemoteError) and None)
    assert one.running.called and one.seen == []


def test_a_log_in_that_has_ended_is_made_anew():
    one = Watched().start()
    one.api.broken = RemoteError("log in", 401)
    one.tick()
    assert one.api.log_ins == 1
    one.api.broken = RemoteError("no", 500)
    one.tick()
    assert one.api.log_ins == 1


@pytest.mark.parametrize("when", ["waiting", "asking"])
def test_q_ends_it_at_once(when):
    one = Watched().start()
    if when == "asking":
        one.api.silent = True
        one.clock.advance(2.0)
    assert not one.running.called
    assert one.watch.press("q") is False
    assert one.running.called and one.running.result is None
    assert not one.clock.getDelayedCalls()


def test_keys_sort_by_another():
    one = Watched().start()
    found = []
    for _ in SORTS:
        assert one.watch.press("s")
        found.append(one.watch.picture().sort)
    assert found == [*SORTS[1:], SORTS[0]]
    assert one.watch.press("r") and one.watch.picture().backwards
    assert not one.watch.press("x")


def numbers(picture):
    return [one.number for one in picture.sample.events]


def test_the_latest_events_are_found_without_reading_them_all():
    one = Watched()
    one.api.events = [event(number) for number in range(1, 60_001)]
    one.start()
    assert numbers(one.seen[0]) == list(range(59_951, 60_001))
    assert one.api.asked.count("/events") < 40
    one.api.asked.clear()
    one.api.events += [event(60_001), event(60_002)]
    assert numbers(one.tick())[-3:] == [60_000, 60_001, 60_002]
    assert one.api.asked.count("/events") == 1


def test_after_a_flood_of_events_the_latest_are_shown():
    one = Watched().start()
    one.api.events = [event(number) for number in range(1, 5_001)]
    assert numbers(one.tick())[-1] == 5_000


def test_a_node_that_begins_anew_counts_its_events_from_one():
    one = Watched()
    one.api.events = [event(number) for number in range(1, 10)]
    one.start()
    one.api.events, one.api.node = [event(1, kind="anew")], node(uptime=1.0)
    assert one.tick().sample.events[-1].kind == "anew"


def test_one_network_alone():
    one = Watched(network="bitcoin")
    one.api.peers = [a_peer(), a_peer(network="other")]
    one.api.events = [event(1), event(2, network="other"), event(3, network="")]
    shown = one.start().seen[0]
    assert len(shown.sample.peers) == 1 and numbers(shown) == [1, 3]
    other = Watched(network="none").start()
    other.running.addErrback(lambda why: str(why.value))
    assert other.running.result == "there is no network none"


# --- the command ---


def answering(peers=None, events=None, **changes):
    """What `wrong` takes, for a node that is well."""
    pages = {
        "/api/v1/node": node(**changes).model_dump(),
        "/api/v1/peers": {"peers": [one.model_dump() for one in (peers or [])], "next": None},
    }

    def answer(path):
        name, _, query = path.partition("?")
        if name == "/api/v1/events":
            found = [] if "%5B0%5D" not in query and "[0]" not in query else events or []
            return said({"events": [one.model_dump() for one in found], "next": None})
        return said(pages[name])

    return answer


ONCE = ("--once", "--every", "200ms")


def test_a_script_gets_lines(wrong):
    status, out, err = run("top", *ONCE, *wrong(answering([a_peer(agent="/\x1b[2J[red]x[/red]/")], [event(1)])))
    assert (status, err) == (0, "")
    assert r"/\x1b[2J[red]x[/red]/" in out and "session.opened" in out and "\x1b" not in out
    status, out, err = run("top", "--count", 2, "--every", "200ms", *wrong(answering()))
    assert (status, out.count("no peers")) == (0, 2)


def test_json_is_an_object_a_line(wrong):
    status, out, err = run("top", "--count", 2, "--every", "200ms", "--json", *wrong(answering([a_peer()])))
    one, two = map(json.loads, out.splitlines())
    assert one["rates"] == {"bitcoin": [0.0, 0.0]} and two["peers"][0]["rates"] == [0.0, 0.0]
    assert two["node"]["healthy"] is True and two["failed"] == ""


def test_the_status_says_when_the_last_look_failed(wrong):
    assert "answered 502" in refused("top", *ONCE, *wrong(said(b"", "502 Bad Gateway", "text/plain")))
    looks = []
    well = answering([a_peer()])

    def once(path):
        if path.startswith("/api/v1/node"):
            looks.append(path)
        return well(path) if len(looks) < 2 else said(b"", "502 Bad Gateway", "text/plain")

    status, out, err = run("top", *ONCE, *wrong(once))
    assert (status, err.count("\n")) == (1, 1) and "answered 502" in err
    assert "192.0.2.7" in out and "no answer for" in out


@pytest.mark.parametrize("words", [["--every", "0"], ["--every", "soon"], ["--once", "--count", "2"], ["--sort", "x"]])
def test_what_is_not_understood_has_status_2(words):
    status, out, err = run("top", *words, "-c", "x")
    assert (status, out) == (2, "") and "Error: " in err


class Terminal:
    """A command on a terminal of its own, which it is in charge of."""

    PROGRAM = (
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "from p2pframe.cli import main; main(prog_name='p2pframe')"
    )

    def __init__(self, *words, rows=24, columns=80):
        self.ours, self.its = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.its)
        self.out = b""
        # pytest-xdist tells its workers a size; the terminal has one of its own.
        clean = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, *map(str, words)],
            stdin=self.its, stdout=self.its, stderr=self.its, start_new_session=True,
            env={**clean, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.its)

    def resize(self, rows, columns):
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.ours, keys)

    def until(self, what, limit=30.0):
        """Read until it has said that from now on; what it said."""
        deadline = time.monotonic() + limit
        start = len(self.out)
        while what not in self.out[start:]:
            assert time.monotonic() < deadline and self.process.poll() is None, (what, self.out[-3000:])
            if select.select([self.ours], [], [], 0.1)[0]:
                self.out += os.read(self.ours, 65_536)
        return self.out[start:]

    def asleep(self, limit=30.0):
        """Wait until it waits for a key, and does nothing else. A signal between what asks for one and the call that
        reads it is lost in the C library; a person presses later than that, and again."""
        deadline, before, its = time.monotonic() + limit, None, psutil.Process(self.process.pid)
        while (used := its.cpu_times()) != before or its.status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < deadline, self.out[-3000:]
            before = used
            time.sleep(0.2)

    def ended(self, limit=30.0):
        """Its exit status, once it has ended; the rest is read."""
        deadline = time.monotonic() + limit
        while self.process.poll() is None or select.select([self.ours], [], [], 0.1)[0]:
            assert time.monotonic() < deadline, self.out[-3000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                self.out += os.read(self.ours, 65_536)
        return self.process.returncode

    @property
    def as_it_was(self):
        """Whether its modes are those that it had, the cursor is shown, and the other screen is left."""
        return (
            termios.tcgetattr(self.its) == self.before
            and self.out.rfind(b"\x1b[?25h") > self.out.rfind(b"\x1b[?25l")
            and self.out.rfind(b"\x1b[?1049l") > self.out.rfind(b"\x1b[?1049h")
        )


HURRY = ("--every", "200ms")


def test_a_terminal_is_a_screen_until_q(wrong):
    peers = [a_peer(agent="/\x1b[2J[red]evil[/red]\n/", ping=0.5)]
    with Terminal("top", *HURRY, *wrong(answering(peers)), columns=160) as terminal:
        # The first screen may come before the node's first answer.
        first = terminal.until(b"evil[/red]")
        assert b"\x1b[?1049h" in first and b"by in" in first
        assert b"\x1b[2J[" not in first and b"\\x1b[2J[red]evil[/red]" in first
        assert not termios.tcgetattr(terminal.its)[3] & termios.ECHO
        terminal.type(b"s")
        terminal.until(b"by out")
        # An arrow is several bytes, of which none is a key of ours.
        terminal.type(b"\x1b[1;5q\x1b[A\x1bOs\x1bq")
        terminal.type(b"r")
        terminal.until(b"by out, the other end first")
        terminal.type(b"\x1b[Aq")
        assert terminal.ended() == 0
        assert terminal.as_it_was


@pytest.mark.parametrize(("keys", "status"), [(b"\x03", 130), (b"\x04", 0)])
def test_ctrl_c_and_the_end_of_input_leave_the_terminal_as_it_was(wrong, keys, status):
    with Terminal("top", *HURRY, *wrong(answering())) as terminal:
        terminal.until(b"no peers")
        terminal.type(keys)
        assert terminal.ended() == status
        assert terminal.as_it_was and b"Traceback" not in terminal.out


def test_to_be_ended_by_a_signal_too(wrong):
    with Terminal("top", *HURRY, *wrong(answering())) as terminal:
        terminal.until(b"no peers")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.ended()
        assert terminal.as_it_was and b"Traceback" not in terminal.out


def test_a_node_that_goes_and_comes_is_said_on_the_screen(wrong):
    state = {"gone": False}
    well = answering([a_peer()])

    def answer(path):
        return said(b"", "502 Bad Gateway", "text/plain") if state["gone"] else well(path)

    with Terminal("top", *HURRY, *wrong(answer)) as terminal:
        terminal.until(b"q ends")
        state["gone"] = True
        assert b"192.0.2.7" in terminal.until(b"no answer for") + terminal.until(b"q ends")
        state["gone"] = False
        while b"no answer" in terminal.until(b"q ends"):
            pass
        terminal.type(b"q")
        assert terminal.ended() == 0 and terminal.as_it_was


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 10), (3, 200)])
def test_a_small_terminal_breaks_nothing(wrong, rows, columns):
    peers = [a_peer(id=one) for one in range(30)]
    with Terminal("top", *HURRY, *wrong(answering(peers)), rows=rows, columns=columns) as terminal:
        terminal.until(b"\x1b[H")
        terminal.resize(24, 120)
        os.killpg(terminal.process.pid, signal.SIGWINCH)
        terminal.until(b" of 30 peers")
        terminal.type(b"q")
        assert terminal.ended() == 0 and terminal.as_it_was


def test_a_terminal_that_goes_away_ends_it(wrong):
    with Terminal("top", *HURRY, *wrong(answering())) as terminal:
        terminal.until(b"no peers")
        os.close(terminal.its)
        os.close(terminal.ours)
        try:
            terminal.process.wait(30)
        finally:
            terminal.ours, terminal.its = os.openpty()
