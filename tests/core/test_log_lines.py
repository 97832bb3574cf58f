"""The latest lines of the log: bounded in number, rate and length; each node has its own; nothing below the level."""

from __future__ import annotations

from pathlib import Path
from threading import Thread, get_ident
from types import SimpleNamespace

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from p2pframe.config.settings import NodeSettings
from p2pframe.core import log_lines
from p2pframe.core.context import ServiceWorld
from p2pframe.core.log_event import LINE
from p2pframe.core.log_lines import LogLines
from p2pframe.core.metrics import NodeMetrics
from p2pframe.testing.simulation import NodeSimulation
from tests.work import Work


class Kept:
    """Lines of a log, at times of the test's choice."""

    def __init__(self, **settings) -> None:
        self.now = 1000.0
        metrics = NodeMetrics()
        self.numbers = metrics.snapshot
        self.lines = LogLines(NodeSettings(**settings), lambda: self.now, metrics.view("", "core"))

    def say(self, format, level=LogLevel.info, namespace="p2pframe.main", **fields):
        event = {"log_format": format, "log_level": level, "log_namespace": namespace, **fields}
        if self.lines.wants(event):
            self.lines(event)

    def counted(self, name):
        return sum(self.numbers()[f"p2pframe_{name}_total"].values())

    @property
    def texts(self):
        return [line.text for line in self.lines.since()]


def test_a_line_is_what_was_said_and_its_plain_values():
    kept = Kept()
    kept.say("tip is {height}", height=5, block=object(), log_source=object(), level=LogLevel.warn)
    [line] = kept.lines.since()
    assert (line.number, line.time, line.level, line.namespace, line.text) == (1, 1000.0, "warn", "main", "tip is 5")
    assert line.fields == {"height": 5}
    assert line.traceback == ""


def test_the_oldest_lines_make_room_and_are_counted():
    kept = Kept(log_lines=100, log_rate=1000)
    for number in range(250):
        kept.say("line {number}", number=number)
    assert len(kept.lines) == 100
    assert kept.texts[0] == "line 150"
    assert kept.counted("log_lines_forgotten") == 150
    kept.lines.resize(NodeSettings(log_lines=120, log_rate=1000))
    for number in range(60):
        kept.say("more {number}", number=number)
    assert len(kept.lines) == 120, "live"


def test_less_than_the_level_costs_no_line_and_the_level_is_live():
    class Never:
        def __format__(self, spec):
            raise AssertionError("formatted for nobody")

    kept = Kept()
    kept.say("{never}", never=Never(), level=LogLevel.debug)
    assert kept.texts == []
    kept.lines.resize(NodeSettings(log_level="debug"))
    kept.say("now", level=LogLevel.debug)
    assert kept.texts == ["now"]


def test_a_flood_of_one_kind_does_not_wash_out_the_others():
    kept = Kept(log_rate=5, log_lines=100)
    kept.say("the one that matters")
    for number in range(10_000):
        kept.say("peer {number} is odd", number=number)
    assert len(kept.lines) == 6
    assert kept.counted("log_lines_suppressed") == 9_995
    kept.now += 1.5
    assert kept.texts[-1] == "9995 more suppressed like: peer {number} is odd", "said without another line"
    kept.say("peer {number} is odd", number=1)
    assert kept.texts[-1] == "peer 1 is odd"


def test_the_formats_looked_at_are_bounded_and_what_is_critical_is_always_kept():
    kept = Kept(log_rate=1, log_lines=10_000)
    for number in range(log_lines.FORMATS * 2):
        kept.say(f"made up {number}")
    assert len(kept.lines) == log_lines.FORMATS + 1
    for _ in range(5):
        kept.say("disk is gone", level=LogLevel.critical)
    assert kept.texts[-5:] == ["disk is gone"] * 5


def test_no_line_is_longer_than_its_bound_nor_has_more_fields():
    kept = Kept()
    fields = {f"field_{number:03d}_{'n' * 100}": "v" * 10_000 for number in range(100)}
    kept.say("{text}", text="x" * 100_000, namespace="p2pframe." + "n" * 10_000, huge=1 << 100_000, **fields)
    [line] = kept.lines.since()
    assert len(line.text) == LINE
    assert len(line.namespace) == log_lines.NAMESPACE
    assert len(line.fields) == log_lines.FIELDS
    assert all(len(name) <= log_lines.NAME and len(str(one)) <= log_lines.VALUE for name, one in line.fields.items())


def test_a_traceback_is_cut():
    def deep(left):
        if left:
            deep(left - 1)
        raise ValueError("x" * 10_000 + "\x1b[2J")

    kept = Kept()
    try:
        deep(200)
    except ValueError:
        failure = Failure()
    kept.say("it broke", level=LogLevel.critical, log_failure=failure)
    [line] = kept.lines.since()
    assert line.text.startswith("it broke: ValueError: xxx")
    lines = line.traceback.split("\n")
    assert len(lines) == log_lines.TRACEBACK
    assert max(map(len, lines)) <= log_lines.TRACEBACK_LINE
    assert "deep" in line.traceback


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[31mred", "a\nb", "\u202egpj.exe", "\u2066x", "zero\u200bwidth", "\ud800half", "\x00", "\U000e0041tag"],
)
def test_what_could_deceive_is_shown_as_an_escape(hostile):
    kept = Kept()
    kept.say("peer says {agent}", agent=hostile, namespace="p2pframe." + hostile)
    [line] = kept.lines.since()
    for shown in (line.text, line.namespace, line.fields["agent"]):
        assert shown.isprintable()
        assert "\\" in shown


