"""Many DHT nodes of one program in a process of its own, asked over its standard input and output.

A question is a line of JSON (`{"do": "announce", "node": 3, ...}`), an answer another (`{"ok": ...}` or `{"error":
...}`). Run as a program this is the swarm of libtorrent (`python -m tests.interop.swarm libtorrent`) or of p2pframe;
the one of npm's bittorrent-dht is `bittorrent_dht_swarm.mjs`.
"""

from __future__ import annotations

import hashlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

LIMIT = 40.0
"""Seconds that an answer may take."""
ROOT = Path(__file__).resolve().parents[2]


class SwarmError(AssertionError):
    """A swarm did not do what it was asked for."""


class Swarm:
    """The near end: starts the process, asks it, ends it."""

    def __init__(self, name: str, command: Sequence[str], addresses: Sequence[str], **options: object) -> None:
        self.name = name
        self.addresses = list(addresses)
        self._command = list(command)
        self._options = options
        self._lines: queue.Queue[str] = queue.Queue()
        self._process: subprocess.Popen[str]
        self._reader: threading.Thread

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ask("start", addresses=self.addresses, **self._options)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, do: str, limit: float = LIMIT, **arguments: object) -> Any:
        """The answer to one question; fails with what the swarm says, or that it says nothing."""
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        try:
            answer = json.loads(self._lines.get(timeout=limit))
        except queue.Empty:
            raise SwarmError(f"{self.name} has not answered {do} within {limit:g} s") from None
        if "error" in answer:
            raise SwarmError(f"{self.name}: {do}: {answer['error']}")
        return answer["ok"]

    def until(self, do: str, good: Any, limit: float = LIMIT, **arguments: object) -> Any:
        """Ask again and again until the answer is good."""
        deadline = time.monotonic() + limit
        while not good(answer := self.ask(do, **arguments)):
            if time.monotonic() > deadline:
                raise SwarmError(f"{self.name}: {do} {arguments}: still {answer!r} after {limit:g} s")
            time.sleep(0.1)
        return answer

    def acquaint(self, nodes: list[list[object]], wanted: int, limit: float = LIMIT) -> None:
        """Tell every node of these, again and again, until each holds so many."""
        deadline = time.monotonic() + limit
        while min(sizes := self.ask("sizes")) < wanted:
            if time.monotonic() > deadline:
                raise SwarmError(f"{self.name}: still {sizes} nodes after {limit:g} s")
            self.ask("add", nodes=nodes)
            time.sleep(1.5)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put('{"error": "the process has ended"}')


def libtorrent_swarm(addresses: Sequence[str], **options: Any) -> Swarm:
    """Sessions of libtorrent."""
    return Swarm("libtorrent", [sys.executable, "-m", "tests.interop.swarm", "libtorrent"], addresses, **options)


def our_swarm(addresses: Sequence[str], **options: Any) -> Swarm:
    """Nodes of p2pframe, each with the `mainline` protocol."""
    return Swarm("p2pframe", [sys.executable, "-m", "tests.interop.swarm", "ours"], addresses, **options)


def npm_swarm(node_modules: Path, addresses: Sequence[str], **options: Any) -> Swarm:
    """Nodes of npm's bittorrent-dht."""
    script = Path(__file__).with_name("bittorrent_dht_swarm.mjs")
    return Swarm("bittorrent-dht", ["node", str(script), str(node_modules)], addresses, **options)


# --- the far ends ---


