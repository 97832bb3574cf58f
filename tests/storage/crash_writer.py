"""Run by test_crash: writes until it is killed, and prints each batch that it was told is durable.

`python -m tests.storage.crash_writer FOLDER SEED`: with a real reactor and threads, as in service.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from p2pframe.storage.sqlite import SqliteConfig, SqliteStorage
from p2pframe.testing.context import FakeContext


def row(number: int, offset: int, length: int) -> tuple[bytes, bytes]:
    return b"%08d" % number, b"%d %d" % (offset, length)


def body(number: int) -> bytes:
    """The bytes of block `number`: anybody can say what they must be."""
    rng = Random(number)
    return rng.randbytes(rng.randrange(1, 20_000))


async def write(folder: Path, seed: int) -> None:
    context = FakeContext("storage.sqlite", "", data_dir=folder, reactor=reactor)
    context.work = lambda function, *args: deferToThread(function, *args)
    engine = SqliteStorage(SqliteConfig(free_space=0, write_behind=0.05), context)
    await engine.start()
    rng = Random(seed)
    kept, chain = engine.namespace("", "core.bans"), engine.namespace("net", "protocol.x")
    rows = await chain.scan(b"0", b":")
    number = int(rows[-1][0]) + 1 if rows else 0
    bans = int(await kept.get(b"count") or b"0")
    print("started", number, bans, flush=True)
    while True:
        data = body(number)
        offset = chain.blob("blocks").append(data)
        durable = rng.random() < 0.3
        await chain.write([row(number, offset, len(data)), (b"tip", b"%d" % number)], durable=durable)
        if durable:
            print("block", number, flush=True)
        number += 1
        if rng.random() < 0.3:
            bans += 1
            await kept.write([(b"ban %d" % bans, b""), (b"count", b"%d" % bans)], durable=True)
            print("ban", bans, flush=True)
        pause: Deferred[None] = Deferred()
        reactor.callLater(0, pause.callback, None)
        await pause


def main() -> None:
    def failed(failure) -> None:
        print("failed", failure.getErrorMessage(), flush=True)
        reactor.stop()

    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(write(Path(sys.argv[1]), int(sys.argv[2]))).addErrback(failed)
    )
    reactor.run()


if __name__ == "__main__":
    main()
