"""A node that is stopped half-way up, networks that do not come back, changes of the config on top of one another."""

from __future__ import annotations

import threading

import pytest
from twisted.internet.defer import Deferred

from p2pframe.config import load
from p2pframe.core.node import Node
from p2pframe.core.watchdog import Watchdog
from p2pframe.errors import P2PFrameError, StartError
from p2pframe.testing.context import FakeMetrics

ALICE, BOB = "192.0.2.1", "198.51.100.1"

SLOW_APP = '''
from twisted.internet.defer import Deferred
from zope.interface import implementer
from p2pframe.interfaces import IApplication
from p2pframe.plugin import plugin

STARTED, STOPPED, WAITING = [], [], []

@plugin("slow-app")
@implementer(IApplication)
class SlowApp:
    """Starts when it is told to."""
    name = "slow-app"
    def __init__(self, config, context):
        self.waits = context.data_dir.parent.parent.joinpath("wait").exists()
    def start(self):
        STARTED.append(self)
        if self.waits:
            WAITING.append(Deferred())
            return WAITING[-1]
    def stop(self):
        STOPPED.append(self)
'''

SECOND = """  more:
    protocol: {plugin: lines, first_word: more}
    transports: [{plugin: tcp, listen: ["0.0.0.0:7888"]}]
"""


@pytest.fixture
def slow(cluster, tmp_path):
    """The config of a node with an application that starts slowly; call it to get (path, module of the application)."""
    folder = tmp_path / "slow"
    folder.mkdir(mode=0o755)
    (folder / "slow_app.py").write_text(SLOW_APP)
    (folder / "slow_app.py").chmod(0o644)
    path = cluster.config(ALICE)
    path.write_text(
        path.read_text().replace("plugin_path: [", f"plugin_path: [{folder}, ")
        + "\napplications: [{plugin: slow-app}]\n"
    )
    return path


def module_of(node):
    import sys

    return sys.modules[type(node.applications[0]).__module__]


def up(cluster, path):
    host = cluster.net.at(ALICE)
    node = Node(load(path), host.reactor, host)
    node.prepare()
    return node


def test_a_stop_in_the_middle_of_the_start_waits_for_the_step_and_leaves_nothing_running(cluster, slow):
    node = up(cluster, slow)
    app = node.applications[0]
    app.waits = True
    starting = node.start()
    failures = []
    starting.addErrback(failures.append)
    cluster.net.run(1.0)
    (waiting,) = module_of(node).WAITING
    stopping = node.stop()
    cluster.net.run(1.0)
    assert not stopping.called
    waiting.callback(None)
    cluster.wait(stopping)
    assert failures[0].check(StartError)
    assert app in module_of(node).STOPPED
    assert cluster.net.clock.getDelayedCalls() == []
    assert not cluster.listening


def test_a_start_that_hangs_holds_the_stop_up_no_longer_than_the_limit(cluster, slow):
    node = up(cluster, slow)
    node.applications[0].waits = True
    node.start().addErrback(lambda failure: failure.trap(StartError))
    cluster.net.run(1.0)
    stopping = node.stop()
    cluster.net.run(node.spec.node.stop_timeout + 1)
    assert stopping.called
    module_of(node).WAITING[-1].callback(None)
    assert cluster.net.clock.getDelayedCalls() == []


def test_stopping_twice_is_harmless(cluster):
    node = cluster.start(ALICE)
    first, second = node.stop(), node.stop()
    cluster.wait(first)
    cluster.wait(second)


def test_a_network_that_does_not_come_back_leaves_nothing_and_the_applications_run_on(cluster, slow):
    node = up(cluster, slow)
    cluster.nodes.append(node)
    cluster.wait(node.start())
    squatter = cluster.net.at(ALICE).reactor.listenTCP(7778, _Factory(), interface="0.0.0.0")
    slow.write_text(slow.read_text().replace("7777", "7778"))
    with pytest.raises(StartError, match="7778"):
        cluster.wait(node.control.reconfigure(slow))
    assert not node.networks and (ALICE, 7777) not in cluster.listening
    assert node.builder.places_of("chat") == []
    module = module_of(node)
    assert len(module.STARTED) == len(module.STOPPED) + 1
    with pytest.raises(StartError, match="chat is down"):
        cluster.wait(node.control.reconfigure(slow))
    cluster.wait(squatter.stopListening())
    # Nothing differs but that it is down: the same file, read again, brings it up.
    assert cluster.wait(node.control.reconfigure(slow)) == ["networks.chat was started"]
    assert node.networks["chat"].running and (ALICE, 7778) in cluster.listening


def test_a_network_that_is_down_comes_up_with_what_would_have_been_live_changes(cluster):
    node = cluster.start(ALICE)
    path = cluster.config(ALICE)
    squatter = cluster.net.at(ALICE).reactor.listenTCP(7778, _Factory(), interface="0.0.0.0")
    path.write_text(path.read_text().replace("7777", "7778"))
    with pytest.raises(StartError, match="the rest runs on"):
        cluster.wait(node.control.reconfigure(path))
    cluster.wait(squatter.stopListening())
    path.write_text(path.read_text().replace("{plugin: lines}", "{plugin: lines, kept: 7}"))
    done = cluster.wait(node.control.reconfigure(path))
    assert done[-1] == "networks.chat was started"
    assert node.networks["chat"].protocol.config.kept == 7


