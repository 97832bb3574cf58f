"""Live values set on a running node, over what its file says."""

import pytest

from p2pframe.errors import ConfigError, P2PFrameError, RestartNeeded

NODE = """
version: 1
node: {{data_dir: ./data}}
storage: {{plugin: memory}}
applications: [{{plugin: bitcoin-workload, network: bitcoin}}]
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["203.0.113.1:18444"]}}]
    limits: {{visits: 7}}
    discovery: [{{plugin: file, path: ./peers.txt, look: {look}}}]
"""
VISITS = "networks.bitcoin.limits.visits"
RATE = "networks.bitcoin.limits.addresses_per_second"
LOOK = "networks.bitcoin.discovery.0.look"

SECRET = '''
"""Keeps a word."""
from pydantic import SecretStr
from twisted.internet.defer import succeed
from zope.interface import implementer
from p2pframe.interfaces import IApplication, IReconfigurable
from p2pframe.plugin import PluginConfig, live, plugin


class KeeperConfig(PluginConfig):
    """Options."""

    word: SecretStr = live(SecretStr(""), description="What it keeps.")


@plugin("keeper", config=KeeperConfig)
@implementer(IApplication, IReconfigurable)
class Keeper:
    """Keeps a word."""

    name = "keeper"

    def __init__(self, config, context):
        self.config = config

    def start(self):
        return succeed(None)

    def stop(self):
        return succeed(None)

    def reconfigure(self, config):
        self.config = config
'''


@pytest.fixture
def node(simulation, tmp_path):
    (tmp_path / "peers.txt").write_text("")
    # As the file says: the simulator would put its own storage in.
    simulation.real_folders = True
    return simulation.start(NODE.format(look="1s"), "203.0.113.1").node


def limits(node):
    return node.networks["bitcoin"].limits


def setting(node, path):
    (found,) = [one for one in node.view.settings() if one.path == path]
    return found


def test_a_limit_and_a_plugins_option_are_set_and_taken_back(simulation, node):
    network = node.networks["bitcoin"]
    done = simulation.wait(node.control.change({VISITS: 9, LOOK: "30s"}))
    assert f"changed: {VISITS}: 7 -> 9" in done
    assert (limits(node).visits, network.finder._sources[0].plugin.config.look) == (9, 30.0)
    assert node.view.changed() == {VISITS: 9, LOOK: "30s"}
    assert node.networks["bitcoin"] is network, "nothing was restarted"
    simulation.wait(node.control.change({LOOK: "20s"}))
    assert (limits(node).visits, network.finder._sources[0].plugin.config.look) == (7, 20.0)
    simulation.wait(node.control.change({}))
    assert network.finder._sources[0].plugin.config.look == 1.0
    assert node.view.changed() == {}


def test_a_dry_one_says_what_it_would_do(simulation, node):
    assert simulation.wait(node.control.change({VISITS: 9}, dry=True)) == [f"{VISITS}: 7 -> 9"]
    assert limits(node).visits == 7
    assert node.view.changed() == {}


def test_what_was_set_meanwhile_is_not_replaced_unseen(simulation, node, tmp_path):
    # Both are asked before the first is done, as are a change and the reading of the file again.
    first = node.control.change({VISITS: 9}, based_on={})
    second = node.control.change({LOOK: "30s"}, based_on={})
    simulation.wait(first)
    with pytest.raises(P2PFrameError, match="somebody has set something meanwhile"):
        simulation.wait(second)
    read = node.control.reconfigure(tmp_path / "203.0.113.1.yaml")
    third = node.control.change({VISITS: 9, LOOK: "30s"}, based_on={VISITS: 9})
    simulation.wait(read)
    with pytest.raises(P2PFrameError, match="the file was read again"):
        simulation.wait(third)
    assert (limits(node).visits, node.view.changed()) == (7, {})


def test_settings_say_where_they_come_from_and_whether_they_are_live(simulation, node):
    visits = setting(node, VISITS)
    assert (visits.value, visits.live) == (7, True)
    assert visits.where.endswith("203.0.113.1.yaml:10:22")
    assert (setting(node, RATE).where, setting(node, RATE).live) == ("default", True)
    assert not setting(node, "networks.bitcoin.protocol.chain").live
    assert not any(one.live for one in node.view.settings() if one.path.startswith(("node.", "storage.")))
    simulation.wait(node.control.change({VISITS: 9}))
    assert (setting(node, VISITS).value, setting(node, VISITS).where) == (9, "set while it runs")


