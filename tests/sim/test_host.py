"""Hosts go up and down: what their peers notice, what the disk keeps, and what is left of a boot that has ended."""

from __future__ import annotations

import gc
import weakref

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from p2pframe.config import load
from p2pframe.errors import StartError
from p2pframe.sim.host import Lane
from tests.sim.ends import ALICE, BOB, CAROL, HalfEnd, dial, joined, listen, pair, simulated, up

NODE = """
version: 1
node: {{data_dir: kept}}
storage: {{plugin: sqlite}}
applications: [{{plugin: bitcoin-workload, network: bitcoin}}]
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:18444"]}}]
    discovery: {discovery}
"""


@pytest.fixture
def specs(tmp_path):
    """The spec of a Bitcoin node with these peers."""

    def spec(*peers, listen="0.0.0.0"):
        quoted = ", ".join(f'"{peer}:18444"' for peer in peers)
        discovery = f"[{{plugin: static, peers: [{quoted}]}}]" if peers else "[]"
        path = tmp_path / "node.yaml"
        path.write_text(NODE.format(discovery=discovery).replace("0.0.0.0", listen))
        return load(path)

    return spec


def bitcoin(host):
    return host.node.networks["bitcoin"].protocol


def mine(simulation, host):
    [workload] = host.node.applications
    return simulation.wait(workload.produce("block", 300))


def opened(host):
    return [session for session in host.node.view.sessions() if session.state == "open"]


# --- killed ---


def test_a_killed_process_closes_its_connections_in_order():
    simulation, alice, _, here, there = pair()
    here.transport.write(b"last words")
    alice.kill()
    assert not alice.alive and alice.kernel_up
    simulation.run(1.0)
    assert there.data == b"last words" and there.why == "ConnectionDone"
    assert here.lost is None, "nobody is there to be told"


def test_what_a_killed_process_had_not_read_resets_the_connection():
    simulation, alice, _, here, there = pair()
    here.transport.pauseProducing()
    there.transport.write(b"unread")
    simulation.run(1.0)
    alice.kill()
    simulation.run(1.0)
    assert there.why == "ConnectionLost"


def test_a_killed_process_answers_with_resets_and_refuses():
    simulation, alice, bob, here, there = pair(make=HalfEnd, there=HalfEnd)
    alice.kill()
    simulation.run(1.0)
    assert there.lost is None
    there.transport.write(b"hello?")
    simulation.run(1.0)
    assert there.why == "ConnectionLost"
    client = dial(bob, ALICE)
    simulation.run(1.0)
    assert client.notes[-2][:2] == ("failed", "ConnectionRefusedError")


def test_a_kill_while_somebody_connects_resets_them():
    simulation = simulated()
    alice, bob = up(simulation, ALICE), up(simulation, BOB)
    server, client = listen(bob), dial(alice, BOB)
    simulation.run(0.015)
    bob.kill()
    simulation.run(1.0)
    assert client.end.why == "ConnectionLost" and not server.ends


def test_the_writer_that_a_killed_reader_left_waiting_hears_of_it():
    simulation, _, bob, here, there = pair()
    there.transport.pauseProducing()
    for _ in range(30):
        here.transport.write(b"x" * 20_000)
        simulation.run(0.02)
    here.transport.loseConnection()
    bob.kill()
    simulation.run(1.0)
    assert here.lost is not None


# --- without power ---


def test_a_host_without_power_says_nothing_and_resets_when_it_is_back():
    simulation, alice, bob, here, there = pair()
    alice.power_off()
    there.transport.write(b"anybody?")
    client = dial(bob, ALICE, timeout=10)
    simulation.run(100.0)
    assert there.lost is None and client.notes[-2][:2] == ("failed", "TimeoutError")
    listen_again = alice.boot()
    assert listen_again is alice.incarnation and alice.boots == 2
    simulation.run(100.0)
    assert there.why == "ConnectionLost"
    assert here.data == b"" and here.lost is None


def test_who_has_nothing_to_send_never_notices():
    simulation, alice, _, _, there = pair()
    alice.power_off()
    simulation.run(10_000.0)
    alice.boot()
    simulation.run(10_000.0)
    assert there.lost is None
    there.transport.write(b"hello?")
    simulation.run(1.0)
    assert there.why == "ConnectionLost"


