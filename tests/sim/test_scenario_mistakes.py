"""Scenarios of many mistakes yield as many errors, each at its exact line and column, in every variant and node file."""

# ruff: noqa: E501 - expected messages stand in one piece

from __future__ import annotations

SHAPES = """\
version: 2
seed: 1.5
duration: 10 fortnights
durations: 1
hosts:
  nodes:
    node: node.yaml
    count: 0
    regoin: europe
    nat: {kind: asymmetric, share: 2}
    clock: {skew: {normal: {mean: 0s}}, drift: fast}
    addresses: {ipv4: 0}
  Miners: {node: missing.yaml}
  local: {node: local.yaml, count: 3}
  broken: {node: broken.yaml}
  small:
    node: node.yaml
    count: 300
    override:
      networks:
        bitcoin:
          relay: {plugin: floood}
          limits: {send_bufer: 1MB}
          transports: [{plugin: tcp, listen: ["127.0.0.1:1"]}]
    addresses: {ranges: [203.0.113.0/24, 10.0.0.1/8]}
  hidden:
    node: node.yaml
    count: 250
    override: []
    addresses: {ranges: [203.0.113.0/25]}
    nat: {kind: symmetric}
graph:
  - {network: bitcoin, kind: regular}
  - {network: bitcoin, kind: ring, degree: 2}
  - {network: bitcoin, kind: tree}
  - {network: bitcoin, kind: ring, groups: [nodse]}
  - star
names: {seed.example: {groups: [], count: 0}}
links:
  default: {latency: {fixed: 1ms, normal: {mean: 1ms, deviation: 1ms}}, loss: 1}
  regions: {europe: 50}
timeline:
  - {at: 1min, do: kil, hosts: {group: nodes}}
  - {at: 1min}
  - {at: 1min, do: kill, hosts: {group: noddes}}
  - {at: -1s, do: partition, groups: [[nodes]]}
  - {at: 1s, do: cut, form: [nodes], to: [smal]}
churn: {group: nodes}
workload:
  - {produce: block, every: 0x1s, from: [node], network: bitcoin}
measures:
  propagatoin: {network: bitcoin}
  capture: []
expect:
  - {value: propagation.block.coverage}
  - {value: a.b, at_least: much, only: []}
compare:
  - {value: a, of: flod}
variants:
  default: {}
  Flood: {}
  flood:
    version: 1
    hosts: {local: {count: many}}
    graph: {}
  empty:
  fast: quick
"""

LOCAL = """\
version: 1
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports:
      - {plugin: tcp, listen: ["127.0.0.1:18444"]}
"""

BROKEN = """\
version: 1
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtst}
    relay: {plugin: inventry}
"""

