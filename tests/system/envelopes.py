# SPDX-License-Identifier: Apache-2.0
"""Envelopes (J15): sealed by keydctl without keyd, opened by keyd with its key in the
token, each once, whatever happens to keyd in between."""
import http.client
import os
import signal
import threading
import time

from harness import BOTH, SOFTHSM, b64, cbor, expect, main, peer, test, unb64
from harness.mailbox import Mailbox

BODY_MAX = 65536
CBOR = {"Content-Type": "application/cbor"}


def mailbox(token, **config):
    return Mailbox(token, {f"channel.{k}": v for k, v in config.items()}).set_up()


def changed(envelope, **members):
    """The same with other members, which nobody has sealed."""
    items, _ = cbor.decode_from(envelope, 0)
    for name, value in members.items():
        at = ("version", "key", "id", "time", "expires", "sender", "enc", "sealed").index(name)
        items[at] = value
    return cbor.encode(items)


# ---- what is refused ----

@test(on=SOFTHSM)
def without_a_key_for_them_none_are_opened(token):
    """J15"""
    keyd = peer.Server(token).set_up()
    expect(keyd.get("/v1/envelopes/key"), 400, "config")
    expect(keyd.post("/v1/envelopes/open", {"envelope": "AA"}), 400, "config")
    keyd.stop()


@test(on=SOFTHSM)
def what_is_not_as_it_was_sealed_is_refused(token):
    """J11, J15: each for its reason, and the right one is opened afterwards."""
    keyd = mailbox(token)
    envelope = keyd.make(b"hello", "--sender", "sensor")
    now = int(time.time())
    for bad in (b"", b"\x00", envelope[:-1], envelope + b"\x00", changed(envelope, version=2),
                changed(envelope, id=b"short"), changed(envelope, sender="x" * 65),
                changed(envelope, sender="admin\0x"),
                changed(envelope, enc=b"\x04" * 64), changed(envelope, sealed=b"x" * 15)):
        keyd.open_it(bad, 422, "envelope-form")
    keyd.open_it(changed(envelope, key=b"12345678"), 422, "envelope-key")
    for terms in ({"time": now + 300, "expires": now + 301}, {"expires": now - 100},
                  {"time": now - 7200, "expires": now - 3600}, {"expires": now + 100000},
                  {"time": now, "expires": now}, {"expires": 2 ** 64 - 1},
                  {"time": 2 ** 64 - 1, "expires": 2 ** 64 - 1}):
        keyd.open_it(changed(envelope, **terms), 422, "envelope-time")
    for forged in ({"time": now + 30}, {"expires": now + 3000}, {"sender": "other"},
                   {"id": bytes(16)}, {"sealed": bytes(21)}):
        keyd.open_it(changed(envelope, **forged), 422, "not-authentic")
    keyd.open_it(changed(envelope, enc=b"\x04" + b"\x01" * 64), 422, "bad-point")
    keyd.open_it(envelope)
    keyd.open_it(envelope, 422, "envelope-replayed")
    metrics = keyd.get("/metrics").body.decode()
    assert 'keyd_envelopes_total{result="ok"} 1' in metrics
    assert 'keyd_envelopes_total{result="not-authentic"} 5' in metrics
    assert "keyd_envelopes_remembered 1" in metrics
    keyd.stop()


@test(on=SOFTHSM)
def expired_envelope_is_refused(token):
    """J15"""
    keyd = mailbox(token, **{"envelope-leeway": 0, "envelope-validity-max": 100})
    keyd.open_it(keyd.make(b"x", "--validity", "101"), 422, "envelope-time")
    keyd.open_it(keyd.make(b"x", "--validity", "100"))
    late = keyd.make(b"x", "--validity", "1")
    time.sleep(1.2)
    keyd.open_it(late, 422, "envelope-time")
    keyd.open_it(keyd.make(b"x"), 422, "envelope-time")  # for an hour: the file has no limits
    keyd.ctl("seal", "--validity", "101", data=b"x", status=2)
    keyd.open_it(keyd.ctl("seal", data=b"x"))
    keyd.stop()


@test(on=SOFTHSM)
def key_for_envelopes_is_for_nothing_else(token):
    """J15: no general operation reaches it, and only who may opens envelopes."""
    keyd = mailbox(token)
    point = keyd.key["jwk"]
    expect(keyd.post("/v1/keys/mailbox/ecdh", {"peer": point}), 409, "key-reserved")
    expect(keyd.post("/v1/keys/mailbox/derive", {"kdf": "hkdf-sha256", "info": "AA"}), 409,
           "key-reserved")
    expect(keyd.post("/v1/keys", {"name": "other", "uri":
                                  "pkcs11:object=mailbox.v1;type=private"}), 409)
    with keyd.client(bearer="stranger-token") as stranger:
        expect(stranger.get("/v1/envelopes/key"), 403, "denied")
        envelope = keyd.make(b"not for all")
        expect(stranger.post("/v1/envelopes/open", {"envelope": b64(envelope)}), 403, "denied")
    keyd.open_it(envelope)
    keyd.stop()


@test(on=SOFTHSM)
def as_many_are_remembered_as_the_limit_says(token):
    """J15: a full list refuses new ones and forgets none."""
    keyd = mailbox(token, **{"envelopes-max": 2})
    first, second, third = (keyd.make(b"x", "--validity", "60") for _ in range(3))
    keyd.open_it(first)
    keyd.open_it(second)
    r = keyd.open_it(third, 503, "busy")
    assert int(r.headers["Retry-After"]) >= 1
    keyd.open_it(first, 422, "envelope-replayed")
    keyd.stop()