def test_senders_give_up_on_a_host_that_stays_without_power():
    simulation, alice, _, _, there = pair()
    alice.power_off()
    there.transport.write(b"anybody?")
    simulation.run(930.0)
    assert there.why == "ConnectionLost"


# --- nothing is left ---


def test_a_boot_that_has_ended_can_do_nothing_any_more(flush_logged_errors):
    simulation = simulated()
    alice, bob = up(simulation, ALICE), up(simulation, BOB)
    here, there = joined(simulation, alice, bob)
    old, done = alice.incarnation, []
    pending = old.work(lambda: 42).addCallback(done.append)
    calls = [old.reactor.callLater(1.0, done.append, "timer"), old.reactor.callLater(5.0, done.append, "timer")]
    connecting = dial(alice, BOB)

    async def conversation():
        try:
            await Deferred()
        finally:
            # Whenever the garbage collector comes: what a node's own clean-up does.
            for call in calls:
                call.cancel()
            here.transport.write(b"from the grave")
            here.transport.loseConnection()
            old.reactor.callLater(0.0, done.append, "later").cancel()
            old.reactor.connectTCP(BOB, 8333, connecting)

    running = Deferred.fromCoroutine(conversation())
    alice.kill()
    simulation.run(0.5)
    before = simulation.trace.deliveries
    del running
    gc.collect()
    here.transport.abortConnection()
    here.transport.loseWriteConnection()
    old.reactor.callLater(0.0, done.append, "later")
    alice.boot()
    simulation.run(100.0)
    assert done == [] and not pending.called
    assert there.data == b"" and there.why == "ConnectionDone"
    assert simulation.trace.deliveries == before and simulation.clock.getDelayedCalls() == []
    with pytest.raises(RuntimeError, match="is up already"):
        alice.boot()


def test_what_has_ended_can_be_collected(specs):
    simulation = simulated()
    hosts = [simulation.host(ALICE), simulation.host(BOB)]
    simulation.wait(hosts[0].start(specs()))
    simulation.wait(hosts[1].start(specs(ALICE)))
    simulation.run_until(lambda: opened(hosts[0]) and opened(hosts[1]))
    first = weakref.ref(hosts[1].node), weakref.ref(hosts[1].incarnation)
    hosts[1].kill()
    simulation.wait(hosts[1].restart())
    simulation.run(4000.0)  # timers of the dead stand in the heap until their time has come
    gc.collect()
    assert [ref() for ref in first] == [None, None]
    simulation.close()


# --- nodes ---


def test_a_node_comes_back_with_its_disk_after_a_kill_and_without_what_was_not_synced_after_a_power_failure(specs):
    simulation = simulated()
    alice = simulation.host(ALICE)
    simulation.wait(alice.start(specs()))
    assert alice.ready
    for _ in range(3):
        mine(simulation, alice)
    simulation.run(60.0)
    alice.kill()
    simulation.wait(alice.restart())
    assert bitcoin(alice).tip().height == 3 and alice.boots == 2
    mine(simulation, alice)
    simulation.run(60.0)
    alice.power_off()
    simulation.run(10.0)
    simulation.wait(alice.restart())
    assert bitcoin(alice).tip().height in (3, 4)
    simulation.wait(alice.stop())
    assert not alice.alive and alice.failures == []
    simulation.wait(alice.restart())
    assert bitcoin(alice).tip().height in (3, 4)
    simulation.close()


def test_peers_find_each_other_again_after_a_crash(specs):
    simulation = simulated()
    alice, bob = simulation.host(ALICE), simulation.host(BOB)
    simulation.wait(alice.start(specs()))
    simulation.wait(bob.start(specs(ALICE)))
    simulation.run_until(lambda: opened(alice) and opened(bob))
    alice.kill()
    simulation.run_until(lambda: not opened(bob), 5.0)
    simulation.run(20.0)
    simulation.wait(alice.restart())
    simulation.run_until(lambda: opened(alice) and opened(bob), 200.0)
    mine(simulation, alice)
    simulation.run_until(lambda: bitcoin(bob).tip().height == 1)
    simulation.close()


