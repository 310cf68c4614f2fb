# SPDX-License-Identifier: Apache-2.0
"""keyd-gateway's limits: what one device, a stranger or a flood may have of it, and what is
left for the others."""
import os
import resource
import signal
import socket
import threading
import time

from gateway import Set
from harness import SOFTHSM, cbor, daemon, main, read_all, test, wait_for
from harness.gateway import (BUSY, FAILURE, HANDSHAKE, MESSAGE, REFUSED, TOO_LARGE, Talker, free_port,
                             head)
from harness.peer import Server


@test(on=SOFTHSM)
def frame_that_is_too_long_for_a_record_spoils_no_batch(token):
    """J09, J16: what anybody may send must not be refused together with the records of others."""
    with Set(token) as s:
        d, stranger = s.device("d").connect(), s.gateway.tcp()
        os.kill(s.keyd.pid, signal.SIGSTOP)
        frames = []
        for i in range(4):  # some go at once, the others gather
            frames.append(d.seal(MESSAGE, b"%d" % i))
            d.transport.send(frames[-1][1])
            for n in (65665, 65995):
                stranger.send(head(MESSAGE, n) + bytes(n))
            wait_for(lambda n=i + 1: s.gateway.metric("keyd_gateway_pending") >= n)
        os.kill(s.keyd.pid, signal.SIGCONT)
        answers = {a[1:5]: a for a in (d.transport.receive() for _ in frames)}
        for i, (id_, _) in enumerate(frames):
            answer = answers[id_.to_bytes(4, "big")]
            assert d.open(MESSAGE, id_, answer) == (0, b"%d" % i)
        for _ in range(8):
            answer = stranger.receive()
            assert answer[0] == FAILURE and answer[5:] == cbor.encode([TOO_LARGE]), answer
        answer = stranger.ask(head(MESSAGE, 1) + bytes(65664))  # the longest that is looked at
        assert answer[5:] == cbor.encode([REFUSED]), answer


@test(on=SOFTHSM)
def handshakes_of_strangers_take_half_of_the_places_at_most(token):
    """J16: the others are for records, which have connections to keyd of their own."""
    with Set(token, keyd_connections=1, pending_max=80) as s:
        d, strangers = s.device("d").connect(), [s.gateway.tcp() for _ in range(2)]
        os.kill(s.keyd.pid, signal.SIGSTOP)
        for i in range(120):
            strangers[i % 2].send(head(HANDSHAKE, i) + b"\xf5no message_1")
        wait_for(lambda: s.gateway.metric('keyd_gateway_failures_total{code="busy"}') == 79)
        id_, frame = d.seal(MESSAGE, b"me first")
        d.transport.send(frame)
        wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 42)
        os.kill(s.keyd.pid, signal.SIGCONT)
        assert d.open(MESSAGE, id_, d.transport.receive()) == (0, b"tsrif em")
        codes = [cbor.decode_from(strangers[i % 2].receive(), 5)[0] for i in range(120)]
        assert codes.count([BUSY, 1]) == 79 and codes.count(1) == 41, codes  # EDHOC's error 1


@test(on=SOFTHSM)
def limits_hold(token):
    """J16: frames in flight, datagrams, an answer that is too long for one, slow ends."""
    with Set(token, pending_max=4, in_flight_max=2, frame_timeout_ms=500, idle_timeout_ms=6000,
             datagram_max_bytes=700) as s:
        d = s.device("d").connect()
        s.backend.delay = 0.3
        frames = [d.seal(MESSAGE, b"%d" % i) for i in range(6)]
        for _, frame in frames:
            d.transport.send(frame)
        answers = {}
        for _ in frames:  # two at a time, so none is refused
            answer = d.transport.receive()
            answers[int.from_bytes(answer[1:5], "big")] = answer
        for i, (id_, _) in enumerate(frames):
            assert d.open(MESSAGE, id_, answers[id_]) == (0, b"%d" % i)
        u = Talker(d.device, s.gateway.udp())
        u.id = 1000
        s.backend.delay = 0
        assert u.message(b"x" * 500)[1] == b"x" * 500
        id_, frame = u.seal(MESSAGE, b"y" * 700)
        u.transport.send(frame)  # over the limit: not looked at
        assert u.message(b"z") == (0, b"z")
        half = s.gateway.tcp()
        half.socket.sendall((100).to_bytes(4, "big") + b"\x02")
        assert half.socket.recv(1) == b""  # its time is over
        idle = s.gateway.tcp()
        assert idle.socket.recv(1) == b""


