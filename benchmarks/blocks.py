"""A 1.5 MB block parsed, with the ids of all its transactions: our parser and bcoin's, in turns."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from statistics import median

from benchmarks.chain import large_block
from benchmarks.figures import Row, absent, at_most, figure
from benchmarks.processes import HERE, Folders, Missing, node_modules
from p2pframe.protocols.bitcoin.block import parse_block

TRANSACTIONS = 4675
EACH = 15
TURNS = 3


def _ours(raw: bytes) -> list[float]:
    times = []
    for _ in range(EACH):
        before = time.process_time()
        parse_block(raw)
        times.append((time.process_time() - before) * 1000)
    return times


def _decoded(raw: bytes) -> float:
    """The same, and then every input and output as a value, as bcoin's parser leaves them."""
    before = time.process_time()
    for transaction in parse_block(raw).transactions():
        transaction.inputs, transaction.outputs  # noqa: B018 - decoded when asked for
    return (time.process_time() - before) * 1000


def _theirs(modules: Path, file: Path) -> list[float]:
    # Its first rounds are the compiler's: they are made, and not counted.
    command = ["node", str(HERE / "bcoin_parse.js"), str(modules), str(file), str(2 * EACH)]
    times: list[float] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return times[EACH:]


def run() -> list[Row]:
    """Milliseconds of CPU for one block."""
    raw = large_block(TRANSACTIONS)
    ours: list[float] = []
    theirs: list[float] = []
    note = f"{len(raw):,} bytes, {TRANSACTIONS} transactions"
    with Folders() as folders:
        file = folders.new() / "block"
        file.write_bytes(raw)
        missing: Missing | None = None
        for _ in range(TURNS):
            ours += _ours(raw)
            try:
                theirs += _theirs(node_modules(), file)
            except Missing as error:
                missing = error
    decoded = median(_decoded(raw) for _ in range(5))
    rows = [
        figure("block parsed with ids", median(ours), "CPU-ms", note),
        figure("  and every input and output decoded", decoded, "CPU-ms", "a node needs that of none of them"),
    ]
    if missing is not None:
        return [*rows, absent("block parsed: time against bcoin's", missing)]
    return [
        *rows,
        figure("block parsed with ids by bcoin", median(theirs), "CPU-ms"),
        at_most("block parsed: time against bcoin's", median(ours) / median(theirs), "times", 1.0),
    ]
