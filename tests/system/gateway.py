# SPDX-License-Identifier: Apache-2.0
"""keyd-gateway: messages of devices to a backend and back, over TCP, UDP and HTTP; what
is lost, repeated, changed or too much; and processes that die."""
import http.client
import os
import signal
import subprocess
import threading
import time

from harness import BOTH, SOFTHSM, cbor, main, sha256_hex, test, tokens, unb64, wait_for
from harness.gateway import (ANSWER, BUSY, CLOSE, ENVELOPE, FAILURE, GATEWAY, HANDSHAKE, MALFORMED,
                             MESSAGE, PUSH, REFUSED, RESUME, TICKET, TOO_LARGE, UNKNOWN_SESSION,
                             UPDATE, Backend, Chain, Failed, Gateway, Talker, head)
from harness.mailbox import Mailbox
from harness.peer import Server


class Set(Chain):
    """A keyd, a gateway, a backend."""

    def __init__(self, token, keyd=None, **config):
        self.keyd = keyd or Server(token).set_up()
        self.backend = Backend()
        self.gateway = Gateway(self.keyd, self.backend, **config).start()

    def device(self, name, transport="tcp"):
        return Talker(self.keyd.device(name), getattr(self.gateway, transport)())


def fails_with(code, function, *arguments):
    try:
        function(*arguments)
    except Failed as e:
        assert e.args[0] == code, e.args
        return True
    return False


# ---- what is refused ----

@test(on=SOFTHSM)
def frames_that_are_none_are_refused(token):
    """J09: by a failure; over TCP the connection ends where the length is wrong."""
    with Set(token) as s:
        t = s.gateway.tcp()
        for kind in (0, 9, 0x80, MESSAGE | ANSWER, FAILURE):
            answer = t.ask(head(kind, 7))
            assert answer[0] == FAILURE and cbor.decode_from(answer, 5)[0] == [MALFORMED], answer
        answer = t.ask(head(PUSH, 7))
        assert answer == head(FAILURE, 7) + cbor.encode([MALFORMED]), answer
        for body in (b"", b"\xf5", b"\x48abcdefgh", b"\x40x"):
            assert t.ask(head(HANDSHAKE, 1) + body)[5:] == cbor.encode([MALFORMED])
        for body in (b"", b"\x80", cbor.encode([b"", b"x"]), cbor.encode([b"x", b"y"]) + b"\x00"):
            assert t.ask(head(RESUME, 1) + body)[5:] == cbor.encode([MALFORMED])
        assert t.ask(head(RESUME, 1) + cbor.encode([b"x", b"y"]))[5:] == cbor.encode([REFUSED])
        for length, code in ((4, MALFORMED), (0, MALFORMED), (66001, TOO_LARGE),
                             (2 ** 32 - 1, TOO_LARGE)):
            c = s.gateway.tcp()
            c.socket.sendall(length.to_bytes(4, "big"))
            assert c.receive() == head(FAILURE, 0) + cbor.encode([code])
            assert c.socket.recv(1) == b""
        u = s.gateway.udp()
        u.send(b"\x01\x00\x00\x00")  # shorter than a head: no answer
        assert u.ask(head(PUSH, 3))[0] == FAILURE


@test(on=SOFTHSM)
def records_that_are_replayed_changed_or_another_s_are_refused(token):
    """J02, J10, J11: and the session that did nothing wrong goes on."""
    with Set(token) as s:
        d = s.device("d").connect()
        id_, frame = d.seal(MESSAGE, b"once")
        assert d.open(MESSAGE, id_, d.transport.ask(frame)) == (0, b"ecno")
        assert d.transport.ask(frame) == head(FAILURE, id_) + cbor.encode([REFUSED])
        id_, frame = d.seal(MESSAGE, b"mine")
        other = head(MESSAGE, id_ + 1) + frame[5:]  # another id is other external data
        assert d.transport.ask(other)[0] == FAILURE
        assert d.transport.ask(head(TICKET, id_) + frame[5:])[0] == FAILURE
        for at in (6, 20, len(frame) - 1):
            bad = bytearray(frame)
            bad[at] ^= 1
            assert d.transport.ask(bytes(bad))[0] == FAILURE
        assert d.open(MESSAGE, id_, d.transport.ask(frame)) == (0, b"enim")
        assert s.backend.bodies() == [b"once", b"mine"]
        # A record of the wrong type for its frame.
        id_, frame = d.seal(MESSAGE, b"", type_=3)
        assert d.transport.ask(frame)[5:] == cbor.encode([MALFORMED])


