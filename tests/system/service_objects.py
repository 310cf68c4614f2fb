# SPDX-License-Identifier: Apache-2.0
"""libkeyd-service and what keyd keeps: lists, states of keys, batches, sessions that go on, keys
that are released, peers and devices.  On a real keyd, by tests/system/service.c."""
import os

from harness import BOTH, SOFTHSM, Keyd, main, oracle, test
from harness.app import (AES, DECRYPTS, DERIVES, ENCRYPTS, HMAC_256, P256, SIGNS, VERIFIES, App,
                         make)
from harness.boot import Bootstrap
from harness.mailbox import Mailbox
from harness.peer import End, Server, pem, unhex

RELEASED = {"channel.profile": "released", "channel.root": None}
KEY_UPDATE = 2


def pages(app, kind, size):
    """All names of a list, by pages of so many."""
    names, after = [], "-"
    for _ in range(100):
        *page, more = app.ok("list", kind, size, after)
        assert len(page) <= size
        names += page
        if more == "0":
            return names
        assert len(page) == size
        after = page[-1]
    raise AssertionError("the list has no end")


@test
def keys_are_listed_in_pages(keyd):
    with App(keyd) as app:
        made = [make(app, f"list-{i}", AES, ENCRYPTS) for i in range(5)]
        whole = pages(app, "keys", 1000)
        assert whole == sorted(whole) and set(made) <= set(whole)
        for size in (1, 2, 5):
            assert pages(app, "keys", size) == whole
        app.wrong("list", "keys", 0)
        app.wrong("list", "keys", 1, "a/b")
        for name in made:
            app.ok("delete", name)


@test
def versions_are_disabled_and_enabled_again(keyd):
    with App(keyd) as app:
        make(app, "state", P256, SIGNS)
        app.ok("rotate", "state")
        one, two = (app.ok("versions", "state", 2)[i:i + 5] for i in (0, 5))
        assert one[:4] == ["1", "1", "1", "0"] and two[0] == "2" and one[4] != two[4]
        assert app.fails("argument", "-", 200, "versions", "state", 1) == ["2"]
        assert app.ok("disable", "state", 2)[3:] == ["1", one[4]]
        app.fails("state", "version-disabled", 409, "sign", "state:2", 0, b"x")
        assert app.ok("enable", "state", 2)[3:] == ["2", two[4]]
        assert app.ok("disable", "state", 0)[3:] == ["0", "-"]
        assert app.ok("enable", "state", 0)[3] == "2"
        app.fails("missing", "no-such-version", 404, "disable", "state", 7)
        app.fails("missing", "no-such-key", 404, "enable", "nowhere", 0)
        app.ok("delete", "state")


@test
def public_keys_are_imported(keyd):
    with App(keyd) as app:
        private = oracle.ec_private("ec-p256")
        public = oracle.ec_public(private)
        made = app.ok("import", "import", public)
        assert unhex(made[4]) == oracle.point_of(public) and made[5] == "2"
        app.fails("argument", "private-key-import", 400, "import", "other", private)
        app.fails("argument", "bad-public-key", 400, "import", "other", b"no PEM\x01\"")
        point = oracle.point_of(public)
        made = app.ok("import-point", "point", P256, point)
        assert unhex(made[4]) == point and made[5] == "2"
        off = point[:-1] + bytes([point[-1] ^ 1])
        app.fails("argument", "bad-public-key", 400, "import-point", "off", P256, off)
        app.wrong("import-point", "off", P256, point[:-1])
        app.ok("delete", "import")
        app.ok("delete", "point")


@test(on=SOFTHSM)
def objects_of_the_token_are_adopted(token):
    keyd, other = Keyd(token).start(), Keyd(token).start()
    with App(keyd) as app, App(other) as second:
        made = app.ok("create", "own", P256, SIGNS)
        adopted = second.ok("adopt", "own", "pkcs11:object=own.v1;type=private")
        assert adopted[4:] == [made[4], "1"]
        assert second.ok("sign", "own", 0, b"x")[0] == "ok"
        second.fails("missing", "no-such-object", 404, "adopt", "x",
                     "pkcs11:object=nowhere;type=private")
        newer = app.ok("rotate", "own")
        taken = second.ok("rotate-to", "own", "pkcs11:object=own.v2;type=private")
        assert taken[3:5] == newer[3:5] and taken[3] == "2", (taken, newer)
        second.fails("missing", "no-such-object", 404, "rotate-to", "own",
                     "pkcs11:object=nowhere;type=private")
        second.wrong("rotate-to", "own", "pkcs11:" + 1024 * "x")
    keyd.stop()
    other.stop()