@test(on=SOFTHSM)
def strangers_take_no_place_from_a_device_and_none_for_good(token):
    """J16: at connections-max the oldest connection that nobody is proven by makes room."""
    with Set(token, connections_max=4) as s:
        devices = [s.device(n).connect() for n in ("a", "b")]
        for d in devices:
            d.message(b"it is me")
        crowd = [s.gateway.tcp() for _ in range(12)]
        for t in crowd[:10]:
            assert t.socket.recv(1) == b""
        for t in crowd[10:]:
            assert t.ask(head(0, 1))[0] == FAILURE  # it is served
        late = s.device("late").connect()  # among strangers
        for d in (*devices, late):
            assert d.message(b"still here") == (0, b"ereh llits")
        last = s.device("last").connect()
        assert last.message(b"x") == (0, b"x")
        more = s.gateway.tcp()  # all four are of devices
        assert more.socket.recv(1) == b""
        assert devices[0].message(b"no") == (0, b"on")


@test(on=SOFTHSM)
def device_with_many_connections_takes_places_from_itself_alone(token):
    """J16: those by which it came before it came by its last one."""
    with Set(token, connections_max=4) as s:
        quiet, greedy = s.device("quiet").connect(), s.device("greedy").connect()
        quiet.message(b"it is me")
        ways = [greedy.transport]
        for _ in range(11):
            assert greedy.message(b"and I") == (0, b"I dna")
            greedy.transport = s.gateway.tcp()
            ways.append(greedy.transport)
        greedy.message(b"and I")
        for way in ways[:9]:
            assert way.socket.recv(1) == b""
        late = s.device("late").connect()
        for d in (quiet, late, greedy):
            assert d.message(b"still here") == (0, b"ereh llits")
        assert ways[9].socket.recv(1) == b""


@test(on=SOFTHSM)
def strangers_at_one_address_keep_nobody_out_of_another(token):
    """J16: the limit is of all addresses, and who is at the fullest makes room."""
    ports = [free_port(), free_port()]
    with Set(token, connections_max=4, tcp=[f"127.0.0.1:{p}" for p in ports]) as s:
        s.gateway.ports["tcp"] = ports[0]
        crowd = [s.gateway.tcp() for _ in range(4)]
        wait_for(lambda: crowd[3].ask(head(0, 1))[0] == FAILURE)
        s.gateway.ports["tcp"] = ports[1]
        d = s.device("d").connect()
        assert d.message(b"I am here") == (0, b"ereh ma I")
        assert crowd[0].socket.recv(1) == b""


@test(on=SOFTHSM)
def all_addresses_that_may_be_given_are_served(token):
    many = {k: [f"127.0.0.1:{free_port()}" for _ in range(8)] for k in ("tcp", "http")}
    with Set(token, **many) as s:
        s.gateway.ports["tcp"] = int(many["tcp"][7].split(":")[1])
        assert s.device("d").connect().message(b"abc") == (0, b"cba")


@test(on=SOFTHSM)
def without_descriptors_who_comes_waits_and_costs_nothing(token):
    """The one that is accepted last of all is served when others have gone."""
    with Set(token) as s:
        d = s.device("d").connect()
        d.message(b"it is me")
        pid = s.gateway.process.pid
        n_open = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (n_open + 4, n_open + 4))
        crowd = [s.gateway.tcp() for _ in range(12)]
        wait_for(lambda: "there are no descriptors left" in s.gateway.log())
        before, began = daemon.cpu_sec(pid), time.monotonic()
        time.sleep(2)
        assert daemon.cpu_sec(pid) - before < (time.monotonic() - began) / 2  # it does not go in circles
        assert d.message(b"still here") == (0, b"ereh llits")
        for t in crowd[:-1]:
            t.socket.close()
        assert crowd[-1].ask(head(0, 1))[0] == FAILURE


@test(on=SOFTHSM)
def reload_asks_for_the_descriptors_of_more_connections(token):
    """As many as the process may have; where they are too few the log says both numbers."""
    few = "fewer descriptors than connections-max needs; raise LimitNOFILE; limit=256 needed="
    with Set(token, connections_max=10) as s:
        pid = s.gateway.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, hard))
        s.gateway.reload(connections_max=300)
        raised = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert raised[0] > 600 and raised[1] == hard, raised  # TCP, and pushes
        assert few not in s.gateway.log()
        s.gateway.reload(connections_max=10)
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == raised
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, 256))
        s.gateway.reload(connections_max=300)
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (256, 256)
        assert few + str(raised[0]) in s.gateway.log(), s.gateway.log()
        assert s.device("d").connect().message(b"abc") == (0, b"cba")


