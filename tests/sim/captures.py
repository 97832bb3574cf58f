"""Captures to play: two simulated nodes talk, and what the tap of one shows is written down, as the admin writes it."""

from __future__ import annotations

from p2pframe.capture_file import Record, encode_head, encode_record
from p2pframe.protocols.bitcoin.chains import CHAINS
from p2pframe.protocols.bitcoin.frame import frame
from p2pframe.testing.simulation import NodeSimulation

MAGIC = CHAINS["regtest"].magic
BAD_HEADERS = frame(MAGIC, "headers", bytes([1]) + bytes(72) + (0x1D00FFFF).to_bytes(4, "little") + bytes(5))
"""One header, whose hash is far above what it claims to be below."""
PING = frame(MAGIC, "ping", bytes(range(8)))
OTHER = """\
version: 1
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["198.51.100.7:18444"]}]
"""
HERE, THERE = "192.0.2.1", "198.51.100.7"


class Talk:
    """A node, tapped, and one that talks to it. `what` is said by the other once both are open."""

    def __init__(self, folder, node, what=(), dialled=False, late=False, other=OTHER, seconds=20.0, network="bitcoin"):
        self.folder = folder
        self.records: list[Record] = []
        self.node = NodeSimulation(folder, seed=7)
        here = self.here = self.node.start(node, HERE, name="here")
        there = self.there = self.node.start(other, THERE, name="there")
        ours, theirs = here.node.networks[network], there.node.networks[network]
        if dialled:
            here.node.control.connect(network, theirs.ports.bound[0])
        else:
            target = ours.ports.bound[0]
            there.node.control.connect(network, type(target)(HERE, target.port))
        clock = self.node.clock
        clock.run(clock.now + 60.0, lambda: ours.sessions)
        (self.session,) = ours.sessions
        if late:
            clock.run(clock.now + 5.0)
        snapshot = next(ours.snapshots())
        self.head = {
            "network": network, "address": str(snapshot.address), "transport": snapshot.transport,
            "protocol": ours.protocol_name, "agent": snapshot.agent, "began": here.incarnation.unix_time(),
            "slot": snapshot.slot.value, "heard": sum(snapshot.messages_in.values()),
        }  # fmt: skip
        began = clock.now
        here.node.control.tap(
            network, self.session, lambda way, data: self.records.append(Record(clock.now - began, way, data))
        )
        clock.run(clock.now + 5.0)
        (speaker,) = theirs.sessions.values()
        for number, data in enumerate(what):
            clock.at(clock.now + number, None, speaker.write, data)
        clock.run(clock.now + seconds)
        self.story = here.node.view.story(network, self.session)
        self.penalties = here.node.view.penalties()
        self.node.close()

    def write(self, name="talk.p2pcap", **head):
        """The file."""
        path = self.folder / name
        path.write_bytes(encode_head({**self.head, **head}) + b"".join(map(encode_record, self.records)))
        return path