@test(on=SOFTHSM)
def unknown_session_is_told_and_nothing_more(token):
    """J13: the device learns that it must resume, not why."""
    with Set(token) as s:
        d = s.device("d").connect()
        s.keyd.delete("/v1/sessions/" + d.device.session)
        assert fails_with(UNKNOWN_SESSION, d.message, b"x")
        d.connect()
        assert d.message(b"again") == (0, b"niaga")


def none_in_time(answer):
    """The number that a device is told where the backend was to be too slow."""
    assert answer in [(4, cbor.encode(n)) for n in (503, 504)], answer
    return cbor.decode_from(answer[1], 0)[0]


@test(on=SOFTHSM)
def backend_that_fails_is_told_in_a_sealed_record(token):
    """J03"""
    with Set(token) as s:
        d = s.device("d").connect()
        s.backend.status = 503
        assert d.message(b"x") == (4, cbor.encode(503))
        s.backend.garbles = True  # it is no HTTP
        assert d.message(b"lost") == (4, cbor.encode(502))
        assert s.backend.bodies()[-1] == b"lost"
        s.backend.garbles = False
        s.gateway.reload(backend_timeout_ms=300)
        s.backend.answers.clear()
        # Where this machine is too slow to send it in time it is 503, and the next one may be sent.
        wait_for(lambda: none_in_time(d.message(b"late")) == 504, what="504")
        assert s.backend.bodies()[-1] == b"late"
        s.gateway.reload(backend_timeout_ms=30000)
        s.backend.close()  # connections are refused
        n = len(s.backend.bodies())
        assert d.message(b"unsent") == (4, cbor.encode(503))
        assert len(s.backend.bodies()) == n
        s.backend.answers.set()


@test(on=SOFTHSM)
def http_takes_frames_only(token):
    with Set(token) as s:
        c = s.gateway.http().connection
        for method, path, body, headers, status in (
                ("GET", "/", None, {}, 404), ("POST", "/x", b"", {}, 404),
                ("POST", "/", b"x", {"Content-Type": "text/plain"}, 415),
                ("POST", "/", bytes(66001), {"Content-Type": "application/vnd.keyd.frame"}, 413)):
            c.request(method, path, body, headers)
            r = c.getresponse()
            r.read()
            assert r.status == status, (method, path, r.status)


# ---- what works ----

@test(on=BOTH)
def message_goes_to_the_backend_and_back_on_each_transport(token):
    """J01, J03, J09, A08, A09"""
    with Set(token) as s:
        for transport in ("tcp", "udp", "http"):
            d = s.device(transport, transport).connect()
            assert d.message(b"hello " + transport.encode())[1] == transport.encode()[::-1] + b" olleh"
            headers, _ = s.backend.messages[-1]
            assert headers["Keyd-Peer"] == transport and "Keyd-Relation" not in headers
            assert headers["Keyd-Registered"] == "yes"
            assert headers["Keyd-Session"] == d.device.session
            assert headers["Keyd-Sequence"] == "0" and headers["Keyd-Message"] == str(d.id)
            assert d.message(b"") == (0, b"")
            if transport != "udp":
                large = os.urandom(65536)
                assert d.message(large) == (0, large[::-1])
        assert s.gateway.metric('keyd_gateway_answers_total{kind="message"}') == 8


