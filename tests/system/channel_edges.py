# SPDX-License-Identifier: Apache-2.0
"""The secure channel at its edges: who plays keyd's messages back to it, many at
once, keys that are replaced, a token that fails in between."""
import os
import threading

from harness import (Faulty, SOFTHSM, b64, daemon, expect, kill, main, peer, promptly, test,
                     unb64, wait_for)
from harness.peer import Server

DEVICE_ERROR = "0x30"


def exchange(keyd, device, text):
    """A message from the device, and one back."""
    r = expect(keyd.open(device.seal(text)), 200).json
    assert unb64(r["data"]) == text and r["peer"] == device.name, r
    assert device.open(unb64(keyd.seal(device, text[::-1]).json["record"]))[2] == text[::-1]


def at_once(n, work):
    """work(i) in n threads that start together; what each gave."""
    results, barrier = [None] * n, threading.Barrier(n)

    def run(i):
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


# ---- what is refused ----

@test
def keyds_own_messages_are_no_answer_to_it(token):
    """J11: reflection, with keyd's own certificate registered as a peer's too."""
    keyd = Server(token).set_up()
    for is_registered in (False, True):
        if is_registered:
            r = keyd.post("/v1/peers", {"name": "mirror", "certificate":
                                        peer.pem(keyd.own_certificate)})
            assert r.status in (201, 409), r
        one = keyd.ok("/v1/handshakes", {"initiate": True}, 201)
        mirrored = keyd.ok("/v1/handshakes", {"message": one["message"]}, 201)
        r = keyd.post("/v1/handshakes/" + one["handshake"], {"message": mirrored["message"]})
        expect(r, 422)
        assert r.type in ("handshake-credential", "handshake-reflected"), r
        # Its own first message is no second one.
        two = keyd.ok("/v1/handshakes", {"initiate": True}, 201)
        expect(keyd.post("/v1/handshakes/" + two["handshake"], {"message": two["message"]}), 422)
    assert keyd.get("/v1/sessions").json["sessions"] == []
    keyd.stop()


@test(on=SOFTHSM)
def a_suite_that_is_not_ours_is_answered_with_ours(token):
    """RFC 9528 6.3: error 2 with the suites of the responder; J04"""
    keyd = Server(token).set_up()
    # METHOD, SUITES_I, G_X, C_I: 24 alone; 6 alone; 3 before 2, both of them ours.
    point = keyd.own_point
    x = b"\x58\x20" + point[1:33]
    for suites in (b"\x18\x18", b"\x06", b"\x82\x03\x02"):
        r = expect(keyd.post("/v1/handshakes", {"message": b64(b"\x00" + suites + x + b"\x07")}),
                   422, "handshake-suite")
        assert unb64(r.json["message"]) == b"\x02\x82\x03\x02", r
    assert keyd.get("/v1/status").json["channel"]["handshakes"] == 0
    keyd.stop()


@test
def points_that_are_none_and_messages_without_end_are_refused(token):
    """A06: G_X over the prime, of 0, not on the curve, too short, too long.  A small one is as good
    as any, in its whole length."""
    keyd = Server(token).set_up()
    small = next(n for n in range(1, 100) if is_x(n))
    message = b"\x00\x03\x58\x20" + small.to_bytes(32, "big") + b"\x07"
    r = keyd.ok("/v1/handshakes", {"message": b64(message)}, 201)
    expect(keyd.delete("/v1/handshakes/" + r["handshake"]), 204)
    short = b"\x00\x03\x41" + bytes([small]) + b"\x07"
    expect(keyd.post("/v1/handshakes", {"message": b64(short)}), 422)
    no_point = next(n.to_bytes(32, "big") for n in range(1, 100) if not is_x(n))
    for x in (bytes(32), b"\xff" * 32, no_point, keyd.own_point[1:32], keyd.own_point[:33]):
        message = b"\x00\x03\x58" + bytes([len(x)]) + x + b"\x07"
        r = expect(keyd.post("/v1/handshakes", {"message": b64(message)}), 422)
        assert unb64(r.json["message"]).endswith(b"refused"), r
    expect(keyd.post("/v1/handshakes", {"message": b64(bytes(8001))}), 413, "item-too-large")
    for path, body, field, bound in (
            ("open", {"record": "AA", "aad": b64(bytes(4097))}, "aad", "4096"),
            ("open", {"items": [{"record": b64(bytes(65665))}]}, "items[0].record", "65664"),
            ("seal", {"session": "0" * 16, "data": b64(bytes(65537))}, "data", "65536")):
        r = expect(keyd.post("/v1/records/" + path, body), 413, "item-too-large", field)
        assert bound in r.json["detail"], r
    for method in (4, 23):
        message = bytes([method]) + b"\x03\x58\x20" + keyd.own_point[1:33] + b"\x07"
        expect(keyd.post("/v1/handshakes", {"message": b64(message)}), 422)
    keyd.stop()


