"""The simulated disk keeps the contract of IStorage in virtual time, and what a crash leaves is what was durable."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyClass

from p2pframe.config.settings import PluginChoice
from p2pframe.errors import StartError, StorageError, StorageFull
from p2pframe.interfaces import IBlob, INamespace, IStorage
from p2pframe.sim.disk import SharedDisks, SimulatedDataDir, SimulatedDisk
from p2pframe.sim.storage import (
    SimulatedBlob,
    SimulatedNamespace,
    SimulatedStorage,
    SimulatedStorageConfig,
    on_disk,
)
from p2pframe.sim.volume import Extent
from p2pframe.storage.memory import MemoryConfig, MemoryStorage
from p2pframe.storage.sqlite import SqliteConfig, SqliteStorage
from p2pframe.testing.context import FakeContext, result_of
from p2pframe.testing.storage import check_storage


class Boot:
    alive = True


class Machine:
    """A host's disk and the engine of its present boot, on a clock that the test advances."""

    def __init__(self, seed: int = 0, **options) -> None:
        self.shared = SharedDisks()
        self.disk = SimulatedDisk("host", self.shared, lambda: Random(seed))
        self.context = FakeContext()
        self.options = options
        self.engine = None
        self.boot = None

    def start(self) -> SimulatedStorage:
        self.boot = Boot()
        self.engine = SimulatedStorage(
            SimulatedStorageConfig(disk=self.disk, owner=self.boot, **self.options), self.context
        )
        self.wait(self.engine.start())
        return self.engine

    def space(self):
        return self.start().namespace("net", "application.x")

    def wait(self, deferred: Deferred, most: float = 10.0):
        clock = self.context.reactor
        end = clock.seconds() + most
        while not deferred.called and clock.getDelayedCalls() and clock.seconds() < end:
            clock.advance(max(min(call.getTime() for call in clock.getDelayedCalls()) - clock.seconds(), 0))
        return result_of(deferred)

    def kill(self) -> None:
        self.boot.alive = False
        self.disk.kill()


def test_the_engine_keeps_the_contract():
    verifyClass(IStorage, SimulatedStorage)
    verifyClass(INamespace, SimulatedNamespace)
    verifyClass(IBlob, SimulatedBlob)
    machine = Machine()

    def make():
        return SimulatedStorage(SimulatedStorageConfig(disk=machine.disk), machine.context)

    machine.wait(Deferred.fromCoroutine(check_storage(make)), 60.0)


def test_reads_and_durable_writes_take_virtual_time_and_others_none():
    machine = Machine(read_delay=0.5, sync_delay=2.0)
    space = machine.space()
    clock = machine.context.reactor
    result_of(space.write(puts=[(b"a", b"1")]))
    read, durable = space.get(b"a"), space.write(puts=[(b"a", b"2")], durable=True)
    clock.advance(0.4)
    assert not read.called
    clock.advance(0.1)
    assert result_of(read) == b"1"
    clock.advance(1.4)
    assert not durable.called
    clock.advance(0.2)
    assert result_of(durable) is None


def test_what_nobody_waits_for_is_durable_after_write_behind():
    machine = Machine(write_behind=3.0)
    empty = machine.disk.digest()
    space = machine.space()
    result_of(space.write(puts=[(b"a", b"1")]))
    machine.context.reactor.advance(2.9)
    assert machine.disk.digest() == empty
    machine.context.reactor.advance(0.1)
    machine.context.reactor.advance(0.002)
    assert machine.disk.digest() != empty
    machine.kill()
    assert machine.wait(machine.space().get(b"a")) == b"1"


@pytest.mark.parametrize("crash", ["kill", "power_off"])
def test_a_crash_loses_the_queue_and_keeps_what_was_durable(crash):
    machine = Machine()
    space = machine.space()
    space.blob("data").append(b"safe")
    machine.wait(space.write(puts=[(b"a", b"old"), (b"b", b"old")], durable=True))
    durable = machine.disk.digest()
    space.write(puts=[(b"a", b"new"), (b"c", b"new")], deletes=[b"b"])
    space.blob("data").append(b"lost")
    space.blob("more").append(b"lost")
    assert machine.disk.digest() == durable
    machine.boot.alive = False
    getattr(machine.disk, crash)()
    assert machine.disk.digest() == durable
    again = machine.space()
    assert machine.wait(again.scan()) == [(b"a", b"old"), (b"b", b"old")]
    assert machine.wait(again.blob("data").read(0, 99)) == b"safe"
    assert list(again.blobs()) == ["data"]


def test_a_dead_boot_writes_nothing_and_hears_nothing():
    machine = Machine()
    space = machine.space()
    machine.wait(space.write(puts=[(b"a", b"1")], durable=True))
    read, durable = space.get(b"a"), space.write(puts=[(b"a", b"2")], durable=True)
    machine.boot.alive = False
    late = [space.write(puts=[(b"a", b"3")]), space.get(b"a"), space.flush(), space.delete_blob("x")]
    blob = space.blob("x")
    assert blob.append(b"more") == 0
    assert blob.size == 0
    late.append(blob.truncate(0))
    stopped = machine.engine.stop()
    machine.context.reactor.advance(10)
    assert not any(deferred.called for deferred in [read, durable, stopped, *late])
    machine.disk.kill()
    assert machine.wait(machine.space().get(b"a")) in (b"1", b"2")