@test
def batches_verify_encrypt_decrypt_and_derive(keyd):
    with App(keyd) as app:
        make(app, "b-ec", P256, SIGNS)
        make(app, "b-mac", HMAC_256, SIGNS | VERIFIES)
        make(app, "b-aes", AES, ENCRYPTS | DECRYPTS)
        make(app, "b-base", HMAC_256, DERIVES)
        one, two = (unhex(app.ok("sign", "b-ec", 0, x)[1]) for x in (b"one", b"two"))
        answer = app.ok("verify-all", "b-ec", b"one", one, b"two", one, b"two", two)
        assert answer[0::3] == ["ok", "not-valid", "ok"], answer
        mac = unhex(app.ok("mac", "b-mac", b"one")[1])
        assert app.ok("mac-verify-all", "b-mac", b"one", mac, b"x", mac)[0::3] == ["ok", "not-valid"]
        texts = [(os.urandom(n), b"about" * (n % 2)) for n in (0, 1, 1000)]
        sealed = app.ok("encrypt-all", "b-aes", *(w for pair in texts for w in pair))
        assert sealed[0::4] == ["ok"] * 3 and len(set(sealed[1::4])) == 3
        words = [w for i, (_, aad) in enumerate(texts)
                 for w in (unhex(sealed[4 * i + 1]), unhex(sealed[4 * i + 2]), aad)]
        opened = app.ok("decrypt-all", "b-aes", *words, words[0], bytes(16), b"")
        assert opened[0::4] == ["ok"] * 3 + ["not-authentic"]
        assert [unhex(x) for x in opened[2::4]] == [text for text, _ in texts] + [b""]
        values = app.ok("derive-all", "b-base", 24, b"a", b"b")
        assert values[0::3] == ["ok", "ok"] and values[2] != values[5]
        assert all(len(unhex(x)) == 24 for x in values[2::3])
        kept = app.ok("derive-all", "b-base", 0, b"a", b"b")[1::3]
        assert set(kept) <= set(pages(app, "secrets", 1)) and len(set(kept)) == 2
        shown = app.ok("secret", kept[0])
        assert shown[:4] == [kept[0], "b-base", "1", str(HMAC_256)] and int(shown[5]) > int(shown[4])
        for id_ in kept:
            app.ok("mac", "@" + id_, b"x")
            app.ok("forget", id_)
        app.fails("missing", "no-such-secret", 404, "secret", kept[0])
        app.fails("missing", "no-such-key", 404, "encrypt-all", "nowhere", b"x", b"")


def reverse(app, device):
    """keyd begins."""
    device.tell("await", 0, "3")
    first, id_ = app.ok("initiate", 0)
    answer, id_, _ = app.ok("handshake", id_, "-", "-", device.read(unhex(first)))
    answer, _, session = app.ok("handshake", id_, "-", "-", device.read(unhex(answer)))
    assert device.session == session
    return session


@test(on=BOTH)
def sessions_begin_here_are_renewed_and_resumed(token):
    keyd = Server(token).set_up()
    with App(keyd) as app, keyd.device("d") as d:
        session = reverse(app, d)
        assert app.ok("session", session) == [session, "d", "0", "0", "0", "0", "0"]
        assert app.ok("list", "sessions", 10) == [session, "0"]
        app.ok("seal", session, 0, b"", b"x")
        assert app.ok("session", session)[5] == "1"
        changed = app.ok("update", session)
        assert changed[4] == "1" and changed[7] == "-"
        type_, _, number = d.open(unhex(changed[8]))
        assert (type_, number) == (KEY_UPDATE, b"\1")
        d.update(1)
        assert unhex(app.ok("open", b"", d.seal(b"up"))[1]) == b"up"
        ticket, nonce = unhex(app.ok("ticket", session)[0]), os.urandom(16)
        app.fails("refused", "ticket", 422, "resume", ticket[:-1] + bytes([ticket[-1] ^ 1]), nonce)
        resumed = app.ok("resume", ticket, nonce)
        d.attach(nonce, unhex(resumed[7]))
        assert d.open(unhex(resumed[8])) == (0, 0, b"")
        assert unhex(app.ok("open", b"", d.seal(b"again"))[1]) == b"again"
        app.fails("state", "session-resident", 409, "release", session)
        app.ok("end", session)
        app.fails("state", "session-ended", 409, "resume", ticket, nonce)
        for command in ("session", "update", "release"):
            app.fails("missing", "no-such-session", 404, command, session)
        id_ = app.ok("initiate", 0)[1]
        app.ok("abandon", id_)
        app.fails("missing", "no-such-handshake", 404, "abandon", id_)
        app.wrong("initiate", 4)
        app.wrong("resume", ticket, bytes(33))
    keyd.stop()


