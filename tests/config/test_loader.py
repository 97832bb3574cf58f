"""What a configuration comes to: defaults, paths, plugins that fit, and errors where they do not."""

# ruff: noqa: E501 - expected messages and plugin texts stand in one piece

from __future__ import annotations

import textwrap

import pytest

from p2pframe.config import load
from p2pframe.config.settings import Limits
from p2pframe.errors import ConfigError
from p2pframe.registry import Registry

from .conftest import GOOD


def test_what_is_left_out_has_a_safe_default(folder):
    spec = folder.load(GOOD)
    network = spec.networks["main"]
    assert spec.storage.label == "storage.sqlite"
    assert network.topology.label == "topology.random"
    assert network.relay.label == "relay.inventory"
    assert [c.label for c in network.scoring] == ["scoring.weighted", "scoring.behaviour"]
    assert (network.upgrades, network.discovery, network.authentication, network.validators) == ((), (), (), ())
    assert network.limits == Limits()
    assert network.topology.where == "default"
    assert spec.node.data_dir == folder.path / "node-data"


def test_a_choice_says_where_it_stands_and_where_its_class_comes_from(folder):
    spec = folder.load(GOOD)
    choice = spec.networks["main"].protocol
    assert choice.where == f"{folder.path}/node.yaml:6:15"
    assert choice.origin.startswith(f"{folder.path}/plugins/all.py:")
    assert choice.config.chain == "regtest"


def test_an_empty_list_is_what_it_says(folder):
    spec = folder.load(GOOD + "    scoring: []\n")
    assert spec.networks["main"].scoring == ()


def test_seams_that_the_protocol_does_not_use_stay_empty(folder):
    text = GOOD + textwrap.indent(
        "dht:\n  protocol: {plugin: lookup}\n  transports: [{plugin: udp}]\n  discovery: [{plugin: static}]\n", "  "
    )
    network = folder.load(text).networks["dht"]
    assert (network.topology, network.relay, network.scoring) == (None, None, ())


def test_units_paths_and_names(folder):
    text = GOOD.replace("chain: regtest", "chain: regtest, prune: 64KiB, checkpoint: sub/../points.txt")
    text += "    discovery: [{plugin: seeds, files: {a: x.txt, b: /etc/y.txt}}]\n    limits: {tick: 250ms, send_buffer: 1.5MB}\n"
    spec = folder.load(text)
    network = spec.networks["main"]
    assert network.protocol.config.prune == 65536
    assert network.protocol.config.checkpoint == folder.path / "points.txt"
    assert {k: str(v) for k, v in network.discovery[0].config.files.items()} == {
        "a": str(folder.path / "x.txt"), "b": "/etc/y.txt",
    }  # fmt: skip
    assert (network.limits.tick, network.limits.send_buffer) == (0.25, 1_500_000)


def test_paths_of_an_include_are_relative_to_it(folder):
    folder.write("{plugin: sqlite, file: my.db}", "sub/storage.yaml")
    spec = folder.load(GOOD + "storage: !include sub/storage.yaml\n")
    assert spec.storage.config.file == folder.path / "sub" / "my.db"
    folder.write("plugin: sqlite", "sub/storage.yaml")
    spec = folder.load(GOOD + "storage: !include sub/storage.yaml\n")
    assert spec.storage.config.file == folder.path / "sub" / "node.db"


