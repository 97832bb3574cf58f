"""The power goes at any operation of the disk.

What was acknowledged is there, in order, and the start needs no hand.
"""

import os
from pathlib import Path
from random import Random

import pytest

from p2pframe.testing.context import result_of
from p2pframe.testing.storage import PowerCut
from tests.storage.engines import make_engine, started

ROUNDS = int(os.environ.get("P2PFRAME_CRASHES", "40"))
SPACES = [("", "core.bans"), ("net", "protocol.x")]


class Writer:
    """Writes batches of an index over a blob, and remembers which of them were acknowledged."""

    def __init__(self, space, rng: Random) -> None:
        self.space = space
        self.rng = rng
        self.appended = bytearray()
        self.batches: list = [{}]
        self.acknowledged = 0

    def step(self) -> None:
        rng, number = self.rng, len(self.batches)
        rows = dict(self.batches[-1])
        data = rng.randbytes(rng.randrange(1, 3000))
        offset = self.space.blob("data").append(data)
        self.appended += data
        rows[b"seq"] = b"%d" % number
        rows[b"row %d" % rng.randrange(20)] = b"%d %d" % (offset, len(data))
        gone = [key for key in list(rows) if key != b"seq" and rng.random() < 0.1]
        for key in gone:
            del rows[key]
        self.batches.append(rows)
        durable = rng.random() < 0.4

        def acknowledged(_) -> None:
            if durable:
                self.acknowledged = max(self.acknowledged, number)

        self.space.write(list(rows.items()), gone, durable=durable).addCallback(acknowledged)

    def check(self, space) -> None:
        rows = dict(result_of(space.scan()))
        number = int(rows.get(b"seq", b"0"))
        assert number >= self.acknowledged, "an acknowledged batch is gone"
        assert rows == self.batches[number], "a batch is there in part"
        blob = space.blob("data")
        for key, value in rows.items():
            if key != b"seq":
                offset, length = map(int, value.split())
                assert offset + length <= blob.size, "an index row points at what is not there"
                assert result_of(blob.read(offset, length)) == bytes(self.appended[offset : offset + length])


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_power_cut(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    source, target = tmp_path / "before", tmp_path / "after"
    engine = started(source)
    engine.disk.cut_after = rng.randrange(60)
    writers = [Writer(engine.namespace(*name), rng) for name in SPACES]
    with pytest.raises(PowerCut):
        while True:
            rng.choice(writers).step()
            if rng.random() < 0.3:
                engine.context.reactor.advance(1)
    engine.disk.remains(source, target, rng)
    engine.abandon()
    after = make_engine(target)
    result_of(after.start())
    assert not after.clean_start
    assert after.context.metrics.value("storage_set_aside_total") == 0
    for writer, name in zip(writers, SPACES, strict=True):
        space = after.namespace(*name)
        writer.check(space)
        # And it goes on from there.
        space.blob("data").append(b"more")
        result_of(space.write([(b"more", b"")], durable=True))
    result_of(after.stop())


def test_the_test_sees_what_a_lazy_disk_loses(tmp_path: Path) -> None:
    """Where fsync does nothing, the power cut does lose acknowledged bytes: the check above can fail."""
    lost = 0
    for seed in range(30):
        rng = Random(seed)
        source, target = tmp_path / f"before{seed}", tmp_path / f"after{seed}"
        engine = started(source)
        engine.disk.sync = lambda path: None
        engine.disk.cut_after = 20
        writer = Writer(engine.namespace(*SPACES[0]), rng)
        with pytest.raises(PowerCut):
            while True:
                writer.step()
        engine.disk.remains(source, target, rng)
        engine.abandon()
        after = started(target)
        try:
            writer.check(after.namespace(*SPACES[0]))
        except AssertionError:
            lost += 1
        after.abandon()
    assert lost