def test_an_engine_that_never_closed_the_disk_has_crashed():
    machine = Machine()
    first = machine.space()
    first.write(puts=[(b"a", b"1")])
    second = machine.space()
    assert machine.wait(second.get(b"a")) is None
    assert not first.flush().called


def test_a_group_under_way_is_found_in_every_state_that_its_order_allows():
    found = set()
    for seed in range(60):
        machine = Machine(seed)
        space = machine.space()
        space.blob("old").append(b"old")
        machine.wait(space.write(puts=[(b"k", b"before")], durable=True))
        space.blob("data").append(b"12345678")
        space.write(puts=[(b"k", b"after")], durable=True)
        cut = space.delete_blob("old")
        machine.context.reactor.advance(0.001)
        machine.kill()
        assert not cut.called
        again = machine.space()
        size, key = again.blob("data").size, machine.wait(again.get(b"k"))
        found.add((min(size, 1) + (size == 8), key))
        assert "old" in again.blobs(), "the delete was of the next group"
        # A row never points at what is not there.
        assert key == b"before" or size == 8
    assert {(1, b"before"), (2, b"before"), (2, b"after")} <= found


def test_the_digest_is_of_what_is_durable_and_changes_nothing():
    machine = Machine()
    space = machine.space()
    blob = space.blob("data")
    blob.append(b"0123456789")
    machine.wait(space.flush())
    durable = machine.disk.digest()
    blob.truncate(4)
    blob.append(b"xyz")
    space.delete_blob("data")
    assert machine.disk.digest() == machine.disk.digest() == durable
    machine.context.reactor.advance(1)
    assert list(space.blobs()) == []


def test_equal_contents_have_equal_digests_whatever_the_order():
    digests = []
    for keys in ([b"a", b"b"], [b"b", b"a"]):
        machine = Machine()
        engine = machine.start()
        for key in keys:
            machine.wait(engine.namespace(key.decode(), "core.x").write(puts=[(key, b"1")], durable=True))
        engine.namespace("only asked for", "core.x")
        digests.append(machine.disk.digest())
    assert digests[0] == digests[1]


def test_a_full_disk_refuses_growth_keeps_what_is_there_and_lets_deletes_in():
    machine = Machine()
    space = machine.space()
    machine.wait(space.write(puts=[(b"a", bytes(1000))], durable=True))
    machine.disk.limit = machine.disk.used + 500
    with pytest.raises(StorageFull, match="host is full"):
        result_of(space.write(puts=[(b"b", bytes(600))]))
    with pytest.raises(StorageFull):
        space.blob("x").append(bytes(600))
    space.blob("x").append(bytes(400))
    machine.disk.limit, machine.disk.full = None, True
    with pytest.raises(StorageFull):
        result_of(space.write(puts=[(b"b", b"1")], durable=True))
    machine.wait(space.write(deletes=[b"a"], durable=True))
    machine.disk.full = False
    machine.wait(space.write(puts=[(b"b", bytes(600))], durable=True))
    metrics = machine.context.metrics
    assert (metrics.value("storage_refused_total", "batch"), metrics.value("storage_refused_total", "append")) == (2, 1)


def test_a_disk_that_can_not_be_read_fails_reads_and_starts():
    machine = Machine()
    space = machine.space()
    machine.disk.unreadable = True
    with pytest.raises(StorageError, match="host: Input/output error"):
        result_of(space.get(b"a"))
    with pytest.raises(StartError):
        machine.start()
    machine.disk.unreadable = False
    assert machine.wait(space.get(b"a")) is None


def test_what_waits_is_bounded_and_writers_are_held_up():
    machine = Machine(pending_bytes=65536, sync_delay=1.0)
    space = machine.space()
    space.write(puts=[(b"a", bytes(40_000))])
    held = space.write(puts=[(b"b", bytes(60_000))])
    assert not held.called
    space.write(puts=[(b"c", bytes(60_000))])
    with pytest.raises(StorageFull, match="pending_bytes"):
        result_of(space.write(puts=[(b"d", bytes(60_000))]))
    machine.wait(held)
    assert machine.wait(space.get(b"d")) is None


def test_reads_that_wait_are_bounded():
    machine = Machine(reads=2)
    space = machine.space()
    reads = [space.get(b"a") for _ in range(2)]
    with pytest.raises(StorageError, match="2 reads wait"):
        result_of(space.get(b"a"))
    assert [machine.wait(read) for read in reads] == [None, None]


