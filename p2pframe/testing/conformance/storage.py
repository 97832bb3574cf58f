"""The suite of storage engines: `check_storage` (p2pframe/testing/storage.py), and what a kill may not take away.

Option `keeps`: False for an engine that keeps nothing over a stop.
"""

from __future__ import annotations

# real world: tempfile: an engine needs a folder that is there, and nothing goes by its name
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from p2pframe.interfaces import IStorage
from p2pframe.testing.conformance.bench import Bench, NonConformance
from p2pframe.testing.context import FakeContext
from p2pframe.testing.storage import check_storage

# What `check_storage` says was wrong, by a word of it, and the sentence that this breaks; the first that fits counts.
_BROKEN = (
    ("after stop", "IStorage.stop", "write everything and close"),
    ("a stop writes everything", "IStorage.stop", "write everything and close"),
    ("blobs too", "IStorage.stop", "write everything and close"),
    ("and knows them again", "IStorage.stop", "write everything and close"),
    ("and the keys", "IStorage.stop", "write everything and close"),
    ("in every namespace", "IStorage.stop", "write everything and close"),
    ("a namespace sees its own keys", "INamespace", "nobody else sees them"),
    ("and no others", "INamespace", "nobody else sees them"),
    ("and its own blobs", "INamespace", "nobody else sees them"),
    ("a scan", "INamespace.scan", "Pairs with start <= key < end, in order, at most `limit`."),
    ("start is in", "INamespace.scan", "Pairs with start <= key < end, in order, at most `limit`."),
    ("an empty range", "INamespace.scan", "Pairs with start <= key < end, in order, at most `limit`."),
    ("a key that nobody wrote", "INamespace.get", "The value, or None."),
    ("where a batch puts and deletes", "INamespace.write", "One atomic batch."),
    ("batches count", "INamespace", "Reads see every batch written before."),
    ("append", "IBlob.append", "Queue bytes at the end; returns the offset at which they will stand."),
    ("goes on after a flush", "IBlob.append", "Queue bytes at the end; returns the offset at which they will stand."),
    ("begun again", "IBlob.append", "Queue bytes at the end; returns the offset at which they will stand."),
    ("is read at once", "IBlob.read", "What was appended, also what is not on disk yet; shorter at the end."),
    ("a read over", "IBlob.read", "What was appended, also what is not on disk yet; shorter at the end."),
    ("behind the end", "IBlob.read", "What was appended, also what is not on disk yet; shorter at the end."),
    ("cut", "IBlob.truncate", "Cut the end off"),
    ("names are sorted", "INamespace.blobs", "The names of the blobs there are, sorted."),
    ("a deleted blob", "INamespace.delete_blob", "Delete a blob"),
    ("with its own bytes only", "INamespace.delete_blob", "Delete a blob"),
    ("a blob may not be called", "IBlob.name", "Its name within the namespace: lower-case letters, digits, dashes."),
    ("a blob is not there", "INamespace.blob", "The blob of that name, made at its first append."),
)  # fmt: skip


def suite(bench: Bench) -> None:
    """Put an engine through it. Raises `NonConformance`."""
    keeps = bench.option("keeps", True)
    with tempfile.TemporaryDirectory(prefix="p2pframe-test-") as folder:
        _run(bench, Path(folder) / "one", lambda make: check_storage(make, keeps))
        if keeps:
            _survives_a_kill(bench, Path(folder) / "killed", Path(folder) / "copies")