def test_a_plugin_may_serve_from_another_network(folder):
    text = GOOD + "    discovery: [{plugin: static, network: other}]\n"
    text += textwrap.indent(GOOD.split("networks:\n")[1].replace("main", "other").replace("18444", "18445"), "")
    spec = folder.load(text + "applications: [{plugin: miner, network: other}]\n")
    assert spec.networks["main"].discovery[0].network == "other"
    assert spec.applications[0].network == "other"
    assert spec.applications[0].config.network == "other"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("relay: {plugin: mesh}", "8:12: networks.main.relay: relay.mesh needs the verbs graft + prune + push; protocol.chain offers announce, deliver, request"),
        ("relay: inventory", "8:12: networks.main.relay: must be {plugin: name, ...}, found 'inventory'"),
        ("relay: {plugn: lazy}", "8:13: networks.main.relay.plugn: unknown key 'plugn' (did you mean 'plugin'?)"),
        ("relay: {plugin: 5}", "8:21: networks.main.relay.plugin: must be the name of a relay plugin, found 5"),
        ("relay: {plugin: }", "8:13: networks.main.relay.plugin: has no value: give it one or leave the key out"),
        ("relay: {plugin: inventry}", "8:21: networks.main.relay.plugin: no relay plugin 'inventry' (did you mean 'inventory'?)"),
        ("relay: {plugin: qqq}", "8:21: networks.main.relay.plugin: no relay plugin 'qqq': there is inventory, lazy, mesh"),
        ("discovery: {plugin: static}", "8:16: networks.main.discovery: must be a list of plugins, found a mapping: write - {plugin: ...}"),
        ("discovery: [{plugin: static, network: main}]", "8:43: networks.main.discovery.0.network: a discovery plugin of this very network: name another network, or none"),
        ("relays: {plugin: lazy}", "8:5: networks.main.relays: unknown key 'relays' (did you mean 'relay'?)"),
        ("limits: 5", "8:13: networks.main.limits: must be a mapping, found 5"),
        ("discovery: [{plugin: static, peers: [a:1, b:2, c:3, d:4]}]", "8:41: networks.main.discovery.0.peers: must have at most 3 items, found 4"),
        ("discovery: [{plugin: seeds, seeds: [{host: a}, {host: a}]}]", "8:40: networks.main.discovery.0.seeds: seeds are named twice: ['a', 'a']"),
        ("discovery: [{plugin: seeds, seeds: [{hots: a}]}]", "8:42: networks.main.discovery.0.seeds.0.hots: unknown key 'hots' (did you mean 'host'?)"),
        ("authentication: [{plugin: version, services: [NETWORK, WITNES]}]", "8:60: networks.main.authentication.0.services.1: must be 'NETWORK' or 'WITNESS', found 'WITNES' (did you mean 'WITNESS'?)"),
        ("authentication: [{plugin: version, minimum: true}]", "8:49: networks.main.authentication.0.minimum: must be a whole number, found true"),
        ("authentication: [{plugin: version, minimum: 1e3}]", "8:49: networks.main.authentication.0.minimum: must be a whole number, found 1e3"),
        ("scoring: [{plugin: behaviour, dry_run: yes}]", "8:44: networks.main.scoring.0.dry_run: must be true or false, found 'yes'"),
        ("upgrades: [{plugin: pre-shared, key: 12345}]", "8:42: networks.main.upgrades.0.key: must be text, found 12345: put it in quotes"),
        ("validators: [{plugin: size, max: 1}]", "8:33: networks.main.validators.0.max: unknown key 'max'"),
        ("item_stores: {tx: {plugin: forgetfull}}", "8:32: networks.main.item_stores.tx.plugin: no item-store plugin 'forgetfull' (did you mean 'forgetful'?)"),
    ],
)  # fmt: skip
def test_mistakes_of_a_network(folder, lines, expected):
    assert folder.network(lines) == [f"node.yaml:{expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n", "1:1: a configuration is a mapping that begins with `version: 1`, found a list"),
        ("networks: {}\n", "1:1: version: 'version' is missing: begin with `version: 1`"),
        ("version: 2\nnetworks: {}\n", "1:10: version: must be 1, found 2"),
        ("version: '1'\nnetworks: {}\n", "1:10: version: must be 1, found '1'"),
        ("version: 1\n", "1:1: networks: 'networks' is missing: a node takes part in at least one"),
        ("version: 1\nnetworks: 1\n", "2:11: networks: must be a mapping, found 1"),
        ("version: 1\nnetworks: {a: 1}\n", "2:15: networks.a: must be a mapping, found 1"),
        ("version: 1\nnetworks: {a: {}}\n", "2:12: networks.a.protocol: 'protocol' is missing: {plugin: bitcoin, ...}"),
        ("version: 1\nnode: []\n", "2:7: node: must be a mapping, found a list"),
        ("version: 1\napplications: {}\n", "2:15: applications: must be a list of plugins, found a mapping: write - {plugin: ...}"),
    ],
)  # fmt: skip
def test_mistakes_at_the_top(folder, text, expected):
    assert f"node.yaml:{expected}" in folder.problems(text)


