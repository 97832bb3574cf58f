"""The DHT programs that are measured, each in a process of its own: `dht_peers.py KIND ROLE FIRST COUNT ROUTER`.

KIND is ours, libtorrent or kademlia (PyPI's). The nodes are bound to 127.40.0.FIRST and on. As `crowd` it waits until
its input ends; as `searcher` it has one node, and each line of input, a number, has it look so many absent keys up
and print the wall-clock seconds of each and the CPU seconds of all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PORT = 6881
CONFIG = """
version: 1
node: {{data_dir: {folder}}}
storage: {{plugin: memory}}
networks:
  mainline:
    protocol: {{plugin: mainline, public: false, upkeep: 2s}}
    transports: [{{plugin: udp, listen: "{host}:6881"}}]
    discovery: [{{plugin: static, peers: ["{router}:6881"]}}]
"""


def host(number: int) -> str:
    """The address of a node."""
    return f"127.40.0.{number}"


def say(answer: object) -> None:
    """A line for whoever started this."""
    print(json.dumps(answer), flush=True)


def ours(role: str, numbers: range, router: str) -> None:
    """Nodes of p2pframe on one reactor."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from p2pframe.config import load
    from p2pframe.core.node import Node

    folder = Path(tempfile.mkdtemp(prefix="p2pframe-bench-"))
    nodes: list[Any] = []

    async def start() -> None:
        for number in numbers:
            path = folder / f"{number}.yaml"
            path.write_text(CONFIG.format(folder=folder / str(number), host=host(number), router=router))
            node = Node(load(path), reactor)  # type: ignore[arg-type]
            node.prepare()
            await node.start()
            nodes.append(node)
        for node in nodes:
            await node.networks["mainline"].protocol.when_ready()
        say("ready")

    async def search(count: int) -> None:
        dht = nodes[0].networks["mainline"].protocol
        taken, before = [], time.process_time()
        for _ in range(count):
            began = time.perf_counter()
            await dht.get_immutable(os.urandom(20))
            taken.append(time.perf_counter() - began)
        say([taken, time.process_time() - before])

    def listen() -> None:
        for line in sys.stdin:
            count = int(line)
            reactor.callFromThread(lambda count=count: Deferred.fromCoroutine(search(count)))  # type: ignore[attr-defined]
        reactor.callFromThread(reactor.stop)  # type: ignore[attr-defined]

    threading.Thread(target=listen, daemon=True).start()
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(start()))  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def libtorrent(role: str, numbers: range, router: str) -> None:
    """Sessions of libtorrent."""
    import libtorrent as lt

    sessions = []
    for number in numbers:
        settings = {
            "listen_interfaces": f"{host(number)}:{PORT}", "enable_dht": True, "enable_lsd": False,
            "enable_upnp": False, "enable_natpmp": False, "dht_bootstrap_nodes": "", "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False, "dht_ignore_dark_internet": False, "dht_prefer_verified_node_ids": False,
            "alert_mask": lt.alert.category_t.dht_notification,
        }  # fmt: skip
        sessions.append(lt.session(settings))
    for _ in range(8):
        for number, session in zip(numbers, sessions, strict=True):
            for known in (router, host(number - 1), host(number - 7), host(number + 1)):
                session.add_dht_node((known, PORT))
        time.sleep(1.0)
    say("ready")
    for line in sys.stdin:
        session, taken, before = sessions[0], [], time.process_time()
        for _ in range(int(line)):
            began = time.perf_counter()
            session.dht_get_immutable_item(lt.sha1_hash(os.urandom(20)))
            done = False
            while not done:
                session.wait_for_alert(5000)
                done = any(type(alert).__name__ == "dht_immutable_item_alert" for alert in session.pop_alerts())
            taken.append(time.perf_counter() - began)
        say([taken, time.process_time() - before])


def kademlia(role: str, numbers: range, router: str) -> None:
    """Nodes of PyPI's kademlia."""
    import logging

    from kademlia.network import Server

    logging.disable(logging.CRITICAL)

    async def run() -> None:
        servers = []
        for number in numbers:
            server = Server()
            await server.listen(PORT, host(number))
            servers.append(server)
        for _ in range(2):
            await asyncio.gather(*(server.bootstrap([(router, PORT)]) for server in servers))
        say("ready")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            taken, before = [], time.process_time()
            for _ in range(int(line)):
                began = time.perf_counter()
                await servers[0].get(os.urandom(20).hex())
                taken.append(time.perf_counter() - began)
            say([taken, time.process_time() - before])

    asyncio.run(run())


if __name__ == "__main__":
    kind, role, first, count, router = sys.argv[1:]
    numbers = range(int(first), int(first) + int(count))
    {"ours": ours, "libtorrent": libtorrent, "kademlia": kademlia}[kind](role, numbers, router)