class _Engines:
    """Engines over one folder, and the clocks that their worlds go by."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.contexts: list[FakeContext] = []

    def make(self) -> IStorage:
        """An engine over the folder."""
        context = FakeContext(f"storage.{self.bench.spec.name}", "", data_dir=self.folder)
        self.contexts.append(context)
        engine: IStorage = self.bench.build(context)
        return engine

    def finish(self, deferred: Deferred[Any], limit: float = 10.0) -> Any:
        """What a Deferred fires with, time passing for every engine."""
        results: list[Any] = []
        failures: list[Any] = []
        deferred.addCallbacks(results.append, failures.append)
        waited = 0.0
        while not results and not failures and waited < limit:
            for context in self.contexts:
                context.reactor.advance(0.25)
            waited += 0.25
        if failures:
            failures[0].raiseException()
        self.bench.rule(results, "IStorage", "every Deferred fires", f"nothing came within {limit:g} virtual seconds")
        return results[0]

    def pass_time(self, seconds: float) -> None:
        """Let time pass for every engine."""
        for _ in range(round(seconds / 0.25)):
            for context in self.contexts:
                context.reactor.advance(0.25)


def _run(
    bench: Bench, folder: Path, story: Callable[[Callable[[], IStorage]], Coroutine[Deferred[Any], Any, Any]]
) -> None:
    engines = _Engines(bench, folder)
    try:
        told = Deferred.fromCoroutine(story(engines.make))
        bench.call("", "", engines.finish, told, limit=60.0, allowed=(AssertionError,))
    except NonConformance:
        raise
    except AssertionError as error:
        text = str(error)
        found = [(method, sentence) for word, method, sentence in _BROKEN if word in text]
        method, sentence = found[0] if found else ("INamespace", "Reads see every batch written before.")
        bench.require(False, method, sentence, text)



def _survives_a_kill(bench: Bench, folder: Path, copies: Path) -> None:
    """What is durable is in a copy of the folder, made while the engine runs, as a killed process leaves it."""
    engines = _Engines(bench, folder)
    engine = engines.make()
    engines.finish(_deferred(engine.start()))
    space = engine.namespace("testnet", "protocol.check")
    blob = space.blob("bodies")

    offset = blob.append(b"a body")
    engines.finish(_deferred(space.write(puts=[(b"index", b"%d" % offset)], durable=True)))
    row, body = _found(bench, folder, copies / "durable", b"index", "bodies")
    bench.require(
        row == b"0", "INamespace.write", "With `durable` the Deferred fires once it would survive a power cut",
        f"the process was killed after it fired, and {row!r} was found, not {b'0'!r}",
    )  # fmt: skip
    bench.require(
        body == b"a body", "IBlob.append", "an index row never points at what is not there",
        f"after a kill the row was there and of the blob {body!r}",
    )  # fmt: skip

    engines.finish(_deferred(space.write(puts=[(b"later", b"1")])))
    engines.pass_time(6.0)
    row, _ = _found(bench, folder, copies / "behind", b"later", "bodies")
    bench.require(
        row == b"1", "INamespace.write", "it is written behind within `write_behind` (at most 5 s)",
        f"six seconds later the process was killed, and {row!r} was found, not {b'1'!r}",
    )  # fmt: skip

    blob.append(b" and more")
    engines.finish(_deferred(space.write(puts=[(b"flushed", b"1")])))
    engines.finish(_deferred(space.flush()))
    row, body = _found(bench, folder, copies / "flushed", b"flushed", "bodies")
    bench.require(
        row == b"1" and body == b"a body and more", "INamespace.flush",
        "Fires once everything written so far is durable.",
        f"after a kill the row was {row!r} and the blob {body!r}",
    )  # fmt: skip
    engines.finish(_deferred(engine.stop()))
    bench.rule(
        not any(context.reactor.getDelayedCalls() for context in engines.contexts),
        bench.cls.__name__,
        "nothing is timed before start and nothing after stop",
        "after stop there are delayed calls",
    )


def _found(bench: Bench, folder: Path, copy: Path, key: bytes, blob: str) -> tuple[bytes | None, bytes]:
    """What an engine finds in a copy of the folder: the value of a key, and a blob."""
    shutil.copytree(folder, copy)
    engines = _Engines(bench, copy)
    engine = engines.make()
    engines.finish(_deferred(engine.start()))
    space = engine.namespace("testnet", "protocol.check")
    row = engines.finish(_deferred(space.get(key)))
    body = engines.finish(_deferred(space.blob(blob).read(0, 1000)))
    engines.finish(_deferred(engine.stop()))
    return row, body


def _deferred(awaitable: Awaitable[Any]) -> Deferred[Any]:
    async def wait() -> Any:
        return await awaitable

    return Deferred.fromCoroutine(wait())
