"""A reactor that is blocked again and again is found by who looks now and then, from what the watchdog measures."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from p2pframe.admin.alerts import LOOK, Alerts
from p2pframe.core.metrics import NodeMetrics
from p2pframe.core.watchdog import Watchdog
from p2pframe.testing.context import FakeContext
from tests.admin.web import View


@implementer(IReactorFromThreads)
class Blockable(Clock):
    """A clock that can be watched."""

    def callFromThread(self, call, *args):
        pass


class Node(View):
    """A node of which nothing is wrong but that an application blocks it for two seconds, every so often."""

    def __init__(self, limit=0.5):
        super().__init__()
        self.clock, self.counted = Blockable(), NodeMetrics()
        self.watchdog = Watchdog(self.clock, lambda: limit, self.counted.view("", "core"))
        self.watchdog.start()

    def numbers(self):
        return self.counted.snapshot()

    def go(self, seconds):
        for _ in range(round(seconds * 8)):
            self.clock.advance(0.125)

    def block(self):
        self.clock.advance(2.0)


@pytest.fixture
def node():
    node = Node()
    yield node
    node.watchdog.stop()


def lagging(alerts):
    return [one.text for one in alerts.now() if one.name == "reactor-lag"]


def test_the_alert_comes_with_blocks_between_the_looks_and_ends_a_minute_after_the_last(node):
    alerts = Alerts(node, FakeContext("application.admin", reactor=node.clock))
    alerts.start()
    node.go(LOOK + 1)
    assert lagging(alerts) == []
    for _ in range(10):
        node.go(1.0)
        node.block()
        node.go(17.0)
        assert lagging(alerts) == ["The reactor was 1.8 s late in the last minute: something blocks it."]
    node.go(40.0)
    assert len(lagging(alerts)) == 1
    node.go(15.0)
    assert lagging(alerts) == []
    alerts.stop()
    (over,) = [one for one in alerts.over() if one.alert.name == "reactor-lag"]
    assert over.alert.name == "reactor-lag", "one alert, however many blocks"


@pytest.mark.parametrize("watched", [True, False])
@pytest_twisted.ensureDeferred
async def test_the_overview_and_the_api_say_the_worst_of_a_minute_or_nothing_where_nobody_measures(web, watched):
    node = Node(0.5 if watched else 0.0)
    try:
        node.block()
        node.go(30.0)
        web.view.numbers = node.numbers
        web.clock.advance(LOOK)
        answer = await web.ask(path="/api/v1/node", **web.viewer)
        session = await web.log_in()
        page = (await web.ask(path="/", cookie=session.cookie)).body.decode()
        assert answer.json["lag"] == (1.75 if watched else None)
        assert ("the reactor was at most 1750 ms late in the last minute" in page) == watched
        assert (" late" in page) == watched
        names = [one["name"] for one in answer.json["alerts"]]
        assert ("reactor-lag" in names) == watched
    finally:
        node.watchdog.stop()
