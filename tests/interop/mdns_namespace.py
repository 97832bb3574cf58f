"""Run inside a network namespace of its own by test_mdns: two hosts with two links between them, IPv4 and IPv6.

Ours is here; the other is a process in a further namespace (mdns_others), with python-zeroconf and avahi.

    unshare --net python -m tests.interop.mdns_namespace FOLDER [avahi]
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from p2pframe.core.host_interfaces import host_interfaces
from p2pframe.discovery.mdns import MdnsConfig, MdnsDiscovery
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext
from tests.interop.swarm import ROOT

PATIENCE = 30.0


class Others:
    """The other host. `heard` holds what it told, in order."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        self.reactor = reactor
        self.heard: list[dict[str, Any]] = []
        self._waiting: list[tuple[Callable[[dict[str, Any]], bool], Deferred[dict[str, Any]]]] = []
        self.process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-m", "tests.interop.mdns_others", str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.reactor.callFromThread(self._take, json.loads(line))

    def _take(self, what: dict[str, Any]) -> None:
        self.heard.append(what)
        for waiting in [one for one in self._waiting if one[0](what)]:
            self._waiting.remove(waiting)
            waiting[1].callback(what)

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    async def until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first of what it told or will tell that fits."""
        for what in self.heard:
            if fits(what):
                return what
        waiting: Deferred[dict[str, Any]] = Deferred()
        self._waiting.append((fits, waiting))
        try:
            return await waiting.addTimeout(PATIENCE, self.reactor)
        except Exception:
            print("told so far:", *self.heard, sep="\n  ", file=sys.stderr)
            raise

    async def ip(self, command: str) -> None:
        self.tell(f"ip {command}")
        await self.until(lambda what: what.get("done") == command)


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


async def main(reactor: Any, folder: str, avahi: str = "") -> None:
    others = Others(reactor, Path(folder))
    try:
        await linked(others)
        await with_zeroconf(reactor, others)
        print("zeroconf: found both ways on two links, by IPv4 and IPv6")
        if avahi:
            await with_avahi(reactor, others)
            print("avahi: found both ways, and names told apart")
    finally:
        if others.process.stdin is not None:
            others.process.stdin.close()
        others.process.wait(20)


async def linked(others: Others) -> None:
    pid = (await others.until(lambda what: "pid" in what))["pid"]
    ip("link set lo up")
    await others.ip("link set lo up")
    for number in (0, 1):
        ip(f"link add a{number} type veth peer name b{number} netns {pid}")
        for host, at in (("", f"a{number}"), ("others", f"b{number}")):
            last = 2 if host else 1
            for command in (
                f"addr add 10.{number + 1}.0.{last}/24 dev {at}",
                f"addr add fd0{number + 1}::{last}/64 dev {at} nodad",
                f"link set {at} up",
            ):
                if host:
                    await others.ip(command)
                else:
                    ip(command)


class Ours:
    """Our discovery, and what it finds."""

    def __init__(self, reactor: Any, **config: Any) -> None:
        self.reactor = reactor
        self.context = FakeContext("discovery.mdns", "net", reactor=reactor)
        self.context.host_interfaces = host_interfaces()
        self.plugin = MdnsDiscovery(MdnsConfig(**config), self.context)

    async def until_found(self, wanted: set[str]) -> None:
        found: set[str] = set()
        for _ in range(int(PATIENCE)):
            found = {str(one.address) for one in await self.plugin.find(100)}
            if found >= wanted:
                break
            await task.deferLater(self.reactor, 1.0)
        assert found == wanted, f"found {sorted(found)}, not {sorted(wanted)}"


async def with_zeroconf(reactor: Any, others: Others) -> None:
    ours = Ours(reactor, instance="ours")
    await ours.plugin.announce([PeerAddress("::", 8333)])
    others.tell("zeroconf")
    await others.until(lambda what: what.get("ready") is True)
    # What it says of 203.0.113.9 is of no link of ours.
    await ours.until_found({f"{host}:7777" for host in ("10.1.0.2", "10.2.0.2", "[fd01::2]", "[fd02::2]")})
    everywhere = {"10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"}
    await others.until(
        lambda what: what.get("name") == "ours" and what["port"] == 8333 and bool(everywhere & set(what["addresses"]))
    )
    await ours.plugin.withdraw()
    await others.until(lambda what: what.get("gone") == "ours")
    others.tell("end")
    await others.until(lambda what: bool(what.get("ended")))


async def with_avahi(reactor: Any, others: Others) -> None:
    others.heard.clear()
    others.tell("avahi")
    await others.until(lambda what: bool(what.get("ready")))
    others.tell("publish taken")
    await others.until(lambda what: "Established under name 'taken'" in what.get("published", ""))
    ours = Ours(reactor, instance="taken")
    await ours.plugin.announce([PeerAddress("::", 8333)])
    # avahi-browse shows one address for each interface.
    for interface, addresses in (("b0", {"10.1.0.1", "fd01::1"}), ("b1", {"10.2.0.1", "fd02::1"})):
        seen = await others.until(
            lambda what, at=interface: what.get("name") == "taken (2)" and what.get("interface") == at
        )
        assert seen["port"] == 8333
        # Or the one that every interface gives itself.
        assert all(one in addresses or one.startswith("fe80:") for one in seen["addresses"]), seen
    wanted = {f"{host}:6666" for host in ("10.1.0.2", "10.2.0.2", "[fd01::2]", "[fd02::2]")}
    await ours.until_found(wanted)
    # The other way round: it wants a name that is ours.
    mine = Ours(reactor, instance="mine")
    await mine.plugin.announce([PeerAddress("::", 8334)])
    others.tell("publish mine")
    published = await others.until(lambda what: "name 'mine" in what.get("published", "") and "#2" in what["published"])
    assert "mine #2" in published["published"]
    await mine.plugin.withdraw()
    await ours.plugin.withdraw()
    await others.until(lambda what: what.get("gone", "").startswith("taken") and "2" in what["gone"])


if __name__ == "__main__":
    task.react(lambda reactor, *words: Deferred.fromCoroutine(main(reactor, *words)), sys.argv[1:])
