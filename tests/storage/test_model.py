"""Whatever is written, cut, deleted, restarted and refused, the sqlite engine holds what a dict would."""

import errno
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pframe.errors import StorageError, StorageFull
from p2pframe.testing.context import result_of
from tests.storage.engines import started

keys = st.binary(max_size=2)
spaces = st.sampled_from([("", "core.bans"), ("net", "protocol.x")])


class StorageMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="p2pframe-test-"))
        self.model: dict = {}
        self.blobs: dict = {}
        self.waiting: list = []
        self.open()

    def open(self) -> None:
        self.engine = started(self.folder)
        self.reactor = self.engine.context.reactor
        self.work = self.engine.context.work

    def space(self, name):
        return self.engine.namespace(*name)

    def done(self, deferred, check=lambda result: None):
        """A result that may come later; `check` gets it."""
        self.waiting.append(deferred.addCallback(check))

    @rule()
    def hold(self) -> None:
        self.work.inline = False

    @rule()
    def release(self) -> None:
        self.work.inline = True
        self.work.run_all()

    @precondition(lambda self: self.work.jobs)
    @rule()
    def step(self) -> None:
        self.work.run_one()

    @rule(seconds=st.sampled_from([0.1, 1.0, 20.0]))
    def advance(self, seconds) -> None:
        self.reactor.advance(seconds)

    @rule(
        name=spaces,
        puts=st.dictionaries(keys, st.binary(max_size=3), max_size=5),
        deletes=st.lists(keys, max_size=4),
        durable=st.booleans(),
    )
    def write(self, name, puts, deletes, durable) -> None:
        self.done(self.space(name).write(list(puts.items()), deletes, durable))
        model = self.model.setdefault(name, {})
        for key in deletes:
            model.pop(key, None)
        model.update(puts)

    @rule(name=spaces, data=st.binary(max_size=20), blob=st.sampled_from(["a", "b"]))
    def append(self, name, data, blob) -> None:
        held = self.blobs.setdefault((name, blob), bytearray())
        assert self.space(name).blob(blob).append(data) == len(held)
        held += data

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def cut(self, data) -> None:
        name, blob = data.draw(st.sampled_from(sorted(self.blobs)))
        held = self.blobs[name, blob]
        size = data.draw(st.integers(0, len(held)))
        self.done(self.space(name).blob(blob).truncate(size))
        del held[size:]

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def delete(self, data) -> None:
        name, blob = data.draw(st.sampled_from(sorted(self.blobs)))
        self.done(self.space(name).delete_blob(blob))
        del self.blobs[name, blob]

    @precondition(lambda self: self.blobs)
    @rule(data=st.data(), offset=st.integers(0, 30), length=st.integers(0, 30))
    def read(self, data, offset, length) -> None:
        name, blob = data.draw(st.sampled_from(sorted(self.blobs)))
        expected = bytes(self.blobs[name, blob][offset : offset + length])

        def check(found) -> None:
            assert found == expected

        self.done(self.space(name).blob(blob).read(offset, length), check)

    @rule(name=spaces, key=keys)
    def get(self, name, key) -> None:
        expected = self.model.get(name, {}).get(key)

        def check(found) -> None:
            assert found == expected

        self.done(self.space(name).get(key), check)

    @rule(name=spaces, start=keys, end=st.none() | keys, limit=st.none() | st.integers(0, 5))
    def scan(self, name, start, end, limit) -> None:
        model = self.model.get(name, {})
        expected = [(k, model[k]) for k in sorted(model) if k >= start and (end is None or k < end)][:limit]

        def check(found) -> None:
            assert found == expected

        self.done(self.space(name).scan(start, end, limit), check)

    @rule(name=spaces)
    def flush(self, name) -> None:
        self.done(self.space(name).flush())

    @rule(operation=st.sampled_from(["write", "sync", "commit", "truncate", "delete"]),
          number=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def fail_for_a_while(self, operation, number) -> None:
        """Everything that waits is written; then the disk refuses, a durable batch is turned away, and all goes on."""
        self.settle()
        before = dict(self.model.get(("", "core.bans"), {}))
        space = self.space(("", "core.bans"))
        blob = space.blob("a")
        held = self.blobs.setdefault((("", "core.bans"), "a"), bytearray())
        blob.append(b"kept in memory")
        held += b"kept in memory"
        self.engine.disk.refuse = {operation: number}
        failed: list = []
        space.write([(b"n", b"refused")], durable=True).addErrback(failed.append)
        space.blob("a").truncate(len(held) - 1).addErrback(failed.append)
        del held[-1:]
        self.reactor.advance(1.0)
        for failure in failed:
            assert failure.check(StorageFull if number == errno.ENOSPC else StorageError)
        if operation in ("write", "sync", "commit"):
            assert failed
            assert result_of(space.get(b"n")) == before.get(b"n")
        else:
            self.model.setdefault(("", "core.bans"), {})[b"n"] = b"refused"
        assert result_of(blob.read(0, 10_000)) == bytes(held)
        self.engine.disk.refuse = {}
        self.reactor.advance(20.0)
        self.settle()
        assert not [store for store in self.engine._stores if store.trouble]

    def settle(self) -> None:
        self.release()
        for name in (("", "core.bans"), ("net", "protocol.x")):
            result_of(self.space(name).flush())
        for deferred in self.waiting:
            result_of(deferred)
        self.waiting.clear()

    @rule()
    def restart(self) -> None:
        self.release()
        result_of(self.engine.stop())
        for deferred in self.waiting:
            result_of(deferred)
        self.waiting.clear()
        self.open()
        assert self.engine.clean_start

    @rule()
    def crash(self) -> None:
        self.settle()
        self.engine.abandon()
        self.open()
        assert not self.engine.clean_start

    @invariant()
    def sizes_count_at_once(self) -> None:
        for (name, blob), held in self.blobs.items():
            assert self.space(name).blob(blob).size == len(held)
        for name in (("", "core.bans"), ("net", "protocol.x")):
            assert list(self.space(name).blobs()) == sorted(b for n, b in self.blobs if n == name)

    @invariant()
    def what_waits_is_counted(self) -> None:
        for store in self.engine._stores:
            assert store.pending == sum(group.size for group in store.groups)

    def teardown(self) -> None:
        self.restart()
        for name, model in self.model.items():
            assert result_of(self.space(name).scan()) == sorted(model.items())
        for (name, blob), held in self.blobs.items():
            assert result_of(self.space(name).blob(blob).read(0, 1 << 20)) == bytes(held)
        self.engine.abandon()
        shutil.rmtree(self.folder)


TestStorage = StorageMachine.TestCase
TestStorage.settings = settings(max_examples=60, stateful_step_count=50)