def test_the_data_directory_knows_an_unclean_stop_and_makes_folders_when_asked():
    machine = Machine()

    def boot():
        owner = Boot()
        return SimulatedDataDir(Path("node-data"), machine.disk, owner), owner

    first, owner = boot()
    first.open()
    assert first.clean
    assert machine.shared._folder is None
    folder = first.folder("net", "protocol.x")
    (folder / "key").write_bytes(b"secret")
    owner.alive = False
    first.close(clean=True)
    second, _ = boot()
    second.open()
    assert not second.clean
    assert (second.folder("net", "protocol.x") / "key").read_bytes() == b"secret"
    second.close(clean=True)
    third, _ = boot()
    third.open()
    assert third.clean
    other = SimulatedDisk("other", machine.shared, Random).folder("net", "protocol.x")
    assert other != folder
    assert list(other.iterdir()) == []
    machine.shared.close()
    assert not folder.exists()
    assert not other.exists()


def choice_of(cls, config):
    return PluginChoice(cls.__p2pframe_plugin__, cls, config, where="node.yaml:3:1")


def test_the_engine_takes_the_place_of_the_one_in_the_node_file():
    disk = SimulatedDisk("host", SharedDisks(), Random)
    choice = on_disk(choice_of(SqliteStorage, SqliteConfig(write_behind=2.5)), disk, Boot())
    assert (choice.cls, choice.config.disk, choice.config.write_behind) == (SimulatedStorage, disk, 2.5)
    assert (choice.label, choice.where, choice.config.keeps) == ("storage.simulated-disk", "node.yaml:3:1", True)
    forgetful = on_disk(choice_of(MemoryStorage, MemoryConfig()), disk).config
    context = FakeContext()
    machine = Machine(keeps=forgetful.keeps)
    machine.wait(machine.space().write(puts=[(b"a", b"1")], durable=True))
    machine.wait(machine.engine.stop())
    assert machine.wait(machine.space().get(b"a")) is None
    assert context.metrics.metrics == {}


def test_equal_bytes_of_many_disks_are_in_memory_once():
    shared = SharedDisks()
    one, two = bytes(range(100)), bytes(bytearray(range(100)))
    assert one is not two
    assert shared.same(one) is shared.same(two)
    assert shared.same(bytearray(b"x")) == b"x"


def test_an_idle_host_costs_little():
    shared = SharedDisks()
    context = FakeContext()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = []
        for number in range(200):
            disk = SimulatedDisk(f"host-{number}", shared, Random)
            engine = SimulatedStorage(SimulatedStorageConfig(disk=disk), context)
            engine.start()
            kept.append((engine, [engine.namespace("net", f"kind.{n}") for n in range(6)]))
        context.reactor.advance(1)
        each = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()
    assert each < 6_000


@given(st.lists(st.one_of(st.binary(max_size=5), st.integers(0, 30))))
def test_an_extent_is_a_run_of_bytes(steps):
    extent, model = Extent(), b""
    for step in steps:
        if isinstance(step, bytes):
            extent.append(step)
            model += step
        elif step <= len(model):
            behind = b"".join(extent.cut(step))
            assert behind == model[step:]
            model = model[:step]
        assert extent.size == len(model)
        assert all(extent.read(a, n) == model[a:a + n] for a in range(0, 12, 3) for n in (0, 1, 4, 40))


_KEYS = st.sampled_from([b"a", b"b", b"c"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.dictionaries(_KEYS, st.binary(max_size=2)), st.lists(_KEYS, max_size=2)),
        st.tuples(st.just("append"), st.sampled_from("xy"), st.binary(max_size=4)),
        st.tuples(st.just("cut"), st.sampled_from("xy"), st.integers(0, 4)),
        st.tuples(st.just("delete"), st.sampled_from("xy"), st.none()),
        st.tuples(st.just("pass"), st.floats(0, 1.5), st.none()),
    ),
    max_size=25,
)


@given(_STEPS, st.integers(0, 3))
def test_a_crash_at_any_time_leaves_what_stood_there_at_some_moment_before(steps, seed):
    """Whole batches in their order: the keys are those of a moment, never older than what was told to be durable."""
    machine = Machine(seed)
    space = machine.space()
    moments, told = [{}], [0]
    for what, first, second in steps:
        if what == "write":
            now = {key: value for key, value in moments[-1].items() if key not in second}
            moments.append({**now, **first})
            number = len(moments) - 1
            space.write(list(first.items()), second, durable=number % 3 == 0).addCallback(
                lambda _, number=number: told.append(number if number % 3 == 0 else 0)
            )
        elif what == "append":
            space.blob(first).append(second)
        elif what == "cut":
            space.blob(first).truncate(min(second, space.blob(first).size))
        elif what == "delete":
            space.delete_blob(first)
        else:
            machine.context.reactor.advance(first)
            machine.context.reactor.advance(0.001)
    used = sum(volume.used for volume in machine.disk.volumes.values())
    assert used == _measured(machine.disk)
    machine.kill()
    assert machine.disk.used == _measured(machine.disk)
    found = dict(machine.wait(machine.space().scan()))
    assert found in moments[max(told):]


def _measured(disk):
    return sum(
        sum(len(key) + len(value) + 64 for key, value in volume.keys.items())
        + sum(sum(map(len, extent.pieces)) for extent in volume.blobs.values())
        for volume in disk.volumes.values()
    )
