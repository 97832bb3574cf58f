"""DNS with other programs: nsd and named answer our discovery; dig, unbound and a second node ask our seed server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from p2pframe.discovery.dns_seed import DnsSeedConfig, DnsSeedDiscovery
from p2pframe.testing.context import FakeContext
from tests.interop.processes import P2PNode, RunningProcess, free_port, wait_until

pytestmark = [pytest.mark.interop]

FOUR = [f"198.51.{n // 200}.{n % 200 + 1}" for n in range(100)]
SIX = [f"2001:db8::{n + 1:x}" for n in range(60)]
ZONE = """$ORIGIN example.
$TTL 60
@ IN SOA ns.example. me.example. 1 3600 600 86400 60
@ IN NS ns.example.
ns IN A 127.0.0.1
{addresses}
_dnsaddr.seed IN TXT "dnsaddr=/ip4/192.0.2.1/tcp/4001"
_dnsaddr.seed IN TXT "dnsaddr=/dns4/named/tcp/4002"
_dnsaddr.seed IN TXT "dnsaddr=/dns4/named.example/tcp/4003"
_dnsaddr.seed IN TXT "dnsaddr=/dnsaddr/more.example"
_dnsaddr.more IN TXT "dnsaddr=/ip6/2001:db8::aaaa/tcp/4004"
_dnsaddr.more IN TXT "dnsaddr=/dnsaddr/seed.example"
named IN A 192.0.2.3
_peer._tcp.seed IN SRV 10 5 5001 named.example.
_peer._tcp.seed IN SRV 20 5 5002 alias.example.
alias IN CNAME named.example.
"""


def program(name: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install nsd bind9 unbound bind9-dnsutils)")
    return path


def dig(port: int, *words: str) -> str:
    """What dig says."""
    said = subprocess.run(
        [program("dig"), "@127.0.0.1", "-p", str(port), "+time=2", "+tries=2", *words],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return said.stdout


def short(port: int, *words: str) -> list[str]:
    return sorted(dig(port, "+short", *words).split())


def start_nsd(server: RunningProcess, folder: Path, port: int) -> None:
    """nsd with the zone."""
    nsd = program("nsd")
    (folder / "nsd.conf").write_text(
        f'server:\n  ip-address: 127.0.0.1@{port}\n  username: ""\n  chroot: ""\n  pidfile: "{folder}/pid"\n'
        f'  zonesdir: "{folder}"\n  database: ""\n  xfrdfile: "{folder}/xfrd"\n  zonelistfile: "{folder}/list"\n'
        f'  xfrdir: "{folder}"\n  server-count: 1\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n'
        f'zone:\n  name: "example"\n  zonefile: "zone"\n'
    )
    server.spawn([nsd, "-d", "-c", folder / "nsd.conf"])
    server.wait_for("nsd started")


def start_named(server: RunningProcess, folder: Path, port: int) -> None:
    """bind9 with the zone."""
    named = program("named")
    (folder / "named.conf").write_text(
        f'options {{\n  directory "{folder}";\n  pid-file "{folder}/pid";\n  session-keyfile "{folder}/key";\n'
        f"  listen-on port {port} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  recursion no;\n"
        "  dnssec-validation no;\n  notify no;\n};\ncontrols { };\n"
        f'zone "example" {{ type primary; file "{folder}/zone"; }};\n'
    )
    server.spawn([named, "-g", "-n", "1", "-c", folder / "named.conf"])
    server.wait_for("running")


@pytest.mark.parametrize("start", [start_nsd, start_named], ids=["nsd", "named"])
@pytest_twisted.ensureDeferred
async def test_a_server_with_a_hundred_addresses_and_sixty_more_and_services_and_texts(
    processes: ExitStack, tmp_path: Path, start: Callable[[RunningProcess, Path, int], None]
) -> None:
    port = free_port()
    addresses = [f"seed IN {'AAAA' if ':' in host else 'A'} {host}" for host in FOUR + SIX]
    (tmp_path / "zone").write_text(ZONE.format(addresses="\n".join(addresses)))
    start(processes.enter_context(RunningProcess("dns", tmp_path)), tmp_path, port)
    context = FakeContext("discovery.dns-seed", reactor=reactor)
    config = DnsSeedConfig(
        seeds=["seed.example"], servers=[f"127.0.0.1:{port}"], per_seed=1000, service="_peer._tcp", dnsaddr="tcp"
    )
    found = {str(entry.address) for entry in await DnsSeedDiscovery(config, context).find(1000)}
    plain = {f"{host}:0" for host in FOUR} | {f"[{host}]:0" for host in SIX}
    assert found == plain | {
        "192.0.2.1:4001", "192.0.2.3:4003", "[2001:db8::aaaa]:4004", "192.0.2.3:5001", "192.0.2.3:5002",
    }  # fmt: skip
    await deferLater(reactor, 0.05)


def bitcoin(discovery: list[object]) -> dict[str, object]:
    return {
        "protocol": {"plugin": "bitcoin", "chain": "regtest"},
        "transports": [{"plugin": "tcp", "listen": ["127.0.0.1:{port}"]}],
        "discovery": discovery,
    }


def test_stock_resolvers_and_a_second_node_find_a_peer_by_our_seed_server(processes: ExitStack, tmp_path: Path) -> None:
    dns, cache = free_port(), free_port()
    peer = processes.enter_context(P2PNode("peer", tmp_path, {"networks": {"bitcoin": bitcoin([])}})).start()
    (tmp_path / "peers.txt").write_text(f"{peer.address}\n")
    server = {
        "plugin": "dns-seed-server", "network": "bitcoin", "zone": "seed.example", "nameserver": "ns.example",
        "contact": "me@example", "listen": [f"127.0.0.1:{dns}"], "proven_for": 0, "public": False, "ttl": 1,
        "port": peer.port, "service": "_bitcoin._tcp", "sample_every": 1, "pace": 0.2,
        # dig looks twenty times a second until the peer is there: it must not run into the limit and hear nothing.
        "responses_per_second": 1000, "responses_burst": 1000,
    }  # fmt: skip
    known = [{"plugin": "file", "path": str(tmp_path / "peers.txt"), "look": "1s"}]
    seed = processes.enter_context(
        P2PNode("seed", tmp_path, {"applications": [server], "networks": {"bitcoin": bitcoin(known)}})
    ).start()
    wait_until("dig is told of the peer", lambda: short(dns, "seed.example", "A") == ["127.0.0.1"], 40, seed.tail)

    assert short(dns, "+tcp", "x9.seed.example", "A") in ([], ["127.0.0.1"])
    assert short(dns, "+noedns", "seed.example", "A") == ["127.0.0.1"]
    assert f"dnsaddr=/ip4/127.0.0.1/tcp/{peer.port}" in dig(dns, "_dnsaddr.seed.example", "TXT")
    assert f" {peer.port} ip-7f000001.seed.example." in dig(dns, "_bitcoin._tcp.seed.example", "SRV")
    assert short(dns, "seed.example", "NS") == ["ns.example."]
    assert "me.example." in dig(dns, "seed.example", "SOA")
    assert "RFC8482" in dig(dns, "+notcp", "seed.example", "ANY")
    assert "REFUSED" in dig(dns, "other.example", "A")
    assert "Transfer failed" in dig(dns, "seed.example", "AXFR")
    assert "NXDOMAIN" in dig(dns, "gone.seed.example", "A")

    (tmp_path / "unbound.conf").write_text(
        f'server:\n  interface: 127.0.0.1\n  port: {cache}\n  do-daemonize: no\n  username: ""\n  chroot: ""\n'
        f'  directory: "{tmp_path}"\n  pidfile: "{tmp_path}/unbound.pid"\n  use-syslog: no\n  logfile: ""\n'
        "  do-not-query-localhost: no\n  module-config: iterator\n  local-zone: example. nodefault\n"
        "  harden-below-nxdomain: no\n  use-caps-for-id: yes\nremote-control:\n  control-enable: no\n"
        f'stub-zone:\n  name: "seed.example"\n  stub-addr: 127.0.0.1@{dns}\n'
    )
    resolver = processes.enter_context(RunningProcess("unbound", tmp_path))
    resolver.spawn([program("unbound"), "-d", "-c", tmp_path / "unbound.conf"])
    resolver.wait_for("start of service")
    wait_until("unbound resolves it", lambda: short(cache, "seed.example", "A") == ["127.0.0.1"], 20, resolver.tail)

    only = [{"plugin": "dns-seed", "seeds": ["seed.example"], "servers": [f"127.0.0.1:{cache}"], "wait": 0,
             "retry": 1, "service": "_bitcoin._tcp"}]  # fmt: skip
    newcomer = processes.enter_context(P2PNode("newcomer", tmp_path, {"networks": {"bitcoin": bitcoin(only)}})).start()
    newcomer.wait_for(f"peer {peer.address}", 40)
    for node in (newcomer, seed, peer):
        node.stop()
