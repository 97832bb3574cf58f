"""A DNS server over UDP and TCP that answers every A question with the same addresses, and says what it was asked.

python seed_server.py HOST ADDRESS...
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.names import dns, server


class Seeds:
    """A resolver for `DNSServerFactory`."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses

    def query(
        self, query: dns.Query, timeout: object = None
    ) -> Deferred[tuple[list[dns.RRHeader], list[object], list[object]]]:
        name = query.name.name
        print("asked for", dns.QUERY_TYPES.get(query.type, query.type), name.decode(), flush=True)
        answers = []
        if query.type == dns.A:
            answers = [dns.RRHeader(name, dns.A, ttl=60, payload=dns.Record_A(address)) for address in self.addresses]
        return succeed((answers, [], []))


def main(host: str, addresses: list[str]) -> None:
    factory = server.DNSServerFactory(clients=[Seeds(addresses)])
    reactor.listenUDP(53, dns.DNSDatagramProtocol(factory), interface=host)
    reactor.listenTCP(53, factory, interface=host)
    reactor.callWhenRunning(print, "READY", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
