# SPDX-License-Identifier: Apache-2.0
"""keyd-gateway in mode released: it opens and seals by itself what keyd lets it, and all
else is as before."""
import os
import re

from harness import BOTH, SOFTHSM, b64, daemon, expect, main, test, wait_for
from harness.daemon import find_in_memory, is_in
from harness.gateway import (CLOSE, MESSAGE, REFUSED, UNKNOWN_SESSION, UPDATE, Backend, Chain,
                             Failed, Gateway, Talker)
from harness.peer import Server

RELEASED = {"channel.profile": "released", "channel.root": None}
EXPIRE, KEY_UPDATE = 1, 2


class Set(Chain):
    def __init__(self, token, config=None, policy=None, profile=None, **more):
        self.keyd = Server(token, {**(RELEASED if profile is None else profile), **(config or {})},
                           policy).set_up()
        self.backend = Backend()
        self.gateway = Gateway(self.keyd, self.backend, mode="released", **more).start()

    def device(self, name, transport="tcp"):
        return Talker(self.keyd.device(name), getattr(self.gateway, transport)())

    def held(self):
        return self.gateway.metric("keyd_gateway_released")

    def by_keyd(self):
        """Records that keyd opened or sealed."""
        text = self.keyd.get("/metrics").body.decode()
        return sum(int(n) for n in re.findall(
            r'^keyd_channel_records_total\{op="\w+",result="ok"\} (\d+)$', text, re.M))


def fails_with(code, function, *arguments):
    try:
        function(*arguments)
    except Failed as e:
        assert e.args[0] == code, e.args
        return
    raise AssertionError("nothing failed")


def send(d, frame, id_, kind=MESSAGE):
    return d.open(kind, id_, d.transport.ask(frame))


# ---- what keyd does as before ----

@test(on=SOFTHSM)
def resident_sessions_stay_with_keyd(token):
    with Set(token, profile={}) as s:
        d = s.device("d").connect()
        assert d.message(b"hello") == (0, b"olleh")
        assert s.held() == 0 and s.by_keyd() == 2


@test(on=SOFTHSM)
def without_the_permission_keyd_goes_on(token):
    policy = daemon.POLICY.replace('allow "tests" { operations = { "*" }', """allow "tests" { operations =
        { create, show, sign, peer, status, metrics, handshake }""")
    assert policy != daemon.POLICY
    with Set(token, policy=policy) as s:
        d = s.device("d").connect()
        assert d.message(b"hello") == (0, b"olleh")
        assert s.held() == 0 and s.by_keyd() == 2
        assert "were not taken over; session=" in s.gateway.log()


# ---- what is refused ----

@test(on=SOFTHSM)
def changed_repeated_and_foreign_records_are_refused(token):
    with Set(token) as s:
        d, e = s.device("d").connect(), s.device("e").connect()
        id_, frame = d.seal(MESSAGE, b"once")
        assert send(d, frame, id_) == (0, b"ecno")
        fails_with(REFUSED, send, d, frame, id_)
        id_, frame = d.seal(MESSAGE, b"changed")
        for at in (1, 20, len(frame) - 1):  # the id, which is bound; session or number; the tag
            bad = bytearray(frame)
            bad[at] ^= 1
            answer = d.transport.ask(bytes(bad))
            assert answer[0] == 0xff, (at, answer)
        assert send(d, frame, id_) == (0, b"degnahc")  # the forgeries moved nothing
        d.device.tell("otp", 9, 30, 1)
        fails_with(REFUSED, d.message, b"with a code of nine digits")
        d.device.tell("otp", 8, 30, 1)
        assert e.message(b"e") == (0, b"e") and s.held() == 2
        assert s.backend.bodies() == [b"once", b"changed", b"e"]
        assert s.by_keyd() == 0


# ---- what works ----

@test(on=BOTH)
def records_are_opened_and_sealed_without_keyd(token):
    with Set(token) as s:
        for transport in ("tcp", "udp", "http"):
            d = s.device("d" + transport, transport).connect()
            for i in range(20):
                text = b"message %d" % i
                assert d.message(text) == (0, text[::-1])
            assert s.backend.messages[-1][0]["Keyd-Peer"] == "d" + transport
            s.backend.status = 418
            assert d.message(b"teapot")[0] == 4
            s.backend.status = 200
            assert len(d.ticket()) > 100
        assert s.held() == 3 and s.by_keyd() == 0
        assert s.gateway.metric("keyd_gateway_own_records_total") == 3 * 22 * 2
        shown = s.keyd.get("/v1/sessions").json["sessions"]
        assert all(x["released"] for x in shown) and len(shown) == 3


@test(on=SOFTHSM)
def a_push_is_sealed_here_and_acknowledged(token):
    import threading
    with Set(token) as s:
        d = s.device("d").connect()
        assert d.message(b"here I am")[0] == 0
        statuses = []
        t = threading.Thread(target=lambda: statuses.append(s.gateway.push("d", b"unasked")))
        t.start()
        assert d.take_push()[0] == b"unasked"
        t.join(60)
        assert statuses == [204] and s.by_keyd() == 0


@test(on=BOTH)
def new_keys_are_taken_over_and_late_records_open(token):
    with Set(token) as s:
        d = s.device("d").connect()
        for number in (1, 2):
            late_id, late = d.seal(MESSAGE, b"late")
            id_, frame = d.seal(UPDATE)
            type_, _, body = d.device.open(d.check(UPDATE, id_, d.transport.ask(frame)))
            assert (type_, body) == (KEY_UPDATE, bytes([number]))
            assert d.transport.ask(late)[0] == MESSAGE | 0x80  # under the keys before
            assert s.backend.bodies()[-1] == b"late"
            d.device.update(number)
            assert d.message(b"new keys") == (0, b"syek wen")
            fails_with(REFUSED, send, d, late, late_id)
        assert s.held() == 1 and s.by_keyd() == 0


