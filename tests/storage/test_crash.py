"""A process that writes is killed at random points, again and again, on one data directory: SIGKILL, no warning."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

from p2pframe.testing.context import result_of
from tests.storage.crash_writer import body
from tests.storage.engines import started

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("P2PFRAME_CRASHES", "20"))


def run_and_kill(folder: Path, seed: int, after: float) -> list[list[str]]:
    """The lines that the writer printed before it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.crash_writer", str(folder), str(seed)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines = [process.stdout.readline()]
    timer = Timer(after, process.kill)
    timer.start()
    lines += process.stdout.readlines()
    timer.cancel()
    process.stdout.close()
    assert process.wait(30) == -signal.SIGKILL, lines
    # The last line may have been cut short by the kill itself.
    return [line.split() for line in lines if line.endswith("\n")]


def test_kill_at_random_points(tmp_path: Path) -> None:
    rng = random.Random(7)
    block, ban = -1, 0
    for seed in range(KILLS):
        lines = run_and_kill(tmp_path, seed, rng.uniform(0.0, 0.4))
        assert lines[0][0] == "started", lines
        # What it found is at least what the one before had been told is durable.
        assert int(lines[0][1]) > block
        assert int(lines[0][2]) >= ban
        for what, *numbers in lines[1:]:
            if what == "block":
                block = int(numbers[0])
            elif what == "ban":
                ban = int(numbers[0])
    assert block > 20 and ban > 20, "it was killed too early to say anything"
    engine = started(tmp_path)
    assert not engine.clean_start
    assert engine.context.metrics.value("storage_set_aside_total") == 0
    chain = engine.namespace("net", "protocol.x")
    rows = result_of(chain.scan(b"0", b":"))
    assert [int(key) for key, _ in rows] == list(range(len(rows))), "batches became durable in the order written"
    assert int(result_of(chain.get(b"tip"))) == len(rows) - 1 >= block
    for key, value in rows:
        offset, length = map(int, value.split())
        assert result_of(chain.blob("blocks").read(offset, length)) == body(int(key))
    kept = engine.namespace("", "core.bans")
    count = int(result_of(kept.get(b"count")))
    assert count >= ban
    assert len(result_of(kept.scan(b"ban ", b"ban!"))) == count
    result_of(engine.stop())
