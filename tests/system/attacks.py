# SPDX-License-Identifier: Apache-2.0
"""Attacks on the secure channel that take several steps: what was recorded is played again at another
place or time, tickets that were seen, numbers at their ends (docs/threat-model.md)."""
import os
import sqlite3
import time

from harness import SOFTHSM, b64, cbor, expect, main, peer, test, unb64
from harness.daemon import wait_for
from harness.gateway import (FAILURE, HANDSHAKE, PUSH, TOO_LARGE, Backend, Chain, Gateway, head)
from harness.peer import Server

REFUSED = bytes([0x01, 0x67]) + b"refused"
LABEL, STRANGE = 32768, 7777
SEQUENCE_MAX = 2**40 - 1


def exchange(keyd, device, text):
    """A message from the device, and one back."""
    r = expect(keyd.open(device.seal(text)), 200).json
    assert unb64(r["data"]) == text and r["peer"] == device.name, r
    assert device.open(unb64(keyd.seal(device, text[::-1]).json["record"]))[2] == text[::-1]


def ticket_of(keyd, device):
    return keyd.get(f"/v1/sessions/{device.session}/ticket").json["ticket"]


def resume(keyd, ticket, nonce, status=201, type_=None):
    return expect(keyd.post("/v1/sessions/resume",
                            {"ticket": ticket, "client_nonce": b64(nonce)}), status, type_).json


def follow(device, nonce, answer):
    """The device takes the keys of its resumed session."""
    device.attach(nonce, unb64(answer["node_nonce"]))
    assert device.open(unb64(answer["record"]))[2] == b""


def sessions(keyd):
    return keyd.get("/v1/sessions").json["sessions"]


# ---- handshakes ----

def refused(r, error):
    expect(r, 422, error)
    assert unb64(r.json["message"]) == REFUSED, r.json


@test(on=SOFTHSM)
def critical_items_that_mean_nothing_end_the_handshake(token):
    """RFC 9528 3.8: in each message, also a label that means something in another; what is not
    critical is passed over."""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        for label in (STRANGE, LABEL):
            d.tell("ride", -label, b"\x81\x02")  # as a wish: x5u, which the server has not
            refused(keyd.post("/v1/handshakes", {"message": b64(d.begin())}), "handshake-ead")
            first = keyd.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
            d.tell("ride", -label, b"x")
            third = d.read(unb64(first["message"]))
            refused(keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)}),
                    "handshake-ead")
            for bad in (2, 4):
                d.tell("await", 0, "3")
                first = keyd.ok("/v1/handshakes", {"initiate": True, "method": 0}, 201)
                path = "/v1/handshakes/" + first["handshake"]
                if bad == 2:
                    d.tell("ride", -label, b"x")
                answer = keyd.post(path, {"message": b64(d.read(unb64(first["message"])))})
                if bad == 4:
                    d.tell("ride", -label, b"x")
                    answer = keyd.post(path, {"message": b64(d.read(unb64(answer.json["message"])))})
                refused(answer, "handshake-ead")
        assert sessions(keyd) == []
        for label, value in ((STRANGE, b"x"), (LABEL, b"\x81\x02"), (LABEL, b"no wish"),
                             (-LABEL, b"\x81\x01")):  # the last is critical, and can be met
            d.tell("ride", label, value)
            d.connect(keyd)
            exchange(keyd, d, b"well")
    keyd.stop()