@test(on=SOFTHSM)
def frames_come_in_any_pieces(token):
    with Set(token) as s:
        d = s.device("d").connect()
        ids = []
        stream = b""
        for i in range(4):
            id_, frame = d.seal(MESSAGE, b"part %d" % i)
            ids.append(id_)
            stream += len(frame).to_bytes(4, "big") + frame
        for byte in stream[:150]:
            d.transport.socket.sendall(bytes([byte]))
        d.transport.socket.sendall(stream[150:])
        got = {}
        for _ in ids:
            answer = d.transport.receive()
            got[int.from_bytes(answer[1:5], "big")] = answer
        for i, id_ in enumerate(ids):
            assert d.open(MESSAGE, id_, got[id_])[1] == (b"part %d" % i)[::-1]


@test(on=SOFTHSM)
def datagram_that_comes_again_gets_its_answer_and_does_nothing(token):
    """J10: over UDP, also a handshake's, and while the first is under way."""
    with Set(token) as s:
        d = s.device("d", "udp")
        first = head(HANDSHAKE, 1) + b"\xf5" + d.device.begin()
        second = d.transport.ask(first)
        assert d.transport.ask(first) == second
        third = head(HANDSHAKE, 2) + cbor_connection(d, second[5:])
        fourth = d.transport.ask(third)
        assert d.transport.ask(third) == fourth
        assert d.device.read(fourth[5:]) == b""
        d.id = 10
        id_, frame = d.seal(MESSAGE, b"lost on the way back")
        answers = {d.transport.ask(frame) for _ in range(5)}
        assert len(answers) == 1
        assert d.open(MESSAGE, id_, answers.pop())[1] == b"kcab yaw eht no tsol"
        s.backend.delay = 0.3
        id_, frame = d.seal(MESSAGE, b"slow")
        for _ in range(4):
            d.transport.send(frame)
        answer = d.transport.receive()
        assert d.open(MESSAGE, id_, answer)[1] == b"wols"
        assert s.backend.bodies() == [b"lost on the way back", b"slow"]
        assert s.gateway.metric("keyd_gateway_repeated_total") == 9
        # From another address it is a replay.
        assert s.gateway.udp().ask(frame) == head(FAILURE, id_) + cbor.encode([REFUSED])


def cbor_connection(d, message):
    third = d.device.read(message)
    return cbor.encode(bytes.fromhex(d.device.tell("connection")[0])) + third


@test(on=BOTH)
def session_goes_on_at_another_gateway_and_keyd(token):
    """J13: by its ticket; the first ones are killed."""
    with Set(token) as s:
        other = Server(token, like=s.keyd).adopt_from(s.keyd)
        d = s.device("d").connect()
        d.device.register(other)
        ticket = d.ticket()
        assert d.message(b"before")[0] == 0
        second = Gateway(other, s.backend).start()
        s.gateway.kill()
        moved = Talker(d.device, second.tcp())
        moved.id = d.id
        assert fails_with(UNKNOWN_SESSION, moved.message, b"x")
        moved.resume(ticket, b"client nonce")
        assert moved.message(b"after") == (0, b"retfa")
        second.stop()
        other.stop()
        s.gateway.start()


@test(on=SOFTHSM)
def keys_are_renewed_and_sessions_closed_by_the_device(token):
    """J12"""
    with Set(token) as s:
        d = s.device("d").connect()
        id_, frame = d.seal(UPDATE)
        record = d.check(UPDATE, id_, d.transport.ask(frame))
        type_, _, body = d.device.open(record)
        assert (type_, body) == (2, cbor.encode(1))
        d.device.update(1)
        assert d.message(b"new keys") == (0, b"syek wen")
        id_, frame = d.seal(CLOSE, type_=3)
        assert d.check(CLOSE, id_, d.transport.ask(frame)) == b""
        assert fails_with(UNKNOWN_SESSION, d.message, b"x")