SHAPES_EXPECTED = """\
scenario.yaml:1:10: version: must be 1, found 2
scenario.yaml:2:7: seed: must be a whole number, found 1.5
scenario.yaml:3:11: duration: not a duration: write a number with ms, s, min, h, d or w, such as 30s (found '10 fortnights')
scenario.yaml:4:1: durations: unknown key 'durations' (did you mean 'duration'?)
scenario.yaml:8:12: hosts.nodes.count: must be at least 1, found 0
scenario.yaml:9:5: hosts.nodes.regoin: unknown key 'regoin' (did you mean 'region'?)
scenario.yaml:10:17: hosts.nodes.nat.kind: must be 'none', 'full-cone', 'address-restricted', 'port-restricted' or 'symmetric', found 'asymmetric' (did you mean 'symmetric'?)
scenario.yaml:10:36: hosts.nodes.nat.share: must be at most 1.0, found 2
scenario.yaml:11:28: hosts.nodes.clock.skew.normal.deviation: 'deviation' is missing: The standard deviation.
scenario.yaml:11:48: hosts.nodes.clock.drift: must be a number, found 'fast'
scenario.yaml:12:16: hosts.nodes.addresses: a host has at least one address: ipv4 and ipv6 are both 0
scenario.yaml:13:3: hosts.Miners: 'Miners' can't be a group's name: use lower-case letters, digits and dashes
scenario.yaml:13:18: hosts.Miners.node: can't read 'missing.yaml': No such file or directory
scenario.yaml:14:17: hosts.local.node: local.yaml:6:32 says that the hosts listen on 127.0.0.1:18444, which no other host reaches: listen on 0.0.0.0:18444, here with override: {networks: {bitcoin: {transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]}}}
scenario.yaml:22:27: hosts.small.override.networks.bitcoin.relay.plugin: no relay plugin 'floood' (did you mean 'flood'?)
scenario.yaml:23:20: hosts.small.override.networks.bitcoin.limits.send_bufer: unknown key 'send_bufer' (did you mean 'send_buffer'?)
scenario.yaml:25:42: hosts.small.addresses.ranges.1: not a range of addresses: write 203.0.113.0/24 or 2001:db8::/32 (10.0.0.1/8 has host bits set) (found '10.0.0.1/8')
scenario.yaml:29:15: hosts.hidden.override: must be a mapping, found a list
scenario.yaml:33:5: graph.0: 'degree' is missing: how many neighbours has each host?
scenario.yaml:34:5: graph.1: 'degree' is for regular graphs: leave it out
scenario.yaml:35:30: graph.2.kind: must be 'regular', 'complete', 'ring', 'line' or 'star', found 'tree'
scenario.yaml:36:45: graph.3.groups.0: no host group is called 'nodse' (did you mean 'nodes'?)
scenario.yaml:37:5: graph.4: must be a mapping, found 'star'
scenario.yaml:38:32: names.seed.example.groups: must have at least 1 item, found 0
scenario.yaml:38:43: names.seed.example.count: must be at least 1, found 0
scenario.yaml:40:22: links.default.latency: has fixed and normal: give one of fixed, uniform, normal, lognormal, exponential, pareto, weibull
scenario.yaml:40:79: links.default.loss: must be under 1.0, found 1
scenario.yaml:41:21: links.regions.europe: must be a mapping, found 50
scenario.yaml:43:20: timeline.0.do: no fault is called 'kil' (did you mean 'kill'?)
scenario.yaml:44:5: timeline.1.do: 'do' is missing: what happens? There is partition, cut, half-open, kill, power-off, stop, start, slow-readers, slow-links
scenario.yaml:45:41: timeline.2.hosts.group: no host group is called 'noddes' (did you mean 'nodes'?)
scenario.yaml:46:10: timeline.3.at: not a duration: write a number with ms, s, min, h, d or w, such as 30s (found '-1s')
scenario.yaml:47:5: timeline.4.from: 'from' is missing
scenario.yaml:47:23: timeline.4.form: unknown key 'form' (did you mean 'for'?)
scenario.yaml:48:8: churn: must be a list, found a mapping
scenario.yaml:50:29: workload.0.every: not a duration: write a number with ms, s, min, h, d or w, such as 30s (found '0x1s')
scenario.yaml:52:3: measures.propagatoin: no measure is called 'propagatoin' (did you mean 'propagation'?)
scenario.yaml:53:12: measures.capture: must be a mapping, found a list
scenario.yaml:55:5: expect.0: nothing is expected of the value: add at_least, at_most, between or equals
scenario.yaml:56:28: expect.1.at_least: not a number: write one, or a duration (2s), a size (64KiB) or a share (95%) in quotes (found 'much')
scenario.yaml:56:40: expect.1.only: must have at least 1 item, found 0
scenario.yaml:58:5: compare.0.to: 'to' is missing: The variant that it is compared to; `default` is the scenario as it stands.
scenario.yaml:60:3: variants.default: 'default' is the file as it is: take another name
scenario.yaml:61:3: variants.Flood: 'Flood' can't be a variant's name: use lower-case letters, digits and dashes
scenario.yaml:63:5: variants.flood.version: 'version' is the same for all variants: leave it out
scenario.yaml:64:28: variants.flood.hosts.local.count: must be a whole number, found 'many'
scenario.yaml:65:12: variants.flood.graph: must be a list, found a mapping
scenario.yaml:66:3: variants.empty: has no value: give it one or leave the key out
scenario.yaml:67:9: variants.fast: must be a mapping, found 'quick'
broken.yaml:3:3: networks.bitcoin.transports: 'transports' is missing: protocol.bitcoin needs it
broken.yaml:4:40: networks.bitcoin.protocol.chain: must be 'mainnet', 'testnet4', 'signet' or 'regtest', found 'regtst' (did you mean 'regtest'?)
broken.yaml:5:21: networks.bitcoin.relay.plugin: no relay plugin 'inventry' (did you mean 'inventory'?)
"""

NAMES = """\
version: 1
duration: 1h
hosts:
  nodes: {node: node.yaml, count: 5, region: europe}
  silent:
    node: node.yaml
    count: 2
    override: {networks: {bitcoin: {transports: [{plugin: tcp}]}}}
  hidden: {node: node.yaml, count: 3, nat: {kind: symmetric, share: 0.5}}
  many: {node: node.yaml, count: 200, region: {asia: 1, europe: 2}}
  other: {node: other.yaml}
graph:
  - {network: bitcoin, kind: regular, degree: 3, groups: [nodes]}
  - {network: bitcoin, kind: regular, degree: 5, groups: [nodes]}
  - {network: bitcoin, kind: regular, degree: 1, groups: [many]}
  - {network: bitcoin, kind: regular, degree: 18, groups: [many]}
  - {network: bitcoin, kind: star, groups: [many]}
  - {network: bitcoin, kind: ring, groups: [silent]}
  - {network: bitcoin, kind: star, groups: [nodes, silent]}
  - {network: bitcoin, kind: line, groups: [hidden]}
  - {network: bitcoin, kind: ring, groups: [nodes, other]}
  - {network: bitcon, kind: ring}
  - {network: second, kind: ring}
names: {seed.example: {groups: [many, few]}}
links: {regions: {europa: {asia: 10ms}, asia: {mars: 20ms}}}
timeline:
  - {at: 1min, do: kill, hosts: {names: [nodes-4, nodes-5, node-0, nodes-x]}}
measures: {propagation: {network: bitcoin, topics: [block], groups: [nods]}}
expect: [{value: a, at_least: 1, except: [slow]}]
compare: [{value: a, of: fsat, to: default, ratio_at_least: 2}]
variants: {fast: {hosts: {nodes: {region: asia}}}}
"""