def test_a_required_seam_must_be_there(folder):
    text = GOOD.replace('    transports: [{plugin: tcp, listen: ["127.0.0.1:18444"]}]\n', "")
    assert folder.problems(text) == [
        "node.yaml:5:3: networks.main.transports: 'transports' is missing: protocol.chain needs it"
    ]
    assert folder.problems(text + "    transports: []\n") == [
        "node.yaml:7:17: networks.main.transports: is empty: protocol.chain needs at least one"
    ]


def test_a_transport_must_carry_what_the_protocol_speaks(folder):
    assert folder.problems(GOOD.replace("plugin: tcp", "plugin: udp")) == [
        "node.yaml:7:18: networks.main.transports.0: protocol.chain speaks streams, which transport.udp does not carry"
    ]


@pytest.mark.parametrize("other", ["127.0.0.1:18444", "0.0.0.0:18444"])
def test_an_address_is_listened_on_once_in_a_node(folder, other):
    text = GOOD + f"applications: [{{plugin: miner, network: main, listen: '{other}'}}]\n"
    assert folder.problems(text) == [
        f"node.yaml:8:55: applications.0.listen: {other} is listened on twice in this node: "
        "networks.main.transports.0.listen.0 has it already"
    ]


@pytest.mark.parametrize("other", ["127.0.0.2:18444", "127.0.0.1:18445", "[::]:18444", "127.0.0.1:0"])
def test_other_addresses_are_no_clash(folder, other):
    folder.load(GOOD + f"applications: [{{plugin: miner, network: main, listen: '{other}'}}]\n")


def test_a_missing_default_is_said(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text("version: 1\nnetworks: {a: {protocol: {plugin: x}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {}, Registry(installed=()))
    texts = [problem.message for problem in caught.value.problems]
    assert texts == [
        "left out, so the default is wanted: no storage plugin 'sqlite': there is no storage plugin at all",
        "no protocol plugin 'x': there is no protocol plugin at all",
    ]


def test_a_validator_that_breaks_is_named(folder):
    (folder.path / "plugins" / "broken.py").write_text(
        textwrap.dedent("""\
        from pydantic import field_validator
        from zope.interface import implementer
        from p2pframe.interfaces import IApplication
        from p2pframe.plugin import Field, PluginConfig, plugin

        class Config(PluginConfig):
            size: int = Field(1, description="Size.")

            @field_validator("size")
            @classmethod
            def check(cls, value):
                return [][value]

        @plugin("broken", config=Config)
        @implementer(IApplication)
        class Broken:
            '''Breaks.'''
            def start(self): ...
            def stop(self): ...
        """)
    )
    text = GOOD + "applications: [{plugin: broken, size: 3}]\n"
    [problem] = folder.problems(text)
    assert problem.startswith("node.yaml:8:16: applications.0: the config model of application plugin 'broken' (")
    assert problem.endswith("failed: IndexError: list index out of range")


def test_two_mistakes_of_one_plugin_and_the_rest_of_the_network_are_found_together(folder):
    text = GOOD.replace("chain: regtest", "chain: x, prune: y") + "    relay: {plugin: mesh}\n    upgrade: []\n"
    assert len(folder.problems(text)) == 4


def test_problems_are_structured(folder):
    with pytest.raises(ConfigError) as caught:
        folder.load(GOOD.replace("regtest", "rectest"))
    [problem] = caught.value.problems
    assert (problem.line, problem.column, problem.path) == (6, 38, "networks.main.protocol.chain")
