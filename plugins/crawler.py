"""A crawler in one file: calls on every peer of a network, politely, and writes down what it is told.

A worked example of an application that steers its node by `INodeControl` and keeps a database of its own.

    applications:
      - {plugin: crawler, network: bitcoin, rate: 5, database: ./crawl.sqlite}

It begins with the addresses of the network's book, calls on each (`INodeControl.visit`), asks whom that one knows,
and so on, round and round. `p2pframe crawl report crawl.sqlite` tells what was found.

Politeness is most of it:

- `rate` visits a second and `concurrency` at once; one netgroup is called on every `netgroup_pause` at the most;
- a peer is called on again after `revisit`, one that did not answer after `retry`, twice as long each time;
- `avoid` names addresses and networks that are never called on: put there who asks to be left alone;
- `visits` ends it after so many.

What strangers tell is bounded: addresses of one answer (`ask`), all that are remembered (`nodes`), the length of
texts. The database is written off the reactor's thread, a batch at a time; where it can't be, the crawl rests and
says why.
"""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, NamedTuple, cast

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import P2PFrameError, VisitRefused
from p2pframe.interfaces import IAddressBook, IApplication, IContext, INodeControl, IReconfigurable, Visit
from p2pframe.model import PeerAddress, netgroup
from p2pframe.plugin import Duration, Field, PluginConfig, bound, live, plugin

SCHEMA = 1
"""The database's version (`PRAGMA user_version`)."""
TEXT = 256
"""Characters of a text that a peer said, and of a reason."""
LONGEST = 32
"""Times `retry` that a peer which never answers is left alone, at most."""
TABLES = """
CREATE TABLE IF NOT EXISTS nodes (
    address TEXT PRIMARY KEY, netgroup TEXT NOT NULL, first_seen REAL NOT NULL, due REAL NOT NULL,
    last_visit REAL, last_answer REAL, failures INTEGER NOT NULL DEFAULT 0, id TEXT, agent TEXT, version INTEGER,
    services TEXT, round_trip REAL
);
CREATE INDEX IF NOT EXISTS nodes_due ON nodes (due);
CREATE TABLE IF NOT EXISTS visits (
    address TEXT NOT NULL, time REAL NOT NULL, answered INTEGER NOT NULL, why TEXT, round_trip REAL, id TEXT, agent
    TEXT, told INTEGER NOT NULL, details TEXT
);
CREATE INDEX IF NOT EXISTS visits_of ON visits (address, time);
CREATE TABLE IF NOT EXISTS sessions (
    address TEXT NOT NULL, began REAL NOT NULL, ended REAL NOT NULL, over INTEGER NOT NULL,
    PRIMARY KEY (address, began)
);
"""


