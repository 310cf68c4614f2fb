# SPDX-License-Identifier: Apache-2.0
"""libkeyd-service, by tests/system/service.c and client/examples/sign.c, against a real keyd."""
import hashlib
import os
import re
import signal
import subprocess

from harness import BOTH, SOFTHSM, Keyd, main, oracle, sha256_hex, test, tokens, wait_for
from harness.app import (AES, AES_CBC, DECRYPTS, DERIVES, ENCRYPTS, HKDF_256, HKDF_384, HMAC_256,
                         HMAC_384, P256, P384, PROGRAM, SIGNS, VERIFIES, App, make)
from harness.daemon import POLICY
from harness.mailbox import Mailbox
from harness.peer import PeerError, Server, pem, unhex
from harness.pki import Ca

SIGN = os.path.join(tokens.BUILD, "client", "examples", "sign")


@test
def keys_are_made_shown_renewed_and_destroyed(keyd):
    with App(keyd) as app:
        for name, type_, usages, half in (("k-p256", P256, SIGNS, 32), ("k-p384", P384, DERIVES, 48),
                                          ("k-mac", HMAC_256, SIGNS | VERIFIES, 0),
                                          ("k-aes", AES, ENCRYPTS | DECRYPTS, 0)):
            made = app.ok("create", name, type_, usages)
            assert made[:4] == [name, str(type_), str(usages), "1"], made
            assert app.ok("show", name) == made
            if half:
                public = keyd.get("/v1/keys/" + name).json["versions"][0]["pem"].encode()
                assert unhex(made[4]) == oracle.point_of(public) and len(made[4]) == 4 * half + 2
            else:
                assert made[4] == "-"
            renewed = app.ok("rotate", name)
            assert renewed[3] == "2" and (renewed[4] != made[4]) == bool(half)
            app.fails("state", "version-primary", 409, "delete-version", name, 2)
            app.ok("delete-version", name, 1)
            app.fails("missing", "no-such-version", 404, "delete-version", name, 1)
            app.fails("state", "key-exists", 409, "create", name, type_, usages)
            app.ok("delete", name)
            for command in ("show", "rotate", "delete"):
                app.fails("missing", "no-such-key", 404, command, name)
            assert "no-such-key" in app.detail() and "404" in app.detail()
        app.fails("argument", "field-invalid", 400, "create", "none", P256, 0)
        for name in ("a/b", "..", "a%2fb", "x" * 65, "a?b", ""):
            app.wrong("show", name)
            app.wrong("create", name, AES, ENCRYPTS)
        app.wrong("create", "x", 5, SIGNS)


@test
def key_that_is_disabled_has_no_primary(keyd):
    with App(keyd) as app:
        make(app, "asleep", P256, SIGNS)
        keyd.ok("/v1/keys/asleep/disable", {})
        assert app.ok("show", "asleep")[3:] == ["0", "-"]
        app.fails("state", "version-disabled", 409, "sign", "asleep", 0, b"x")
        app.ok("delete", "asleep")


@test
def signatures_are_good_alone_and_in_batches(keyd):
    with App(keyd) as app:
        for name, type_, kind in (("s-256", P256, "ec-p256"), ("s-384", P384, "ec-p384")):
            make(app, name, type_, SIGNS)
            public = keyd.get("/v1/keys/" + name).json["versions"][0]["pem"].encode()
            good, signature, version = app.ok("sign", name, 0, b"data")
            assert good == "ok" and version == "1"
            assert oracle.ecdsa_verify(kind, public, b"data", unhex(signature))
            digest = hashlib.new(oracle.HASHES[kind], b"data").digest()
            _, other, _ = app.ok("sign", name, 1, digest)
            assert oracle.ecdsa_verify(kind, public, b"data", unhex(other))
            app.ok("verify", name, 0, b"data", unhex(signature))
            app.ok("verify", name + ":1", 1, digest, unhex(signature))
            app.fails("refused", "not-valid", 200, "verify", name, 0, b"date", unhex(signature))
            app.fails("refused", "not-valid", 200, "verify", name, 0, b"data", b"")
            items = [b"%d" % i for i in range(5)]
            answer = app.ok("sign", name, 0, *items)
            for i, item in enumerate(items):
                assert answer[3 * i] == "ok" and answer[3 * i + 2] == "1"
                assert oracle.ecdsa_verify(kind, public, item, unhex(answer[3 * i + 1]))
            app.fails("missing", "no-such-version", 404, "sign", name + ":7", 0, b"x")
            answer = app.ok("sign", name + ":der", 0, *items)
            for i, item in enumerate(items):
                raw = oracle.raw_signature(unhex(answer[3 * i + 1]), oracle.COORDINATE_BYTES[kind])
                assert oracle.ecdsa_verify(kind, public, item, raw)
            app.ok("verify", name + ":der", 0, b"4", unhex(answer[13]))
            app.fails("refused", "not-valid", 200, "verify", name, 0, b"4", unhex(answer[13]))
            app.fails("refused", "not-valid", 200, "verify", name + ":der", 0, b"4", raw)
        app.fails("argument", "field-invalid", 400, "sign", "s-256", 1, bytes(32), b"no digest")
        app.wrong("sign", "s-256", 0)