@test(on=SOFTHSM)
def datagrams_leave_a_quarter_of_the_places_to_others(token):
    """J16: anybody can send as many as he likes, from whatever address."""
    with Set(token, keyd_connections=1, pending_max=80) as s:
        d, u = s.device("d").connect(), s.gateway.udp()
        d.message(b"it is me")
        os.kill(s.keyd.pid, signal.SIGSTOP)
        for i in range(100):
            u.send(head(MESSAGE, i) + b"forged %d" % i)
        wait_for(lambda: s.gateway.metric('keyd_gateway_failures_total{code="busy"}') == 40)
        frames = [d.seal(MESSAGE, b"%d" % i) for i in range(20)]
        for _, frame in frames:
            d.transport.send(frame)
        wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 80)
        os.kill(s.keyd.pid, signal.SIGCONT)
        answers = [d.transport.receive() for _ in frames]
        answers = {int.from_bytes(a[1:5], "big"): a for a in answers}
        for i, (id_, _) in enumerate(frames):
            assert d.open(MESSAGE, id_, answers[id_]) == (0, (b"%d" % i)[::-1])


@test(on=SOFTHSM)
def connections_of_nobody_known_leave_a_quarter_of_the_places_to_others(token):
    """J16: the same over TCP, where none of what comes is a record."""
    with Set(token, keyd_connections=1, pending_max=80, in_flight_max=20) as s:
        d, crowd = s.device("d").connect(), [s.gateway.tcp() for _ in range(5)]
        d.message(b"it is me")
        os.kill(s.keyd.pid, signal.SIGSTOP)
        for i in range(100):
            crowd[i % 5].send(head(MESSAGE, i) + b"forged %d" % i)
        wait_for(lambda: s.gateway.metric('keyd_gateway_failures_total{code="busy"}') == 40)
        id_, frame = d.seal(MESSAGE, b"me first")
        d.transport.send(frame)
        wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 61)
        os.kill(s.keyd.pid, signal.SIGCONT)
        assert d.open(MESSAGE, id_, d.transport.receive()) == (0, b"tsrif em")


def fill_share(s, greedy, n):
    """n messages by as many connections, which the backend keeps."""
    frames = [greedy.seal(MESSAGE, b"%d" % i) for i in range(n)]
    ways = [s.gateway.tcp() for _ in frames]
    for way, (_, frame) in zip(ways, frames):
        way.send(frame)
    wait_for(lambda: len(s.backend.bodies()) == n)
    return frames, ways


def shares_hold(s):
    """One device by many connections, and by one that does not stay."""
    greedy, quiet = s.device("greedy").connect(), s.device("quiet").connect()
    s.backend.answers.clear()
    frames, ways = fill_share(s, greedy, 4)
    over = "keyd_gateway_over_share_total"
    assert s.gateway.metric(over) == 0
    for i, way in enumerate((ways[0], s.gateway.tcp(), s.gateway.udp(), s.gateway.http())):
        id_, frame = greedy.seal(MESSAGE, b"one more")
        assert way.ask(frame) == head(FAILURE, id_) + cbor.encode([BUSY, 1])
        assert s.gateway.metric(over) == i + 1
    mine = quiet.seal(MESSAGE, b"me too")
    quiet.transport.send(mine[1])
    wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 5)
    s.backend.answers.set()
    assert quiet.open(MESSAGE, mine[0], quiet.transport.receive()) == (0, b"oot em")
    for way, (id_, _), i in zip(ways, frames, range(4)):
        assert greedy.open(MESSAGE, id_, way.receive()) == (0, b"%d" % i)
    greedy.transport = ways[3]
    assert greedy.message(b"again") == (0, b"niaga")
    assert b"one more" not in s.backend.bodies()
    assert s.gateway.metric(over) == 4


SHARE = {"pending_per_peer": 4, "in_flight_max": 4, "pending_max": 40, "backend_timeout_ms": 60000}