NAMES_EXPECTED = """\
scenario.yaml:13:47: graph.0.degree: 5 hosts can't have 3 neighbours each: the product of both must be even
scenario.yaml:14:47: graph.1.degree: 5 hosts can't have 5 neighbours each: 4 at the most
scenario.yaml:15:47: graph.2.degree: with 1 neighbour each, 200 hosts are not connected: 2 at the least
scenario.yaml:16:60: graph.3.groups.0: hosts of many dial up to 9 neighbours; their topology has manual: 8; override: {networks: {bitcoin: {topology: {manual: 9}}}}
scenario.yaml:17:45: graph.4.groups.0: hosts of many are dialled by up to 208 neighbours; their topology has inbound: 114; override: {networks: {bitcoin: {topology: {inbound: 208}}}}
scenario.yaml:18:45: graph.5.groups.0: hosts of silent can't be dialled in network 'bitcoin': have one of its transports listen on a port at 0.0.0.0 (or at [::], for hosts with IPv6 addresses)
scenario.yaml:20:45: graph.7.groups.0: hosts of hidden are behind NATs, where nobody can dial them
scenario.yaml:21:52: graph.8.groups.1: hosts.other does not take part in network 'bitcoin'
scenario.yaml:22:15: graph.9.network: no network is called 'bitcon' (did you mean 'bitcoin'?)
scenario.yaml:23:15: graph.10.network: a graph takes two hosts at the least
scenario.yaml:24:39: names.seed.example.groups.1: no host group is called 'few': there is nodes, silent, hidden, many, other
scenario.yaml:25:19: links.regions.europa: no host is in region 'europa' (did you mean 'europe'?)
scenario.yaml:25:48: links.regions.asia.mars: no host is in region 'mars': there is asia, europe
scenario.yaml:27:51: timeline.0.hosts.names.1: no host is called 'nodes-5': they are nodes-0 to nodes-4
scenario.yaml:27:60: timeline.0.hosts.names.2: no host is called 'node-0': a host is its group's name and a number (did you mean 'nodes'?)
scenario.yaml:27:68: timeline.0.hosts.names.3: no host is called 'nodes-x': they are nodes-0 to nodes-4
scenario.yaml:28:70: measures.propagation.groups.0: no host group is called 'nods' (did you mean 'nodes'?)
scenario.yaml:29:43: expect.0.except.0: no variant is called 'slow': there is default, fast
scenario.yaml:30:26: compare.0.of: no variant is called 'fsat' (did you mean 'fast'?)
"""

HOSTS = """\
version: 1
duration: 5s
hosts:
  two:
    node: node.yaml
    count: 200
    override:
      networks: {bitcoin: {transports: [{plugin: tcp, listen: ["127.0.0.1:1"]}]}}
  three: {node: node.yaml, count: 300, addresses: {ranges: [203.0.113.0/24]}}
  four: {node: node.yaml, nat: {kind: symmetric}, addresses: {ipv4: 2}}
  five: {node: node.yaml, addresses: {ranges: [203.0.113.0/24], ipv6: 1}}
"""

HOSTS_EXPECTED = """\
scenario.yaml:8:64: hosts.two.override.networks.bitcoin.transports.0.listen.0: is 127.0.0.1:1, which no other host reaches: listen on 0.0.0.0:1, here with override: {networks: {bitcoin: {transports: [{plugin: tcp, listen: ["0.0.0.0:1"]}]}}}
scenario.yaml:9:10: hosts.three: the ranges have room for 254 IPv4 addresses, and the hosts need 300
scenario.yaml:10:9: hosts.four: hosts behind a NAT have one IPv4 address each: leave ipv4 and ipv6 out
scenario.yaml:11:38: hosts.five.addresses: no range of IPv6, and each host has 1 such addresses: set ipv6: 0
"""


def test_each_value_that_is_not_what_it_should_be_is_reported_at_its_place(scenarios):
    scenarios.write("local.yaml", LOCAL)
    scenarios.write("broken.yaml", BROKEN)
    found = scenarios.problems(SHAPES)
    assert found == SHAPES_EXPECTED.splitlines()
    assert len(found) >= 50


def test_each_name_that_is_nothings_name_and_each_graph_that_can_not_be_is_reported_at_its_place(scenarios):
    scenarios.write("other.yaml", (scenarios.path / "node.yaml").read_text().replace("bitcoin:", "second:"))
    assert scenarios.problems(NAMES) == NAMES_EXPECTED.splitlines()


def test_hosts_that_nobody_could_reach_or_that_have_no_room_are_reported_at_their_place(scenarios):
    assert scenarios.problems(HOSTS) == HOSTS_EXPECTED.splitlines()