@test
def macs_are_good_alone_and_in_batches(keyd):
    with App(keyd) as app:
        for name, type_, n in (("m-256", HMAC_256, 32), ("m-384", HMAC_384, 48)):
            make(app, name, type_, SIGNS | VERIFIES)
            good, mac, version = app.ok("mac", name, b"data")
            assert good == "ok" and len(unhex(mac)) == n and version == "1"
            app.ok("mac-verify", name, b"data", unhex(mac))
            app.fails("refused", "not-valid", 200, "mac-verify", name, b"data", unhex(mac)[:-1])
            answer = app.ok("mac", name, *([b"data", b""] * 512))
            assert len(answer) == 3 * 1024 and answer[1] == mac == answer[3 * 1022 + 1]
            app.wrong("mac", name, *([b"data"] * 1025))
        make(app, "m-aes", AES, ENCRYPTS)
        app.fails("state", "key-type", 409, "mac", "m-aes", b"x")
        make(app, "m-only", HMAC_256, VERIFIES)
        app.fails("state", "key-usage", 409, "mac", "m-only", b"x")
        assert "key-usage" in app.detail()
        # What is too large in all is not sent.
        app.wrong("mac", "m-256", bytes(3_000_001))
        assert app.ok("mac", "m-256", bytes(3_000_000))[0] == "ok"


@test
def what_was_encrypted_is_decrypted_and_nothing_else(keyd):
    with App(keyd) as app:
        make(app, "e", AES, ENCRYPTS | DECRYPTS)
        for text, aad in ((b"a secret", b"about it"), (b"", b""), (os.urandom(100_000), b"")):
            sealed, iv = app.ok("encrypt", "e", text, aad)
            assert len(unhex(sealed)) == len(text) + 16 and len(unhex(iv)) == 12
            assert unhex(app.ok("decrypt", "e", unhex(iv), unhex(sealed), aad)[0]) == text
            for bad in (unhex(sealed)[:-1] + bytes([unhex(sealed)[-1] ^ 1]), bytes(16)):
                app.fails("refused", "not-authentic", 422, "decrypt", "e", unhex(iv), bad, aad)
        app.fails("refused", "not-authentic", 422, "decrypt", "e", unhex(iv), unhex(sealed), b"x")
        app.wrong("decrypt", "e", unhex(iv), bytes(15), b"")
        app.fails("missing", "no-such-key", 404, "encrypt", "nowhere", b"x", b"")


@test
def what_an_old_version_encrypted_is_rewrapped_by_the_new_one(keyd):
    with App(keyd) as app:
        make(app, "rw", AES, ENCRYPTS | DECRYPTS)
        sealed, iv = app.ok("encrypt", "rw", b"a secret", b"about it")
        app.ok("rotate", "rw")
        app.fails("refused", "not-authentic", 422, "rewrap", "rw", unhex(iv), unhex(sealed), b"x")
        app.fails("refused", "not-authentic", 422, "rewrap", "rw:2", unhex(iv), unhex(sealed),
                  b"about it")
        anew, other = app.ok("rewrap", "rw:1", unhex(iv), unhex(sealed), b"about it")
        assert other != iv and len(anew) == len(sealed)
        app.fails("refused", "not-authentic", 422, "decrypt", "rw:1", unhex(other), unhex(anew),
                  b"about it")
        assert unhex(app.ok("decrypt", "rw:2", unhex(other), unhex(anew), b"about it")[0]) == \
            b"a secret"
        app.wrong("rewrap", "rw", unhex(iv), bytes(15), b"")


