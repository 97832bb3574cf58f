"""The example of a page, an alert, a card and a metric in the admin."""

from pathlib import Path

from p2pframe.interfaces import IAdminPage, IAlerts, IOverview
from tests.bitcoin.conftest import mine

NODE = """
version: 1
node: {{data_dir: ./data, plugin_path: [{plugins}]}}
storage: {{plugin: memory}}
applications: [{{plugin: tip-watch, patience: 1h}}]
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["203.0.113.1:18444"]}}]
"""


def test_the_tip_of_a_node_grows_old(simulation):
    plugins = Path(__file__).parents[2] / "plugins"
    node = simulation.start(NODE.format(plugins=plugins), "203.0.113.1").node
    ((label, watch),) = node.view.providers(IAdminPage)
    assert node.view.providers(IOverview) == [(label, watch)]
    assert (label, watch) in node.view.providers(IAlerts)
    assert label == "application.tip-watch"
    assert watch.alerts() == []
    simulation.run(3601)
    (alert,) = watch.alerts()
    assert (alert.name, alert.network, alert.text) == ("old-tip", "bitcoin", "bitcoin: the tip is 3601 s old.")
    ((network, tip, age),) = watch.page()[0].rows
    assert (network, len(tip), age) == ("bitcoin", 64, 3601)
    assert watch.overview() == {"bitcoin": "3601 s"}
    changes = node.view.numbers()["p2pframe_tip_watch_changes_total"]
    assert changes == {("", "bitcoin"): 0}
    bitcoin = node.networks["bitcoin"].protocol
    simulation.wait(bitcoin.submit_block(mine(bitcoin.template())))
    assert watch.alerts() == []
    assert watch.overview() == {"bitcoin": "0 s"}
    assert node.view.numbers()["p2pframe_tip_watch_changes_total"] == {("", "bitcoin"): 1}
