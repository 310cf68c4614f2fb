# SPDX-License-Identifier: Apache-2.0
"""The secure channel: devices with software keys against keyd with its keys in
the token."""
import os
import re

from harness import BOTH, SOFTHSM, b64, cbor, expect, main, peer, promptly, test, unb64, wait_for
from harness.peer import PeerError, Server


def refuses(device, message):
    """The device itself does not take the server's answer."""
    try:
        device.read(message)
    except PeerError as e:
        return e.args[0].startswith("handshake-")
    return False


def resume(keyd, device, ticket, nonce):
    r = keyd.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}, 201)
    device.attach(nonce, unb64(r["node_nonce"]))
    assert device.open(unb64(r["record"])) == (0, 0, b"")
    return r


def exchange(keyd, device, text):
    """A message from the device, and one back."""
    r = expect(keyd.open(device.seal(text)), 200)
    assert unb64(r.json["data"]) == text and r.json["peer"] == device.name, r
    assert r.json["session"] == device.session and r.json["type"] == "data", r
    record = unb64(keyd.seal(device, text[::-1]).json["record"])
    assert device.open(record)[2] == text[::-1]


# ---- what is refused ----

@test(on=SOFTHSM)
def without_an_identity_the_channel_is_off(token):
    keyd = peer.Keyd(token).start()
    for method, path, body in (("POST", "/v1/handshakes", {"message": "AA"}),
                               ("POST", "/v1/records/open", {"record": "AA"}),
                               ("POST", "/v1/sessions/resume", {"ticket": "AA",
                                                                "client_nonce": "AA"})):
        expect(keyd.request(method, path, body), 400, "config")
    assert keyd.get("/v1/status").json["channel"]["on"] is False
    keyd.stop()


@test(on=SOFTHSM)
def the_keys_of_the_channel_do_nothing_else(token):
    """The identity signs only EDHOC messages."""
    keyd = Server(token).set_up()
    for path, body in (("identity/sign", {"data": ""}), ("ticket/encrypt", {"plaintext": ""}),
                       ("ticket/decrypt", {"ciphertext": b64(bytes(16)), "iv": b64(bytes(12))}),
                       ("root/ecdh", {"peer": b64(keyd.own_point), "type": "aes-256"})):
        expect(keyd.post("/v1/keys/" + path, body), 409, "key-reserved")
    for name in ("identity", "root", "ticket"):
        expect(keyd.delete("/v1/keys/" + name), 409, "key-reserved")
    # Nor under another name, which no policy of the channel would know: neither the object
    # that is the key now, nor that of a version before or to come.
    keyd.ok("/v1/keys/root/rotate", {}, 201)
    for version, class_ in (("identity.v1", "private"), ("root.v1", "private"),
                            ("root.v2", "private"), ("ticket.v1", "secret-key")):
        expect(keyd.post("/v1/keys", {"name": "alias", "uri":
                                      f"pkcs11:object={version};type={class_}"}), 409, "key-exists")
        expect(keyd.get("/v1/keys/alias"), 404, "no-such-key")
        expect(keyd.post("/v1/keys/alias/sign", {"data": ""}), 404, "no-such-key")
    # The name stays taken while its key is there.
    expect(keyd.post("/v1/keys", {"name": "identity", "type": "ec-p256", "usages": ["sign"]}), 409,
           "key-exists")
    keyd.stop()


@test(on=SOFTHSM)
def a_peer_that_is_not_known_gets_no_session_and_no_reason(token):
    """J11, A11"""
    keyd = Server(token).set_up()
    with keyd.device("stranger", register=False) as stranger:
        first = keyd.ok("/v1/handshakes", {"message": b64(stranger.begin())}, 201)
        third = stranger.read(unb64(first["message"]))
        path = "/v1/handshakes/" + first["handshake"]
        r = expect(keyd.post(path, {"message": b64(third)}), 422, "handshake-credential")
        # The peer is told one sentence that is always the same.
        assert unb64(r.json["message"]).endswith(b"refused"), r
        expect(keyd.post(path, {"message": b64(third)}), 404, "no-such-handshake")
    assert keyd.get("/v1/sessions").json["sessions"] == []
    keyd.stop()