@test
def derived_secrets_stay_in_the_token(keyd):
    with App(keyd) as app:
        make(app, "d-ec", P256, DERIVES)
        make(app, "d-aes", AES, DERIVES)
        private, point = oracle.new_peer("ec-p256")
        id_, version, _ = app.ok("derive", "d-ec", point, HKDF_256, b"salt", b"info", HMAC_256, 60)
        assert version == "1"
        public = keyd.get("/v1/keys/d-ec").json["versions"][0]["pem"].encode()
        shared = oracle.ecdh(private, public)
        key = oracle.hkdf("hkdf-sha256", b"salt", shared, b"info", 32)
        good, mac, version = app.ok("mac", "@" + id_, b"data")
        assert (good, version) == ("ok", "0")
        assert unhex(mac) == oracle.mac("hmac-sha256", key, b"data")
        app.ok("mac-verify", "@" + id_, b"data", unhex(mac))
        inner, version, _ = app.ok("derive", "d-aes", b"", AES_CBC, b"", b"for", AES, 0)
        sealed, iv = app.ok("encrypt", "@" + inner, b"text", b"")
        assert unhex(app.ok("decrypt", "@" + inner, unhex(iv), unhex(sealed), b"")[0]) == b"text"
        for id_ in (id_, inner):
            app.ok("forget", id_)
            app.fails("missing", "no-such-secret", 404, "forget", id_)
            app.fails("missing", "no-such-secret", 404, "mac", "@" + id_, b"x")
        app.fails("refused", "bad-point", 422, "derive", "d-ec", b"\4" + bytes(64), 0, b"", b"", 0, 0)
        app.fails("argument", "field-missing", 400, "derive", "d-aes", b"", 0, b"", b"", 0, 0)
        app.wrong("derive", "d-ec", point, 4, b"", b"", 0, 0)
        app.wrong("derive", "d-ec", point, 0, b"", b"", P256, 0)
        app.wrong("derive", "@../keys", point, 0, b"", b"", 0, 0)
        app.wrong("forget", "a/b")


@test
def values_are_released_where_the_policy_says_so(keyd):
    with App(keyd) as app:
        make(app, "v-ec", P384, DERIVES)
        private, point = oracle.new_peer("ec-p384")
        public = keyd.get("/v1/keys/v-ec").json["versions"][0]["pem"].encode()
        shared = oracle.ecdh(private, public)
        assert unhex(app.ok("value", "v-ec", point, 0, b"", b"", 0, 0, 0)[0]) == shared
        for n in (16, 32, 255):
            got = app.ok("value", "v-ec", point, HKDF_384, b"s", b"i", 0, 0, n)[0]
            assert unhex(got) == oracle.hkdf("hkdf-sha384", b"s", shared, b"i", n)
        app.fails("argument", "field-invalid", 400, "value", "v-ec", point, HKDF_384, b"", b"", 0, 0,
                  256)
        app.wrong("value", "v-ec", point, HKDF_384, b"", b"", 0, 0, 0)


@test
def service_tells_of_itself(keyd):
    keyd.wait_all_ready()
    with App(keyd) as app:
        app.ok("ready")
        ready, workers, workers_ready, keys, secrets, sessions = app.ok("state")
        assert (ready, workers, workers_ready, sessions) == ("1", "2", "2", "0")
        before = int(keys)
        make(app, "counted", AES, ENCRYPTS)
        assert int(app.ok("state")[3]) == before + 1 and int(secrets) >= 0
        app.ok("delete", "counted")
        one, two = (unhex(app.ok("random", 32)[0]) for _ in range(2))
        assert len(one) == len(two) == 32 and one != two
        assert len(unhex(app.ok("random", 4096)[0])) == 4096
        app.wrong("random", 0)
        app.wrong("random", 4097)


