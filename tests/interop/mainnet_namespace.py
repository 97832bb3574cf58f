"""Run inside a network namespace of its own by test_examples.

A small Internet on lo, with DNS seeds and one mainnet peer.

    unshare --net python -m tests.interop.mainnet_namespace FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from p2pframe.protocols.bitcoin.chains import MAINNET
from p2pframe.protocols.bitcoin.inventory import decode_locator
from p2pframe.protocols.bitcoin.messages import decode_version
from tests.interop.processes import RunningProcess
from tests.interop.test_examples import ROOT, example
from tests.interop.wire_peer import Listener

SERVER = "127.0.0.53"
PEER = "45.79.100.1"
"""An address that the whole Internet could route, so that a mainnet node takes it; here it is on lo."""
DEAD = "66.228.40.1"
"""One that nobody listens on."""
SEED = "seed.bitcoin.sipa.be"


def main(folder: Path) -> None:
    for command in (
        "link set lo up", f"addr add {SERVER}/32 dev lo", f"addr add {PEER}/32 dev lo", f"addr add {DEAD}/32 dev lo",
    ):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    changes = {"- plugin: dns-seed\n": f"- plugin: dns-seed\n        servers: [{SERVER}]\n        wait: 100ms\n"}
    with RunningProcess("dns", folder) as dns, example("bitcoin.yaml", folder, changes) as node:
        dns.spawn([sys.executable, str(ROOT / "tests" / "interop" / "seed_server.py"), SERVER, PEER, DEAD])
        dns.wait_for("READY")
        with Listener(PEER, MAINNET.default_port, MAINNET) as listener:
            node.start(ready="node started")
            with listener.accept(30) as peer:
                assert SEED in dns.wait_for(SEED)
                said = decode_version(peer.expect("version"))
                assert said.services == 0, "it serves nothing that nobody has validated"
                peer.say_version(height=900_000)
                peer.send("verack")
                peer.expect("verack")
                locator = decode_locator(peer.expect("getheaders"))
                assert locator.hashes[-1] == MAINNET.genesis_hash
                peer.sync()
        node.wait_for(f"peer {PEER}:8333")
        node.stop()
    print("the example joined")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
