# SPDX-License-Identifier: Apache-2.0
"""Messages that the backend sends to devices which have not asked: POST /push/PEER of
keyd-gateway, over TCP and UDP."""
import os
import signal
import subprocess
import threading
import time

from gateway import Set
from harness import BOTH, SOFTHSM, cbor, main, test, tokens, wait_for
from harness.gateway import ANSWER, FAILURE, GATEWAY, MALFORMED, MESSAGE, PUSH, REFUSED, Gateway, Talker


class Pushing:
    """The backend sends a message to a device, in a thread: its status comes later."""

    def __init__(self, gateway, *arguments):
        self.statuses = []
        self.thread = threading.Thread(
            target=lambda: self.statuses.append(gateway.push(*arguments)))
        self.thread.start()

    def status(self):
        self.thread.join()
        return self.statuses[0]


@test(on=SOFTHSM)
def push_that_cannot_be_delivered_is_said(token):
    """J03: who is not connected, what is too large, what nobody acknowledges."""
    with Set(token, push_timeout_ms=400) as s:
        assert s.gateway.push("d", b"x") == 404
        for peer, method, path in (("d", "GET", "/push/"), ("", "POST", "/push/"),
                                   ("d", "POST", "/pull/"), ("d" * 65, "POST", "/push/")):
            assert s.gateway.push(peer, b"x", method, path) == 404
        s.device("by-http", "http").connect().message(b"x")
        assert s.gateway.push("by-http", b"x") == 404  # nothing stays that it could go by
        d = s.device("d").connect()
        assert s.gateway.push("d", b"x") == 404  # no record has come over the connection
        d.message(b"x")
        assert s.gateway.push("d", b"x" * 65537) == 413
        assert s.gateway.push("d", b"x" * 66001) == 413
        assert s.gateway.push("d", b"nobody acknowledges it") == 504
        late = d.take_push()
        # What is no acknowledgement of it: another's, changed, of another push, not empty.
        other = s.device("other").connect()
        other.message(b"x")
        waiting = Pushing(s.gateway, "d", b"mine")
        _, answer = d.take_push(acknowledge=False)
        about = answer[:5]
        other.transport.send(about + other.device.seal(b"", aad=about))
        d.transport.send(answer[:-1] + bytes([answer[-1] ^ 1]))
        d.transport.send(late[1])  # a replay
        d.transport.send(about + d.device.seal(b"no", aad=about))
        assert s.gateway.http().ask(answer)[5:] == cbor.encode([MALFORMED])
        assert waiting.status() == 504, waiting.statuses
        waiting = Pushing(s.gateway, "d", b"lost")
        while d.transport.receive()[0] == FAILURE:  # of the two that were not accepted
            pass
        d.transport.close()
        assert waiting.status() == 504, waiting.statuses
        wait_for(lambda: s.gateway.push("d", b"x") == 404, what="the end of the connection")
        assert s.gateway.metric('keyd_gateway_pushes_total{status="2xx"}') == 0


@test(on=SOFTHSM)
def connection_that_ended_before_its_record_was_opened_is_no_way_to_the_device(token):
    """J03, J09: nothing of it is kept for pushes, and the next connection is the way."""
    with Set(token, push_timeout_ms=10000) as s:
        d = s.device("d").connect()
        for i in range(8):  # the last is opened by keyd when the connection is gone
            gone = Talker(d.device, s.gateway.tcp())
            os.kill(s.keyd.pid, signal.SIGSTOP)
            gone.transport.send(gone.seal(MESSAGE, b"my last words")[1])
            wait_for(lambda: s.gateway.metric("keyd_gateway_pending") == 1)
            gone.transport.close()
            for _ in range(3):  # rounds of the gateway, in which it sees the end
                s.gateway.get("/healthz")
            os.kill(s.keyd.pid, signal.SIGCONT)
            wait_for(lambda: len(s.backend.bodies()) == i + 1 and
                     s.gateway.metric("keyd_gateway_pending") == 0)
            assert s.gateway.metric("keyd_gateway_connected") == 0
            assert s.gateway.push("d", b"x") == 404
        d.message(b"here I am")
        waiting = Pushing(s.gateway, "d", b"to who is here")
        assert d.take_push()[0] == b"to who is here" and waiting.status() == 204