@test(on=SOFTHSM)
def session_at_its_limit_is_answered_with_a_sealed_expiry(token):
    """J08"""
    keyd = Server(token, {"channel.session-records-max": 2}).set_up()
    with Set(token, keyd) as s:
        d = s.device("d").connect()
        assert d.message(b"x") == (0, b"x")
        id_, frame = d.seal(MESSAGE, b"y")
        record = d.check(MESSAGE, id_, d.transport.ask(frame))
        assert d.device.open(record)[0] == 1
        d.connect()
        assert d.message(b"y") == (0, b"y")
        assert s.backend.bodies() == [b"x", b"y"]


@test(on=SOFTHSM)
def envelope_reaches_the_backend_once(token):
    """J15"""
    keyd = Mailbox(token).set_up()
    with Set(token, keyd) as s:
        t = s.gateway.tcp()
        envelope = keyd.make(b"early data", "--sender", "sensor\n7")
        assert t.ask(head(ENVELOPE, 1) + envelope) == head(ENVELOPE | ANSWER, 1)
        assert t.ask(head(ENVELOPE, 2) + envelope) == head(FAILURE, 2) + cbor.encode([REFUSED])
        assert t.ask(head(ENVELOPE, 3) + b"\x80")[5:] == cbor.encode([REFUSED])
        (headers, body), = s.backend.messages
        assert body == b"early data" and unb64(headers["Keyd-Sender"]) == b"sensor\n7"
        assert "Keyd-Peer" not in headers and "Keyd-Registered" not in headers
        assert len(headers["Keyd-Envelope"]) == 32


# ---- another configuration ----


@test(on=SOFTHSM)
def keyds_token_is_taken_from_a_file_that_is_closed_to_others(token):
    policy = (f'principal "me" {{ uid = {{ {os.getuid()} }} }}\n'
              'allow "me" { operations = { "*" } keys = { "*" } }\n'
              'principal "gateway" { token = { "sha256:' + sha256_hex("gate-token") + '" } }\n'
              'allow "gateway" { operations = { "handshake" } keys = { "*" } }\n')
    file = os.path.join(token.directory, "keyd-token")
    keyd, backend = Server(token, policy=policy).set_up(), Backend()
    for text, mode in (("gate-token\n", 0o644), ("gate-token\x01X-Other: 1\n", 0o600),
                       ("\n", 0o600)):
        tokens.write(file, text)
        os.chmod(file, mode)
        g = Gateway(keyd, backend, keyd_token_file=file)
        with open(g.log_file, "ab") as log:
            assert subprocess.run([GATEWAY, "--config", g.file], stdout=log, stderr=log,
                                  timeout=300, check=False).returncode == 1, (text, g.log())
        assert "the file with the bearer token cannot be used" in g.log(), g.log()
    tokens.write(file, "gate-token\n", 0o600)
    with Set(token, keyd, keyd_token_file=file) as s:
        assert s.device("d").connect().message(b"one") == (0, b"eno")
        sessions = keyd.get("/v1/sessions", bearer="gate-token").json["sessions"]
        assert len(sessions) == 1 and keyd.get("/v1/sessions").json["sessions"] == []
        assert "gate-token" not in s.gateway.log()
    backend.close()