@test(on=SOFTHSM)
def long_lived_envelopes_take_half_of_the_places_at_most(token):
    """J15: whoever seals says how long one is remembered; others are opened, after a restart too."""
    keyd = mailbox(token, **{"envelopes-max": 4})
    for _ in range(2):
        keyd.open_it(keyd.make(b"x", "--validity", "3600"))
    late = keyd.make(b"late", "--validity", "3600")
    for _ in range(2):
        r = keyd.open_it(late, 503, "busy")
        assert "expires within a minute" in r.json["detail"], r.body
        assert unb64(keyd.open_it(keyd.make(b"soon", "--validity", "60")).json["data"]) == b"soon"
        keyd.stop()
        keyd.start()
    keyd.open_it(keyd.make(b"soon", "--validity", "60"), 503, "busy")
    keyd.stop()


# ---- replay ----

@test(on=BOTH)
def envelope_is_opened_once_also_after_a_restart_and_a_kill(token):
    """J10, J13, J15"""
    keyd = mailbox(token)
    first, second = keyd.make(b"first"), keyd.make(b"second")
    assert unb64(keyd.open_it(first).json["data"]) == b"first"
    keyd.stop()
    keyd.start()
    keyd.open_it(first, 422, "envelope-replayed")
    assert unb64(keyd.open_it(second).json["data"]) == b"second"
    keyd.kill()
    keyd.start()
    keyd.open_it(first, 422, "envelope-replayed")
    keyd.open_it(second, 422, "envelope-replayed")
    keyd.stop()


@test(on=SOFTHSM)
def of_many_at_once_one_gets_the_text(token):
    """J10, J15"""
    keyd = mailbox(token)
    for _ in range(5):
        envelope, results = keyd.make(b"once"), []

        def run(envelope=envelope, results=results):
            client = keyd.client()
            results.append(client.post("/v1/envelopes/open", {"envelope": b64(envelope)}).status)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(results) == [200] + [422] * 7, results
    keyd.stop()


@test(on=SOFTHSM)
def text_that_was_given_out_before_a_kill_is_not_given_again(token):
    """J10, J13, J15: killed while many are under way. A text may be lost, and none comes twice."""
    keyd = mailbox(token)
    for _ in range(3):
        envelopes = [keyd.make(str(i).encode()) for i in range(64)]
        given = []
        under_way = threading.Event()

        def run(some, given=given, under_way=under_way):
            client = keyd.client()
            for e in some:
                try:
                    if client.post("/v1/envelopes/open", {"envelope": b64(e)}).status == 200:
                        given.append(e)
                except (OSError, http.client.HTTPException):
                    return  # killed
                if len(given) >= 16:
                    under_way.set()

        threads = [threading.Thread(target=run, args=(envelopes[i::8],)) for i in range(8)]
        for t in threads:
            t.start()
        assert under_way.wait(60)
        keyd.kill()
        for t in threads:
            t.join()
        keyd.start()
        for e in given:
            keyd.open_it(e, 422, "envelope-replayed")
        for e in envelopes:  # lost, or not reached: once at most
            if keyd.post("/v1/envelopes/open", {"envelope": b64(e)}).status == 200:
                keyd.open_it(e, 422, "envelope-replayed")
    keyd.stop()


# ---- what works ----

@test(on=BOTH)
def envelope_is_opened_with_what_it_says(token):
    """J15: in JSON, in CBOR and by keydctl; the longest body; each enabled version."""
    keyd = mailbox(token)
    r = keyd.open_it(keyd.make(b"hello", "--sender", "sensor \u00e9\n")).json
    assert unb64(r["data"]) == b"hello" and r["sender"] == "sensor \u00e9\n", r
    assert len(r["id"]) == 32 and r["time"] < r["expires"], r
    large = os.urandom(BODY_MAX)
    envelope = keyd.make(large)
    r = expect(keyd.post("/v1/envelopes/open", envelope, headers=CBOR), 200)
    assert r.headers["Content-Type"] == "application/cbor"
    items, end = cbor.decode_from(r.body, 0)
    assert end == len(r.body) and items[3:] == ["", large] and items[2] - items[1] == 3600
    keyd.ctl("seal", "--to", keyd.file, data=large + b"x", status=2)
    assert keyd.ctl("open", data=keyd.make(b"")) == b""
    assert keyd.ctl("open", data=keyd.ctl("seal", data=b"to keyd's own")) == b"to keyd's own"
    old = keyd.make(b"for the old key")
    expect(keyd.post("/v1/keys/mailbox/rotate", {}), 201)
    keyd.read_key()
    assert keyd.key["version"] == 2
    assert keyd.ctl("open", data=old) == b"for the old key"
    assert keyd.ctl("open", data=keyd.make(b"for the new")) == b"for the new"
    old = keyd.ctl("seal", "--to", keyd.file.replace("mailbox2", "mailbox1"), data=b"x")
    expect(keyd.post("/v1/keys/mailbox/disable", {"version": 1}), 200)
    keyd.open_it(old, 422, "envelope-key")
    keyd.stop()


@test(on=SOFTHSM)
def envelopes_go_on_after_a_worker_was_killed(token):
    """J15"""
    keyd = mailbox(token)
    keyd.wait_all_ready()
    for _ in range(3):
        worker = keyd.workers()[0]
        os.kill(worker, signal.SIGKILL)
        assert unb64(keyd.open_it(keyd.make(b"still")).json["data"]) == b"still"
        keyd.wait_replaced(worker)
    keyd.stop()


if __name__ == "__main__":
    main()