class Libtorrent:
    """Answers with libtorrent's sessions."""

    def __init__(self) -> None:
        import libtorrent

        self.lt = libtorrent
        self.sessions: list[Any] = []

    def start(self, addresses: list[str], public: bool = False, port: int = 6881) -> int:
        lt = self.lt
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            settings = {
                "listen_interfaces": f"{host}:{port}", "enable_dht": True, "enable_lsd": False, "enable_upnp": False,
                "enable_natpmp": False, "dht_bootstrap_nodes": "",
                "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
            }  # fmt: skip
            if public:
                settings["dht_prefer_verified_node_ids"] = True
                settings["dht_enforce_node_id"] = True
            else:
                for restriction in (
                    "dht_restrict_routing_ips", "dht_restrict_search_ips", "dht_ignore_dark_internet",
                    "dht_prefer_verified_node_ids",
                ):  # fmt: skip
                    settings[restriction] = False
            known = lt.default_settings()
            self.sessions.append(lt.session({key: value for key, value in settings.items() if key in known}))
        return len(self.sessions)

    def add(self, nodes: list[list[Any]]) -> bool:
        for session in self.sessions:
            for host, port in nodes:
                session.add_dht_node((host, port))
        return True

    def sizes(self) -> list[int]:
        for session in self.sessions:
            session.post_dht_stats()
        found = []
        for session in self.sessions:
            stats = self._alert(session, "dht_stats_alert", lambda _: True)
            found.append(sum(bucket["num_nodes"] for bucket in stats.routing_table))
        return found

    def announce(self, node: int, info_hash: str, port: int) -> bool:
        self.sessions[node].dht_announce(self._hash(info_hash), port, 0)
        return True

    def get_peers(self, node: int, info_hash: str) -> list[list[Any]]:
        session, target = self.sessions[node], self._hash(info_hash)
        session.pop_alerts()
        session.dht_get_peers(target)
        found: dict[tuple[str, int], None] = {}
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and not found:
            session.wait_for_alert(200)
            for alert in session.pop_alerts():
                if type(alert).__name__ == "dht_get_peers_reply_alert" and alert.info_hash == target:
                    found.update(dict.fromkeys(tuple(peer) for peer in alert.peers()))
        return [list(peer) for peer in found]

    def put_immutable(self, node: int, value: str) -> str:
        target: str = self.sessions[node].dht_put_immutable_item(value.encode()).to_bytes().hex()
        self._alert(self.sessions[node], "dht_put_alert", lambda alert: alert.num_success > 0)
        return target

    def get_immutable(self, node: int, target: str) -> str | None:
        session = self.sessions[node]
        session.pop_alerts()
        session.dht_get_immutable_item(self._hash(target))
        alert = self._alert(session, "dht_immutable_item_alert", lambda _: True)
        return alert.item.decode() if isinstance(alert.item, bytes) else None

    def put_mutable(self, node: int, seed: str, salt: str, value: str) -> bool:
        secret, public = keys(bytes.fromhex(seed))
        session = self.sessions[node]
        session.pop_alerts()
        session.dht_put_mutable_item(secret, public, value.encode(), salt.encode())
        self._alert(session, "dht_put_alert", lambda alert: alert.num_success > 0)
        return True

    def get_mutable(self, node: int, seed: str, salt: str) -> list[Any] | None:
        session = self.sessions[node]
        session.pop_alerts()
        session.dht_get_mutable_item(keys(bytes.fromhex(seed))[1], salt.encode())
        best: list[Any] | None = None
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            session.wait_for_alert(200)
            for alert in session.pop_alerts():
                if type(alert).__name__ == "dht_mutable_item_alert":
                    if isinstance(alert.item, bytes):
                        best = [alert.seq, alert.item.decode()]
                    if alert.authoritative:
                        return best
        return best

    def _hash(self, text: str) -> Any:
        return self.lt.sha1_hash(bytes.fromhex(text))

    def _alert(self, session: Any, name: str, good: Any) -> Any:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            session.wait_for_alert(200)
            for alert in session.pop_alerts():
                if type(alert).__name__ == name and good(alert):
                    return alert
        raise SwarmError(f"no {name}")


