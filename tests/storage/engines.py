"""What the tests of the sqlite engine share: an engine on a fake context, started or with its work held back."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred

from p2pframe.storage.sqlite import SqliteConfig, SqliteStorage
from p2pframe.testing.context import FakeContext, result_of
from p2pframe.testing.storage import FaultyDisk


class HeldWork:
    """`context.work` whose jobs run at once, or one by one when told."""

    def __init__(self) -> None:
        self.jobs: list = []
        self.inline = True

    def __call__(self, function, *args):
        done: Deferred = Deferred()
        self.jobs.append((done, function, args))
        if self.inline:
            self.run_one()
        return done

    def run_one(self) -> None:
        done, function, args = self.jobs.pop(0)
        done.callback(function(*args))

    def run_all(self) -> None:
        while self.jobs:
            self.run_one()


def make_engine(path: Path, **config) -> SqliteStorage:
    context = FakeContext("storage.sqlite", "", data_dir=path)
    context.work = HeldWork()
    config.setdefault("free_space", 0)
    engine = SqliteStorage(SqliteConfig(**config), context)
    engine.disk = FaultyDisk()
    return engine


def started(path: Path, **config) -> SqliteStorage:
    engine = make_engine(path, **config)
    result_of(engine.start())
    return engine
