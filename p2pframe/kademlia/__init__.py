"""Kademlia without I/O or wire format: a library for every DHT.

`routing_table` holds whom one knows, `lookup` finds the nodes nearest to a key, `round_trips` says when an answer is
late and when it is lost, `records` who stores what for how long. Ids are integers of as many bits as the network's ids
have, distance is their XOR; addresses are whatever the network uses, hashable. Messages, sockets and timers are the
caller's.

P. Maymounkov and D. Mazieres, "Kademlia: A Peer-to-peer Information System Based on the XOR Metric", 2002; routing
table and times as in BEP 5; disjoint paths as in S/Kademlia (Baumgart and Mies, 2007).
"""
