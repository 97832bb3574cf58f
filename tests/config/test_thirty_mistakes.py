"""A configuration of thirty mistakes yields thirty errors, each at its exact line and column, includes too."""

# ruff: noqa: E501 - expected messages stand in one piece

from __future__ import annotations

MAIN = """\
version: 1.0
nodes: {}
node:
  data_dir:
  plugin_path: [plugins, ./missing]
  work_threads: 0
  ban_time: 1 fortnight
  log_level: loud
  stop_timeout: yes
storage: {plugin: sqlit}
applications:
  - {plugin: miner, network: mian, password: "${SHORT}"}
  - {interval: 5s}
  - miner
networks:
  Main: {protocol: {plugin: lookup}, transports: [{plugin: udp}], discovery: [{plugin: static}], relay: {plugin: lazy}}
  main:
    protocol:
      plugin: chain
      chain: regtset
      previous: 3
      agent: "${AGENT}"
    transports:
      - {plugin: tcp, listen: ["127.0.0.1:18444", "127.0.0.1"]}
      - {plugin: tcp, backlog: "50"}
      - {plugin: tcp, backlog: 50, backlog: 60}
    upgrades: [{plugin: pre-shared}]
    discovery: !include discovery.yaml
    topology: {plugin: random, outbond: 8}
    scoring: {plugin: weighted}
    limits: !include limits.yaml
    validators: [{plugin: size, network: nowhere}]
    item_stores: {blok: {plugin: forgetful}}
"""

DISCOVERY = """\
- {plugin: seeds, seeds: [{host: a.example, weight: 0}, {weight: 1}]}
- plugin: static
  peers: [127.0.0.1:99999]
  intervall: 5s
"""

LIMITS = """\
receive_buffer: 5MiB
messages_per_second: -1
send_bufer: 1MB
"""

EXPECTED = """\
node.yaml:1:10: version: must be 1, found 1.0
node.yaml:2:1: nodes: unknown key 'nodes' (did you mean 'node'?)
node.yaml:4:3: node.data_dir: has no value: give it one or leave the key out
node.yaml:5:26: node.plugin_path: missing: no such plugin folder (No such file or directory)
node.yaml:6:17: node.work_threads: must be at least 1, found 0
node.yaml:7:13: node.ban_time: not a duration: write a number with ms, s, min, h, d or w, such as 30s (found '1 fortnight')
node.yaml:8:14: node.log_level: must be 'debug', 'info', 'warn', 'error' or 'critical', found 'loud'
node.yaml:9:17: node.stop_timeout: not a duration: write a number with ms, s, min, h, d or w, such as 30s (found 'yes')
node.yaml:10:19: storage.plugin: no storage plugin 'sqlit' (did you mean 'sqlite'?)
node.yaml:12:30: applications.0.network: no network is called 'mian' (did you mean 'main'?)
node.yaml:12:46: applications.0.password: must have at least 8 characters, found ***
node.yaml:13:5: applications.1.plugin: 'plugin' is missing: which application plugin?
node.yaml:14:5: applications.2: must be {plugin: name, ...}, found 'miner'
node.yaml:16:3: networks.Main: 'Main' can't be a network's name: use lower-case letters, digits and dashes
node.yaml:16:98: networks.Main.relay: protocol.lookup does not use relay: leave the key out
node.yaml:20:14: networks.main.protocol.chain: must be 'mainnet', 'signet' or 'regtest', found 'regtset' (did you mean 'regtest'?)
node.yaml:21:7: networks.main.protocol.previous: was renamed: write 'renamed' instead
node.yaml:22:14: networks.main.protocol.agent: must look like ^[a-z/]*$, found ***
node.yaml:24:51: networks.main.transports.0.listen.1: '127.0.0.1' has no port: write host:port or [v6-address]:port
node.yaml:25:32: networks.main.transports.1.backlog: must be a whole number, found '50': take the quotes away
node.yaml:26:36: networks.main.transports.2.backlog: duplicate key 'backlog': it stands on line 26 already
node.yaml:27:16: networks.main.upgrades.0.key: 'key' is missing: The shared key.
node.yaml:29:32: networks.main.topology.outbond: unknown key 'outbond' (did you mean 'outbound'?)
node.yaml:30:14: networks.main.scoring: must be a list of plugins, found a mapping: write - {plugin: ...}
node.yaml:32:42: networks.main.validators.0.network: no network is called 'nowhere': there is Main, main
node.yaml:33:19: networks.main.item_stores.blok: protocol.chain has no topic 'blok' (did you mean 'block'?)
discovery.yaml:1:53: networks.main.discovery.0.seeds.0.weight: must be over 0.0, found ***
discovery.yaml:1:57: networks.main.discovery.0.seeds.1.host: 'host' is missing
discovery.yaml:3:11: networks.main.discovery.1.peers.0: is not accepted (found ***; the reason may quote it and is not shown)
discovery.yaml:4:3: networks.main.discovery.1.intervall: unknown key 'intervall' (did you mean 'interval'?)
limits.yaml:2:22: networks.main.limits.messages_per_second: must be over 0.0, found ***
limits.yaml:3:1: networks.main.limits.send_bufer: unknown key 'send_bufer' (did you mean 'send_buffer'?)
"""


def test_each_of_thirty_mistakes_is_reported_at_its_place(folder):
    found = folder.problems(MAIN, {"SHORT": "hunter2", "AGENT": "Hunter2"}, discovery=DISCOVERY, limits=LIMITS)
    assert found == EXPECTED.splitlines()
    assert len(found) >= 30


def test_no_error_quotes_a_secret(folder):
    text = "\n".join(
        folder.problems(MAIN, {"SHORT": "hunter2", "AGENT": "Hunter2"}, discovery=DISCOVERY, limits=LIMITS)
    )
    for secret in ("hunter2", "Hunter2", "99999", "a.example"):
        assert secret not in text