def is_x(x):
    """Whether y^2 = x^3 - 3x + b has a solution on P-256 (Euler's criterion)."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b
    return pow((x**3 - 3 * x + b) % p, (p - 1) // 2, p) == 1


@test(on=SOFTHSM)
def of_copies_that_come_at_once_one_passes(token):
    """J02, J10: a record on eight connections at the same moment; two steps as well."""
    keyd = Server(token).set_up()
    clients = [keyd.client() for _ in range(8)]
    with keyd.device("d") as d:
        d.connect(keyd)
        for _ in range(10):
            body = {"record": b64(d.seal(b"once"))}
            answers = at_once(8, lambda i: clients[i].post("/v1/records/open", body))
            assert sorted(a.status for a in answers) == [200] + [422] * 7, answers
        first = keyd.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
        body = {"message": b64(d.read(unb64(first["message"])))}
        path = "/v1/handshakes/" + first["handshake"]
        answers = at_once(8, lambda i: clients[i].post(path, body))
        good = [a for a in answers if a.status == 200]
        assert len(good) == 1 and all(a.status in (404, 409) for a in answers if a is not good[0])
        d.read(unb64(good[0].json["message"]))
        exchange(keyd, d, b"well")
    for c in clients:
        c.close()
    keyd.stop()


# ---- each method, each name ----

@test
def each_method_works_with_a_certificate_and_with_a_key_alone(token):
    """A06: signature or static Diffie-Hellman at each end, whoever begins; kids that
    are sent as a number, and as bytes."""
    for usage, server_bit in (("sign", 1), ("derive", 2)):
        keyd = Server(token).set_up(usage=usage)
        for i, named_by in enumerate(("https://pki.example/", "kid:2b", "kid:0102030405060708")):
            with keyd.device(f"d{i}", named_by) as d:
                for client_bit in (1, 2):
                    # Bit 0: the responder does static Diffie-Hellman; bit 1: the initiator.
                    forward = (server_bit == 2) + 2 * (client_bit == 2)
                    reverse = (client_bit == 2) + 2 * (server_bit == 2)
                    assert d.connect(keyd, method=forward)["method"] == forward
                    exchange(keyd, d, b"forward")
                    assert d.connect_reverse(keyd, method=reverse)["method"] == reverse
                    exchange(keyd, d, b"reverse")
                # A method that the identity's key cannot do.
                method = 0 if usage == "derive" else 1
                expect(keyd.post("/v1/handshakes", {"message": b64(d.begin(method))}), 422,
                       "handshake-method")
        for name in ("identity", "root", "ticket"):
            expect(keyd.delete("/v1/keys/" + name), 409, "key-reserved")
        keyd.stop()


# ---- many ----

@test
def eight_devices_talk_at_once(token):
    """J12"""
    keyd = Server(token, {"workers.processes": 2}).set_up()
    devices = [keyd.device(f"d{i}") for i in range(8)]
    clients = [keyd.client() for _ in devices]

    def talk(i):
        d, c = devices[i], clients[i]
        for n in range(3):
            first = c.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
            third = d.read(unb64(first["message"]))
            d.read(unb64(c.ok("/v1/handshakes/" + first["handshake"],
                              {"message": b64(third)})["message"]))
            for m in range(10):
                text = f"{i} {n} {m}".encode()
                r = c.ok("/v1/records/open", {"record": b64(d.seal(text))})
                assert unb64(r["data"]) == text and r["peer"] == d.name
                r = c.ok("/v1/records/seal", {"session": d.session, "data": b64(text)})
                assert d.open(unb64(r["record"]))[2] == text
        return True

    assert at_once(8, talk) == [True] * 8
    for d, c in zip(devices, clients):
        d.__exit__()
        c.close()
    channel = keyd.get("/v1/status").json["channel"]
    assert [channel[k] for k in ("on", "peers", "handshakes", "sessions")] == [True, 8, 0, 24]
    keyd.stop()


# ---- keys that are replaced ----

@test
def tickets_and_sessions_outlive_a_new_version_of_ticket_key_and_root(token):
    """J13"""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        for name in ("ticket", "root"):
            keyd.ok(f"/v1/keys/{name}/rotate", {}, 201)
        exchange(keyd, d, b"after the rotation")
        nonce = os.urandom(16)
        r = keyd.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}, 201)
        d.attach(nonce, unb64(r["node_nonce"]))
        exchange(keyd, d, b"resumed")
        d.connect(keyd)
        exchange(keyd, d, b"a new session")
        keyd.ok("/v1/keys/ticket/disable", {"version": 1})
        expect(keyd.post("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}),
               422, "ticket")
        exchange(keyd, d, b"not with the old one")
    keyd.stop()


@test(on=SOFTHSM)
def a_version_goes_and_what_was_made_with_it_but_not_what_the_certificate_is_of(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        for name in ("ticket", "root"):
            d.connect(keyd)
            ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
            old = keyd.ok(f"/v1/keys/{name}/rotate", {}, 201)["primary"] - 1
            exchange(keyd, d, b"after the rotation")
            expect(keyd.delete(f"/v1/keys/{name}/versions/{old + 1}"), 409, "version-primary")
            expect(keyd.delete(f"/v1/keys/{name}/versions/{old}"), 204)
            expect(keyd.post("/v1/records/seal", {"session": d.session, "data": ""}), 404,
                   "no-such-session")
            r = keyd.post("/v1/sessions/resume", {"ticket": ticket, "client_nonce": "AA"})
            assert (r.status, r.type) == ((422, "ticket") if name == "ticket"
                                          else (409, "session-ended")), r
            d.connect(keyd)
            exchange(keyd, d, b"a new session")
        new = keyd.ok("/v1/keys/identity/rotate", {}, 201)["versions"][1]
        expect(keyd.delete("/v1/keys/identity/versions/1"), 409, "version-certified")
        exchange(keyd, d, b"the old identity is needed")
        with open(keyd.certificate_file, "w", encoding="utf-8") as f:
            f.write(peer.pem(peer.certificate(new["pem"].encode(), "server")))
        keyd.hup()
        expect(keyd.delete("/v1/keys/identity/versions/1"), 204)
    keyd.stop()


@test
def a_ticket_after_a_key_update_has_the_new_keys_and_an_old_one_has_not(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        old = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        for number in (1, 2):
            r = keyd.ok(f"/v1/sessions/{d.session}/key-update", {})
            assert d.open(unb64(r["record"]))[2] == bytes([number])
            d.update(number)
            exchange(keyd, d, b"renewed")
        ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        assert ticket != old
        keyd.restart()
        nonce = os.urandom(32)
        r = keyd.ok("/v1/sessions/resume", {"ticket": old, "client_nonce": b64(nonce)}, 201)
        d.attach(nonce, unb64(r["node_nonce"]))
        try:
            raise AssertionError(d.open(unb64(r["record"])))
        except peer.PeerError as e:
            assert e.args[0] == "not-authentic", e
        expect(keyd.open(d.seal(b"with the newer keys")), 422, "not-authentic")
        r = keyd.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}, 201)
        d.attach(nonce, unb64(r["node_nonce"]))
        assert d.open(unb64(r["record"]))[2] == b""
        exchange(keyd, d, b"resumed")
        assert keyd.get(f"/v1/sessions/{d.session}").json["update"] == 2
        # The attachment's nonces stay: two nodes that update the same session have
        # other keys, though both begin from one ticket.
        r = keyd.ok(f"/v1/sessions/{d.session}/key-update", {})
        assert d.open(unb64(r["record"]))[2] == b"\x03"
        d.update(3)
        exchange(keyd, d, b"renewed where it was resumed")
    keyd.stop()


@test(on=SOFTHSM)
def a_ticket_of_an_expired_session_opens_nothing(token):
    """J08"""
    keyd = Server(token, {"channel.session-lifetime": 2}).set_up()
    with keyd.device("d") as d:
        def begin():
            d.connect(keyd)
            ticket = expect(keyd.get(f"/v1/sessions/{d.session}/ticket"), 200).json["ticket"]
            body = {"ticket": ticket, "client_nonce": b64(os.urandom(16))}
            keyd.ok("/v1/sessions/resume", body, 201)
            return body

        body = promptly(begin, 2)
        wait_for(lambda: keyd.post("/v1/sessions/resume", body).status != 201, what="the end")
        expect(keyd.post("/v1/sessions/resume", body), 409, "session-expired")
        promptly(lambda: d.connect(keyd) and exchange(keyd, d, b"another"), 2)
    keyd.stop()


@test(on=SOFTHSM)
def no_attachment_has_the_nonces_of_another(token):
    """J10, J13: the same ticket and the same client nonce a hundred times, at two nodes
    and over a restart: other nonces, and the same empty message is never sealed alike."""
    one = Server(token).set_up()
    two = Server(token, like=one).adopt_from(one)
    with one.device("d") as d:
        d.register(two)
        d.connect(one)
        body = {"ticket": one.get(f"/v1/sessions/{d.session}/ticket").json["ticket"],
                "client_nonce": b64(bytes(16))}
        nonces, records = set(), set()
        for i in range(100):
            if i == 50:
                one.restart()
            r = (one, two)[i % 2].ok("/v1/sessions/resume", body, 201)
            nonces.add(r["node_nonce"])
            records.add(r["record"])
        assert len(nonces) == len(records) == 100
        assert all(len(unb64(n)) == 16 for n in nonces), nonces
    two.stop()
    one.stop()


@test(on=SOFTHSM)
def who_loses_the_permission_loses_the_use_of_sessions(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d, keyd.client(bearer="other-token") as other:
        first = other.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
        third = d.read(unb64(first["message"]))
        last = other.ok("/v1/handshakes/" + first["handshake"], {"message": b64(third)})
        d.read(unb64(last["message"]))
        record = {"record": b64(d.seal(b"x"))}
        sealed = {"session": d.session, "data": ""}
        open_ = other.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
        keyd.set_policy(daemon.POLICY.replace(
            'allow "other" { operations = { "*" }', 'allow "other" { operations = { "show" }'))
        keyd.hup()
        expect(other.post("/v1/records/open", record), 403, "denied")
        expect(other.post("/v1/records/seal", sealed), 403, "denied")
        expect(other.post(f"/v1/sessions/{d.session}/key-update", {}), 403, "denied")
        expect(other.get(f"/v1/sessions/{d.session}/ticket"), 403, "denied")
        expect(other.get(f"/v1/sessions/{d.session}"), 200)
        expect(other.post("/v1/handshakes/" + open_["handshake"], {"message": "AA"}), 403, "denied")
        keyd.set_policy(daemon.POLICY)
        keyd.hup()
        other.ok("/v1/records/open", record)
    keyd.stop()


# ---- a token that fails ----

@test(on=SOFTHSM)
def a_node_that_is_full_says_later_until_a_session_ends(token):
    keyd = Server(token, {"channel.sessions-max": 2}).set_up()
    with keyd.device("a") as a, keyd.device("b") as b:
        first = keyd.ok("/v1/handshakes", {"message": b64(b.begin())}, 201)
        a.connect(keyd)
        ticket = keyd.get(f"/v1/sessions/{a.session}/ticket").json["ticket"]
        a.connect(keyd)
        begin = {"message": b64(a.begin())}
        r = expect(keyd.post("/v1/handshakes", begin), 503, "sessions-full")
        assert int(r.headers["Retry-After"]) > 0, r.headers
        # One that was begun while there was room: its peer is told, and may come again.
        last = {"message": b64(b.read(unb64(first["message"])))}
        r = expect(keyd.post("/v1/handshakes/" + first["handshake"], last), 503, "sessions-full")
        assert int(r.headers["Retry-After"]) > 0, r.headers
        # The session of the ticket is there, and needs no place.
        resume = {"ticket": ticket, "client_nonce": b64(b"n")}
        keyd.ok("/v1/sessions/resume", resume, 201)
        expect(keyd.delete("/v1/sessions/" + a.session), 204)
        b.connect(keyd)
        exchange(keyd, b, b"room again")
        expect(keyd.post("/v1/handshakes", {"message": b64(a.begin())}), 503, "sessions-full")
    keyd.stop()


@test(on=SOFTHSM)
def a_record_that_the_token_failed_on_opens_when_it_is_well(token):
    """A failure uses up no number of the device, and no seal repeats one of keyd's."""
    faulty = Faulty(token)
    keyd = Server(token, {"workers.processes": 1, "workers.restart-delay": 1,
                          "channel.otp-step": 3600}).set_up()  # the record waits for its turn
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"before")
        record = d.seal(b"in the fault")
        for function in ("C_DecryptInit", "C_SignInit", "C_Sign"):
            (pid,) = keyd.workers()
            kill(pid)  # a fresh one has no password of the time yet
            keyd.wait_replaced(pid)
            with faulty.fails(function, DEVICE_ERROR):
                assert keyd.open(record).status >= 500, function
        assert unb64(expect(keyd.open(record), 200).json["data"]) == b"in the fault"
        with faulty.fails("C_EncryptInit", DEVICE_ERROR):
            r = keyd.post("/v1/records/seal", {"session": d.session, "data": b64(b"x")})
            assert r.status >= 500, r
        # One went back before the fault; that of the fault is never used again.
        sequences = [d.open(unb64(keyd.seal(d, b"y").json["record"]))[1] for _ in range(3)]
        assert len(set(sequences)) == 3 and min(sequences) >= 2, sequences
        for function in ("C_GenerateKeyPair", "C_DeriveKey", "C_SignInit"):
            with faulty.fails(function, DEVICE_ERROR):
                r = keyd.post("/v1/handshakes", {"message": b64(d.begin())})
                assert r.status >= 500 and "handshake" not in r.json, (function, r)
        assert keyd.restarts() == 3, "such an error ends no worker"
        assert keyd.get("/v1/status").json["channel"]["handshakes"] == 0
        exchange(keyd, d, b"the old session goes on")
        d.connect(keyd)
        exchange(keyd, d, b"and new ones are made")
    keyd.stop()


if __name__ == "__main__":
    main()