@test(on=SOFTHSM)
def reload_takes_a_whole_configuration_or_none(token):
    """J16: what is under way ends as it began; devices notice nothing."""
    secret = os.path.join(token.directory, "push-token")
    tokens.write(secret, "first\n", 0o600)
    other = Backend()
    with Set(token, push_token_file=secret) as s:
        d = s.device("d").connect()
        assert d.message(b"one") == (0, b"eno")
        s.gateway.reload(taken=False, backend_url="gopher://x")
        s.gateway.reload(taken=False, backend_url=other.url, pending_max=0)
        assert d.message(b"two") == (0, b"owt") and not other.messages
        s.backend.delay = 1
        id_, frame = d.seal(MESSAGE, b"slow")
        d.transport.send(frame)
        wait_for(lambda: b"slow" in s.backend.bodies(), what="the slow one")
        tokens.write(secret, "second\n", 0o600)
        s.gateway.reload(pending_max=100, datagram_max_bytes=60000, in_flight_max=100,
                         tcp=["127.0.0.1:1"])
        assert "other addresses to listen at are taken at a restart" in s.gateway.log()
        assert d.open(MESSAGE, id_, d.transport.receive()) == (0, b"wols")
        assert d.message(b"three") == (0, b"eerht") and other.bodies() == [b"three"]
        u = Talker(d.device, s.gateway.udp())
        u.id = 1000
        assert u.message(b"y" * 5000) == (0, b"y" * 5000)
        assert s.gateway.push("x", b"", Authorization="Bearer first") == 401
        assert s.gateway.push("x", b"", Authorization="Bearer second") == 404
        os.unlink(secret)
        s.gateway.reload(taken=False)
        assert s.gateway.push("x", b"", Authorization="Bearer second") == 404
    other.close()


@test(on=SOFTHSM)
def a_reload_leaves_no_address_beyond_loopback_open_to_pushes(token):
    """The address is served until a restart, so the token is needed until then.  This one is
    loopback, and not written like it."""
    secret = os.path.join(token.directory, "push-token")
    tokens.write(secret, "first\n", 0o600)
    with Set(token, push_token_file=secret) as s:
        address = f"[0:0:0:0:0:0:0:1]:{s.gateway.ports['push']}"
        s.gateway.stop()
        s.gateway.values["push"] = address
        s.gateway.write()
        s.gateway.start()

        def push(**headers):
            c = http.client.HTTPConnection("::1", s.gateway.ports["push"], timeout=300)
            c.request("POST", "/push/x", b"", headers)
            status = c.getresponse().status
            c.close()
            return status
        for another in (f"127.0.0.1:{s.gateway.ports['push']}", ""):
            s.gateway.reload(push=another, push_token_file="")
            assert push() == 401, another
            assert push(Authorization="Bearer first") == 404, another


# ---- processes that die, and that stop ----

@test(on=SOFTHSM)
def keyd_that_restarts_costs_no_connection(token):
    """J13: busy while it is away, unknown session after, then by the ticket."""
    with Set(token) as s:
        d = s.device("d").connect()
        ticket = d.ticket()
        s.keyd.kill()
        assert fails_with(BUSY, d.message, b"away")
        s.keyd.start()
        assert fails_with(UNKNOWN_SESSION, d.message, b"back")
        d.resume(ticket, b"nonce")
        assert d.message(b"here") == (0, b"ereh")
        assert s.backend.bodies() == [b"here"]


def says(s, line):
    """Waits until /readyz says so, while nobody else asks the gateway for anything."""
    expected = (200 if line == "ready" else 503, line + "\n")
    wait_for(lambda: s.gateway.get("/readyz") == expected, what=line)


@test(on=SOFTHSM)
def a_gateway_that_could_serve_no_message_is_not_ready_until_it_can(token):
    """J16: a balancer that sends it nothing meanwhile finds out by itself."""
    with Set(token) as s:
        port = s.backend.server.server_port
        says(s, "ready")
        s.keyd.kill()
        says(s, "keyd cannot be reached")
        assert s.gateway.get("/healthz") == (200, "ok\n")
        s.keyd.start()
        says(s, "ready")
        os.kill(s.keyd.pid, signal.SIGSTOP)
        says(s, "keyd cannot be reached")
        os.kill(s.keyd.pid, signal.SIGCONT)
        says(s, "ready")
        s.backend.close()
        says(s, "the backend cannot be reached")
        s.backend = Backend(port)
        says(s, "ready")
        os.rename(token.pin_file, token.pin_file + ".away")
        s.keyd.wait_all_ready()
        for pid in s.keyd.workers():
            os.kill(pid, signal.SIGKILL)
        says(s, "keyd is not ready: pin-missing")
        os.rename(token.pin_file + ".away", token.pin_file)
        s.keyd.process.send_signal(signal.SIGHUP)
        says(s, "ready")
        assert s.device("d").connect().message(b"abc") == (0, b"cba")
        assert s.backend.bodies() == [b"abc"]


