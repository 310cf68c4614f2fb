# SPDX-License-Identifier: Apache-2.0
"""The sessions of the channel: how they end, how they are renewed, and how they go on after a
restart, at another node, and when a worker dies."""
import os
import signal

from channel import exchange, resume
from harness import BOTH, SOFTHSM, b64, expect, main, test, unb64, wait_for
from harness.peer import Server


@test(on=SOFTHSM)
def a_session_ends_at_its_limits_and_says_so_under_its_keys(token):
    """J08, A09"""
    keyd = Server(token, {"channel.session-records-max": 4}).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"1")
        exchange(keyd, d, b"2")
        r = expect(keyd.open(d.seal(b"3")), 409, "session-expired")
        type_, _, body = d.open(unb64(r.json["answer"]))
        assert type_ == 1 and body == b"\x02", (type_, body)
        d.connect(keyd)  # another handshake, the same message again
        exchange(keyd, d, b"3")
    keyd.set_config({**keyd.channel, "channel.session-lifetime": 1})
    keyd.stop()
    keyd.start()
    with keyd.device("e") as e:
        e.connect(keyd)
        wait_for(lambda: keyd.open(e.seal(b"x")).status == 409, what="the end")
    keyd.stop()


@test(on=SOFTHSM)
def a_close_record_a_delete_and_the_end_of_a_peer_end_sessions(token):
    keyd = Server(token).set_up()
    with keyd.device("a") as a, keyd.device("b") as b, keyd.device("c") as c:
        for d in (a, b, c):
            d.connect(keyd)
        assert expect(keyd.open(a.seal(b"", type_=3)), 200).json["type"] == "close"
        expect(keyd.delete("/v1/sessions/" + b.session), 204)
        expect(keyd.delete("/v1/peers/c"), 204)
        for d in (a, b, c):
            expect(keyd.open(d.seal(b"x")), 404, "no-such-session")
        with_c = keyd.ok("/v1/handshakes", {"message": b64(c.begin())}, 201)
        expect(keyd.post("/v1/handshakes/" + with_c["handshake"],
                         {"message": b64(c.read(unb64(with_c["message"])))}), 422)
        assert keyd.get("/v1/sessions").json["sessions"] == []
    keyd.stop()


@test(on=SOFTHSM)
def what_was_ended_does_not_come_back_by_its_ticket(token):
    """J08, J13: deleted, closed, its peer revoked; at once, and after a kill."""
    keyd = Server(token).set_up()
    with keyd.device("a") as a, keyd.device("b") as b, keyd.device("c") as c, \
            keyd.device("d") as d:
        tickets = {}
        for device in (a, b, c, d):
            device.connect(keyd)
            tickets[device.name] = keyd.get(f"/v1/sessions/{device.session}/ticket").json["ticket"]
        expect(keyd.open(a.seal(b"", type_=3)), 200)
        expect(keyd.delete("/v1/sessions/" + b.session), 204)
        expect(keyd.delete("/v1/peers/c"), 204)
        again = {"client_nonce": "AA"}
        expect(keyd.post("/v1/sessions/resume", {"ticket": tickets["c"], **again}), 404,
               "no-such-peer")
        c.register(keyd)  # who deletes a peer ends what it had, also if it comes back
        for _ in range(2):
            for name in "abc":
                expect(keyd.post("/v1/sessions/resume", {"ticket": tickets[name], **again}), 409,
                       "session-ended")
            keyd.wait_all_ready()
            keyd.kill()
            keyd.start()
        resume(keyd, d, tickets["d"], os.urandom(16))
        exchange(keyd, d, b"not ended")
        c.connect(keyd)
        exchange(keyd, c, b"a new session")
    keyd.stop()


@test(on=BOTH)
def keys_are_renewed_within_a_session(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"before")
        late = d.seal(b"under the old keys")
        r = keyd.ok(f"/v1/sessions/{d.session}/key-update", {})
        type_, _, body = d.open(unb64(r["record"]))
        assert type_ == 2 and body == b"\x01" and r["session"]["update"] == 1
        expect(keyd.open(late), 200)  # it was on its way
        d.update(1)
        exchange(keyd, d, b"after")
        expect(keyd.open(late), 422)
    keyd.stop()