@test(on=SOFTHSM)
def what_the_policy_does_not_allow_is_denied(token):
    policy = f"""
principal "app" {{ uid = {{ {os.getuid()} }} }}
principal "known" {{ token = {{ "sha256:{sha256_hex("known-token")}" }} }}
allow "app" {{ operations = {{ "mac", "ecdh", "show", "create" }} keys = {{ "*" }} }}
"""
    keyd = Keyd(token, policy=policy).start()
    with App(keyd) as app:
        app.ok("create", "k", HMAC_256, SIGNS | VERIFIES)
        app.ok("create", "ec", P256, DERIVES)
        app.ok("mac", "k", b"x")
        app.ok("derive", "ec", oracle.new_peer("ec-p256")[1], 0, b"", b"", 0, 0)
        for words in (("mac-verify", "k", b"x", b""), ("delete", "k"), ("rotate", "k"),
                      ("random", 1), ("state",),
                      ("value", "ec", oracle.new_peer("ec-p256")[1], 0, b"", b"", 0, 0, 0)):
            app.fails("denied", "denied", 403, *words)
    file = os.path.join(token.directory, "bearer")
    tokens.write(file, "wrong-token\n")
    with App(keyd, token=file) as app:
        app.fails("denied", "unauthenticated", 401, "mac", "k", b"x")
        # Another token in the file is read with the next connection, after a refusal at once.
        tokens.write(file, "known-token\n")
        app.fails("denied", "denied", 403, "mac", "k", b"x")
        assert "token" not in app.detail()
    keyd.stop()


def tls_files(directory, ca, name, **more):
    """Paths of a certificate and its key."""
    key, der = ca.issue(name, uris=[], **more)
    paths = [os.path.join(directory, f"{name}.{end}") for end in ("pem", "key")]
    tokens.write(paths[0], pem(der))
    tokens.write(paths[1], key.decode())
    return paths, hashlib.sha256(der).hexdigest()


@test(on=SOFTHSM)
def keyd_and_app_know_each_other_by_tls_certificates(token):
    ca, other = Ca("service"), Ca("other")
    server, _ = tls_files(token.directory, ca, "server", extended="serverAuth",
                          san="DNS:localhost,IP:127.0.0.1")
    client, known = tls_files(token.directory, ca, "client")
    policy = POLICY + f"""
principal "app" {{ certificate = {{ "sha256:{known}" }} }}
allow "app" {{ operations = {{ "random" }} }}
"""
    keyd = Keyd(token, {"http.tcp-address": "127.0.0.1", "http.tls-certificate": server[0],
                        "http.tls-key": server[1], "http.tls-client-ca": ca.path("ca.pem")}, policy)
    keyd.start()
    port = re.findall(r"serving; address=\S+ port=(\d+)", keyd.log())[-1]
    url = f"https://localhost:{port}"
    with App(url=url, ca=ca.path("ca.pem"), certificate=client[0], key=client[1]) as app:
        app.ok("random", 8)
        app.fails("denied", "denied", 403, "state")
    with App(url=url, ca=ca.path("ca.pem")) as app:
        app.ok("ready")
        app.fails("denied", "unauthenticated", 401, "random", 8)
    with App(url=url, ca=other.path("ca.pem")) as app:
        app.fails("transport", "-", 0, "ready")
        assert "certificate" in app.detail()
    keyd.stop()


def says(config, *parts):
    r = subprocess.run([PROGRAM, *config], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       check=False, timeout=300)
    assert r.returncode == 1 and all(p in r.stdout for p in parts), r


@test(on=SOFTHSM)
def what_cannot_work_is_said(token):
    says([], "argument", "socket")
    says(["socket=/a", "url=https://localhost:1"], "argument")
    says(["url=https://localhost:1", "certificate=/a"], "argument", "key_file")
    says(["url=http://keyd.example"], "argument", "https://")
    says(["url=ftp://localhost"], "argument", "https://")
    says(["socket=/a", "token=/nowhere"], "file", "/nowhere")
    open_file = os.path.join(token.directory, "open")
    tokens.write(open_file, "known-token\n", 0o644)
    says(["socket=/a", "token=" + open_file], "file", "chmod 600")
    with App(socket=os.path.join(token.directory, "nobody")) as app:
        app.fails("transport", "-", 0, "ready")
        assert "There is no socket" in app.detail()