def _subject(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        what = "{text}: an address or a network: 192.0.2.1, 192.0.2.0/24"
        raise PydanticCustomError("avoid", what, {"text": text}) from None


class CrawlerConfig(PluginConfig):
    """Options of the `crawler` application."""

    network: str = Field(min_length=1, description="The network of this node that is walked.")
    database: Path | None = Field(None, description="The SQLite file; unset: crawl.sqlite in the application's folder.")
    rate: float = bound(2.0, gt=0, le=1000, description="Visits in a second, in the long run.", counter="")
    concurrency: int = bound(16, ge=1, le=1000, description="Visits under way at once.", counter="")
    netgroup_pause: Duration = bound(
        1.0, ge=0, description="Between two visits in one netgroup (IPv4 /16, IPv6 /32).", counter=""
    )
    revisit: Duration = live(21_600.0, ge=1, description="A peer that answered is called on again after this, about.")
    retry: Duration = live(21_600.0, ge=1, description="The same for one that did not; twice as long each time.")
    wait: Duration = bound(
        20.0, gt=0, description="How long a visit may take.", counter="crawler_visits", label="failed"
    )
    ask: int = bound(
        1000,
        ge=0,
        le=10_000,
        description="Addresses that a peer is asked for.",
        counter="crawler_left_out",
        label="more than asked for",
    )
    visits: int = bound(0, ge=0, description="Ends after so many visits; 0: goes on.", counter="")
    nodes: int = bound(
        1_000_000,
        ge=1,
        description="Addresses remembered; beyond it new ones are left out and counted.",
        counter="crawler_left_out",
        label="nodes",
    )
    avoid: tuple[Annotated[str, AfterValidator(_subject)], ...] = bound(
        (),
        max_length=10_000,
        description="Addresses and networks that are never called on.",
        counter="crawler_left_out",
        label="avoid",
    )
    flush: Duration = live(5.0, ge=0.1, description="How often results are written.")
    queue: int = bound(
        2_000, ge=1, description="Results that may wait to be written; then the crawl rests.", counter="crawler_rests"
    )


class Result(NamedTuple):
    """One visit: when, whom, and what came of it. `why` is empty where it answered."""

    time: float
    address: str
    why: str
    visit: Visit | None


@plugin("crawler", config=CrawlerConfig)
@implementer(IApplication, IReconfigurable)
class Crawler:
    """Walks a network, politely, and writes down whom it finds."""

    name = "crawler"

    def __init__(self, config: CrawlerConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._control = context.service(INodeControl)
        self._book = context.service(IAddressBook, config.network)
        self._avoid = _networks(config)
        metrics = context.metrics
        self._visits = metrics.counter("crawler_visits_total", "Visits by how they ended.", ["outcome"])
        self._left = metrics.counter("crawler_left_out_total", "Addresses that are not remembered, by why.", ["why"])
        self._rests = metrics.counter("crawler_rests_total", "Times that a full `queue` of results held up visits.")
        self._resting = False
        self._due: deque[str] = deque()
        self._groups: dict[str, float] = {}
        self._under_way: dict[str, Deferred[None]] = {}
        self._results: list[Result] = []
        self._spent = 0.0
        self._made = 0
        self._written = 0.0
        self._writing: Deferred[None] | None = None
        self._full = False
        self._loop = LoopingCall(self._step)
        self._loop.clock = context.reactor
        self._stopped = False

    def start(self) -> Deferred[None]:
        """Open the database. Fails with `P2PFrameError` where it is none of ours, or can't be written."""

        def opened(_: object) -> None:
            self._spent = self.context.reactor.seconds()
            self._loop.start(0.5)

        return self.context.work(open_database, self._path()).addCallback(opened)

    def stop(self) -> Deferred[None]:
        """End the visits, and write what is known."""
        self._stopped = True
        if self._loop.running:
            self._loop.stop()
        for visit in list(self._under_way.values()):
            visit.cancel()
        return Deferred.fromCoroutine(self._last())

    def reconfigure(self, config: object) -> None:
        """Takes new live options."""
        self.config = cast(CrawlerConfig, config)
        self._avoid = _networks(self.config)

    async def _last(self) -> None:
        if self._writing is not None:
            await self._writing
        if self._results:
            await self._write()

    def _path(self) -> Path:
        return self.config.database or self.context.data_dir / "crawl.sqlite"

    # --- visits ---

    def _step(self) -> None:
        """Called twice a second: write what is due, and spend what the rate allows."""
        config, now = self.config, self.context.reactor.seconds()
        if self._writing is None and (now - self._written >= config.flush or len(self._results) >= config.queue):
            self._written = now
            self._writing = writing = Deferred.fromCoroutine(self._write())
            writing.addErrback(self._not_written).addBoth(self._has_written)
        # What was not spent is not saved up: a rest is followed by no rush.
        self._spent = max(self._spent, now - 1.0)
        rested, self._resting = self._resting, len(self._results) >= config.queue
        if self._resting and not rested:
            self._rests.add()
        looks = len(self._due)
        while looks and self._may(now):
            looks -= 1
            text = self._due.popleft()
            address = PeerAddress.parse(text)
            group = netgroup(address)
            if text in self._under_way:
                continue
            if now < self._groups.get(group, 0.0):
                self._due.append(text)
                continue
            self._groups.pop(group, None)
            self._groups[group] = now + config.netgroup_pause
            while len(self._groups) > 4 * config.queue:
                del self._groups[next(iter(self._groups))]
            self._spent += 1.0 / config.rate
            self._made += 1
            self._call(text, address)

    def _may(self, now: float) -> bool:
        config = self.config
        done = bool(config.visits) and self._made >= config.visits
        busy = len(self._under_way) >= config.concurrency or len(self._results) >= config.queue
        return not done and not busy and self._spent <= now

    def _call(self, text: str, address: PeerAddress) -> None:
        config = self.config
        visit = self._control.visit(config.network, address, peers=config.ask, wait=config.wait)
        done = visit.addCallbacks(lambda told: self._told(text, told), lambda failure: self._silent(text, failure))
        if not done.called:
            self._under_way[text] = done

    def _told(self, text: str, visit: Visit) -> None:
        self._under_way.pop(text, None)
        self._visits.add(1, "answered")
        self._results.append(Result(self.context.unix_time(), text, "", visit))

    def _silent(self, text: str, failure: Failure) -> None:
        self._under_way.pop(text, None)
        if self._stopped:
            return
        if failure.check(VisitRefused):
            self._visits.add(1, "not made")
            return
        self._visits.add(1, "failed")
        why = failure.getErrorMessage()[:TEXT] or "no reason given"
        self._results.append(Result(self.context.unix_time(), text, why, None))

    # --- the database ---

    async def _write(self) -> None:
        """Write the results, and read who is due next."""
        results, self._results = self._results, []
        config = self.config
        found = [str(one.address) for one in self._book.sample(1000)] if not self._full else []
        now = self.context.unix_time()
        try:
            known, dropped, due = await self.context.work(
                store, self._path(), results, self._wanted(found), now, config, self.context.rng.random(),
                [self._wanted(self._others(one.visit)) for one in results],
            )  # fmt: skip
        except Exception:
            self._results = results + self._results
            raise
        self._full = known >= config.nodes
        self._left.add(dropped, "nodes")
        waiting = set(self._due)
        self._due.extend(one for one in due if one not in waiting)

    def _has_written(self, _: object) -> None:
        self._writing = None

    def _not_written(self, failure: Failure) -> None:
        self.context.log.error(
            "the crawl rests: {path} was not written: {why}", path=str(self._path()), why=failure.getErrorMessage()
        )
        self._written = self.context.reactor.seconds() + 30.0

    def _others(self, visit: Visit | None) -> Iterable[str]:
        if visit is None:
            return ()
        told, ask = visit.peers, self.config.ask
        if len(told) > ask:
            self._left.add(len(told) - ask, "more than asked for")
        return (str(one.address) for one in told[:ask])

    def _wanted(self, texts: Iterable[str]) -> list[tuple[str, str]]:
        """Addresses with their netgroups, but for those that are to be left alone."""
        wanted = []
        for text in texts:
            try:
                address = PeerAddress.parse(text)
            except ValueError:
                continue
            ip = address.ip
            if ip is None or not address.port:
                self._left.add(1, "no address")
            elif any(ip.version == net.version and ip in net for net in self._avoid):
                self._left.add(1, "avoid")
            else:
                wanted.append((text, netgroup(address)))
        return wanted


def _networks(config: CrawlerConfig) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text) for text in config.avoid]