class Ours:
    """Answers with nodes of p2pframe, all on one reactor."""

    CONFIG = """
version: 1
node: {{data_dir: {folder}/data-{number}}}
storage: {{plugin: memory}}
networks:
  mainline:
    protocol: {{plugin: mainline, {options}}}
    transports: [{{plugin: udp, listen: "{listen}"}}]
    discovery: [{{plugin: static, peers: [{peers}]}}]
"""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    async def start(
        self, addresses: list[str], routers: list[list[Any]], options: str = "public: false", port: int = 6881
    ) -> int:
        from twisted.internet import reactor

        from p2pframe.config import load
        from p2pframe.core.node import Node

        folder = Path(tempfile.mkdtemp(prefix="p2pframe-swarm-"))
        for number, address in enumerate(addresses):
            path = folder / f"{number}.yaml"
            peers = ", ".join(f'"{written(host, at)}"' for host, at in routers)
            listen = written(address, port)
            path.write_text(
                self.CONFIG.format(folder=folder, number=number, options=options, listen=listen, peers=peers)
            )
            node = Node(load(path), reactor)  # type: ignore[arg-type]
            node.prepare()
            await node.start()
            self.nodes.append(node)
        return len(self.nodes)

    def dht(self, node: int) -> Any:
        return self.nodes[node].networks["mainline"].protocol

    async def sizes(self) -> list[int]:
        return [self.dht(number).held for number in range(len(self.nodes))]

    async def status(self, node: int) -> Any:
        return dict(self.dht(node).status())

    async def counters(self, node: int) -> Any:
        return {
            f"{name}{list(labels)}": value
            for name, values in self.nodes[node].metrics.snapshot().items()
            if "dht" in name
            for labels, value in values.items()
        }

    async def announce(self, node: int, info_hash: str, port: int) -> int:
        return int(await self.dht(node).announce_peer(bytes.fromhex(info_hash), port))

    async def get_peers(self, node: int, info_hash: str) -> list[list[Any]]:
        found = await self.dht(node).get_peers(bytes.fromhex(info_hash))
        return [[peer.host, peer.port] for peer in found.peers]

    async def scrape(self, node: int, info_hash: str) -> list[float]:
        found = await self.dht(node).scrape(bytes.fromhex(info_hash))
        return [found.seeds, found.peers]

    async def sample(self, node: int, address: str, port: int = 6881) -> list[str]:
        from p2pframe.model import PeerAddress

        found = await self.dht(node).sample(PeerAddress.of(address, port), bytes(20))
        return [one.hex() for one in found.infohashes]

    async def put_immutable(self, node: int, value: str) -> str:
        put = await self.dht(node).put_immutable(value.encode())
        assert put.stored, "nobody took the item"
        return str(put.target.hex())

    async def get_immutable(self, node: int, target: str) -> str | None:
        item = await self.dht(node).get_immutable(bytes.fromhex(target))
        return None if item is None else item.value.decode()

    async def put_mutable(self, node: int, seed: str, salt: str, value: str, cas: int | None = None) -> int:
        put = await self.dht(node).put_mutable(bytes.fromhex(seed), value.encode(), salt.encode(), cas=cas)
        return int(put.stored)

    async def get_mutable(self, node: int, seed: str, salt: str) -> list[Any] | None:
        item = await self.dht(node).get_mutable(keys(bytes.fromhex(seed))[1], salt.encode())
        return None if item is None else [item.sequence, item.value.decode()]


def written(host: str, port: int) -> str:
    """An address as a config has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def keys(seed: bytes) -> tuple[bytes, bytes]:
    """An Ed25519 seed's expanded secret, as libtorrent wants it, and its public key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 63 | 64
    return bytes(digest), Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


def _run_libtorrent() -> None:
    swarm = Libtorrent()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            _say({"ok": getattr(swarm, asked.pop("do"))(**asked)})
        except Exception as error:
            _say({"error": f"{type(error).__name__}: {error}"})


def _run_ours() -> None:
    from twisted.internet import reactor, stdio
    from twisted.internet.defer import Deferred
    from twisted.protocols.basic import LineReceiver

    swarm = Ours()

    class Asked(LineReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            asked = json.loads(line)
            answered = Deferred.fromCoroutine(getattr(swarm, asked.pop("do"))(**asked))
            answered.addCallbacks(
                lambda answer: _say({"ok": answer}),
                lambda failure: _say({"error": f"{failure.type.__name__}: {failure.getErrorMessage()}"}),
            )

        def connectionLost(self, reason: object = None) -> None:
            reactor.stop()  # type: ignore[attr-defined]

    stdio.StandardIO(Asked())
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    {"libtorrent": _run_libtorrent, "ours": _run_ours}[sys.argv[1]]()