@test(on=SOFTHSM)
def device_over_its_share_comes_again_later_and_no_other_does(token):
    """J16: whatever it comes by, and nothing of it reaches the backend."""
    with Set(token, **SHARE) as s:
        shares_hold(s)


@test(on=SOFTHSM)
def device_whose_keys_were_released_has_the_same_share(token):
    """J16: where the gateway opens the records itself."""
    keyd = Server(token, {"channel.profile": "released", "channel.root": None}).set_up()
    with Set(token, keyd, mode="released", **SHARE) as s:
        shares_hold(s)
        assert s.gateway.metric("keyd_gateway_own_records_total") > 0


@test(on=SOFTHSM)
def messages_that_wait_for_the_backend_take_turns(token):
    """J16: one device's do not wait for all that another has sent before."""
    with Set(token, backend_connections=1, backend_timeout_ms=60000) as s:
        greedy, quiet = s.device("greedy").connect(), s.device("quiet").connect()
        s.backend.answers.clear()
        frames = [greedy.seal(MESSAGE, b"%d" % i) for i in range(20)]
        for _, frame in frames:
            greedy.transport.send(frame)
        wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 20)
        wait_for(lambda: s.backend.bodies() == [b"0"])
        id_, frame = quiet.seal(MESSAGE, b"me too")
        quiet.transport.send(frame)
        wait_for(lambda: s.gateway.metric("keyd_gateway_connected") == 2)  # it is opened
        s.backend.answers.set()
        assert quiet.open(MESSAGE, id_, quiet.transport.receive()) == (0, b"oot em")
        for _ in frames:
            greedy.transport.receive()
        assert s.backend.bodies().index(b"me too") <= 2, s.backend.bodies()


@test(on=SOFTHSM)
def slow_backend_has_a_connection_for_another_device(token):
    """J16: whoever is the first to send has its share of them, also before any has ended."""
    with Set(token, backend_connections=2, backend_timeout_ms=60000) as s:  # its share is a half
        greedy, quiet = s.device("greedy").connect(), s.device("quiet").connect()
        s.backend.answers.clear()
        frames = [greedy.seal(MESSAGE, b"%d" % i) for i in range(20)]
        for _, frame in frames:
            greedy.transport.send(frame)
        wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 20)
        id_, frame = quiet.seal(MESSAGE, b"me too")
        quiet.transport.send(frame)
        wait_for(lambda: b"me too" in s.backend.bodies())
        assert sorted(s.backend.bodies()) == [b"0", b"me too"]
        s.backend.answers.set()
        assert quiet.open(MESSAGE, id_, quiet.transport.receive()) == (0, b"oot em")
        for _ in frames:
            greedy.transport.receive()


@test(on=SOFTHSM)
def strangers_over_http_take_no_place_from_a_device(token):
    """Ten times as many connections as may be, silent and with half a header, and kept."""
    with Set(token, connections_max=4) as s:
        d = s.device("d", "http").connect()
        crowd = []
        for i in range(40):
            crowd.append(socket.create_connection(("127.0.0.1", s.gateway.ports["http"]), 60))
            if i % 2:
                crowd[-1].sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
            if i % 4 == 3:
                d.transport.close()  # as one that comes anew
                assert d.message(b"still here") == (0, b"ereh llits")
        closed = 0
        for c in crowd[:30]:
            closed += read_all(c) == b""  # or reset, where half a header was not even read
            c.close()
        assert closed == 30
        for c in crowd[30:]:
            c.close()


@test(on=SOFTHSM)
def more_than_may_be_in_flight_waits_its_turn(token):
    """J16: a device that sends far ahead of its answers loses none, in their order."""
    with Set(token, in_flight_max=3) as s:
        d = s.device("d").connect()
        frames = [d.seal(MESSAGE, b"%04d" % i + bytes(900)) for i in range(400)]
        stream = b"".join(len(f).to_bytes(4, "big") + f for _, f in frames)
        sender = threading.Thread(target=d.transport.socket.sendall, args=(stream,))
        sender.start()
        got = set()
        for _ in frames:
            answer = d.transport.receive()
            id_ = int.from_bytes(answer[1:5], "big")
            assert d.open(MESSAGE, id_, answer)[0] == 0
            got.add(id_)
        sender.join()
        assert got == {id_ for id_, _ in frames}
        assert sorted(b[:4] for b in s.backend.bodies()) == [b"%04d" % i for i in range(400)]


if __name__ == "__main__":
    main()