def open_database(path: Path) -> None:
    """Runs on a worker's thread. Raises `P2PFrameError` that says what to do."""
    try:
        with closing(sqlite3.connect(path, timeout=10)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version != SCHEMA and (version or tables):
                raise P2PFrameError(
                    f"{path}: its version is {version}, this crawler writes {SCHEMA}: name another `database`"
                )
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(TABLES)
            database.execute(f"PRAGMA user_version = {SCHEMA}")
    except sqlite3.Error as error:
        raise P2PFrameError(f"{path}: {error}: name another `database`, or mend this one") from None


def store(
    path: Path,
    results: Sequence[Result],
    found: Sequence[tuple[str, str]],
    now: float,
    config: CrawlerConfig,
    chance: float,
    told: Sequence[Sequence[tuple[str, str]]],
) -> tuple[int, int, list[str]]:
    """Runs on a worker's thread: writes a batch; how many are known, how many were left out, who is due.

    Raises `P2PFrameError` where the file can't be written.
    """
    try:
        with closing(sqlite3.connect(path, timeout=10)) as database, database:
            (known,) = database.execute("SELECT count(*) FROM nodes").fetchone()
            dropped = 0
            for one in (*found, *(one for many in told for one in many)):
                if known >= config.nodes:
                    dropped += 1
                    continue
                known += database.execute(
                    "INSERT OR IGNORE INTO nodes (address, netgroup, first_seen, due) VALUES (?, ?, ?, ?)",
                    (*one, now, now),
                ).rowcount
            for result, others in zip(results, told, strict=True):
                _note(database, result, len(others), config, chance)
            rows = database.execute(
                "SELECT address FROM nodes WHERE due <= ? ORDER BY due LIMIT ?", (now, config.queue)
            ).fetchall()
            # Not given out again at the next look, whatever becomes of the visit.
            later = now + config.retry
            database.executemany("UPDATE nodes SET due = ? WHERE address = ?", [(later, *row) for row in rows])
            return known, dropped, [address for (address,) in rows]
    except sqlite3.Error as error:
        raise P2PFrameError(str(error)) from None


def _note(database: sqlite3.Connection, result: Result, told: int, config: CrawlerConfig, chance: float) -> None:
    visit, time, address = result.visit, result.time, result.address
    identity = visit.id[:TEXT] if visit else None
    agent = visit.agent[:TEXT] if visit else None
    details = json.dumps(dict(visit.details))[:4096] if visit else None
    database.execute(
        "INSERT INTO visits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (address, time, visit is not None, result.why, visit.round_trip if visit else None, identity, agent, told,
        details),
    )
    if visit is None:
        (failures,) = database.execute("SELECT failures FROM nodes WHERE address = ?", (address,)).fetchone() or (0,)
        wait = config.retry * min(2**failures, LONGEST) * (0.9 + 0.2 * chance)
        database.execute(
            "UPDATE nodes SET last_visit = ?, failures = failures + 1, due = ? WHERE address = ?",
            (time, time + wait, address),
        )
        database.execute("UPDATE sessions SET over = 1 WHERE address = ? AND over = 0", (address,))
        return
    wait = config.revisit * (0.9 + 0.2 * chance)
    services = " ".join(sorted(visit.services))[:TEXT]
    database.execute(
        "UPDATE nodes SET last_visit = ?, last_answer = ?, failures = 0, due = ?, id = ?, agent = ?, version = ?,"
        " services = ?, round_trip = ? WHERE address = ?",
        (time, time, time + wait, identity, agent, visit.version, services, visit.round_trip, address),
    )
    # A session is from the first to the last answer with no failure between them.
    if not database.execute("UPDATE sessions SET ended = ? WHERE address = ? AND over = 0", (time, address)).rowcount:
        database.execute("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, 0)", (address, time, time))
