"""Metrics: cheap numbers shared by networks, bounded in their labels, shown by prometheus_client."""

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from p2pframe.core.metrics import SERIES, NodeMetrics
from p2pframe.errors import PluginError


def test_networks_share_a_metric_and_keep_their_numbers():
    node = NodeMetrics()
    one = node.view("one", "relay.flood").counter("announced_total", "Announced.", ("topic",))
    two = node.view("two", "relay.inventory").counter("announced_total", "Announced.", ("topic",))
    one.add(3, "tx")
    two.add(1, "tx")
    two.add(1, "block")
    assert node.view("one", "relay.flood").counter("announced_total", "Announced.", ("topic",)) is one
    assert node.snapshot() == {
        "p2pframe_announced_total": {("one", "tx"): 3, ("two", "tx"): 1, ("two", "block"): 1}
    }


def test_the_exposition_is_what_prometheus_reads():
    node = NodeMetrics()
    node.view("net", "core").counter("dials_total", "Dials.", ("result",)).add(2, "open")
    node.view("net", "core").gauge("sessions", "Sessions.").set(5)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(node.exposition().decode())
        for sample in family.samples
    }
    assert samples["p2pframe_dials_total", (("network", "net"), ("result", "open"))] == 2
    assert samples["p2pframe_sessions", (("network", "net"),)] == 5


def test_two_nodes_of_one_process_stay_apart():
    first, second = NodeMetrics(), NodeMetrics()
    first.view("net", "core").counter("dials", "Dials.").add()
    assert b"p2pframe_dials_total" in first.exposition()
    assert b"p2pframe_dials_total" not in second.exposition()


def test_label_values_beyond_the_bound_become_other():
    node = NodeMetrics()
    counter = node.view("net", "core").counter("messages", "Messages.", ("type",))
    for number in range(SERIES + 1000):
        counter.add(1, f"type-{number}")
    values = node.snapshot()["p2pframe_messages_total"]
    assert len(values) == SERIES + 1
    assert values["net", "other"] == 1000
    assert b'p2pframe_metric_labels_folded_total{metric="messages"} 1000.0' in node.exposition()
    counter.add(1, "type-0")
    assert node.snapshot()["p2pframe_messages_total"]["net", "type-0"] == 2


@pytest.mark.parametrize("name", ["Bad", "with-dash", "", "9lives"])
def test_a_bad_name_is_refused_with_its_owner(name):
    with pytest.raises(PluginError, match=r"relay\.mine"):
        NodeMetrics().view("net", "relay.mine").counter(name, "help")


def test_one_name_can_not_be_two_things():
    node = NodeMetrics()
    node.view("net", "relay.one").counter("held", "Held.", ("topic",))
    with pytest.raises(PluginError, match=r"relay\.two.*already a counter of relay\.one"):
        node.view("net", "relay.two").gauge("held", "Held.", ("topic",))
    with pytest.raises(PluginError):
        node.view("net", "relay.two").counter("held", "Held.")
    with pytest.raises(ValueError, match="labels"):
        node.view("net", "relay.one").counter("held", "Held.", ("topic",)).add(1)


def test_counting_does_not_import_prometheus_client():
    code = (
        "import sys; from p2pframe.core.metrics import NodeMetrics; NodeMetrics().view('n', 'o').counter('c', "
        "'h').add();"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
