"""A start imports what the configuration names, and nothing that it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
version: 1
node: {data_dir: data}
storage: {plugin: memory}
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: TRANSPORT}]
    discovery: []
    relay: {plugin: flood}
    scoring: []
"""
PROGRAM = """\
import json, sys
from p2pframe.tap import Options, makeService
options = Options()
options.parseOptions(["-c", "node.yaml"])
makeService(options)
import p2pframe.core.node
print(json.dumps(sorted(sys.modules)))
"""

pytestmark = pytest.mark.skipif(
    not entry_points(group="p2pframe.plugins"), reason="p2pframe is not installed, so there are no built-in plugins"
)


def modules(folder, transport="tcp"):
    """What a start with that transport has imported."""
    (folder / "node.yaml").write_text(CONFIG.replace("TRANSPORT", transport))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_a_plugin_is_imported_when_it_is_named_and_not_before(tmp_path):
    named = modules(tmp_path)
    assert {"p2pframe.transports.tcp", "p2pframe.relay.flood", "p2pframe.storage.memory"} <= named
    for other in (
        "transports.tls",
        "relay.inventory",
        "storage.sqlite",
        "discovery.dns_seed",
        "authentication.certificate",
    ):
        assert f"p2pframe.{other}" not in named
    assert "p2pframe.transports.tls" in modules(tmp_path, "tls")


def test_what_only_the_command_or_an_exposition_needs_is_left_alone(tmp_path):
    named = modules(tmp_path)
    assert not {"click", "prometheus_client", "sqlite3"} & named