@test(on=BOTH)
def released_keys_are_those_of_the_session(token):
    keyd = Server(token, RELEASED).set_up()
    with App(keyd) as app, keyd.device("d") as d, End() as server:
        d.connect(keyd)
        app.ok("open", b"", d.seal(b"up"))
        app.ok("seal", d.session, 0, b"", b"down")
        r = app.ok("release", d.session)
        assert r[:4] == [d.session, "d", "1", "1"] and r[12:15] == ["8", "30", "1"], r
        assert r[15:20] == ["0", "1", "1", "0", "1"], r  # server; sent 1; received 0 alone
        server.session, server.sequence = d.session, int(r[16])
        server.tell("take", d.session, b"".join(unhex(x) for x in r[7:12]), *r[12:15])
        assert d.open(server.seal(b"without keyd"))[2] == b"without keyd"
        assert server.open(d.seal(b"as well"))[2] == b"as well"
        app.fails("state", "session-released", 409, "release", d.session)
        app.fails("state", "session-released", 409, "seal", d.session, 0, b"", b"x")
        changed = app.ok("update", d.session)  # who has the keys tells the peer
        assert changed[3:5] == ["0", "1"] and changed[8] == "-"
    keyd.stop()


@test(on=SOFTHSM)
def peers_are_registered_shown_and_deleted(token):
    keyd = Server(token).set_up()
    with App(keyd) as app, keyd.device("d", register=False) as d:
        made = app.ok("peer-create", "d", pem(d.certificate).encode(), "-", d.named_by)
        assert made == ["d", "1", "1", "-", "-", d.named_by]
        assert app.ok("peer", "d") == made + [pem(d.certificate).encode().hex()]
        public = oracle.ec_public(oracle.ec_private("ec-p384"))
        raw = app.ok("peer-create", "e", public, b"Kw", "-")
        assert raw == ["e", "0", "1", oracle.point_of(public).hex(), b"Kw".hex(), "-"]
        assert app.ok("peer", "e") == raw + ["-"]
        app.fails("state", "peer-exists", 409, "peer-create", "e", public, b"Kw", "-")
        assert pages(app, "peers", 1) == ["d", "e"]
        session = d.connect(keyd)["session"]
        app.ok("peer-delete", "d")
        app.fails("missing", "no-such-session", 404, "session", session)
        for command in ("peer", "peer-delete"):
            app.fails("missing", "no-such-peer", 404, command, "d")
        app.wrong("peer-create", "f", public, bytes(17), "-")
    keyd.stop()


@test(on=SOFTHSM)
def devices_enrol_with_the_secret_and_are_revoked(token):
    keyd = Bootstrap(token).set_up()
    with App(keyd) as app:
        *device, secret = app.ok("enrol", "dev-1", "room-7", 1, 60)
        assert device == ["dev-1", "room-7", "1", "0", "1", "-"] and len(secret) == 27
        assert app.ok("device", "dev-1") == device + ["-"]
        again = app.ok("renew", "dev-1", 0)[0]
        assert len(again) == 27 and again != secret
        app.ok("enrol", "dev-2", "-", 0, 0)
        assert pages(app, "devices", 1) == ["dev-1", "dev-2"]
        app.fails("state", "device-exists", 409, "enrol", "dev-1", "-", 0, 0)
        app.fails("state", "device-not-revoked", 409, "device-delete", "dev-1")
        app.ok("revoke", "dev-1")
        assert app.ok("device", "dev-1")[3] == "2"
        app.fails("state", "device-revoked", 409, "renew", "dev-1", 0)
        app.ok("device-delete", "dev-1")
        assert pages(app, "devices", 1) == ["dev-2"]
        app.fails("state", "device-deleted", 409, "enrol", "dev-1", "-", 0, 0)
        for words in (("device", "none"), ("renew", "none", 0), ("revoke", "none"),
                      ("device-delete", "none")):
            app.fails("missing", "no-such-device", 404, *words)
        for text in (secret, again):
            assert text not in keyd.log()
        app.wrong("enrol", "a/b", "-", 0, 0)
    keyd.stop()


@test(on=SOFTHSM)
def key_for_envelopes_is_told(token):
    keyd = Mailbox(token).set_up()
    with App(keyd) as app:
        name, version, body_max, id_, point = app.ok("envelope-key")
        assert (name, version, body_max) == ("mailbox", "1", "65536")
        assert unhex(point) == oracle.point_of(keyd.key["pem"].encode()) and len(id_) == 16
    keyd.stop()


if __name__ == "__main__":
    main()
