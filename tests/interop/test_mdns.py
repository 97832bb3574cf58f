"""Multicast DNS with other programs, in a network namespace: python-zeroconf, and avahi where we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.swarm import ROOT


@pytest.mark.interop
@pytest.mark.netns
def test_found_both_ways_on_two_links(tmp_path: Path) -> None:
    """Over IPv4 and IPv6; a name that avahi has is left to it, and it leaves ours to us."""
    pytest.importorskip("zeroconf", reason="zeroconf is not installed: tox -e interop does that")
    root = os.geteuid() == 0
    unshare = ["unshare", "--net"] if root else ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare (util-linux) and ip (iproute2)")
    probe = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine allows no network namespaces: {probe.stderr.strip()}")
    needed = ("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon", "stdbuf")
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    missing = [name for name in needed if shutil.which(name, path=environ["PATH"]) is None]
    avahi = root and not missing
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "tests.interop.mdns_namespace", tmp_path, *(["avahi"] if avahi else [])],
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False, env=environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "zeroconf: found both ways on two links, by IPv4 and IPv6",
        *(["avahi: found both ways, and names told apart"] if avahi else []),
    ]
    if not avahi:
        why = (
            f"{', '.join(missing)} missing (Debian: apt-get install avahi-daemon avahi-utils dbus)" if root else "root"
        )
        pytest.skip(f"zeroconf is found and finds us; avahi was left out: needs {why}")