@test(on=SOFTHSM)
def every_change_of_a_handshake_message_is_refused(token):
    """J06, J11: flipped bits and truncations, spread over the whole message."""
    keyd = Server(token, {"channel.handshakes-max": 100_000}).set_up()
    with keyd.device("d") as d:
        first = d.begin()
        for i in range(0, len(first) * 8, 7):
            bad = bytearray(first)
            bad[i // 8] ^= 1 << i % 8
            r = keyd.post("/v1/handshakes", {"message": b64(bytes(bad))})
            if r.status == 201:  # another G_X or C_I: the device finds out
                other = unb64(r.json["message"])
                assert refuses(d, other), i
                d.begin()
            else:
                assert r.status == 422, r
        for n in range(0, len(first), 3):
            r = keyd.post("/v1/handshakes", {"message": b64(first[:n])})
            assert r.status in (400, 422), (n, r)
        for i in range(0, 121 * 8, 31):
            answer = keyd.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
            third = bytearray(d.read(unb64(answer["message"])))
            third[i // 8 % len(third)] ^= 1 << i % 8
            r = keyd.post("/v1/handshakes/" + answer["handshake"], {"message": b64(bytes(third))})
            assert r.status == 422, (i, r)
        assert keyd.get("/v1/sessions").json["sessions"] == []
        d.connect(keyd)
        exchange(keyd, d, b"still well")
    keyd.stop()


@test(on=SOFTHSM)
def a_handshake_message_out_of_its_order_changes_nothing(token):
    keyd = Server(token).set_up()
    with keyd.device("a") as a, keyd.device("b") as b:
        one = a.begin()
        first = keyd.ok("/v1/handshakes", {"message": b64(one)}, 201)
        path = "/v1/handshakes/" + first["handshake"]
        other = keyd.ok("/v1/handshakes", {"message": b64(b.begin())}, 201)
        third = a.read(unb64(first["message"]))
        # On another's handshake it is not authentic, and ends that one alone.
        r = keyd.post("/v1/handshakes/" + other["handshake"], {"message": b64(third)})
        assert r.status == 422, r
        # Another principal does not see it.
        expect(keyd.post(path, {"message": b64(third)}, bearer="other-token"), 404,
               "no-such-handshake")
        last = keyd.ok(path, {"message": b64(third)})
        a.read(unb64(last["message"]))
        # Twice: it is over.
        expect(keyd.post(path, {"message": b64(third)}), 404, "no-such-handshake")
        exchange(keyd, a, b"well")
    keyd.stop()


def begin_with_cookie(keyd, device):
    body = {"message": b64(device.begin()), "address": "192.0.2.1"}
    r = keyd.post("/v1/handshakes", body)
    if r.status == 503:
        assert r.type == "handshake-retry", r
        r = keyd.post("/v1/handshakes", {**body, "cookie": r.json["cookie"]})
    return expect(r, 201).json


@test(on=SOFTHSM)
def a_flood_of_first_messages_costs_the_token_nothing_and_stops_no_session(token):
    """A retry cookie before any token operation, and sessions in progress go first."""
    keyd = Server(token, {"channel.handshakes-max": 8,
                          "channel.handshake-timeout-ms": 600_000}).set_up()
    with keyd.device("d") as d, keyd.device("e") as e:
        d.connect(keyd)
        for _ in range(4):
            keyd.ok("/v1/handshakes", {"message": b64(e.begin())}, 201)
        cookies = set()
        for i in range(200):
            r = expect(keyd.post("/v1/handshakes", {"message": b64(e.begin()),
                                                    "address": f"198.51.100.{i}"}), 503,
                       "handshake-retry")
            cookies.add(r.json["cookie"])
        assert len(cookies) == 200 and all(len(unb64(c)) == 21 for c in cookies)
        assert keyd.get("/v1/status").json["channel"]["handshakes"] == 4
        exchange(keyd, d, b"in progress")
        # One that hears the answer gets in, with the message and from the place it sent before.
        message = b64(e.begin())
        body = {"message": message, "address": "192.0.2.1"}
        cookie = keyd.post("/v1/handshakes", body).json["cookie"]
        for other in ({**body, "address": "192.0.2.2"}, {"message": message},
                      {**body, "message": b64(d.begin())}):
            expect(keyd.post("/v1/handshakes", {**other, "cookie": cookie}), 503, "handshake-retry")
        first = keyd.ok("/v1/handshakes", {**body, "cookie": cookie}, 201)
        metrics = keyd.get("/metrics").body.decode()
        assert re.search(r'^keyd_channel_handshakes_total{result="handshake-retry"} 204$', metrics,
                         re.M), metrics
        expect(keyd.delete("/v1/handshakes/" + first["handshake"]), 204)
    keyd.stop()


@test(on=SOFTHSM)
def unfinished_handshakes_are_bounded_in_number_and_time(token):
    keyd = Server(token, {"channel.handshakes-max": 5}).set_up()
    with keyd.device("d") as d:
        def take_all_places():
            """Who was silent for three seconds makes room for the next."""
            made = [begin_with_cookie(keyd, d) for _ in range(5)]
            r = keyd.post("/v1/handshakes", {"message": b64(d.begin())})
            if r.status != 503 or r.type != "busy":
                for first in made:
                    keyd.delete("/v1/handshakes/" + first["handshake"])
            assert int(expect(r, 503, "busy").headers["Retry-After"]) >= 1
            return made

        made = promptly(take_all_places, 3)
        expect(keyd.delete("/v1/handshakes/" + made[0]["handshake"]), 204)
        begin_with_cookie(keyd, d)
        for first in made[1:]:
            expect(keyd.delete("/v1/handshakes/" + first["handshake"]), 204)
        d.connect(keyd)
        keyd.set_config({**keyd.channel, "channel.handshakes-max": 1,
                         "channel.handshake-timeout-ms": 1500})
        keyd.restart()
        old = begin_with_cookie(keyd, d)
        wait_for(lambda: keyd.get("/v1/status").json["channel"]["handshakes"] == 0,
                 what="the end of its time")
        expect(keyd.post("/v1/handshakes/" + old["handshake"], {"message": "AA"}), 404,
               "no-such-handshake")
        begin_with_cookie(keyd, d)
    keyd.stop()


@test(on=SOFTHSM)
def records_are_refused_that_were_changed_repeated_or_are_another_sessions(token):
    """J02, J10, J11"""
    keyd = Server(token).set_up()
    with keyd.device("a") as a, keyd.device("b") as b:
        a.connect(keyd)
        b.connect(keyd)
        record = a.seal(b"once", aad=b"header")
        for i in range(0, len(record) * 8, 5):
            bad = bytearray(record)
            bad[i // 8] ^= 1 << i % 8
            r = keyd.open(bytes(bad), aad=b64(b"header"))
            assert r.status in (404, 422), (i, r)
        for n in range(0, len(record), 2):
            assert keyd.open(record[:n], aad=b64(b"header")).status in (400, 422), n
        expect(keyd.open(record, aad=b64(b"Header")), 422, "not-authentic")
        expect(keyd.open(record), 422, "not-authentic")
        # None of that has used its number up.
        assert expect(keyd.open(record, aad=b64(b"header")), 200).json["sequence"] == 0
        expect(keyd.open(record, aad=b64(b"header")), 422, "record-replayed")
        # Far ahead, and then behind the window.
        expect(keyd.open(a.seal(b"", sequence=5000)), 200)
        expect(keyd.open(a.seal(b"", sequence=5000 - 1023)), 200)
        expect(keyd.open(a.seal(b"", sequence=5000 - 1024)), 422, "record-too-old")
        expect(keyd.open(record, aad=b64(b"header")), 422, "record-too-old")
        # b's bytes with a's name on them.
        forged = b.seal(b"mine", sequence=5001).replace(bytes.fromhex(b.session), bytes.fromhex(a.session))
        expect(keyd.open(forged), 422, "not-authentic")
        # Its own record, sent back.
        own = unb64(keyd.seal(a, b"to a").json["record"])
        expect(keyd.open(own), 422)
        exchange(keyd, b, b"still well")
    keyd.stop()


@test(on=SOFTHSM)
def one_time_passwords_are_good_for_their_time_alone(token):
    """J01, J02"""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        for shift in (-3_600_000, -61_000, 61_000, 3_600_000):
            # A second late, the one of the minute to come would be in time.
            promptly(lambda s=shift: expect(keyd.open(d.seal(b"late", shift_ms=s)), 422,
                                            "record-otp"), 1)
        exchange(keyd, d, b"in time")
    keyd.stop()


@test(on=SOFTHSM)
def sessions_are_their_makers_alone_and_policy_rules(token):
    """J12"""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        with keyd.client(bearer="other-token") as other:
            path = "/v1/sessions/" + d.session
            expect(other.get(path), 404, "no-such-session")
            expect(other.delete(path), 404, "no-such-session")
            expect(other.get(path + "/ticket"), 404, "no-such-session")
            expect(other.post("/v1/records/seal", {"session": d.session, "data": ""}), 404,
                   "no-such-session")
            expect(other.post("/v1/records/open", {"record": b64(d.seal(b""))}), 404,
                   "no-such-session")
            assert other.get("/v1/sessions").json["sessions"] == []
        with keyd.client(bearer="stranger-token") as stranger:
            expect(stranger.post("/v1/handshakes", {"message": b64(d.begin())}), 403, "denied")
            expect(stranger.post("/v1/peers", {"name": "x", "certificate": peer.pem(
                d.certificate)}), 403, "denied")
    keyd.stop()


# ---- what works ----

@test(on=BOTH)
def messages_pass_both_ways_whatever_names_the_device(token):
    """J01, J03, J04, J05, J06, A01, A06, A08, A09, A10"""
    keyd = Server(token).set_up()
    for i, (suite, named_by) in enumerate((("3", "https://pki.example/"), ("2", "x5t"),
                                           ("3", "chain"))):
        with keyd.device(f"d{i}", named_by) as d:
            session = d.connect(keyd, suites=suite)
            assert session["profile"] == "resident" and session["suite"] == int(suite)
            for text in (b"a", bytes(1000), b"x" * 60000):
                exchange(keyd, d, text)
            shown = keyd.get("/v1/sessions/" + d.session).json
            assert shown["received"] == 3 and shown["sent"] == 3, shown
            assert shown["bytes"] == 2 * 61001, shown
    assert len(keyd.get("/v1/sessions").json["sessions"]) == 3
    keyd.stop()


@test(on=BOTH)
def batches_pass_in_cbor(token):
    """J16: records of two devices in one request, without JSON; one fails in its place."""
    keyd = Server(token).set_up()
    kind = {"Content-Type": "application/cbor-seq"}

    def post(what, items):
        r = expect(keyd.post("/v1/records/" + what, cbor.sequence(items), headers=kind), 200)
        assert r.headers["Content-Type"] == "application/cbor-seq"
        return cbor.read_sequence(r.body)

    with keyd.device("a") as a, keyd.device("b") as b:
        a.connect(keyd)
        b.connect(keyd)
        replayed = a.seal(b"0")
        bound = b.seal(b"\x00\xff" * 9000, aad=b"header")
        answers = post("open", [[replayed], [bound, b"header"], [replayed], [bound], [b"x"]])
        assert answers[0] == [a.session, "a", "", True, 0, a.sequence - 1, b"0"], answers
        assert answers[1] == [b.session, "b", "", True, 0, b.sequence - 1, b"\x00\xff" * 9000], answers
        assert answers[2] == ["record-replayed", b""] and answers[3] == ["not-authentic", b""]
        assert answers[4] == ["record-form", b""], answers
        sealed = post("seal", [[a.session, 0, b"to a"], [b.session, 0, b"to b", b"more"],
                               ["0" * 16, 0, b"x"], [a.session, 4, b"\x07"]])
        assert a.open(sealed[0][0])[2] == b"to a"
        assert b.open(sealed[1][0], aad=b"more")[2] == b"to b"
        assert sealed[2] == ["no-such-session", b""], sealed
        assert a.open(sealed[3][0])[0::2] == (4, b"\x07")
    keyd.stop()


@test(on=SOFTHSM)
def records_pass_as_they_are(token):
    """A09, J01: application/cose in, octets out, and back; errors are problems."""
    keyd = Server(token, {"channel.session-records-max": 7}).set_up()
    cose, octets = {"Content-Type": "application/cose"}, {"Content-Type": "application/octet-stream"}
    with keyd.device("d") as d:
        d.connect(keyd)
        of = {**octets, "Keyd-Session": d.session}
        for text in (b"a", b"", b"\x00\xff" * 30000):
            aad = {"Keyd-Aad": b64(text[:5])} if text else {}
            record = d.seal(text, aad=text[:5])
            r = expect(keyd.post("/v1/records/open", record, headers={**cose, **aad}), 200)
            assert r.body == text and r.headers["Keyd-Session"] == d.session, r.headers.items()
            assert r.headers["Keyd-Peer"] == "d" and r.headers["Keyd-Type"] == "data"
            assert r.headers["Keyd-Registered"] == "yes"
            assert int(r.headers["Keyd-Sequence"]) == d.sequence - 1
            expect(keyd.post("/v1/records/open", record, headers={**cose, **aad}), 422,
                   "record-replayed")
            r = expect(keyd.post("/v1/records/seal", text, headers={**of, **aad}), 200)
            assert r.headers["Content-Type"] == "application/cose"
            assert d.open(r.body, aad=text[:5])[2] == text
        expect(keyd.post("/v1/records/open", d.seal(b"x", aad=b"y"), headers=cose), 422,
               "not-authentic")
        r = expect(keyd.post("/v1/records/seal", b"\x07", headers={**of, "Keyd-Type": "error"}), 200)
        assert d.open(r.body)[0::2] == (4, b"\x07")
        # The limit is reached: the sealed expire record is in the problem.
        r = expect(keyd.post("/v1/records/open", d.seal(b"z"), headers=cose), 409, "session-expired")
        assert d.open(unb64(r.json["answer"]))[0] == 1
    keyd.stop()


@test(on=BOTH)
def suite_24_uses_the_large_curve(token):
    keyd = Server(token).set_up("ec-p384")
    with keyd.device("d", type_="ec-p384") as d:
        assert d.connect(keyd, suites="24")["suite"] == 24
        exchange(keyd, d, b"P-384")
    keyd.stop()


@test(on=BOTH)
def the_server_may_begin(token):
    """The reverse flow: the device names itself first (RFC 9528 A.2.2)."""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect_reverse(keyd)
        exchange(keyd, d, b"reverse")
    keyd.stop()


@test(on=BOTH)
def keyd_begins_once_more_with_a_suite_that_the_device_has(token):
    """J04; RFC 9528 6.3: the error with the suites of the device in answer to message_1."""
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.tell("await", 0, "2")
        first = keyd.ok("/v1/handshakes", {"initiate": True}, 201)
        path = "/v1/handshakes/" + first["handshake"]
        try:
            raise AssertionError(d.read(unb64(first["message"])))
        except PeerError as e:
            assert e.args[0] == "handshake-suite", e
        second = keyd.ok(path, {"message": b64(b"\x02\x02")})
        assert second["handshake"] == first["handshake"] and second["message"] != first["message"]
        d.tell("await", 0, "2")
        third = keyd.ok(path, {"message": b64(d.read(unb64(second["message"])))})
        last = keyd.ok(path, {"message": b64(d.read(unb64(third["message"])))})
        assert last["session"]["suite"] == 2 and d.session == last["session"]["session"]
        exchange(keyd, d, b"suite 2")
        # Suites that are not ours: the caller learns which, and it is over.
        first = keyd.ok("/v1/handshakes", {"initiate": True}, 201)
        path = "/v1/handshakes/" + first["handshake"]
        r = expect(keyd.post(path, {"message": b64(b"\x02\x82\x18\x18\x06")}), 422,
                   "handshake-suite")
        assert "24, 6" in r.json["detail"], r
        expect(keyd.post(path, {"message": "AA"}), 404, "no-such-handshake")
    keyd.stop()


@test(on=SOFTHSM)
def the_device_learns_time_lifetime_and_profile(token):
    """J07"""
    import time
    keyd = Server(token, {"channel.session-lifetime": 777}).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        server_time, lifetime, profile, *otp = (int(n) for n in d.tell("terms"))
        assert abs(server_time - time.time() * 1000) < 60_000
        assert lifetime == 777 and profile == 1 and otp == [8, 30, 1]
    keyd.stop()


# Digits, step and window; how far another clock may be, and how far it may not; each with some
# seconds more for what it takes.
FORMS = ((6, 1, 10, 4_000, 30_000), (9, 3600, 1, 3_000_000, 7_300_000),
         (7, 60, 2, 100_000, 190_000))
SECONDS = 4


def passes(keyd, device, shift):
    return keyd.open(device.seal(b"x", shift_ms=shift))


def refuses_otp(keyd, device, shift, step):
    """Of a million codes of six digits 21 are good at a time: by chance another time's is, too, and
    that of the step beside it is not."""
    if passes(keyd, device, shift).status == 200:
        shift += shift // abs(shift) * step * 1000
    expect(passes(keyd, device, shift), 422, "record-otp")


@test(on=BOTH)
def one_time_passwords_have_the_form_that_the_server_says(token):
    """J01, J02: also after an update, and at a node that says another."""
    plain = Server(token).set_up()
    for digits, step, window, good, bad in FORMS:
        keyd = Server(token, {"channel.otp-digits": digits, "channel.otp-step": step,
                              "channel.otp-window": window}, like=plain).adopt_from(plain)
        with keyd.device(f"d{digits}") as d:
            for connect in (d.connect_reverse, d.connect):
                connect(keyd)
                assert [int(n) for n in d.tell("terms")[3:]] == [digits, step, window]
                exchange(keyd, d, b"in this form")
                for shift in (-good, good):
                    promptly(lambda s=shift: expect(passes(keyd, d, s), 200), SECONDS)
                for shift in (-bad, bad):
                    promptly(lambda s=shift, t=step: refuses_otp(keyd, d, s, t), SECONDS)
            d.tell("otp", 8, 30, 1)  # as one that did not hear
            expect(keyd.open(d.seal(b"x")), 422, "record-otp")
            d.tell("otp", digits, step, window)
            r = keyd.ok(f"/v1/sessions/{d.session}/key-update", {})
            assert d.open(unb64(r["record"]))[2] == b"\x01"
            d.update(1)
            exchange(keyd, d, b"under new keys")
            d.register(plain)
            ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
            resume(plain, d, ticket, os.urandom(16))
            exchange(plain, d, b"at another node")
        keyd.stop()
    plain.stop()


@test(on=BOTH)
def a_released_profile_works_without_a_root(token):
    keyd = Server(token, {"channel.profile": "released", "channel.root": None}).set_up()
    with keyd.device("d") as d:
        assert d.connect(keyd)["profile"] == "released"
        exchange(keyd, d, b"released")
    keyd.stop()


@test(on=SOFTHSM)
def one_batch_may_be_of_many_sessions(token):
    """J12, J14: one bad item does not hold up the others."""
    keyd = Server(token).set_up()
    devices = [keyd.device(f"d{i}") for i in range(8)]
    for d in devices:
        d.connect(keyd)
    records = [d.seal(d.name.encode()) for d in devices for _ in range(8)]
    items = [{"record": b64(r)} for r in records] + [{"record": b64(records[0])}]
    answers = keyd.ok("/v1/records/open", {"items": items})["items"]
    # Two copies in one batch: one of them passes.
    good = [a for a in answers if "error" not in a]
    assert len(good) == len(records), answers
    assert all(unb64(a["data"]).decode() == a["peer"] for a in good)
    sealed = keyd.ok("/v1/records/seal", {"items": [
        {"session": d.session, "data": b64(d.name.encode())} for d in devices]})["items"]
    for d, s in zip(devices, sealed):
        assert d.open(unb64(s["record"]))[2] == d.name.encode()
        d.__exit__()
    keyd.stop()


# ---- what is told ----


def counted(keyd, line):
    """The value of a metric."""
    found = re.search("^" + re.escape(line) + r" (\d+)$", keyd.get("/metrics").body.decode(), re.M)
    return int(found[1]) if found else 0


@test(on=SOFTHSM)
def the_operator_learns_why_and_the_peer_does_not(token):
    """Sessions that are made, expire, end and are refused: in log and metrics; J08, J11."""
    keyd = Server(token, {"channel.session-records-max": 2}).set_up()
    told = set()

    def refused(device, change, reason):
        first = keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
        third = change(device.read(unb64(first["message"])))
        r = expect(keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)}), 422,
                   reason)
        told.add(unb64(r.json["message"]))
        return f"reason={reason}" in keyd.log()

    with keyd.device("d") as d, keyd.device("stranger", register=False) as stranger:
        # One line a second is written of what anybody can cause: until it is there.
        wait_for(lambda: refused(stranger, lambda m: m, "handshake-credential"), what="a line")
        wait_for(lambda: refused(d, lambda m: m[:-1] + bytes([m[-1] ^ 1]),
                                 "handshake-not-authentic"), what="a line")
        wait_for(lambda: refused(d, lambda m: m + b"\x00", "handshake-message"), what="a line")
        # To the peer all of these are the same.
        assert told == {b"\x01\x67refused"}, told
        for reason in ("credential", "not-authentic", "message"):
            assert counted(keyd, f'keyd_channel_handshakes_total{{result="handshake-{reason}"}}') >= 1
        d.connect(keyd)
        assert f"a session was made; session={d.session}" in keyd.log()
        assert counted(keyd, 'keyd_channel_handshakes_total{result="ok"}') == 1
        ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        resume(keyd, d, ticket, os.urandom(8))
        expect(keyd.post("/v1/sessions/resume", {"ticket": "AAAA", "client_nonce": "AA"}), 422)
        assert counted(keyd, 'keyd_channel_resumes_total{result="ok"}') == 1
        assert counted(keyd, 'keyd_channel_resumes_total{result="ticket"}') == 1
        exchange(keyd, d, b"all that there may be")
        expect(keyd.open(d.seal(b"more")), 409, "session-expired")
        assert re.search(f"a session has expired; session={d.session} .*why=records", keyd.log())
        assert counted(keyd, 'keyd_channel_sessions_expired_total{why="records"}') == 1
        assert counted(keyd, 'keyd_channel_records_total{op="open",result="session-expired"}') == 1
        d.connect(keyd)
        expect(keyd.delete("/v1/sessions/" + d.session), 204)
        assert re.search(f"a session ended; session={d.session} .*why=deleted", keyd.log())
        assert counted(keyd, 'keyd_channel_sessions_ended_total{why="deleted"}') == 1
        assert counted(keyd, "keyd_channel_ended") == 2
    keyd.stop()


@test(on=SOFTHSM)
def what_happens_is_counted_and_logged_and_no_secret_is(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        record = d.seal(b"plaintext-of-the-device")
        expect(keyd.open(record), 200)
        expect(keyd.open(record), 422)
        metrics = keyd.get("/metrics").body.decode()
        assert re.search(r"^keyd_channel_sessions 1$", metrics, re.M), metrics
        assert "keyd_channel_records_total" in metrics and "keyd_channel_handshakes_total" in metrics
        log = keyd.log()
        assert "record-replayed" in log and d.session in log
        assert "plaintext-of-the-device" not in log
    keyd.stop()


if __name__ == "__main__":
    main()