@test(on=SOFTHSM)
def keyd_that_is_away_or_silent_is_told_apart(token):
    keyd = Keyd(token).start()
    with App(keyd, timeout=500) as quick, App(keyd) as app:
        make(app, "k", HMAC_256, SIGNS | VERIFIES)
        wait_for(lambda: quick.ask("mac", "k", b"x")[0] == "ok", what="an answer in time")
        os.kill(keyd.pid, signal.SIGSTOP)
        quick.fails("timeout", "-", 0, "mac", "k", b"x")
        assert "500 ms" in quick.detail()
        os.kill(keyd.pid, signal.SIGCONT)
        wait_for(lambda: quick.ask("mac", "k", b"x")[0] == "ok", what="an answer again")
        keyd.kill()
        app.fails("transport", "-", 0, "mac", "k", b"x")
        keyd.start()
        assert app.ok("mac", "k", b"x")[0] == "ok"  # the kept connection is replaced
        for pid in keyd.workers():
            os.kill(pid, signal.SIGSTOP)
        app.send("mac", "k", b"x")
        for pid in keyd.workers():
            os.kill(pid, signal.SIGKILL)
        error = app.line().split(" ")
        assert error[0] in ("ok", "busy", "backend"), error
        wait_for(lambda: app.ask("ready")[0] == "ok", what="a worker")
        app.ok("mac", "k", b"x")
    keyd.stop()


@test(on=SOFTHSM)
def token_that_is_away_is_busy_with_a_reason(token):
    keyd = Keyd(token, {"token.pin-file": os.path.join(token.directory, "nowhere")})
    keyd.start(wait=False)
    keyd.wait_serving()
    with App(keyd) as app:
        wait_for(lambda: app.ask("ready")[1] == "pin-missing", what="the reason")
        app.fails("busy", "pin-missing", 503, "ready")
        app.send("retry")
        assert int(app.line()) > 0
        assert app.ok("state")[:3] == ["0", "2", "0"]
    keyd.stop()


@test
def threads_share_a_service(keyd):
    """Each has its own answer, and its own problem."""
    with App(keyd) as app:
        make(app, "t", HMAC_256, SIGNS | VERIFIES)
        app.send("threads", 8, 50, "t")
        assert app.line() == "400"
        app.send("threads", 40, 5, "t")  # more than connections are kept
        assert app.line() == "200"


def connect(app, device, address="-"):
    id_, first = "-", device.begin()
    answer, id_, session = app.ok("handshake", "-", address, "-", first)
    assert session == "-"
    third = device.read(unhex(answer))
    answer, _, session = app.ok("handshake", id_, "-", "-", third)
    device.read(unhex(answer))
    assert session == device.session
    return session


@test(on=BOTH)
def channel_is_served_from_handshake_to_end(token):
    keyd = Server(token).set_up()
    with App(keyd) as app, keyd.device("sensor") as d, keyd.device("other") as e:
        session, other = connect(app, d, "127.0.0.1:7"), connect(app, e)
        opened = app.ok("open", b"about", d.seal(b"up", b"about"))
        assert opened == ["ok", b"up".hex(), session, "sensor", "-", "0", "0", "1"]
        sealed = app.ok("seal", session, 0, b"", b"down")
        assert d.open(unhex(sealed[1])) == (0, 0, b"down")
        # Also nothing, as much as there may be, and what is no text.
        for body in (b"", os.urandom(65536)):
            assert unhex(app.ok("open", b"", d.seal(body))[1]) == body
            assert d.open(unhex(app.ok("seal", session, 0, b"", body)[1]))[2] == body
        answer = app.ok("seal", session, 0, b"a", *(b"%d" % i for i in range(9)))
        for i in range(9):
            assert answer[8 * i] == "ok"
            assert d.open(unhex(answer[8 * i + 1]), b"a")[2] == b"%d" % i
        # Of a batch one fails, and the others stand.
        one, two = d.seal(b"one"), e.seal(b"two")
        answer = app.ok("open", b"", one, one, two, b"no record")
        assert answer[:2] + answer[8:9] + answer[16:20] + answer[24:25] == [
            "ok", b"one".hex(), "record-replayed", "ok", b"two".hex(), other, "other",
            "record-form"], answer
        app.fails("refused", "record-replayed", 422, "open", b"", one)
        app.fails("refused", "not-authentic", 422, "open", b"x", d.seal(b"three"))
        app.fails("argument", "field-invalid", 400, "seal", session, 1, b"", b"")
        app.fails("missing", "no-such-session", 404, "seal", "00" * 8, 0, b"", b"x")
        assert 0 < len(unhex(app.ok("ticket", session)[0])) <= 384
        app.ok("end", session)
        for words in (("ticket", session), ("end", session)):
            app.fails("missing", "no-such-session", 404, *words)
        assert int(app.ok("state")[5]) == 1
        # The peer's close ends the session.
        assert app.ok("open", b"", e.seal(b"", type_=3))[5] == "3"
        app.fails("missing", "no-such-session", 404, "seal", other, 0, b"", b"x")
        app.wrong("seal", "../x", 0, b"", b"x")
        app.wrong("seal", other, 0, b"", bytes(65537))
        app.wrong("ticket", "")
    keyd.stop()


