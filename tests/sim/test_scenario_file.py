"""What a scenario file comes to: overrides, variants, settings, node files that are read once, and its schema."""

# ruff: noqa: E501 - expected messages stand in one piece

from __future__ import annotations

import jsonschema
import pytest
import yaml

from p2pframe.config import reader
from p2pframe.errors import ConfigError
from p2pframe.plugin import PluginConfig
from p2pframe.registry import Registry
from p2pframe.sim import sections
from p2pframe.sim.scenario_file import load_scenario
from p2pframe.sim.scenario_schema import scenario_schema

SCENARIO = """\
version: 1
duration: 10min
hosts:
  nodes:
    node: node.yaml
    count: 100
    override:
      node: {data_dir: elsewhere}
      networks: {bitcoin: {relay: {plugin: inventory}, limits: {send_buffer: 2MB}}}
    region: {europe: 2, america: 1}
    clock: {skew: {normal: {mean: 0s, deviation: 2s}}, drift: 20}
  miners: {node: node.yaml, region: europe}
graph:
  - {network: bitcoin, kind: regular, degree: 8, groups: [nodes]}
links:
  default: {latency: 50ms}
  regions: {europe: {america: {latency: {lognormal: {median: 90ms, p99: 200ms}}}}}
timeline:
  - {at: 1min, do: kill, hosts: {names: [nodes-7]}, back_after: 30s}
churn: [{group: nodes, up: 1h, down: {exponential: {mean: 5min}}}]
workload: [{produce: tx, network: bitcoin, every: {exponential: {mean: 5s}}, from: [miners]}]
measures: {propagation: {network: bitcoin, topics: [tx]}}
expect:
  - {value: propagation.tx.coverage, at_least: 1.0}
variants:
  flood:
    hosts: {nodes: {override: {networks: {bitcoin: {relay: {plugin: flood}}}}}}
    expect: [{value: propagation.tx.duplicates, between: [3, 6]}]
  slow:
    links: {regions: {europe: {america: {latency: {fixed: 1s}}}}}
"""


def test_a_scenario_is_what_it_says(scenarios):
    found = scenarios.load(SCENARIO)
    assert (found.name, found.seed, found.duration, found.variant) == ("scenario", 1, 600.0, "default")
    assert found.variants == ("default", "flood", "slow")
    nodes, miners = found.groups.values()
    assert (nodes.config.count, miners.config.count, nodes.hosts()[-1], miners.hosts()) == (
        100,
        1,
        "nodes-99",
        ["miners-0"],
    )
    assert (nodes.config.regions, miners.config.regions) == ({"europe": 2, "america": 1}, {"europe": 1})
    assert [(g.network, g.kind, g.degree) for g in found.graph] == [("bitcoin", "regular", 8)]
    assert [type(fault) for fault in found.timeline] == [sections.FAULTS["kill"]]
    assert [type(one) for one in (*found.churn, *found.workload)] == [sections.CHURN, sections.WORKLOAD]
    assert isinstance(found.measures["propagation"], sections.MEASURES["propagation"])
    assert found.places["expect.0"] == f"{scenarios.path}/scenario.yaml:24:5"
    assert found.places["timeline.0"] == f"{scenarios.path}/scenario.yaml:19:5"


def test_an_override_merges_into_the_node_file_and_paths_are_taken_from_where_they_stand(scenarios):
    found = scenarios.load(SCENARIO)
    nodes, miners = (group.spec for group in found.groups.values())
    assert nodes.node.data_dir == scenarios.path / "elsewhere"
    assert miners.node.data_dir == scenarios.path / "data"
    assert nodes.node.watchdog == 1.0
    network = nodes.networks["bitcoin"]
    assert network.limits.send_buffer == 2_000_000
    assert network.transports[0].config.listen[0].port == 18444
    assert network.relay.where == f"{scenarios.path}/scenario.yaml:9:35"


def test_lists_replace_and_the_options_of_another_plugin_go(scenarios):
    scenarios.write(
        "node.yaml",
        """\
version: 1
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444", "[::]:18444"]}]
    topology: {plugin: random, outbound: 3, feeler: 0}
    scoring: [{plugin: weighted}, {plugin: behaviour}]
""",
    )
    text = """\
version: 1
duration: 1s
hosts:
  a:
    node: node.yaml
    override: {networks: {bitcoin: {topology: {outbound: 5}, scoring: [{plugin: weighted}]}}}
"""
    network = scenarios.load(text).groups["a"].spec.networks["bitcoin"]
    assert (network.topology.config.outbound, network.topology.config.feeler) == (5, 0)
    assert [choice.spec.name for choice in network.scoring] == ["weighted"]
    # Its options are not those of the plugin that stands there instead: only the name is wrong.
    found = scenarios.problems(text.replace("{outbound: 5}", "{plugin: ring}"))
    assert len(found) == 1
    assert found[0].startswith("scenario.yaml:6:56: hosts.a.override.networks.bitcoin.topology.plugin: no topology")


