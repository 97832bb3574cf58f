"""The plugin of the page on applications, copied out of it, has its page and its alert in the admin of a node."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

from p2pframe.admin.access import Role
from p2pframe.admin.alerts import Alerts
from p2pframe.admin.api import Api
from p2pframe.admin.routes import Call
from p2pframe.interfaces import IAlerts
from p2pframe.testing.context import FakeContext

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-plugins" / "application.md"
NODE = """
version: 1
node: {{data_dir: ./data-{number}, plugin_path: [{plugins}]}}
storage: {{plugin: memory}}
{applications}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["203.0.113.{number}:18444"]}}]
    discovery: [{{plugin: static, peers: ["203.0.113.1:18444"]}}]
"""


def test_what_a_plugin_of_some_twenty_lines_adds(simulation, tmp_path):
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    body = text[text.index("class Talkers") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    (plugins / "talkers.py").write_text(text)
    (plugins / "talkers.py").chmod(0o644)
    ours = "applications: [{plugin: talkers}]"
    node = simulation.start(NODE.format(number=1, plugins=plugins, applications=ours), "203.0.113.1").node
    simulation.start(NODE.format(number=2, plugins=plugins, applications=""), "203.0.113.2")
    simulation.run(60)
    context = FakeContext("application.admin")
    alerts = Alerts(node.view, context)
    api = Api(context, node.view, None, None, None, alerts, cookie=str, most_streams=lambda: 1)
    call = Call({"name": "talkers"}, None, None, "somebody", Role.VIEWER, None, "127.0.0.1", 0.0)
    ((name, title),) = [(one.name, one.title) for one in api.plugin_pages(call).pages]
    assert (name, title) == ("talkers", "Talkers")
    ((network, peer, size),) = api.plugin_page(call).tables[0].rows
    assert (network, peer.rpartition(":")[0]) == ("bitcoin", "203.0.113.2") and size > 100
    assert "one-talker" not in [one.name for one in alerts.now()]
    ((_, talkers),) = [pair for pair in node.view.providers(IAlerts) if pair[0] == "application.talkers"]
    talkers.view = SimpleNamespace(sessions=lambda: [SimpleNamespace(bytes_in=n) for n in (2_000_000, 10, 20)])
    context.reactor.advance(2.0)
    (alert,) = [one for one in api.all_alerts(call).alerts if one.name == "one-talker"]
    assert alert.text == "One peer sends more than all others."