@test(on=SOFTHSM)
def a_handshake_that_was_recorded_makes_no_other_session(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        messages = [d.begin()]
        first = keyd.ok("/v1/handshakes", {"message": b64(messages[0])}, 201)
        path = "/v1/handshakes/" + first["handshake"]
        messages.append(d.read(unb64(first["message"])))
        last = keyd.ok(path, {"message": b64(messages[1])})
        assert d.read(unb64(last["message"])) == b""
        expect(keyd.post(path, {"message": b64(messages[1])}), 404, "no-such-handshake")
        answers = {first["message"]}
        for _ in range(10):  # the server's part is new each time, so the rest fits no more
            again = keyd.ok("/v1/handshakes", {"message": b64(messages[0])}, 201)
            answers.add(again["message"])
            refused(keyd.post("/v1/handshakes/" + again["handshake"],
                              {"message": b64(messages[1])}), "handshake-not-authentic")
        assert len(answers) == 11
        assert [s["session"] for s in sessions(keyd)] == [d.session]
        exchange(keyd, d, b"the one that there is")
    keyd.stop()


@test(on=SOFTHSM)
def of_two_handshakes_at_once_neither_takes_the_others_message(token):
    """Not even of the same device: no session has the keys of one and the name of the other."""
    keyd = Server(token).set_up()
    with keyd.device("a") as a, keyd.device("b") as b:
        firsts = [keyd.ok("/v1/handshakes", {"message": b64(x.begin())}, 201) for x in (a, b)]
        thirds = [x.read(unb64(f["message"])) for x, f in zip((a, b), firsts)]
        for f, third in zip(firsts, reversed(thirds)):
            refused(keyd.post("/v1/handshakes/" + f["handshake"], {"message": b64(third)}),
                    "handshake-not-authentic")
        assert sessions(keyd) == []
    keyd.stop()


@test(on=SOFTHSM)
def who_never_goes_on_leaves_room_however_few_workers_there_are(token):
    """A worker has fewer places than handshakes-max: when its are taken, who has been silent for
    three seconds makes room there, too."""
    keyd = Server(token, {"workers.processes": 1}).set_up()
    with keyd.device("d") as d:
        def begin():
            first = {"message": b64(d.begin()), "address": "198.51.100.7:1"}
            r = keyd.post("/v1/handshakes", first)
            if r.status == 503 and "cookie" in r.json:
                r = keyd.post("/v1/handshakes", {**first, "cookie": r.json["cookie"]})
            return r

        begun = sum(begin().status == 201 for _ in range(600))
        assert begun >= 400, begun
        time.sleep(3.2)
        for _ in range(40):
            expect(begin(), 201)
        first = expect(begin(), 201).json
        last = keyd.ok("/v1/handshakes/" + first["handshake"],
                       {"message": b64(d.read(unb64(first["message"])))})
        assert d.read(unb64(last["message"])) == b""
        exchange(keyd, d, b"well")
        assert keyd.get("/v1/status").json["channel"]["handshakes"] < 512
    keyd.stop()


class Set(Chain):
    """A keyd, a gateway, a backend."""

    def __init__(self, token):
        self.keyd = Server(token).set_up()
        self.backend = Backend()
        self.gateway = Gateway(self.keyd, self.backend).start()


@test(on=SOFTHSM)
def a_small_datagram_sends_no_large_one_to_another(token):
    """Amplification: who writes another's address on a first message can ask for the server's whole
    certificate.  Over TCP, where an address is proven, all are answered."""
    with Set(token) as s, s.keyd.device("d") as d:
        tcp, udp = s.gateway.tcp(), s.gateway.udp()
        for wish, padding, is_answered in ((0, 0, True), (4, 0, False), (4, 360, True)):
            for transport in (tcp, udp):
                d.tell("ask", wish, 0)
                d.tell("ride", STRANGE, bytes(padding))
                frame = head(HANDSHAKE, 7) + b"\xf5" + d.begin()
                if transport is udp:  # nor with a cookie that is none
                    more = frame[:5] + cbor.encode(b"cookie") + frame[5:]
                    answer = transport.ask(more)
                    assert len(answer) <= max(3 * len(more), 256), (len(more), len(answer))
                answer = transport.ask(frame)
                if transport is udp:
                    assert len(answer) <= max(3 * len(frame), 256), (len(frame), len(answer))
                if is_answered or transport is tcp:
                    d.read(answer[5:])
                else:
                    assert answer == head(FAILURE, 7) + cbor.encode([TOO_LARGE]), answer


# ---- records ----

@test(on=SOFTHSM)
def a_record_passes_once_whatever_keys_come_after_it(token):
    """J11: repeated before and after the client follows a key update and a resume; records that
    were held back do not pass where their keys are over."""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        passed = []

        def passes(record):
            expect(keyd.open(record), 200)
            passed.append(record)
            for r in passed:
                assert keyd.open(r).status == 422, r

        passes(d.seal(b"first"))
        held_back = [d.seal(b"later") for _ in range(2)]
        r = keyd.ok(f"/v1/sessions/{d.session}/key-update", {})
        passes(d.seal(b"under the old keys"))
        passes(held_back.pop())
        d.open(unb64(r["record"]))
        d.update(1)
        passes(d.seal(b"under the new ones"))
        expect(keyd.open(held_back.pop()), 422, "not-authentic")
        held_back = [d.seal(b"later") for _ in range(2)]
        nonce = os.urandom(16)
        answer = resume(keyd, ticket_of(keyd, d), nonce)
        passes(held_back.pop())
        follow(d, nonce, answer)
        passes(d.seal(b"resumed"))
        expect(keyd.open(held_back.pop()), 422, "not-authentic")
        exchange(keyd, d, b"well")
        # What the server says is nothing that the device says.
        expect(keyd.open(unb64(keyd.seal(d, b"ours").json["record"])), 422, "not-authentic")
    keyd.stop()


@test(on=SOFTHSM)
def numbers_at_their_end_pass_once_and_leave_no_way_back(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        for sequence in (0, SEQUENCE_MAX, SEQUENCE_MAX - 1, SEQUENCE_MAX - 1023):
            record = d.seal(b"x", sequence=sequence)
            assert expect(keyd.open(record), 200).json["sequence"] == sequence
            expect(keyd.open(record), 422, "record-replayed" if sequence else None)
        for sequence in (0, 1, SEQUENCE_MAX - 1024):
            expect(keyd.open(d.seal(b"x", sequence=sequence)), 422, "record-too-old")
        try:
            raise AssertionError(d.seal(b"x", sequence=SEQUENCE_MAX + 1))
        except peer.PeerError as e:
            assert e.args[0] == "sequence-end", e
    keyd.stop()


@test(on=SOFTHSM)
def a_forged_record_on_its_way_is_in_no_true_ones_way(token):
    """Who has seen a session's id makes records of the numbers to come; they are refused, and what
    the device sends passes, in the same batch as well, and once."""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        for n_before, n_true, n_behind in ((1, 1, 0), (0, 1, 1), (3, 2, 3)):
            true = d.seal(b"true")
            items = [true[:-1] + bytes([true[-1] ^ 1 + i]) for i in range(n_before)]
            items += [true] * n_true
            items += [true[:-17] + bytes([true[-17] ^ 1]) + true[-16:]] * n_behind
            r = keyd.ok("/v1/records/open", {"items": [{"record": b64(x)} for x in items]})["items"]
            good = [i for i, x in enumerate(r) if "data" in x]
            assert good == [n_before] and unb64(r[n_before]["data"]) == b"true", r
            wrong = [x["error"]["type"].rsplit(":", 1)[1] for x in r if "error" in x]
            assert wrong.count("not-authentic") == n_before + n_behind, r
            assert wrong.count("record-replayed") == n_true - 1, r
            expect(keyd.open(true), 422, "record-replayed")
        exchange(keyd, d, b"well")
    keyd.stop()


# ---- tickets ----

@test(on=SOFTHSM)
def who_has_seen_tickets_ends_no_session_that_is_in_use(token):
    """They go over the network in clear."""
    keyd = Server(token, {"channel.sessions-per-peer": 2}).set_up()
    with keyd.device("d") as d:
        seen = []
        for _ in range(4):
            d.connect(keyd)
            seen.append(ticket_of(keyd, d))
        for ticket in seen * 3:
            resume(keyd, ticket, b"his")
            exchange(keyd, d, b"in use")
        # Between the device's request and its first record: it sees that it is refused, and makes
        # a handshake.
        nonce = os.urandom(16)
        answer = resume(keyd, seen[-1], nonce)
        resume(keyd, seen[-1], b"his")
        exchange(keyd, d, b"under the keys before")
        follow(d, nonce, answer)
        expect(keyd.open(d.seal(b"its resume was replaced")), 422)
        d.connect(keyd)
        exchange(keyd, d, b"in another session")
    keyd.stop()


@test(on=SOFTHSM)
def who_has_seen_a_ticket_does_not_end_the_session(token):
    """A principal resumes what nobody has here, and deletes it: that is his attachment alone."""
    keyd = Server(token, {"channel.session-records-max": 10}).set_up()
    with keyd.device("d") as d, keyd.client(bearer="other-token") as other:
        d.connect(keyd)
        path, ticket = "/v1/sessions/" + d.session, ticket_of(keyd, d)
        keyd.stop()
        keyd.start()
        for _ in range(2):
            resume(other, ticket, b"his")
            for _ in range(10):
                expect(other.post("/v1/records/seal", {"session": d.session, "data": ""}), 200)
            for what in ("key-update", "release"):
                assert other.post(f"{path}/{what}", {}).status in (403, 409)
            expect(other.post("/v1/records/seal", {"session": d.session, "data": ""}), 409,
                   "change-under-way")
            expect(other.delete(path), 204)
            assert not other.get("/v1/sessions").json["sessions"]
        resume(other, ticket, b"his")
        follow(d, b"true", resume(keyd, ticket, b"true"))
        expect(other.delete(path), 404, "no-such-session")
        exchange(keyd, d, b"well")
        expect(keyd.delete(path), 204)
        resume(other, ticket, b"his", 409, "session-ended")
    keyd.stop()


@test(on=SOFTHSM)
def who_ends_session_after_session_costs_others_no_ticket(token):
    """The list of what has ended is full, again and again: who fills it pays with its own tickets,
    the list forgets nothing, and the next start knows all of it."""
    keyd = Server(token, {"channel.ended-max": 16}).set_up()
    with keyd.device("good") as good, keyd.device("bad") as bad, keyd.device("third") as third:
        good.connect(keyd)
        ended = [ticket_of(keyd, good)]
        expect(keyd.delete("/v1/sessions/" + good.session), 204)
        good.connect(keyd)
        kept = ticket_of(keyd, good)
        for _ in range(50):
            bad.connect(keyd)
            ended.append(ticket_of(keyd, bad))
            expect(keyd.open(bad.seal(b"", type_=3)), 200)
        bad.connect(keyd)
        ended_no_more = ticket_of(keyd, bad)
        for _ in range(2):
            for t in ended:
                resume(keyd, t, b"n", 409, "session-ended")
            for device, t in ((good, kept), (bad, ended_no_more)):
                follow(device, b"n", resume(keyd, t, b"n"))
                exchange(keyd, device, b"well")
            third.connect(keyd)
            ended.append(ticket_of(keyd, third))
            # Answered when it is on the disk, and with it what was closed by records before.
            expect(keyd.delete("/v1/sessions/" + third.session), 204)
            keyd.kill()
            keyd.start()
        assert "its tickets are not taken any more" in keyd.log()
        assert "tickets of old sessions" not in keyd.log()
    keyd.stop()
    with sqlite3.connect(os.path.join(keyd.directory, "state", "keyd.db")) as db:
        assert db.execute("SELECT count(*) FROM ended").fetchone()[0] <= 16


@test(on=SOFTHSM)
def a_ticket_is_none_for_any_bit_that_is_changed_or_another_s_half(token):
    keyd = Server(token).set_up()
    with keyd.device("a") as a, keyd.device("b") as b:
        a.connect(keyd)
        b.connect(keyd)
        one, two = (unb64(ticket_of(keyd, x)) for x in (a, b))
        for i in range(0, len(one) * 8, 37):
            bad = bytearray(one)
            bad[i // 8] ^= 1 << i % 8
            resume(keyd, b64(bytes(bad)), b"n", 422, "ticket")
        for bad in (one[:-1], one + b"\0", one[:12] + two[12:], two[:-16] + one[-16:], one[:28], b"x"):
            resume(keyd, b64(bad), b"n", 422, "ticket")
        resume(keyd, b64(one), b"n")
    keyd.stop()


@test(on=SOFTHSM)
def what_anybody_can_cause_is_a_line_a_second(token):
    """Frames that are refused, handshakes that fail: the log names one of a second, and counts."""
    with Set(token) as s, s.keyd.device("d") as d:
        s.gateway.reload(log_level="info")
        before = [len(p.log().splitlines()) for p in (s.gateway, s.keyd)]
        began = time.monotonic()
        udp = s.gateway.udp()
        for i in range(300):  # each answered before the next: the kernel keeps some 270 of them
            udp.ask(head(PUSH, i))
        for i in range(100):
            first = s.keyd.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
            answer = s.keyd.post("/v1/handshakes/" + first["handshake"],
                                 {"message": b64(b"\x58\x20" + bytes(32))})
            assert answer.status == 422, answer.json
        wait_for(lambda: s.gateway.metric('keyd_gateway_failures_total{code="malformed"}') >= 300)
        seconds = int(time.monotonic() - began) + 1
        for p, n in zip((s.gateway, s.keyd), before):
            new = p.log().splitlines()[n:]
            refused = [x for x in new if " debug " not in x and
                       ("not answered as it asked" in x or "a handshake" in x)]
            assert 1 <= len(refused) <= seconds + 1, (seconds, refused)


if __name__ == "__main__":
    main()
