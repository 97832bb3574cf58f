"""Both engines keep the contract of IStorage."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from p2pframe.errors import StorageError, StorageFull
from p2pframe.storage.memory import MemoryConfig, MemoryStorage
from p2pframe.storage.sqlite import SqliteConfig, SqliteStorage
from p2pframe.testing.context import FakeContext, result_of
from p2pframe.testing.storage import check_storage


def run(coroutine):
    return result_of(Deferred.fromCoroutine(coroutine))


def test_sqlite(tmp_path: Path) -> None:
    run(check_storage(lambda: SqliteStorage(SqliteConfig(free_space=0), FakeContext(data_dir=tmp_path))))


def test_memory() -> None:
    run(check_storage(lambda: MemoryStorage(MemoryConfig(), FakeContext()), keeps=False))


def test_the_check_finds_an_engine_that_forgets() -> None:
    with pytest.raises(AssertionError, match="a stop writes everything"):
        run(check_storage(lambda: MemoryStorage(MemoryConfig(), FakeContext()), keeps=True))


def test_memory_refuses_more_than_its_limit() -> None:
    context = FakeContext()
    engine = MemoryStorage(MemoryConfig(limit=10_000), context)
    result_of(engine.start())
    space = engine.namespace("n", "application.x")
    result_of(space.write(puts=[(b"a", bytes(5_000))]))
    with pytest.raises(StorageFull, match=r"storage\.limit"):
        result_of(space.write(puts=[(b"b", bytes(5_000))]))
    assert result_of(space.get(b"b")) is None
    with pytest.raises(StorageFull):
        space.blob("x").append(bytes(5_000))
    assert context.metrics.value("storage_refused_total", "batch") == 1
    assert context.metrics.value("storage_refused_total", "append") == 1
    result_of(space.write(deletes=[b"a"]))
    assert engine.used == 0
    result_of(space.write(puts=[(b"b", bytes(5_000))]))
    engine.reconfigure(MemoryConfig(limit=20_000))
    result_of(space.write(puts=[(b"c", bytes(5_000))]))


@pytest.mark.parametrize("make", [
    lambda path: MemoryStorage(MemoryConfig(), FakeContext()),
    lambda path: SqliteStorage(SqliteConfig(), FakeContext(data_dir=path)),
])
def test_before_start_there_is_no_namespace(make, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        make(tmp_path).namespace("n", "protocol.x")