def test_settings_say_so_of_what_is_in_a_list_or_a_short_form_too(simulation, tmp_path):
    text = NODE.replace(
        "{{plugin: file, path: ./peers.txt, look: {look}}}",
        """{{plugin: static, peers: ["198.51.100.7:18444"]}},
      {{plugin: dns-seed, seeds: [seed.example.org]}}""",
    )
    node = simulation.start(text.format(), "203.0.113.1").node
    found = {one.path: one for one in node.view.settings()}
    at = "networks.bitcoin.discovery"
    peer, seed = found[f"{at}.0.peers.0.address"], found[f"{at}.1.seeds.0"]
    assert peer.where.endswith("203.0.113.1.yaml:11:42")
    assert seed.where.endswith("203.0.113.1.yaml:12:34")
    # Changed in place where the file is read again, and not one by one.
    assert [(one.takes, one.live) for one in (peer, seed)] == [("reload", False)] * 2
    # What is not said stays a default, also where what it belongs to is in the file.
    assert found[f"{at}.0.plugin"].where.endswith("203.0.113.1.yaml:11:26")
    assert found["networks.bitcoin.protocol.ping_interval"].where == "default"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({VISITS: 0}, "must be at least 1"),
        ({VISITS: "many"}, "number"),
        ({VISITS: [1]}, "no single value"),
        ({"networks.bitcoin.limits.visit": 1}, "visit"),
        ({"networks.bitcoin.limits": 1}, "no single value"),
        ({"networks.other.limits.visits": 1}, "other"),
        ({"networks.bitcoin.discovery.7.look": "1s"}, "no item"),
        ({"networks.bitcoin.protocol.chain": "signet"}, "not set while the node runs"),
        ({"networks.bitcoin.protocol.plugin": "mainline"}, "while the node runs|mainline"),
        ({"node.log_level": "debug"}, "not set while the node runs"),
        ({"node.plugin_path.0": "/tmp"}, "not set while the node runs"),
        ({"storage.path": "x"}, "not set while the node runs"),
        ({"version": 2}, "not set while the node runs"),
        ({"": 1}, "not set while the node runs"),
    ],
)
def test_what_can_not_be_set_is_said_and_nothing_is_changed(simulation, node, values, what):
    with pytest.raises(ConfigError, match=what):
        simulation.wait(node.control.change({RATE: 5, **values}))
    assert limits(node).addresses_per_second == 0.1
    assert node.view.changed() == {}


def test_a_value_that_comes_from_the_environment_is_not_overridden(simulation, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOK", "5s")
    (tmp_path / "peers.txt").write_text("")
    simulation.real_folders = True
    node = simulation.start(NODE.format(look='"${LOOK}"'), "203.0.113.1").node
    assert (setting(node, LOOK).value, setting(node, LOOK).live) == ("***", False)
    with pytest.raises(ConfigError, match="comes from the environment"):
        simulation.wait(node.control.change({LOOK: "9s"}))


def test_a_secret_is_not_set_while_it_runs_even_where_it_is_live(simulation, tmp_path):
    path = tmp_path / "secret.py"
    path.write_text(SECRET)
    tmp_path.chmod(0o700)
    text = NODE.format(look="1s").replace("data_dir: ./data", f"data_dir: ./data, plugin_path: ['{tmp_path}']")
    text = text.replace("applications: [", "applications: [{{plugin: keeper, word: first}}, ".format())
    node = simulation.start(text, "203.0.113.1").node
    assert (setting(node, "applications.0.word").value, setting(node, "applications.0.word").live) == ("***", False)
    with pytest.raises(ConfigError, match="is a secret, which is not set while the node runs") as refused:
        simulation.wait(node.control.change({"applications.0.word": "second"}))
    assert "second" not in str(refused.value)
    assert node.view.changed() == {}


def test_an_edited_file_is_not_read_in_passing(simulation, node, tmp_path):
    path = tmp_path / "203.0.113.1.yaml"
    path.write_text(path.read_text().replace("look: 1s", "look: 9s"))
    with pytest.raises(RestartNeeded, match=f"{LOOK}.*have it read again"):
        simulation.wait(node.control.change({VISITS: 9}))
    assert limits(node).visits == 7
    path.write_text(
        path.read_text()
        + "  second:\n    protocol: {plugin: bitcoin, chain: regtest}\n    transports: [{plugin: tcp}]\n"
    )
    with pytest.raises(RestartNeeded, match="second"):
        simulation.wait(node.control.change({VISITS: 9}))


def test_reading_the_file_again_takes_all_of_it_back(simulation, node, tmp_path):
    simulation.wait(node.control.change({VISITS: 9}))
    simulation.wait(node.control.reconfigure(tmp_path / "203.0.113.1.yaml"))
    assert limits(node).visits == 7
    assert node.view.changed() == {}