def test_lines_are_found_by_level_namespace_text_and_number():
    kept = Kept()
    kept.say("Hello one", namespace="p2pframe.bitcoin.relay.inventory")
    kept.say("two", namespace="p2pframe.bitcoin", level=LogLevel.warn)
    kept.say("three", namespace="p2pframe.bitcoins", level=LogLevel.error)
    kept.say("four", namespace="twisted.internet.base", level=LogLevel.critical)
    lines = kept.lines
    assert [line.text for line in lines.since(level="warn")] == ["two", "three", "four"]
    assert [line.text for line in lines.since(namespace="bitcoin")] == ["Hello one", "two"]
    assert [line.text for line in lines.since(text="hello")] == ["Hello one"]
    assert [line.text for line in lines.since(2)] == ["three", "four"]
    assert [line.text for line in lines.since(limit=2)] == ["Hello one", "two"]
    assert [line.text for line in lines.latest(2)] == ["four", "three"]
    assert [line.text for line in lines.latest(before=3)] == ["two", "Hello one"]
    assert [line.text for line in lines.latest(namespace="twisted")] == ["four"]


def test_who_catches_up_page_by_page_goes_over_none_of_it_twice():
    kept = Kept(log_lines=5_000, log_rate=10_000)
    for number in range(6_000):
        kept.say("line {number}", number=number)
    last, seen = 0, 0
    with Work(5_000 * 30):
        while page := kept.lines.since(last, 50):
            last, seen = page[-1].number, seen + len(page)
    assert (last, seen) == (6_000, 5_000)


def test_who_follows_is_told_of_each_until_it_ends():
    kept, told = Kept(), []
    end = kept.lines.subscribe(told.append)
    kept.say("one")
    end()
    kept.say("two")
    assert [line.text for line in told] == ["one"]
    end()


def test_who_follows_and_fails_stops_nobody_and_what_it_logs_has_an_end():
    kept, told = Kept(), []
    log = Logger(namespace="p2pframe.follower", observer=kept.lines)
    kept.lines.log = Logger(namespace="p2pframe.core", observer=kept.lines)

    def follow(line):
        log.info("I saw {number}", number=line.number)
        raise RuntimeError("a follower's own")

    kept.lines.subscribe(follow)
    kept.lines.subscribe(told.append)
    kept.say("one")
    assert [line.text for line in told] == ["one"]
    assert kept.texts == ["one", "I saw 1", "who follows the log raised: RuntimeError: a follower's own"]
    assert kept.counted("log_subscriber_errors") == 1


async def test_a_thread_hands_its_lines_over_to_the_reactors_and_is_bounded(monkeypatch):
    monkeypatch.setattr("p2pframe.core.context._LOGGED", 3)
    kept = Kept(log_rate=1000)
    seen = []
    kept.lines.subscribe(lambda line: seen.append((line.text, get_ident())))
    end = ServiceWorld(reactor).observe_log(kept.lines)
    try:

        def work():
            for number in range(5):
                Logger(namespace="p2pframe.thread").info("from a thread {number}", number=number)

        # The reactor waits meanwhile, so that nothing is handed over.
        thread = Thread(target=work)
        thread.start()
        thread.join()
        turn = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn
        assert seen == [(f"from a thread {number}", get_ident()) for number in range(3)]
        assert kept.counted("log_lines_suppressed") == 2
    finally:
        end()
    Logger(namespace="p2pframe.thread").info("afterwards")
    assert "afterwards" not in kept.texts


CONFIG = """
version: 1
node: {data_dir: data, watchdog: 0}
storage: {plugin: memory}
networks:
  chat:
    protocol: {plugin: lines}
    transports: [{plugin: tcp, listen: ["0.0.0.0:7777"]}]
"""


def test_each_node_of_a_simulation_has_its_own_log(tmp_path):
    config = CONFIG.replace("watchdog: 0", f"watchdog: 0, plugin_path: [\"{Path(__file__).parents[2] / 'plugins'}\"]")
    before = len(globalLogPublisher._observers)
    simulation = NodeSimulation(tmp_path)
    one, two = simulation.start(config, "192.0.2.1"), simulation.start(config, "192.0.2.2")
    simulation.run(1.0)
    assert len(globalLogPublisher._observers) == before + 1, "one for all nodes"
    for host in (one, two):
        started = [line for line in host.node.view.logs() if "node started" in line.text]
        assert len(started) == 1
        assert started[0].namespace == "node"
        assert simulation.epoch <= started[0].time <= simulation.epoch + 1.0, "the host's own clock"
    log, told = Logger(namespace="p2pframe.chat"), SimpleNamespace(one=[], two=[])
    end = one.node.view.follow_log(told.one.append)
    two.node.view.follow_log(told.two.append)
    one.incarnation.reactor.callLater(1.0, lambda: log.info("said on one"))
    simulation.run(2.0)
    log.info("said by the test, between two runs")
    assert [line.text for line in told.one] == ["said on one"]
    assert told.two == []
    assert [line.text for line in one.node.view.latest_logs(1)] == ["said on one"]
    end()
    simulation.wait(two.stop())
    simulation.close()
    assert len(globalLogPublisher._observers) == before
