"""Whole Bitcoin nodes on simulated hosts, on regtest, and a way to mine for them."""

from __future__ import annotations

import pytest

from p2pframe.model import Outcome
from p2pframe.protocols.bitcoin.api import Header, assemble_block, build_coinbase, hash256, meets_target, parse_header
from tests.core.conftest import Cluster

BITCOIN = """
version: 1
node: {{data_dir: {data_dir}, watchdog: 0}}
storage: {{plugin: {storage}}}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest{options}}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:18444"]}}]
{discovery}
{extra}
"""


def mine(template, tag=b"", transactions=(), change=None):
    """A block on top of a template: its bytes. `change` may alter the list of transactions after the root was made."""
    coinbase = build_coinbase(template.height, 50_0000_0000, b"\x51", transactions, tag)
    header = Header(0x20000000, template.previous, bytes(32), template.time, template.bits, 0)
    for nonce in range(1_000_000):
        raw = assemble_block(header._replace(nonce=nonce), [coinbase, *transactions])
        if meets_target(hash256(raw[:80]), template.bits, (1 << 255) - 1):
            assert parse_header(raw).previous == template.previous
            return raw
    raise AssertionError("no proof of work within a million nonces on regtest")


class BitcoinCluster(Cluster):
    """Nodes on regtest."""

    def start(self, address, peers=(), extra="", options="", storage="memory"):
        path = self.folder / f"{address}.yaml"
        quoted = ", ".join(f'"{peer}:18444"' for peer in peers)
        discovery = f"    discovery: [{{plugin: static, peers: [{quoted}]}}]" if peers else ""
        data_dir = self.folder / f"data-{address}"
        path.write_text(
            BITCOIN.format(
                data_dir=data_dir, storage=storage, options=options, discovery=discovery, extra=extra
            )
        )
        return self.start_file(address, path)

    def mine(self, node, count=1, tag=b"\x00a", transactions=()):
        """Have a node mine on its tip; the hashes."""
        bitcoin = protocol(node)
        hashes = []
        for _ in range(count):
            raw = mine(bitcoin.template(), tag, transactions)
            validation = self.wait(bitcoin.submit_block(raw))
            assert validation.outcome is Outcome.ACCEPT, validation
            hashes.append(hash256(raw[:80]))
        return hashes


def protocol(node):
    return node.networks["bitcoin"].protocol


def height(node):
    return protocol(node).tip().height


@pytest.fixture
def bitcoins(tmp_path):
    made = BitcoinCluster(tmp_path)
    yield made
    made.stop()
