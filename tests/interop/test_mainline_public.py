"""The same three programs on public addresses, with every protection as its users have it: in a network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.interop.processes import node_modules
from tests.interop.swarm import ROOT


@pytest.mark.interop
@pytest.mark.netns
def test_found_both_ways_on_public_addresses() -> None:
    """BEP 42 is enforced by ours and by libtorrent; IPv4 with all three programs, IPv6 with libtorrent."""
    pytest.importorskip("libtorrent", reason="libtorrent is not installed: tox -e interop does that")
    modules = node_modules("bittorrent-dht")
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare (util-linux) and ip (iproute2)")
    probe = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine allows no network namespaces: {probe.stderr.strip()}")
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "tests.interop.mainline_namespace", modules],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "IPv4: found both ways, with every protection",
        "IPv6: found both ways",
    ]