@test(on=BOTH)
def push_is_delivered_once_and_acknowledged(token):
    """J03, J12: also while the device asks, after its keys are new, and over the connection
    where it was last."""
    with Set(token) as s:
        d = s.device("d").connect()
        d.message(b"here I am")
        for text in (b"", b"one", b"x" * 65536):
            waiting = Pushing(s.gateway, "d", text)
            assert d.take_push()[0] == text and waiting.status() == 204
        many = [Pushing(s.gateway, "d", b"%d" % i) for i in range(20)]
        assert {d.take_push()[0] for _ in many} == {b"%d" % i for i in range(20)}
        assert all(p.status() == 204 for p in many)
        d.connect()
        d.message(b"new session")  # which is known by its first record
        again = Talker(d.device, s.gateway.tcp())
        again.id = 1000
        again.message(b"from elsewhere")
        waiting = Pushing(s.gateway, "d", b"follow me")
        assert again.take_push()[0] == b"follow me" and waiting.status() == 204
        assert s.gateway.metric("keyd_gateway_connected") == 1
        assert s.gateway.metric('keyd_gateway_pushes_total{status="2xx"}') == 24


@test(on=BOTH)
def push_goes_to_the_address_that_the_latest_record_came_from(token):
    """J09, J12: over UDP, again and again until it is acknowledged; not to who repeats a record."""
    with Set(token) as s:
        d = s.device("d", "udp").connect()
        assert s.gateway.push("d", b"x") == 404  # no record has come
        id_, first = d.seal(MESSAGE, b"here I am")
        d.open(MESSAGE, id_, d.transport.ask(first))
        for text in (b"", b"x" * 1100):
            waiting = Pushing(s.gateway, "d", text)
            assert d.take_push()[0] == text and waiting.status() == 204
        assert s.gateway.push("d", b"x" * 1200) == 413  # than a datagram
        again = Talker(d.device, s.gateway.udp())
        again.id = 1000
        again.message(b"from elsewhere")
        other = s.gateway.udp()
        assert other.ask(first)[5:] == cbor.encode([REFUSED])
        waiting = Pushing(s.gateway, "d", b"follow me")
        frame = again.transport.receive()
        assert again.transport.receive() == frame  # it was not acknowledged
        _, _, body = d.device.open(frame[5:], aad=frame[:5])
        about = bytes([PUSH | ANSWER]) + frame[1:5]
        again.transport.send(about + d.device.seal(b"", aad=about))
        assert body == b"follow me" and waiting.status() == 204
        s.keyd.delete("/v1/sessions/" + d.device.session)
        assert s.gateway.push("d", b"x") == 404


@test(on=SOFTHSM)
def address_is_no_way_to_the_device_for_good(token):
    """J16: what is kept of it ends with the time of an idle connection, or with its next record."""
    with Set(token, answers_for_ms=10_000, idle_timeout_ms=100, push_timeout_ms=50) as s:
        d = s.device("d", "udp").connect()
        for i in range(3):
            d.message(b"%d" % i)
        assert s.gateway.metric("keyd_gateway_connected") == 1
        assert s.gateway.push("d", b"x") == 504
        assert d.transport.receive()[0] == PUSH
        wait_for(lambda: s.gateway.metric("keyd_gateway_connected") == 0, what="the end of the way")
        assert s.gateway.push("d", b"x") == 404
        d.message(b"again")
        assert s.gateway.metric("keyd_gateway_connected") == 1


@test(on=SOFTHSM)
def push_needs_the_token_where_one_is_set(token):
    secret = os.path.join(token.directory, "push-token")
    tokens.write(secret, "s3cret of the backend\n", 0o600)
    with Set(token, push_token_file=secret) as s:
        assert s.gateway.push("d", b"x") == 401
        for given in ("Bearer ", "Bearer s3cret", "s3cret of the backend",
                      "Bearer s3cret of the backend "[:-2]):
            assert s.gateway.push("d", b"x", Authorization=given) == 401
        assert s.gateway.push("d", b"x", Authorization="Bearer s3cret of the backend") == 404
        refused = Gateway(s.keyd, s.backend, push="0.0.0.0:1")
        r = subprocess.run([GATEWAY, "--check-config", "--config", refused.file],
                           capture_output=True, text=True, check=False)
        assert r.returncode == 1 and "push-token-file is needed" in r.stderr, r


@test(on=SOFTHSM)
def a_page_in_a_browser_does_not_push_by_loopback(token):
    """What a browser sends across origins without asking first."""
    with Set(token) as s:
        assert s.gateway.push("d", b"x") == 404
        assert s.gateway.push("d", b"x", Origin="https://evil.example",
                              **{"Content-Type": "text/plain"}) == 401
        assert s.gateway.push("d", b"x", Origin="null") == 401


if __name__ == "__main__":
    main()