def test_one_network_that_does_not_come_back_keeps_no_other_from_its_restart(cluster):
    node = cluster.start(ALICE, extra=SECOND)
    path = cluster.config(ALICE, extra=SECOND)
    before = node.networks["more"]
    squatter = cluster.net.at(ALICE).reactor.listenTCP(7999, _Factory(), interface="0.0.0.0")
    path.write_text(path.read_text().replace("7777", "7999").replace("first_word: more", "first_word: less"))
    with pytest.raises(StartError, match=r"networks\.chat is down: chat: can't listen on 0\.0\.0\.0:7999"):
        cluster.wait(node.control.reconfigure(path))
    assert (
        list(node.networks) == ["more"]
        and node.networks["more"] is not before
        and node.networks["more"].running
    )
    cluster.wait(squatter.stopListening())


def test_a_plugin_that_raises_at_its_new_options_is_named_and_the_others_get_theirs(
    cluster, flush_logged_errors
):
    node = cluster.start(ALICE)
    network = node.networks["chat"]
    path = cluster.config(ALICE)

    def broken(config):
        raise RuntimeError("not me")

    network.protocol.reconfigure = broken
    path.write_text(
        path.read_text().replace("{plugin: lines}", "{plugin: lines, kept: 7}") + "    limits: {draws: 7}\n"
    )
    cluster.wait(node.control.reconfigure(path))
    assert network.limits.draws == 7
    assert (
        node.metrics.snapshot()["p2pframe_plugin_errors_total"]["chat", "protocol.lines", "reconfigure"] == 1
    )
    assert flush_logged_errors(RuntimeError)


def test_two_changes_at_once_are_made_one_after_the_other(cluster):
    node = cluster.start(ALICE)
    path = cluster.config(ALICE)
    text = path.read_text()
    path.write_text(text.replace("{plugin: lines}", '{plugin: lines, first_word: "one"}'))
    first = node.control.reconfigure(path)
    second = node.control.reconfigure(path)
    assert cluster.wait(first)
    assert cluster.wait(second) == []
    assert list(node.networks) == ["chat"] and node.networks["chat"].running


def test_a_change_that_comes_after_the_stop_is_refused(cluster):
    node = cluster.start(ALICE)
    path = cluster.config(ALICE)
    path.write_text(path.read_text().replace("{plugin: lines}", '{plugin: lines, first_word: "one"}'))
    cluster.wait(node.stop())
    with pytest.raises(P2PFrameError):
        cluster.wait(node.control.reconfigure(path))
    assert cluster.net.clock.getDelayedCalls() == []


def test_a_dial_after_the_stop_is_refused(cluster):
    from p2pframe.errors import SessionClosed
    from p2pframe.model import PeerAddress

    node = cluster.start(ALICE)
    cluster.wait(node.stop())
    with pytest.raises(SessionClosed, match="not running"):
        cluster.wait(node.control.connect("chat", PeerAddress(BOB, 7777)))


def test_a_discovery_that_never_withdraws_does_not_keep_the_network_open(cluster):
    node = cluster.start(ALICE, (BOB,))
    network = node.networks["chat"]
    hanging = Deferred()
    network.finder._sources[0].plugin.withdraw = lambda: hanging
    stopping = node.stop()
    cluster.net.run(network.limits.close_timeout + 1)
    assert stopping.called and not network.sessions and not cluster.listening


def _Factory():
    from twisted.internet.protocol import Factory

    return Factory()


def test_the_watchdog_follows_its_live_limit_and_is_quiet_when_switched_off():
    from twisted.internet import reactor

    limit = [0.8]
    dog = Watchdog(reactor, lambda: limit[0], FakeMetrics())
    told = []
    dog._tell = told.append
    blocked = threading.Event()

    def run(seconds):
        done = Deferred()
        reactor.callLater(seconds, done.callback, None)
        return done

    async def scenario():
        dog.start()
        limit[0] = 0.3  # the beats come every 0.4 s until the next one
        await run(2.0)
        assert told == []
        blocked.wait(0.8)  # this is what it is there for
        await run(0.1)
        assert len(told) == 1
        limit[0] = 0.0
        await run(0.4)
        blocked.wait(0.4)
        await run(0.1)
        assert len(told) == 1
        dog.stop()

    return Deferred.fromCoroutine(scenario())


def test_whoever_asks_for_a_change_of_the_nodes_settings_those_who_follow_them_hear_of_it(cluster):
    node = cluster.start(ALICE)
    heard = []
    node.settings_changed.append(heard.append)
    path = cluster.config(ALICE)
    assert cluster.wait(node.control.reconfigure(path)) == []
    path.write_text(path.read_text().replace("  watchdog: 0", "  watchdog: 0\n  log_level: warn"))
    cluster.wait(node.control.reconfigure(path))
    assert [settings.log_level for settings in heard] == ["warn"]