def test_a_variant_is_laid_over_the_file(scenarios):
    flood = scenarios.load(SCENARIO, "flood")
    network = flood.groups["nodes"].spec.networks["bitcoin"]
    assert network.relay.label == "relay.flood"
    assert network.limits.send_buffer == 2_000_000
    assert flood.groups["nodes"].config.count == 100
    assert [one.value for one in flood.expect] == ["propagation.tx.duplicates"]
    slow = scenarios.load(SCENARIO, "slow")
    # Another distribution is not merged with the one below it.
    assert slow.links.regions["europe"]["america"].latency.constant == 1.0
    assert slow.groups["nodes"].spec.networks["bitcoin"].relay.label == "relay.inventory"


def test_a_mistake_in_any_variant_is_a_mistake_of_all(scenarios):
    text = SCENARIO.replace("latency: {fixed: 1s}", "latncy: 1s").replace("plugin: flood", "plugin: flod")
    assert scenarios.problems(text, "flood") == [
        "scenario.yaml:27:69: variants.flood.hosts.nodes.override.networks.bitcoin.relay.plugin: no relay plugin 'flod' (did you mean 'flood'?)",
        "scenario.yaml:30:42: variants.slow.links.regions.europe.america.latncy: unknown key 'latncy' (did you mean 'latency'?)",
    ]


def test_a_variant_that_there_is_not(scenarios):
    [problem] = scenarios.problems(SCENARIO, "flod")
    assert problem == "scenario.yaml:1:1: variants: no variant is called 'flod' (did you mean 'flood'?)"


def test_settings_are_yaml_laid_over_the_variant(scenarios):
    settings = {
        "hosts.nodes.count": "50",
        "graph.0.degree": "4",
        "links.default": "{latency: 5ms, loss: 0.1}",
        "hosts.nodes.override.networks.bitcoin.topology.outbound": "2",
        "hosts.nodes.clock.drift": "0.5",
        "measures.agreement": "{network: bitcoin}",
    }
    found = scenarios.load(SCENARIO, "flood", settings, seed=7)
    assert (found.seed, found.settings) == (7, settings)
    group = found.groups["nodes"]
    assert (group.config.count, group.config.clock.drift, found.graph[0].degree) == (50, 0.5, 4)
    assert group.spec.networks["bitcoin"].topology.config.outbound == 2
    assert group.spec.networks["bitcoin"].relay.label == "relay.flood"
    assert (found.links.default.latency.constant, found.links.default.loss) == (0.005, 0.1)
    assert list(found.measures) == ["propagation", "agreement"]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("hosts.nods.count", "5", "hosts.nods: no host group is called 'nods' (did you mean 'nodes'?)"),
        ("hosts.nodes.cuont", "5", "hosts.nodes.cuont: unknown key 'cuont' (did you mean 'count'?)"),
        ("hots.nodes.count", "5", "hots: unknown key 'hots' (did you mean 'hosts'?)"),
        ("hosts.nodes.count", "'5'", "hosts.nodes.count: must be a whole number, found '5': take the quotes away"),
        ("hosts.nodes.count.x", "5", "hosts.nodes.count.x: there is a value where 'x' would be a key"),
        ("graph.1.degree", "4", "graph.1.degree: '1' is no item of a list: they are 0 to 0"),
        ("graph.-1.degree", "4", "graph.-1.degree: '-1' is no item of a list: they are 0 to 0"),
        ("hosts..count", "4", "hosts..count: not a path of keys: write them with dots, such as hosts.nodes.count"),
        ("variants.flood.seed", "4", "variants.flood.seed: 'variants' can't be set from outside"),
        ("hosts.nodes.override.networks.bitcoin.relay.plugn", "x", "hosts.nodes.override.networks.bitcoin.relay.plugn: unknown key 'plugn'"),
        ("measures.propagatoin", "{}", "measures.propagatoin: no measure is called 'propagatoin' (did you mean 'propagation'?)"),
        ("seed", "{", "not YAML: "),
    ],
)  # fmt: skip
def test_a_setting_that_can_not_be_says_why(scenarios, path, value, problem):
    found = scenarios.problems(SCENARIO, settings={path: value})
    assert len(found) == 1
    where, text = found[0].split(": ", 1)
    assert where.rsplit(":", 2)[0] == f"--set {path}"
    assert text.startswith(problem)


def test_a_node_file_is_read_once_and_its_hosts_share_what_it_comes_to(scenarios, monkeypatch):
    opened = []
    read = reader._Budget.read
    monkeypatch.setattr(
        reader._Budget, "read", lambda self, path, *rest: opened.append(path.name) or read(self, path, *rest)
    )
    found = scenarios.load(
        SCENARIO.replace("miners: {node: node.yaml,", "others: {node: node.yaml}\n  miners: {node: node.yaml,")
    )
    assert opened == ["scenario.yaml", "node.yaml"]
    assert found.groups["others"].spec is found.groups["miners"].spec
    assert found.groups["nodes"].spec is not found.groups["miners"].spec


