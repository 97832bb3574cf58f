"""Which gossiped addresses may be kept, told on and dialled on a public chain.

Gossip is free: whoever sends it could aim every node that believes it at a machine behind our own router, at a range
that nobody answers from, or at somebody's mail server. The ranges are those of IANA's special-purpose registries (RFC
6890 and its updates) that are not reachable from everywhere, and the tunnels that embed an IPv4 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from p2pframe.model import PeerAddress

UNROUTABLE_IPV4: Mapping[str, str] = MappingProxyType(
    {
        "0.0.0.0/8": "this host (RFC 1122)",
        "10.0.0.0/8": "private (RFC 1918)",
        "100.64.0.0/10": "shared by a carrier's customers (RFC 6598)",
        "127.0.0.0/8": "loopback (RFC 1122)",
        "169.254.0.0/16": "link-local (RFC 3927)",
        "172.16.0.0/12": "private (RFC 1918)",
        "192.0.0.0/24": "protocol assignments (RFC 6890)",
        "192.0.2.0/24": "documentation (RFC 5737)",
        "192.88.99.0/24": "6to4 relays (RFC 7526)",
        "192.168.0.0/16": "private (RFC 1918)",
        "198.18.0.0/15": "benchmarks (RFC 2544)",
        "198.51.100.0/24": "documentation (RFC 5737)",
        "203.0.113.0/24": "documentation (RFC 5737)",
        "224.0.0.0/4": "multicast (RFC 5771)",
        "240.0.0.0/4": "reserved (RFC 1112), and broadcast",
    }
)
"""IPv4 ranges that are refused, and what they are for."""

GLOBAL_IPV6 = "2000::/3"
"""All that is assigned as global unicast (RFC 4291).

Loopback, ULA, link-local, multicast, NAT64 and the rest lie outside.
"""
UNROUTABLE_IPV6: Mapping[str, str] = MappingProxyType(
    {
        "2001::/23": "protocol assignments (RFC 2928): Teredo, benchmarks, ORCHID",
        "2001:db8::/32": "documentation (RFC 3849)",
        "2002::/16": "6to4, which embeds an IPv4 address (RFC 3056)",
        "3ffe::/16": "the 6bone, returned (RFC 3701)",
        "3fff::/20": "documentation (RFC 9637)",
    }
)
"""Ranges within `GLOBAL_IPV6` that are refused all the same."""

SERVICE_PORTS: Mapping[int, str] = MappingProxyType(
    {
        1: "tcpmux", 7: "echo", 9: "discard", 11: "systat", 13: "daytime", 15: "netstat", 17: "qotd", 19: "chargen",
        20: "ftp-data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp", 37: "time", 42: "nameserver", 43: "whois",
        49: "tacacs", 53: "domain", 67: "bootps", 68: "bootpc", 69: "tftp", 70: "gopher", 79: "finger", 88: "kerberos",
        95: "supdup", 101: "hostname", 102: "iso-tsap", 109: "pop2", 110: "pop3", 111: "sunrpc", 113: "auth",
        115: "sftp", 117: "uucp-path", 119: "nntp", 123: "ntp", 135: "msrpc", 137: "netbios-ns", 138: "netbios-dgm",
        139: "netbios-ssn", 143: "imap", 161: "snmp", 162: "snmp-trap", 177: "xdmcp", 179: "bgp", 194: "irc",
        389: "ldap", 427: "svrloc", 445: "smb", 464: "kpasswd", 465: "submissions", 500: "isakmp", 502: "modbus",
        512: "exec", 513: "login", 514: "shell", 515: "printer", 530: "courier", 540: "uucp", 543: "klogin",
        544: "kshell", 548: "afp", 554: "rtsp", 556: "remotefs", 563: "nntps", 587: "submission", 601: "syslog",
        623: "ipmi", 631: "ipp", 636: "ldaps", 646: "ldp", 853: "domain-s", 860: "iscsi", 873: "rsync",
        989: "ftps-data", 990: "ftps", 992: "telnets", 993: "imaps", 995: "pop3s", 1080: "socks", 1194: "openvpn",
        1433: "mssql", 1521: "oracle", 1701: "l2tp", 1719: "h323", 1720: "h323", 1723: "pptp", 1883: "mqtt",
        2049: "nfs", 2181: "zookeeper", 2375: "docker", 2376: "docker-tls", 2379: "etcd", 3260: "iscsi-target",
        3306: "mysql", 3389: "rdp", 3659: "apple-sasl", 4045: "npp", 5060: "sip", 5061: "sips", 5222: "xmpp-client",
        5269: "xmpp-server", 5353: "mdns", 5432: "postgresql", 5672: "amqp", 5900: "vnc", 5984: "couchdb", 6000: "x11",
        6379: "redis", 6443: "kubernetes", 6566: "sane", 6665: "irc", 6666: "irc", 6667: "irc", 6668: "irc",
        6669: "irc", 6697: "ircs", 8883: "mqtts", 9042: "cassandra", 9092: "kafka", 9200: "elasticsearch",
        10250: "kubelet", 11211: "memcached", 27017: "mongodb", 28017: "mongodb",
    }
)  # fmt: skip
"""Ports at which somebody else's service is to be expected.

HTTP's are left out, as nodes do use them to get through firewalls.
"""


def _numbers(networks: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Each network as how far to shift an address, and what it must then be: three times as fast as `in`."""
    parsed = [ipaddress.ip_network(text) for text in networks]
    return tuple(
        (net.max_prefixlen - net.prefixlen, int(net[0]) >> (net.max_prefixlen - net.prefixlen)) for net in parsed
    )


_REFUSED_4 = _numbers(list(UNROUTABLE_IPV4))
_GLOBAL_6 = _numbers([GLOBAL_IPV6])[0]
_REFUSED_6 = _numbers(list(UNROUTABLE_IPV6))


def routable(address: PeerAddress) -> bool:
    """Whether an address can be reached from everywhere on the Internet, or through an anonymity network.

    A DNS name is refused: nobody can say where it will lead when it is dialled.
    """
    if address.kind != "ip":
        return address.kind in ("onion", "i2p")
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    number = int(ip)
    if ip.version == 4:
        return not any(number >> shift == prefix for shift, prefix in _REFUSED_4)
    shift, prefix = _GLOBAL_6
    return number >> shift == prefix and not any(number >> shift == prefix for shift, prefix in _REFUSED_6)


def bad_port(port: int) -> bool:
    """Whether a port is that of another well-known service.

    Dialling it on gossip's word would make us attack that service.
    """
    return port in SERVICE_PORTS