@test(on=SOFTHSM)
def a_gateway_that_stops_or_has_no_place_is_not_ready(token):
    with Set(token, pending_max=1, backend_timeout_ms=60000, stop_timeout_ms=60000) as s:
        d = s.device("d").connect()
        s.backend.answers.clear()
        id_, frame = d.seal(MESSAGE, b"slow")
        d.transport.send(frame)
        wait_for(lambda: s.backend.bodies() == [b"slow"], what="the message")
        says(s, "no place: pending-max frames have no answer yet")
        s.gateway.process.send_signal(signal.SIGTERM)
        says(s, "stopping")
        s.backend.answers.set()
        assert d.open(MESSAGE, id_, d.transport.receive()) == (0, b"wols")
        assert s.gateway.process.wait(60) == 0
        s.gateway.start()
        says(s, "ready")


@test(on=SOFTHSM)
def stop_drops_no_accepted_message(token):
    """J16: what was accepted is answered, then the process ends."""
    with Set(token) as s:
        d = s.device("d").connect()
        s.backend.delay = 0.5
        frames = [d.seal(MESSAGE, b"%d" % i) for i in range(8)]
        for _, frame in frames:
            d.transport.send(frame)
        wait_for(lambda: len(s.backend.bodies()) == 8, what="all at the backend")
        s.gateway.process.send_signal(signal.SIGTERM)
        for _ in frames:
            answer = d.transport.receive()
            id_ = int.from_bytes(answer[1:5], "big")
            assert d.open(MESSAGE, id_, answer)[0] == 0
        assert s.gateway.process.wait(60) == 0
        s.gateway.start()


@test(on=SOFTHSM)
def each_acknowledged_message_was_delivered_once_whoever_dies(token):
    """J10, J14, J16: many devices, and workers and the gateway are killed meanwhile."""
    with Set(token) as s:
        devices = [s.device(f"d{i}").connect() for i in range(12)]
        acknowledged, stop = [], threading.Event()

        def run(d, number):
            n = 0
            while not stop.is_set():
                text = f"{number}.{n}".encode()
                n += 1
                try:
                    type_, body = d.message(text)
                    if type_ == 0:
                        assert body == text[::-1]
                        acknowledged.append(text)
                except Failed:
                    time.sleep(0.05)
                except (OSError, EOFError):
                    reconnect(d)

        def reconnect(d):
            while not stop.is_set():
                try:
                    d.transport.close()
                    d.transport = s.gateway.tcp()
                    return
                except OSError:
                    time.sleep(0.05)

        threads = [threading.Thread(target=run, args=(d, i)) for i, d in enumerate(devices)]
        for t in threads:
            t.start()
        for round_ in range(4):
            time.sleep(0.4)
            if round_ % 2 == 0:
                os.kill(s.keyd.workers()[0], signal.SIGKILL)
            else:
                s.gateway.kill()
                s.gateway.start()
        before = len(acknowledged)
        wait_for(lambda: len(acknowledged) > before + 50, what="messages after all")
        stop.set()
        for t in threads:
            t.join()
        bodies = s.backend.bodies()
        assert len(bodies) == len(set(bodies)), "something was delivered twice"
        assert set(acknowledged) <= set(bodies), "something acknowledged was not delivered"
        assert len({a.split(b".")[0] for a in acknowledged}) == len(devices)


if __name__ == "__main__":
    main()