def test_includes_and_the_environment_are_as_in_node_files(scenarios):
    scenarios.write("links.yaml", "default: {latency: 7ms}\n")
    text = """\
version: 1
name: "${WHAT}"
duration: 1s
links: !include links.yaml
hosts: {a: {node: node.yaml, count: "${COUNT}"}}
"""
    [problem] = scenarios.problems(text, env={"WHAT": "mine"})
    assert problem == "scenario.yaml:5:37: hosts.a.count: the environment variable COUNT is not set"
    found = scenarios.load(text.replace('"${COUNT}"', "3"), env={"WHAT": "mine"})
    assert (found.name, found.links.default.latency.constant) == ("mine", 0.007)


def test_a_problem_in_a_node_file_stands_where_it_is(scenarios):
    scenarios.write("node.yaml", "version: 1\nnetworks: {}\nnod: 1\n")
    assert scenarios.problems("version: 1\nduration: 1s\nhosts: {a: {node: node.yaml}, b: {node: node.yaml}}\n") == [
        "node.yaml:2:11: networks: 'networks' is missing: a node takes part in at least one",
        "node.yaml:3:1: nod: unknown key 'nod' (did you mean 'node'?)",
    ]


def test_what_is_no_scenario_at_all(scenarios):
    with pytest.raises(ConfigError, match=r"1:1: can't read .*none.yaml: No such file"):
        load_scenario(scenarios.path / "none.yaml")
    assert scenarios.problems("- 1\n") == [
        "scenario.yaml:1:1: a scenario is a mapping that begins with `version: 1`, found a list"
    ]
    assert scenarios.problems("version: 1\n") == [
        "scenario.yaml:1:1: duration: 'duration' is missing: How long to run, in virtual time.",
        "scenario.yaml:1:1: hosts: 'hosts' is missing: a scenario has at least one group of hosts",
    ]


def test_an_address_of_ones_own_can_be_listened_on(scenarios):
    scenarios.write("node.yaml", (scenarios.path / "node.yaml").read_text().replace("0.0.0.0", "203.0.113.9"))
    text = "version: 1\nduration: 1s\nhosts: {a: {node: node.yaml, addresses: {ranges: [203.0.113.9/32]}}}\n"
    assert scenarios.load(text).groups["a"].config.count == 1
    [problem] = scenarios.problems(text.replace("9/32", "0/24"))
    assert problem.startswith("scenario.yaml:3:19: hosts.a.node: ")
    assert "node.yaml:6:41 says that the hosts listen on 203.0.113.9:18444, which no other host reaches" in problem


def test_the_way_out_is_of_the_form_that_the_transport_takes(scenarios):
    scenarios.write(
        "dht.yaml",
        "version: 1\nnetworks:\n  d:\n    protocol: {plugin: mainline}\n"
        '    transports: [{plugin: udp, listen: "127.0.0.1:6881"}]\n',
    )
    [problem] = scenarios.problems("version: 1\nduration: 1s\nhosts: {a: {node: dht.yaml, count: 2}}\n")
    assert problem.endswith('override: {networks: {d: {transports: [{plugin: udp, listen: "0.0.0.0:6881"}]}}}')


# --- the schema ---


@pytest.fixture(scope="module")
def validator():
    whole, errors = scenario_schema(Registry())
    assert errors == []
    jsonschema.Draft202012Validator.check_schema(whole)
    return jsonschema.Draft202012Validator(whole)


def test_the_schema_takes_what_the_loader_takes(validator):
    assert [error.message for error in validator.iter_errors(yaml.safe_load(SCENARIO))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("duration: 10min", "duraton: 10min"), ("do: kill", "do: kil"), ("count: 100", "count: 0"),
        ("kind: regular", "kind: tree"), ("measures: {propagation", "measures: {propagatoin"),
        ("plugin: inventory", "plugin: inventry"), ("send_buffer: 2MB", "send_bufer: 2MB"), ("latency: 50ms", "latncy: 50ms"),
        ("variants:", "compare: 1\nvariants:"), ("  slow:\n    links", "  slow:\n    lnks"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(validator, scenarios, old, new):
    text = SCENARIO.replace(old, new)
    assert list(validator.iter_errors(yaml.safe_load(text)))
    assert scenarios.problems(text)


def test_every_option_of_a_scenario_is_described():
    from p2pframe.sim import scenario
    from p2pframe.sim.scenario_check import Settings

    models = [
        model for model in vars(scenario).values()
        if isinstance(model, type) and issubclass(model, PluginConfig) and model.__module__ == scenario.__name__
    ]  # fmt: skip
    assert len(models) >= 7
    missing = [f"{m.__name__}.{n}" for m in [*models, Settings] for n, i in m.model_fields.items() if not i.description]
    assert missing == []
