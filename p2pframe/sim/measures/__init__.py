"""What a scenario can measure, by the name under `measures`."""

from __future__ import annotations

from collections.abc import Mapping

from p2pframe.sim.measures.addresses import Addresses
from p2pframe.sim.measures.agreement import Agreement
from p2pframe.sim.measures.base import Measure, MeasureConfig, Produced, Run
from p2pframe.sim.measures.capture import Capture
from p2pframe.sim.measures.connections import Connections
from p2pframe.sim.measures.graph import Graph
from p2pframe.sim.measures.kept import Kept
from p2pframe.sim.measures.lookups import Lookups
from p2pframe.sim.measures.propagation import Propagation
from p2pframe.sim.measures.scores import Scores
from p2pframe.sim.measures.throughput import Throughput
from p2pframe.sim.measures.traffic import Traffic

MEASURES: Mapping[str, type[Measure]] = {
    "propagation": Propagation,
    "agreement": Agreement,
    "capture": Capture,
    "kept": Kept,
    "throughput": Throughput,
    "connections": Connections,
    "traffic": Traffic,
    "scores": Scores,
    "addresses": Addresses,
    "lookups": Lookups,
    "graph": Graph,
}

__all__ = ["MEASURES", "Measure", "MeasureConfig", "Produced", "Run"]
