"""Run inside a network namespace of its own by test_mainline_public.

Any public address can be bound there, as all of them are local: a small Internet on which every program's protections
are as its users have them, and node ids are held to their addresses (BEP 42) by all that can.

    unshare --net python -m tests.interop.mainline_namespace NODE_MODULES
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from p2pframe.protocols.mainline.node_id import fits, generate
from tests.interop.swarm import libtorrent_swarm, npm_swarm, our_swarm

OURS = ["45.79.10.1", "66.228.40.1", "81.2.69.142"]
OURS6 = ["2a00:1450:4001::1", "2600:3c00:1::1", "2a01:4f8:10::1"]
THEIRS = [f"{70 + number}.{20 + number}.{30 + number}.{1 + number}" for number in range(20)]
"""None of the ranges that libtorrent takes for dark (`dht_ignore_dark_internet`)."""
OTHERS = [f"{150 + number}.{40 + number}.{50 + number}.{1 + number}" for number in range(10)]
THEIRS6 = [f"2a0{number:x}:{number:x}::1" for number in range(2, 8)]


def name(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def main(modules: Path) -> None:
    # IPv6 wants each address named; IPv4 takes them all.
    named = [f"-6 addr add {host}/128 dev lo nodad" for host in (*OURS6, *THEIRS6)]
    for command in ("link set lo up", "route add local 0.0.0.0/0 dev lo", *named):
        subprocess.run(["ip", *command.split()], check=True)
    four(modules)
    print("IPv4: found both ways, with every protection")
    six()
    print("IPv6: found both ways")


def four(modules: Path) -> None:
    """20 sessions of libtorrent, 10 nodes of npm's and three of ours."""
    routers = [[THEIRS[0], 6881], [THEIRS[1], 6881], [OURS[0], 6881]]
    with ExitStack() as stack:
        libtorrent = stack.enter_context(libtorrent_swarm(THEIRS, public=True))
        libtorrent.acquaint([[host, 6881] for host in THEIRS[:6]], 4)
        ours = stack.enter_context(our_swarm(OURS, routers=routers, options="node_ids: enforce, upkeep: 1s"))
        # npm's nodes know nothing of BEP 42: they are given ids that fit.
        ids = [f"{generate(host, hashlib.sha1(host.encode()).digest()):040x}" for host in OTHERS]
        npm = stack.enter_context(npm_swarm(modules, OTHERS, routers=routers, ids=ids))
        for swarm, wanted in ((libtorrent, 6), (ours, 8), (npm, 4)):
            swarm.until("sizes", lambda sizes, wanted=wanted: min(sizes) >= wanted)
        for number, host in enumerate(OURS):
            status = ours.until("status", lambda one, at=host: one[f"seen as {at}:6881"] == at, node=number)
            assert fits(int(status[f"id {host}:6881"], 16), host)
        swarms = {"ours": ours, "libtorrent": libtorrent, "npm": npm}
        for one, other in (("ours", "libtorrent"), ("libtorrent", "ours"), ("ours", "npm"), ("npm", "ours")):
            info_hash = name(f"{one} {other}")
            swarms[one].ask("announce", node=1, info_hash=info_hash, port=7001)
            found = swarms[other].until("get_peers", lambda peers: peers, node=2, info_hash=info_hash)
            assert [swarms[one].addresses[1], 7001] in found, (one, other, found)
            target = swarms[one].ask("put_immutable", node=1, value=f"{one} {other}")
            value = swarms[other].until("get_immutable", lambda item: item, node=2, target=target)
            assert value == f"{one} {other}"


def six() -> None:
    """The other DHT (BEP 32): libtorrent and ours."""
    routers = [[THEIRS6[0], 6881], [OURS6[0], 6881]]
    with ExitStack() as stack:
        libtorrent = stack.enter_context(libtorrent_swarm(THEIRS6, public=True))
        libtorrent.acquaint([[host, 6881] for host in THEIRS6], 3)
        ours = stack.enter_context(our_swarm(OURS6, routers=routers, options="node_ids: enforce, upkeep: 1s"))
        ours.until("sizes", lambda sizes: min(sizes) >= 4)
        for one, other in ((ours, libtorrent), (libtorrent, ours)):
            info_hash = name(f"{one.name} six")
            one.ask("announce", node=1, info_hash=info_hash, port=7001)
            found = other.until("get_peers", lambda peers: peers, node=2, info_hash=info_hash)
            assert [one.addresses[1], 7001] in found, (one.name, found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
