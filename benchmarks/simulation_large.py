"""The simulator with 10,000 whole Bitcoin nodes: blocks and transactions from the first start to the last word.

Takes some minutes and several gigabytes, so that it runs only where it is named. It is as
examples/scenarios/propagation.yaml, but shorter: 60 virtual seconds, with one block and some twenty transactions.
"""

from __future__ import annotations

from benchmarks.figures import Row, at_least, at_most, figure
from benchmarks.simulation import measured

NODES = 10_000


def run() -> list[Row]:
    """Memory and CPU; every node must have come to the latest block."""
    found = measured("propagation", NODES)
    return [
        at_most(f"{NODES:,} nodes: peak memory", found["peak"] / 2**30, "GiB", 12e9 / 2**30),
        figure(f"{NODES:,} nodes: CPU", found["cpu"], "s", f"{found['messages']:,} messages"),
        at_least(f"{NODES:,} nodes: at the latest block", found["at_tip"], "nodes", NODES),
    ]