@test(on=SOFTHSM)
def a_close_record_ends_the_session_at_keyd_too(token):
    with Set(token) as s:
        d = s.device("d").connect()
        ticket = d.ticket()
        id_, frame = d.seal(CLOSE, type_=3)
        assert d.check(CLOSE, id_, d.transport.ask(frame)) == b""
        assert s.held() == 0 and s.keyd.get("/v1/sessions").json["sessions"] == []
        fails_with(UNKNOWN_SESSION, d.message, b"x")
        expect(s.keyd.post("/v1/sessions/resume", {"ticket": b64(ticket), "client_nonce": "AA"}),
               409, "session-ended")


# ---- ends ----

@test(on=SOFTHSM)
def a_session_ends_at_its_limits_and_is_not_resumed(token):
    with Set(token, {"channel.session-records-max": 6}) as s:
        d = s.device("d").connect()
        ticket = d.ticket()
        assert d.message(b"a")[0] == d.message(b"b")[0] == 0
        for _ in range(2):
            id_, frame = d.seal(MESSAGE, b"one too many")
            record = d.check(MESSAGE, id_, d.transport.ask(frame))
            assert d.device.open(record)[::2] == (EXPIRE, b"\x02")
        assert s.backend.bodies() == [b"a", b"b"] and s.by_keyd() == 0
        expect(s.keyd.post("/v1/sessions/resume", {"ticket": b64(ticket), "client_nonce": "AA"}),
               409, "session-ended")
    with Set(token, {"channel.session-bytes-max": 10}) as s:
        d = s.device("e").connect()
        assert d.message(b"12345") == (0, b"54321")  # to the last
        id_, frame = d.seal(MESSAGE, b"x")
        record = d.check(MESSAGE, id_, d.transport.ask(frame))
        assert d.device.open(record)[::2] == (EXPIRE, b"\x03")
    with Set(token, {"channel.session-lifetime": 1}) as s:
        d = s.device("f").connect()

        def expired():
            id_, frame = d.seal(MESSAGE, b"x")
            answer = d.check(MESSAGE, id_, d.transport.ask(frame))
            try:
                return d.device.open(answer)[::2] == (EXPIRE, b"\x01")
            except Exception:  # an answer of the backend's, bound to its question
                return False

        wait_for(expired, what="the end of its lifetime")


@test(on=SOFTHSM)
def what_keyd_ends_ends_here_soon(token):
    with Set(token, released_check_ms=100) as s:
        d, e = s.device("d").connect(), s.device("e").connect()
        assert d.message(b"x")[0] == e.message(b"x")[0] == 0
        expect(s.keyd.delete("/v1/peers/d"), 204)

        def is_refused():
            try:
                d.message(b"still there?")
            except Failed as f:
                return f.args[0] == UNKNOWN_SESSION
            return False

        wait_for(is_refused, what="the end of a deleted peer's session")
        assert e.message(b"goes on")[0] == 0 and s.held() == 1


@test(on=SOFTHSM)
def sessions_outlive_keyd_and_are_resumed_when_it_has_forgotten_them(token):
    with Set(token, released_check_ms=100) as s:
        d = s.device("d").connect()
        ticket = d.ticket()
        s.keyd.kill()
        for i in range(3):
            assert d.message(b"without keyd %d" % i)[0] == 0
        s.keyd.start()

        def is_unknown():
            try:
                d.message(b"x")
            except Failed as f:
                return f.args[0] == UNKNOWN_SESSION
            return False

        wait_for(is_unknown, what="keyd's word that it does not know the session")
        d.resume(ticket, os.urandom(16))
        assert d.message(b"resumed") == (0, b"demuser")
        assert s.held() == 0 and s.by_keyd() > 0  # the resumed one is keyd's


@test(on=SOFTHSM)
def a_gateway_that_was_killed_has_taken_the_keys_with_it(token):
    """The device resumes: nobody else can have them."""
    with Set(token) as s:
        d = s.device("d").connect()
        ticket = d.ticket()
        assert d.message(b"here")[0] == 0
        s.gateway.kill()
        s.gateway.start()
        d.transport = s.gateway.tcp()
        fails_with(UNKNOWN_SESSION, d.message, b"and here?")
        d.resume(ticket, os.urandom(16))
        assert d.message(b"resumed") == (0, b"demuser")
        assert s.backend.bodies() == [b"here", b"resumed"]


@test(on=SOFTHSM)
def the_answer_with_the_keys_leaves_nothing_behind(token):
    """In the memory of the gateway, where the kernel shows it."""
    with Set(token) as s:
        for i in range(3):
            assert s.device(f"d{i}").connect().message(b"x")[0] == 0
        assert s.held() == 3
        find_in_memory(s.gateway.process.pid, s.keyd.socket.encode())
        wait_for(lambda: not is_in(s.gateway.process.pid, b'"c2s":"'),
                 what="memory without the answer")


@test(on=SOFTHSM)
def a_resume_at_the_same_gateway_leaves_the_keys_before(token):
    with Set(token) as s:
        d = s.device("d").connect()
        ticket = d.ticket()
        old_id, old = d.seal(MESSAGE, b"recorded")
        assert s.held() == 1
        d.resume(ticket, os.urandom(16))
        assert d.message(b"resumed") == (0, b"demuser") and s.held() == 0
        fails_with(REFUSED, send, d, old, old_id)
        assert s.backend.bodies() == [b"resumed"]


if __name__ == "__main__":
    main()
