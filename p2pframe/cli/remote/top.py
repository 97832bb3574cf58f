"""`p2pframe top`: a node as it is now, drawn again and again."""

from __future__ import annotations

# real world: twisted.internet.reactor: a command of a terminal, drawn by the clock of who looks
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from p2pframe.cli.remote.asking import NETWORK, Asked, reaching, read

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from p2pframe.admin.values import Happened, Node
    from p2pframe.cli.remote.client import Client
    from p2pframe.cli.remote.samples import Rates, Sample
    from p2pframe.cli.remote.screen import Picture

PATIENCE = 10.0
"""Seconds until a node that does not answer is said to be silent."""
_SORTS = ("in", "out", "ping", "age", "score", "useful")
_LATEST = 50
"""Events that are asked for when it begins; fewer are shown."""


@click.command()
@click.option("--every", default="2s", show_default=True, help="How long between two looks: 500ms, 2s, 1min.")
@click.option("--sort", type=click.Choice(_SORTS), default="in", show_default=True, help="The best first.")
@click.option("--reverse", is_flag=True, help="The other end first.")
@click.option("--count", type=click.IntRange(1), help="Print so many pictures, and end; the first after one interval.")
@click.option("--once", is_flag=True, help="The same as --count 1.")
@NETWORK
@reaching
def top(
    every: str, sort: str, reverse: bool, count: int | None, once: bool, network: str | None, **given: Any
) -> None:  # fmt: skip
    """Watch a node: its verdict, slots, traffic, busiest peers and latest events. q or Ctrl-C ends.

    --sort is by bytes in or out a second, shortest ping, greatest age, highest score, or useful the latest; s and r
    change it meanwhile. With --json, an object a line.
    """
    from pydantic_core import PydanticCustomError

    from p2pframe.plugin import parse_duration

    try:
        interval = parse_duration(every)
    except (PydanticCustomError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--every") from None
    if not 0.2 <= interval <= 86_400:
        raise click.BadParameter("between 200ms and 1d", param_hint="--every")
    if once and count not in (None, 1):
        raise click.UsageError("--once is --count 1: say one of them")
    node = Asked(given)

    async def work(client: Client) -> str:
        from twisted.internet import reactor

        watch = Watch(client, reactor, interval, sort, reverse, network, 1 if once else count)
        drawn: Callable[[Watch], None]
        with ExitStack() as stack:
            if node.as_json:
                drawn = _objects
            elif watch.count is None and sys.stdout.isatty():
                # Not before it is known that there is a node.
                await watch.begin()
                drawn = stack.enter_context(_live(watch, reactor))
            else:
                drawn = _printed
            await watch.run(drawn)
        return watch.failed

    failed = node.ask(work)
    if failed:
        raise click.ClickException(failed)


class Watch:
    """Looks at a node every so often, until it is told to end or has drawn `count` pictures.

    A node that does not answer is asked again; `failed` says why until it does.
    """

    def __init__(
        self,
        client: Client,
        clock: IReactorTime,
        every: float,
        sort: str = "in",
        backwards: bool = False,
        network: str | None = None,
        count: int | None = None,
    ) -> None:
        self.count = count
        self.failed = ""
        self.sort = sort
        self.backwards = backwards
        self._client = client
        self._clock = clock
        self._every = every
        self._network = network
        self._before: Sample | None = None
        self._now: Sample | None = None
        self._rates: Rates | None = None
        self._events: deque[Happened] = deque(maxlen=_LATEST)
        self._last: int | None = None
        self._running: Deferred[None] | None = None
        self._over = False

    def picture(self, keys: bool = False) -> Picture:
        """What there is to draw now."""
        from p2pframe.cli.remote.samples import Rates
        from p2pframe.cli.remote.screen import Picture

        assert self._now is not None, "it has begun"
        since = self._clock.seconds() - self._now.at if self.failed else 0.0
        return Picture(
            self._client.url, self._now, self._rates or Rates(), self.sort, self.backwards, self.failed, since, keys
        )

    @property
    def rates(self) -> Rates | None:
        """What moves; None until there are two samples."""
        return self._rates

    def end(self) -> None:
        """No more of it, also where an answer is being waited for."""
        self._over = True
        if self._running is not None:
            self._running.cancel()

    def press(self, key: str) -> bool:
        """Do what a key stands for; True where there is another picture to draw."""
        if key in ("q", "Q", "\x04"):
            self.end()
        elif key == "s":
            self.sort = _SORTS[(_SORTS.index(self.sort) + 1) % len(_SORTS)]
            return True
        elif key == "r":
            self.backwards = not self.backwards
            return True
        return False

    async def begin(self) -> None:
        """The first look. Raises `RemoteError`: then there is nothing to watch."""
        self._now = await self._look()

    async def run(self, drawn: Callable[[Watch], None]) -> None:
        """Call `drawn` after each look; the first of a counted number when there are rates to show."""
        from twisted.internet.defer import CancelledError, Deferred

        self._running = Deferred.fromCoroutine(self._run(drawn))
        try:
            await self._running
        except CancelledError:
            if not self._over:
                raise

    async def _run(self, drawn: Callable[[Watch], None]) -> None:
        if self._now is None:
            await self.begin()
        if self.count is None:
            drawn(self)
        told = 0
        while self.count is None or told < self.count:
            await self._pause()
            await self._again()
            drawn(self)
            told += 1

    async def _pause(self) -> None:
        from twisted.internet.task import deferLater

        await deferLater(self._clock, self._every)

    async def _again(self) -> None:
        from twisted.internet.defer import Deferred, TimeoutError

        from p2pframe.cli.remote.client import RemoteError
        from p2pframe.cli.remote.samples import rates

        try:
            looking = Deferred.fromCoroutine(self._look())
            sample = await looking.addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            self.failed = f"{self._client.url} has not answered within {PATIENCE:g} s"
            return
        except click.ClickException as error:
            self.failed = error.message
            return
        except RemoteError as error:
            self.failed = str(error)
            if error.status == 401:
                # The log-in has ended: the node was started anew, or it was too long ago.
                with suppress(RemoteError):
                    await self._client.log_in()
            return
        self.failed = ""
        self._before, self._now = self._now, sample
        self._rates = rates(self._before, sample)

    async def _look(self) -> Sample:
        from p2pframe.admin.values import Node, Peers
        from p2pframe.cli.remote.client import RemoteError
        from p2pframe.cli.remote.samples import Sample

        node = read(Node, await self._client.get("/node"))
        if self._network is not None:
            found = [one for one in node.networks if one.name == self._network]
            if not found and self._now is None:
                raise RemoteError(f"there is no network {self._network}")
            node = node.model_copy(update={"networks": found})
        answer = await self._client.pages("/peers", "peers", network=self._network)
        at = self._clock.seconds()
        await self._follow(node)
        peers = read(Peers, {"peers": answer["peers"], "next": None}).peers
        return Sample(at, node, peers, tuple(self._events))

    async def _follow(self, node: Node) -> None:
        """Those that came since the last look; when it begins, and after a flood, the latest of them."""
        from p2pframe.admin.values import Events

        if self._now is not None and node.uptime < self._now.node.uptime:
            # The node was started anew, and numbers its events from 1 again.
            self._last = None
        if self._last is None:
            self._last = max(0, await self._newest(0) - _LATEST)
        answer = read(Events, await self._client.get("/events", cursor=f"[{self._last}]", limit=1000))
        if answer.next is not None:
            after = max(self._last, await self._newest(self._last) - _LATEST)
            answer = read(Events, await self._client.get("/events", cursor=f"[{after}]", limit=1000))
        for one in answer.events:
            self._last = max(self._last, one.number)
            if self._network in (None, one.network) or not one.network:
                self._events.append(one)

    async def _newest(self, known: int) -> int:
        """The number of the latest event, found in few steps: the API counts from the oldest, of very many perhaps."""
        from p2pframe.admin.values import Events

        async def is_any(after: int) -> bool:
            return bool(read(Events, await self._client.get("/events", cursor=f"[{after}]", limit=1)).events)

        step = 1000
        low, high = known, known + step
        while step < 1 << 45 and await is_any(high):
            step *= 2
            low, high = high, high + step
        # None is above `high`; whether one is above `low` is to be found out.
        while low < high:
            middle = (low + high) // 2
            if await is_any(middle):
                low = middle + 1
            else:
                high = middle
        return low


def _objects(watch: Watch) -> None:
    picture = watch.picture()
    sample, rates = picture.sample, picture.rates
    click.echo(
        json.dumps(
            {
                "failed": watch.failed,
                "node": sample.node.model_dump(),
                "peers": [
                    {**one.model_dump(), "rates": rates.peers.get((one.network, one.id))} for one in sample.peers
                ],
                "rates": rates.networks,
                "events": [one.model_dump() for one in sample.events],
            }
        )
    )
    sys.stdout.flush()


def _printed(watch: Watch) -> None:
    from p2pframe.cli.remote.screen import lines
    from p2pframe.cli.remote.show import console

    to = console()
    for line in lines(watch.picture(), to.width):
        to.print(line, soft_wrap=True)
    to.print()
    sys.stdout.flush()


@contextmanager
def _live(watch: Watch, reactor: Any) -> Iterator[Callable[[Watch], None]]:
    """The terminal while it is a screen; as it was before at the end, whatever ends it."""
    import signal

    from rich.console import Console, Group
    from rich.live import Live

    from p2pframe.cli.remote.keys import Keys
    from p2pframe.cli.remote.screen import lines

    to = Console(highlight=False)
    live = Live(console=to, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def draw(_: Watch) -> None:
        width, height = to.size
        try:
            live.update(Group(*lines(watch.picture(keys), width, height)), refresh=True)
        except OSError:
            # The terminal has gone.
            watch.end()

    def pressed(key: str) -> None:
        if watch.press(key):
            draw(watch)

    def resized(*_: object) -> None:
        reactor.callFromThread(draw, watch)

    keys = sys.stdin.isatty()
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGWINCH, signal.signal(signal.SIGWINCH, resized))
        if keys:
            stack.enter_context(Keys(reactor, sys.stdin.fileno(), pressed, watch.end))
        stack.callback(_left, live)
        live.start()
        yield draw


def _left(live: Any) -> None:
    with suppress(OSError):
        live.stop()
