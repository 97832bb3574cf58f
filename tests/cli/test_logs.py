"""The log: a line an event that nobody can forge, bounded in rate, in length and in files."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from p2pframe import logs
from p2pframe.logs import NodeLog, Output, clean


class Log:
    """A log to a string, with events at times of the test's choice."""

    def __init__(self, **options) -> None:
        self.stream = io.StringIO()
        self.log = NodeLog(Output(self.stream), **options)

    def event(self, format, time=1000.0, level=LogLevel.info, **fields):
        namespace = fields.pop("namespace", "p2pframe.main")
        self.log({"log_format": format, "log_time": time, "log_level": level, "log_namespace": namespace, **fields})

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


def test_a_line_says_when_how_grave_where_and_what():
    log = Log()
    log.event("tip is {height}", height=5)
    log.event("disk is full", level=LogLevel.error, namespace="p2pframe.main.relay.inventory")
    log.event("starting", namespace="twisted.internet.base")
    assert log.lines == [
        "1970-01-01 00:16:40Z main: tip is 5",
        "1970-01-01 00:16:40Z error: main.relay.inventory: disk is full",
        "1970-01-01 00:16:40Z twisted: starting",
    ]


@given(st.text(max_size=300))
def test_no_text_makes_a_second_line(agent):
    log = Log()
    log.event("peer says {agent}", agent=agent)
    assert len(log.stream.getvalue().splitlines()) == 1
    assert log.stream.getvalue().count("\n") == 1


def test_control_characters_are_shown_as_escapes():
    assert clean("a\nb\x1b[2J\u202ec\u2028d") == "a\\nb\\x1b[2J\\u202ec\\u2028d"


def test_lines_are_bounded():
    assert len(clean("x" * 10_000)) == logs.LINE


def test_less_than_the_level_is_not_written():
    log = Log(level="warn")
    log.event("a")
    log.event("b", level=LogLevel.warn)
    log.event("c", level=LogLevel.debug)
    log.log.level = "debug"
    log.event("d", level=LogLevel.debug)
    assert [line[-1] for line in log.lines] == ["b", "d"]


def test_like_lines_beyond_the_rate_are_counted_and_said():
    log = Log(rate=3)
    for n in range(10):
        log.event("peer {n} refused", n=n)
    log.event("something else")
    assert len(log.lines) == 4
    log.event("peer {n} refused", n=11, time=1001.5)
    assert log.lines[4:] == [
        "1970-01-01 00:16:41Z main: 7 more suppressed like: peer {n} refused",
        "1970-01-01 00:16:41Z main: peer 11 refused",
    ]


def test_it_is_said_without_another_like_line_too():
    log = Log(rate=1)
    log.event("x")
    log.event("x")
    log.log.flush(1000.5)
    assert len(log.lines) == 1
    log.log.flush(1001.0)
    assert log.lines[1].endswith("1 more suppressed like: x")
    log.event("x", time=1002.0)
    log.event("x", time=1002.0)
    log.log.close(1002.1)
    assert log.lines[-1].endswith("1 more suppressed like: x")


def test_a_clock_set_back_stops_no_line():
    log = Log(rate=1)
    log.event("x", time=5000.0)
    log.event("x", time=10.0)
    assert len(log.lines) == 2


def test_what_is_critical_is_always_written():
    log = Log(rate=1)
    for _ in range(5):
        log.event("x", level=LogLevel.critical)
    assert len(log.lines) == 5


def test_a_million_like_events_are_few_lines():
    log = Log(rate=20)
    event = {"log_format": "refused {address}", "log_level": LogLevel.info, "log_namespace": "p2pframe.main"}
    for n in range(100_000):
        log.log({**event, "address": "192.0.2.1", "log_time": 1000.0 + n / 10_000})
    log.log.close(1011.0)
    assert len(log.lines) == 10 * 21
    assert sum(int(line.split("main: ")[1].split()[0]) for line in log.lines if "suppressed" in line) == 100_000 - 200


def test_the_formats_remembered_are_bounded():
    log = Log(rate=1)
    for n in range(2000):
        log.event(f"made up {n}")
    assert len(log.log._windows) <= logs.FORMATS
    assert len(log.lines) == 2000


def test_a_failure_is_shown_with_its_traceback():
    log = Log()
    try:
        1 / 0
    except ZeroDivisionError:
        log.event("relay failed", log_failure=Failure(), level=LogLevel.critical)
    assert log.lines[0].endswith("critical: main: relay failed: ZeroDivisionError: division by zero")
    assert any("test_logs.py" in line for line in log.lines[1:])
    assert all(line.startswith("    ") for line in log.lines[1:])


def test_json_has_the_fields():
    log = Log(as_json=True)
    log.event("peer {peer} left", peer="a\nb", bytes=5, time=1000.25, level=LogLevel.warn)
    [line] = log.lines
    assert json.loads(line) == {
        "time": "1970-01-01T00:16:40.250Z", "level": "warn", "from": "main", "text": "peer a\\nb left", "peer": "a\\nb",
        "bytes": 5,
    }  # fmt: skip


def test_json_survives_objects_that_cannot_be_shown():
    class Odd:
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    log = Log(as_json=True)
    log.event("x", odd=Odd(), level_of=float("nan"))
    assert json.loads(log.lines[0])["odd"] == "<Odd>"


def test_a_legacy_event_is_a_line_too():
    log = Log()
    log.log({"log_format": "{log_text}", "log_text": "old words", "log_time": 1.0, "isError": 1, "time": 1.0})
    assert log.lines == ["1970-01-01 00:00:01Z error: old words"]


def test_the_remarks_of_old_logging_are_for_debugging():
    log = Log()
    event = {"log_format": "{log_text}", "log_text": "Factory starting", "log_time": 1.0, "log_namespace": "log_legacy"}
    log.log({**event, "log_level": LogLevel.info})
    assert log.lines == []
    log.log.level = "debug"
    log.log({**event, "log_level": LogLevel.info})
    assert len(log.lines) == 1


def test_a_full_disk_loses_lines_and_says_so():
    class Full(io.StringIO):
        full = True

        def write(self, text):
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    output = Output(stream)
    output.line("a")
    output.line("b")
    stream.full = False
    output.line("c")
    assert stream.getvalue() == "(2 log lines were lost)\nc\n"


def test_lines_before_the_file_is_open_are_kept_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "EARLY", 2)
    output = Output()
    for text in "abc":
        output.line(text)
    output.open(tmp_path / "x.log", 1000, 1)
    output.line("d")
    output.close()
    assert (tmp_path / "x.log").read_text() == "(1 log lines were lost)\na\nb\nd\n"


def test_a_file_rotates_within_its_bounds_and_is_not_for_everyone(tmp_path):
    output = Output()
    path = tmp_path / "node.log"
    output.open(path, 100, 2)
    for n in range(100):
        output.line(f"{n:09}")
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["node.log", "node.log.1", "node.log.2"]
    assert all(f.stat().st_size <= 110 for f in files)
    assert path.stat().st_mode & 0o007 == 0
    output.reopen()
    output.line("more")
    output.close()
    assert path.read_text().endswith("more\n")


def test_a_file_that_cannot_be_opened_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        Output().open(tmp_path / "nowhere" / "node.log", 100, 2)