@test(on=BOTH)
def a_session_goes_on_after_a_restart(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"before")
        old = d.seal(b"recorded")
        ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        keyd.wait_all_ready()
        keyd.kill()
        keyd.start()
        expect(keyd.open(old), 404, "no-such-session")
        resume(keyd, d, ticket, os.urandom(16))
        exchange(keyd, d, b"after")
        expect(keyd.open(old), 422)  # what was recorded before is not replayed here
        assert keyd.get("/v1/sessions/" + d.session).json["peer"] == "d"
        for i in range(0, len(unb64(ticket)) * 8, 37):
            bad = bytearray(unb64(ticket))
            bad[i // 8] ^= 1 << i % 8
            expect(keyd.post("/v1/sessions/resume", {"ticket": b64(bytes(bad)),
                                                     "client_nonce": "AA"}), 422, "ticket")
    keyd.stop()


@test(on=SOFTHSM)
def another_node_continues_a_session_while_the_first_is_dead(token):
    """J13: no shared store; fresh keys for each attachment."""
    one = Server(token).set_up()
    two = Server(token, like=one).adopt_from(one)
    with one.device("d") as d:
        d.register(two)
        d.connect(one)
        exchange(one, d, b"at one")
        passed = d.seal(b"passed at one")
        expect(one.open(passed), 200)
        recorded = d.seal(b"recorded at one")
        ticket = one.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        one.wait_all_ready()
        one.kill()
        # The same client nonce twice: the node's own makes the keys differ.
        nonce = os.urandom(16)
        r = two.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}, 201)
        again = resume(two, d, ticket, nonce)
        assert r["node_nonce"] != again["node_nonce"] and r["record"] != again["record"]
        exchange(two, d, b"at two")
        expect(two.open(passed), 422, "not-authentic")  # no number of it has been seen here
        expect(two.open(recorded), 422, "not-authentic")
        # A stolen ticket and a repeated request end nothing.
        two.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(b"thief")}, 201)
        exchange(two, d, b"still at two")
        # A peer that is not registered here any more.
        expect(two.delete("/v1/peers/d"), 204)
        expect(two.post("/v1/sessions/resume", {"ticket": ticket, "client_nonce": "AA"}), 404,
               "no-such-peer")
    two.stop()


@test(on=SOFTHSM)
def a_version_that_one_node_made_is_taken_up_at_the_other(token):
    """J13: tickets sealed by it are of use there."""
    one = Server(token).set_up()
    two = Server(token, like=one).adopt_from(one)
    one.ok("/v1/keys/ticket/rotate", {}, 201)
    with one.device("d") as d:
        d.register(two)
        d.connect(one)
        ticket = one.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        expect(two.post("/v1/sessions/resume", {"ticket": ticket, "client_nonce": "AA"}), 422,
               "ticket")
        two.ok("/v1/keys/ticket/rotate", {"uri": "pkcs11:object=ticket.v2;type=secret-key"}, 201)
        resume(two, d, ticket, os.urandom(16))
        exchange(two, d, b"at two")
    two.stop()
    one.stop()


@test(on=SOFTHSM)
def a_worker_that_dies_takes_no_session_with_it(token):
    keyd = Server(token, {"workers.processes": 2}).set_up()
    keyd.wait_all_ready()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"before")
        workers = [w["pid"] for w in keyd.get("/v1/status").json["workers"]]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        keyd.wait_replaced(*workers)
        exchange(keyd, d, b"after")
    keyd.stop()


@test(on=SOFTHSM)
def sessions_outnumber_the_objects_that_the_token_keeps(token):
    """The budget of token objects bounds speed, not the number of sessions."""
    keyd = Server(token, {"secrets.cached-in-token": 20, "workers.processes": 1,
                          "channel.otp-step": 3600}).set_up()  # records wait for their turn
    with keyd.device("d") as d:
        saved = []
        for _ in range(100):
            d.connect(keyd)
            saved.append((d.session, d.seal(d.session.encode())))
        for session, record in saved:
            r = expect(keyd.open(record), 200)
            assert unb64(r.json["data"]).decode() == r.json["session"] == session, r
        for _, record in saved:
            expect(keyd.open(record), 422, "record-replayed")
        assert keyd.get("/v1/status").json["channel"]["sessions"] == 100
    keyd.stop()


if __name__ == "__main__":
    main()