def test_a_node_that_cannot_start_says_why_and_its_host_is_down(specs):
    simulation = simulated()
    alice = simulation.host(ALICE)
    with pytest.raises(StartError, match=r"203\.0\.113\.9"):
        simulation.wait(alice.start(specs(listen="203.0.113.9")))
    assert not alice.alive and not alice.ready and len(alice.failures) == 1
    simulation.wait(alice.start(specs()))
    assert alice.ready
    simulation.close()


def test_a_start_that_a_stop_cuts_short_is_no_failure(specs):
    simulation = simulated()
    alice = simulation.host(ALICE)
    starting = alice.start(specs())
    starting.addErrback(lambda failure: None)
    simulation.wait(alice.stop())
    simulation.run(10.0)
    assert not alice.alive and alice.failures == []
    simulation.wait(alice.start())
    simulation.close()


# --- clocks, chance, work, lines ---


def test_a_wall_clock_may_be_wrong_and_drift():
    simulation = simulated()
    right, wrong = up(simulation, ALICE), up(simulation, BOB, skew=-3.0, drift=200.0)
    simulation.run(10_000.0)
    assert right.incarnation.unix_time() == simulation.epoch + 10_000.0
    assert wrong.incarnation.unix_time() == pytest.approx(simulation.epoch + 10_000.0 - 3.0 + 2.0)
    assert wrong.incarnation.reactor.seconds() == 10_000.0


def test_chance_follows_from_seed_host_boot_and_plugin():
    def draws(seed=1, host=ALICE, boots=1, label="relay"):
        simulation = simulated(seed)
        incarnation = up(simulation, host).incarnation
        for _ in range(boots - 1):
            incarnation.host.kill()
            incarnation = incarnation.host.boot()
        return incarnation.rng(label).random(), incarnation.entropy(label).bytes(8), incarnation.entropy(label).bytes(8)

    first = draws()
    assert first == draws() and first[1] == first[2]
    others = [draws(seed=2), draws(host=BOB), draws(boots=2), draws(label="topology")]
    for place in (0, 1):
        assert len({first[place], *(other[place] for other in others)}) == 5


def test_work_is_done_at_once_and_known_later():
    simulation = simulated()
    simulation.work_delay = 0.25
    incarnation = up(simulation, ALICE).incarnation
    done = []
    incarnation.work(divmod, 7, 2).addCallback(lambda result: done.append((simulation.clock.now, result)))
    incarnation.work(divmod, 7, 0).addErrback(lambda failure: done.append(failure.type))
    assert done == []
    simulation.run(1.0)
    assert done == [(0.25, (3, 1)), ZeroDivisionError]


def test_a_line_takes_one_thing_after_another_and_says_when_it_is_full():
    lane = Lane(1000.0, queue=2000)
    assert lane.pass_through(10.0, 500) == 10.5 and lane.pass_through(10.0, 500) == 11.0
    assert not lane.full(10.0, 1000) and lane.full(10.0, 1001) and not lane.full(11.0, 2000)
    assert not Lane(1000.0).full(0.0, 10**9)
    assert lane.pass_through(20.0, 1000) == 21.0


def test_addresses_and_names_are_taken_once_and_ports_go_round():
    simulation = simulated()
    host = up(simulation, ALICE, "2001:db8::1", name="a")
    with pytest.raises(ValueError, match=r"192\.0\.2\.1 is a's"):
        simulation.host(ALICE, name="b")
    with pytest.raises(ValueError, match="'a'"):
        simulation.host(CAROL, name="a")
    assert host.address_for(BOB) == ALICE and host.address_for("2001:db8::9") == "2001:db8::1"
    ports = [host.free_port() for _ in range(20_000)]
    assert ports[0] == 49152 and max(ports) == 65535 and ports[16_384] == 49152
    assert simulation.network.find(ALICE) is host and simulation.network.find(CAROL) is None


def test_ports_of_an_old_boot_are_free_for_the_next():
    simulation = simulated()
    alice = up(simulation, ALICE)
    old = listen(alice, 80)
    with pytest.raises(CannotListenError):
        listen(alice, 80)
    alice.kill()
    alice.boot()
    listen(alice, 80)
    old.port.stopListening()
    assert len(alice.incarnation.ports) == 1