@test(on=SOFTHSM)
def handshake_that_is_refused_has_a_message_for_the_peer(token):
    keyd = Server(token, {"channel.handshakes-max": 4}).set_up()
    with App(keyd) as app, keyd.device("stranger", register=False) as d, keyd.device("known") as e:
        answer, id_, _ = app.ok("handshake", "-", "-", "-", d.begin())
        third = d.read(unhex(answer))
        message, _, session = app.fails("refused", "handshake-credential", 422, "handshake", id_,
                                        "-", "-", third)
        try:
            d.read(unhex(message))
            assert False, "an error message is expected"
        except PeerError as error:
            assert error.args[0].startswith("handshake-") and session == "-"
        app.fails("missing", "no-such-handshake", 404, "handshake", id_, "-", "-", third)
        # From half of the handshakes on a cookie is asked for.
        for _ in range(2):
            app.ok("handshake", "-", "-", "-", d.begin())
        first = e.begin()
        cookie, _, _ = app.fails("busy", "handshake-retry", 503, "handshake", "-", "here", "-", first)
        app.fails("busy", "handshake-retry", 503, "handshake", "-", "there", unhex(cookie), first)
        app.ok("handshake", "-", "here", unhex(cookie), first)
        app.wrong("handshake", "-", "he\tre", "-", first)
        app.wrong("handshake", "-", "-", "-", bytes(8001))
    keyd.stop()


@test(on=SOFTHSM)
def expired_session_has_a_record_for_the_peer(token):
    keyd = Server(token, {"channel.session-records-max": 2}).set_up()
    with App(keyd) as app, keyd.device("d") as d:
        for together in (False, True):
            session = connect(app, d)
            for _ in range(2):
                app.ok("seal", session, 0, b"", b"x")
            if together:
                answer = app.ok("seal", session, 0, b"", b"x", b"y")[:2]
            else:
                answer = app.fails("state", "session-expired", 409, "seal", session, 0, b"", b"x")
            assert answer[0] == "session-expired" and d.open(unhex(answer[1]))[0] == 1
    keyd.stop()


@test(on=BOTH)
def envelope_is_opened_once(token):
    keyd = Mailbox(token).set_up()
    with App(keyd) as app:
        envelope = keyd.make(b"unasked", "--sender", "someone")
        body, sender, valid = app.ok("envelope", envelope)
        assert (unhex(body), sender) == (b"unasked", "someone") and int(valid) > 0
        app.fails("refused", "envelope-replayed", 422, "envelope", envelope)
        app.fails("refused", "envelope-form", 422, "envelope", b"x")
        app.wrong("envelope", b"")
    keyd.stop()


@test
def example_signs(keyd):
    r = subprocess.run([SIGN, keyd.socket, "example"], input="one\ntwo\n", capture_output=True,
                       text=True, check=False, timeout=300)
    assert r.returncode == 0, r
    public = keyd.get("/v1/keys/example").json["versions"][0]["pem"].encode()
    lines = [line.split() for line in r.stdout.splitlines()]
    assert len(lines) == 2 and {line[1] for line in lines} == {"1"}
    for text, line in zip((b"one", b"two"), lines):
        assert oracle.ecdsa_verify("ec-p256", public, text, unhex(line[0]))
    r = subprocess.run([SIGN, "/nowhere", "example"], input="", capture_output=True, text=True,
                       check=False, timeout=300)
    assert r.returncode == 1 and "There is no socket /nowhere" in r.stderr, r


@test
def library_is_found_by_pkg_config_with_the_one_that_it_needs():
    r = subprocess.run(["pkg-config", "--libs", "keyd-service"], capture_output=True, text=True,
                       check=False, env={**os.environ, "PKG_CONFIG_PATH": os.path.join(
                           tokens.BUILD, "client")})
    assert r.returncode == 0 and {"-lkeyd-service", "-lkeyd"} <= set(r.stdout.split()), r


if __name__ == "__main__":
    main()
