"""The examples as they stand but for their ports, folders and patience: they run, find each other, and join."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pframe.protocols.bitcoin.api import hash256
from tests.interop.processes import P2PNode, free_port, wait_until
from tests.interop.wire_peer import WirePeer

pytestmark = [pytest.mark.interop]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def example(name: str, folder: Path, changes: Mapping[str, str]) -> P2PNode:
    """The node of an example; every text of `changes` is there, and is replaced."""
    text = (EXAMPLES / name).read_text()
    node = P2PNode(Path(name).stem, folder, {})
    for old, new in {"./node-data/": f"{folder}/", **changes}.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    node.path.write_text(text)
    return node


def test_the_regtest_example_mines_and_its_follower_follows(processes: ExitStack, tmp_path: Path) -> None:
    first, second, *admins = (free_port() for _ in range(4))
    changes = {"18444": str(first), "../plugins": str(ROOT / "plugins"), "interval: 5s": "interval: 400ms"}
    miner = example("regtest.yaml", tmp_path, {**changes, "8600": str(admins[0])})
    changes = {"18444": str(first), "18445": str(second), "8601": str(admins[1])}
    follower = example("regtest-follower.yaml", tmp_path, changes)
    processes.enter_context(miner)
    processes.enter_context(follower)
    miner.start()
    with WirePeer.dial(first) as at_miner:
        at_miner.handshake()
        early = wait_until("it mines", lambda: (found := at_miner.all_headers())[4:] and found, 30, miner.tail)
        follower.start()
        with WirePeer.dial(second) as at_follower:
            at_follower.handshake()

            def synced() -> bool:
                return at_follower.all_headers()[: len(early)] == early

            wait_until("the follower has synced", synced, 30, follower.tail)
            for header in early:
                assert at_follower.block(hash256(header)) is not None
            later = wait_until(
                "it mines on", lambda: (found := at_miner.all_headers())[len(early) + 3 :] and found, 30, miner.tail
            )
            wait_until("the follower follows", lambda: later[-1] in at_follower.all_headers(), 10, follower.tail)
    said = follower.wait_for("new tip")
    assert "/p2pframe:" in follower.wait_for(f"peer 127.0.0.1:{first}") and said
    follower.stop()
    miner.stop()


@pytest.mark.netns
def test_the_bitcoin_example_joins_by_the_seeds_of_a_namespace(tmp_path: Path) -> None:
    """It asks the DNS server that the file names, dials what the seeds answer, shakes hands and asks for headers."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare (util-linux) and ip (iproute2)")
    probe = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine allows no network namespaces: {probe.stderr.strip()}")
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "tests.interop.mainnet_namespace", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the example joined"
