"""Small messages: pipelined pings that are answered, through a whole session, the bare frame loop, and bcoin."""

from __future__ import annotations

from benchmarks.figures import Row, absent, at_least, figure, interleaved
from benchmarks.processes import Folders, Missing, Program, bare_loop, bcoin, node
from benchmarks.wire import FRAME, Peer, greeted

PINGS = 200_000
ROUNDS = 5


def run() -> list[Row]:
    """Rates a CPU-second of each server process, and their ratios."""
    pings = b"".join(FRAME("ping", number.to_bytes(8, "little")) for number in range(PINGS))

    def rate(program: Program, peer: Peer) -> float:
        before = program.cpu
        peer.flood(pings, len(pings))
        return PINGS / (program.cpu - before)

    with (
        Folders() as folders,
        node(folders.new()) as ours,
        bare_loop(folders.new()) as bare,
        greeted(ours) as to_ours,
        Peer(bare.listening().port) as to_bare,
    ):
        measures = [lambda: rate(ours, to_ours), lambda: rate(bare, to_bare)]
        try:
            with bcoin(folders.new()) as other, greeted(other) as to_other:
                session, loop, theirs = interleaved(ROUNDS, *measures, lambda: rate(other, to_other))
        except Missing as missing:
            session, loop = interleaved(ROUNDS, *measures)
            comparison = [absent("pings: session against bcoin", missing)]
        else:
            comparison = [
                figure("pings answered by bcoin", theirs, "/CPU-s"),
                at_least("pings: session against bcoin", session / theirs, "times", 2.0),
            ]
    return [
        figure("pings answered by a session", session, "/CPU-s"),
        figure("pings answered by the bare frame loop", loop, "/CPU-s"),
        at_least("pings: session against bare loop", session / loop, "times", 0.5),
        *comparison,
    ]
