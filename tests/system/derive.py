# SPDX-License-Identifier: Apache-2.0
"""ECDH, key derivation and the secrets that stay in the token (vault #28529,
openbao #655 in docs/field.md: agreement without export)."""
import datetime
import time
import os

from harness import b64, daemon, expect, main, oracle, test, unb64, wait_for

KDFS = ("aes-cbc-data", "hkdf-sha256", "hkdf-sha384")


def ensure(keyd, name, type_, *usages):
    if keyd.get("/v1/keys/" + name).status == 404:
        keyd.create(name, type_, *usages)
    return "/v1/keys/" + name


class Agreement:
    """A key in the token, a caller's key pair, and what both agree on."""

    def __init__(self, keyd, type_):
        self.path = ensure(keyd, "agree-" + type_, type_, "derive")
        self.private, self.point = oracle.new_peer(type_)
        pem = keyd.get(self.path).json["versions"][0]["pem"].encode()
        self.shared = oracle.ecdh(self.private, pem)

    def body(self, **more):
        return {"peer": b64(self.point), **more}


def expected(base, kdf, type_, salt=b"", info=b""):
    """The key of a kept secret.  PKCS#11: an AES or HMAC key derived from a
    longer shared secret keeps its last bytes (CKM_ECDH1_DERIVE)."""
    n = oracle.KEY_BYTES[type_]
    if kdf is None:
        return base[-n:]
    if kdf == "aes-cbc-data":
        return oracle.aes_cbc_data(base[-32:], type_, info)
    return oracle.hkdf(kdf, salt, base, info, n)


def assert_is(keyd, secret, type_, key):
    """The secret in the token is this key: it makes and takes what openssl and
    Python make with it."""
    path = "/v1/secrets/" + secret
    data = os.urandom(100)
    if type_ != "aes-256":
        tag = oracle.mac(type_, key, data)
        assert unb64(keyd.ok(path + "/mac", {"data": b64(data)})["mac"]) == tag
        assert keyd.ok(path + "/mac-verify", {"data": b64(data), "mac": b64(tag)}) == \
            {"valid": True}
        assert keyd.ok(path + "/mac-verify", {"data": "", "mac": b64(tag)}) == {"valid": False}
        return
    sealed = keyd.ok(path + "/encrypt", {"plaintext": b64(data), "aad": b64(b"head")})
    assert set(sealed) == {"iv", "ciphertext"}, sealed
    assert unb64(sealed["ciphertext"]) == oracle.gcm_encrypt(key, unb64(sealed["iv"]), data,
                                                             b"head")
    ours = oracle.gcm_encrypt(key, b"twelve bytes", data)
    opened = keyd.ok(path + "/decrypt", {"iv": b64(b"twelve bytes"), "ciphertext": b64(ours)})
    assert unb64(opened["plaintext"]) == data


@test
def ecdh_released_is_what_openssl_derives(keyd):
    for type_ in ("ec-p256", "ec-p384"):
        a = Agreement(keyd, type_)
        got = keyd.ok(a.path + "/ecdh", a.body(release=True))
        assert got == {"value": b64(a.shared), "version": 1}, got
        half = oracle.COORDINATE_BYTES[type_]
        jwk = {"kty": "EC", "crv": oracle.CURVES[type_], "x": b64(a.point[1:1 + half]),
               "y": b64(a.point[1 + half:])}
        assert keyd.ok(a.path + "/ecdh", {"peer": jwk, "release": True}) == got


@test
def ecdh_keeps_the_secret_in_the_token_with_each_kdf_and_type(keyd):
    for curve in ("ec-p256", "ec-p384"):
        a = Agreement(keyd, curve)
        for kdf in (None,) + KDFS:
            for type_ in oracle.KEY_BYTES:
                if kdf is None and len(a.shared) < oracle.KEY_BYTES[type_]:
                    continue
                if kdf == "aes-cbc-data" and type_ == "hmac-sha384":
                    continue  # it makes 32 bytes
                body = a.body(type=type_)
                salt, info = b"", b""
                if kdf:
                    info = os.urandom(40)
                    body.update(kdf=kdf, info=b64(info))
                    if kdf != "aes-cbc-data":
                        salt = os.urandom(16)
                        body["salt"] = b64(salt)
                got = keyd.ok(a.path + "/ecdh", body)
                assert set(got) == {"secret", "type", "expires", "version", "residence"}, got
                assert got["type"] == type_ and got["version"] == 1
                if kdf in (None, "aes-cbc-data"):
                    assert got["residence"] == "token", got
                assert_is(keyd, got["secret"], type_, expected(a.shared, kdf, type_, salt, info))


@test
def a_secret_longer_than_the_agreement_is_refused(keyd):
    a = Agreement(keyd, "ec-p256")
    for body in (a.body(type="hmac-sha384"),
                 a.body(type="hmac-sha384", kdf="aes-cbc-data", info="")):
        r = expect(keyd.post(a.path + "/ecdh", body), 400, "field-invalid", "type")
        assert "48 bytes" in r.json["detail"], r


@test
def hkdf_without_salt_and_info_and_with_the_longest_ones(keyd):
    a = Agreement(keyd, "ec-p256")
    for salt, info in ((b"", b""), (bytes(1), b""), (os.urandom(1024), os.urandom(1024))):
        for kdf in ("hkdf-sha256", "hkdf-sha384"):
            got = keyd.ok(a.path + "/ecdh", a.body(kdf=kdf, salt=b64(salt), info=b64(info)))
            assert_is(keyd, got["secret"], "aes-256",
                      expected(a.shared, kdf, "aes-256", salt, info))
    long = b64(bytes(1025))
    for member in ("salt", "info"):
        body = a.body(kdf="hkdf-sha256", **{member: long})
        r = expect(keyd.post(a.path + "/ecdh", body), 413, "item-too-large", member)
        assert r.json["detail"].endswith(": 1024."), r
        good, bad = keyd.ok(a.path + "/ecdh", {"items": [a.body(), body]})["items"]
        assert "secret" in good and bad["error"]["field"] == member, bad
        assert bad["error"]["detail"] == r.json["detail"], bad


@test
def hkdf_released_has_the_length_asked_for(keyd):
    a = Agreement(keyd, "ec-p384")
    for kdf in ("hkdf-sha256", "hkdf-sha384"):
        for n in (None, 16, 31, 32, 33, 64, 100, 255):
            body = a.body(kdf=kdf, info=b64(b"i"), release=True)
            if n is not None:
                body["length"] = n
            value = unb64(keyd.ok(a.path + "/ecdh", body)["value"])
            assert value == oracle.hkdf(kdf, b"", a.shared, b"i", n or 32), (kdf, n)
        for n in (0, 15, 256):
            expect(keyd.post(a.path + "/ecdh", a.body(kdf=kdf, release=True, length=n)), 400,
                   "field-invalid", "length")


@test
def derive_from_secrets_agrees_step_by_step_with_the_oracle(keyd):
    """Chains: ECDH, then derivations on the results."""
    a = Agreement(keyd, "ec-p256")
    one = keyd.ok(a.path + "/ecdh", a.body(kdf="hkdf-sha256", info=b64(b"root")))
    key_one = expected(a.shared, "hkdf-sha256", "aes-256", b"", b"root")
    for type_ in ("aes-256", "hmac-sha256"):
        two = keyd.ok(f"/v1/secrets/{one['secret']}/derive",
                      {"kdf": "aes-cbc-data", "info": b64(b"c2s"), "type": type_})
        key_two = expected(key_one, "aes-cbc-data", type_, b"", b"c2s")
        assert_is(keyd, two["secret"], type_, key_two)
    three = keyd.ok(f"/v1/secrets/{two['secret']}/derive",
                    {"kdf": "hkdf-sha384", "info": b64(b"next"), "type": "hmac-sha384"})
    key_three = expected(key_two, "hkdf-sha384", "hmac-sha384", b"", b"next")
    assert_is(keyd, three["secret"], "hmac-sha384", key_three)
    # Deleting an earlier step does not take the later ones.
    expect(keyd.delete("/v1/secrets/" + one["secret"]), 204)
    assert_is(keyd, three["secret"], "hmac-sha384", key_three)


@test
def derive_from_keys_that_never_leave_gives_the_same_twice_and_differs_by_info(keyd):
    for name, type_ in (("base-aes", "aes-256"), ("base-hmac", "hmac-sha256")):
        path = ensure(keyd, name, type_, "derive")
        for kdf in KDFS:
            if (kdf == "aes-cbc-data") != (type_ == "aes-256"):
                # PKCS#11 has no HKDF of an AES key, and no AES with another key.
                expect(keyd.post(path + "/derive", {"kdf": kdf, "info": ""}), 409, "key-type")
                continue

            def tag(info):
                body = {"kdf": kdf, "info": b64(info), "type": "hmac-sha256"}
                r = keyd.post(path + "/derive", body)
                if r.status == 501 and kdf != "aes-cbc-data":
                    return None  # the token says that it cannot: that is an answer
                secret = expect(r, 200).json["secret"]
                return keyd.ok(f"/v1/secrets/{secret}/mac", {"data": ""})["mac"]

            first = tag(b"a")
            assert first is None or (first == tag(b"a") and first != tag(b"b")), (name, kdf)


@test
def derive_needs_a_kdf_and_no_peer(keyd):
    path = ensure(keyd, "base-aes", "aes-256", "derive")
    expect(keyd.post(path + "/derive", {"info": ""}), 400, "field-missing", "kdf")
    expect(keyd.post(path + "/derive", {"kdf": "hkdf-md5"}), 400, "field-invalid", "kdf")
    expect(keyd.post(path + "/derive", {"kdf": "aes-cbc-data", "peer": ""}), 400,
           "field-unknown", "peer")
    expect(keyd.post(path + "/derive", {"kdf": "aes-cbc-data", "salt": ""}), 400,
           "field-invalid", "salt")


@test
def points_that_are_not_on_the_key_s_curve_are_refused(keyd):
    for type_, other in (("ec-p256", "ec-p384"), ("ec-p384", "ec-p256")):
        a = Agreement(keyd, type_)
        _, foreign = oracle.new_peer(other)
        n = len(a.point)
        half = n // 2
        p = a.point
        expect(keyd.post(a.path + "/ecdh", {"peer": ""}), 400, "field-missing")
        expect(keyd.post(a.path + "/ecdh", {}), 400, "field-missing", "peer")
        for bad in (b"\x04", p[:-1], p[:1 + half], p + b"\0", foreign, bytes(n), b"\0",
                    p[:-1] + bytes([p[-1] ^ 1]), b"\x04" + bytes(n - 1), b"\x04" + b"\xff" * (n - 1),
                    bytes([2 + (p[-1] & 1)]) + p[1:1 + half], b"\x06" + p[1:], b"\x05" + p[1:]):
            for more in ({"release": True}, {}, {"kdf": "hkdf-sha256"}):
                expect(keyd.post(a.path + "/ecdh", {"peer": b64(bad), **more}), 422, "bad-point")
        items = [a.body(release=True), {"peer": b64(foreign)}, a.body(release=True)]
        got = keyd.ok(a.path + "/ecdh", {"items": items})["items"]
        assert unb64(got[0]["value"]) == unb64(got[2]["value"]) == a.shared
        assert got[1]["error"]["type"] == "urn:keyd:problem:bad-point", got
    assert keyd.restarts() == 0


@test
def a_batch_of_agreements_answers_in_order(keyd):
    path = ensure(keyd, "agree-ec-p256", "ec-p256", "derive")
    pairs = [Agreement(keyd, "ec-p256") for _ in range(8)]
    got = keyd.ok(path + "/ecdh", {"items": [a.body(release=True) for a in pairs]})["items"]
    assert [unb64(g["value"]) for g in got] == [a.shared for a in pairs]
    kept = keyd.ok(path + "/ecdh", {"items": [a.body(type="hmac-sha256") for a in pairs]})["items"]
    for a, s in zip(pairs, kept):
        assert_is(keyd, s["secret"], "hmac-sha256", a.shared)


# ---- the life of a secret ----

@test
def a_secret_can_be_shown_listed_and_deleted(keyd):
    a = Agreement(keyd, "ec-p256")
    made = keyd.ok(a.path + "/ecdh", a.body(lifetime=1000))
    path = "/v1/secrets/" + made["secret"]
    shown = expect(keyd.get(path), 200).json
    assert shown["key"] == "agree-ec-p256" and shown["expires"] == made["expires"], shown
    assert shown["type"] == "aes-256" and shown["version"] == 1, shown
    times = [datetime.datetime.fromisoformat(shown[k]) for k in ("created", "expires")]
    assert abs((times[1] - times[0]).total_seconds() - 1000) < 2, shown
    listed, query = [], "/v1/secrets?limit=7"
    while query:
        page = expect(keyd.get(query), 200).json
        listed += page["secrets"]
        query = page["next"] and "/v1/secrets?limit=7&after=" + page["next"]
    assert shown in listed and len({s["secret"] for s in listed}) == len(listed)
    expect(keyd.delete(path), 204)
    expect(keyd.delete(path), 404, "no-such-secret")
    expect(keyd.get(path), 404, "no-such-secret")
    expect(keyd.post(path + "/encrypt", {"plaintext": ""}), 404, "no-such-secret")


@test
def pages_of_secrets_go_on_where_the_last_one_has_been_deleted(keyd):
    with keyd.client(bearer="other-token") as other:
        a = Agreement(keyd, "ec-p256")
        made = {expect(other.post(a.path + "/ecdh", a.body()), 200).json["secret"]
                for _ in range(9)}
        listed, query = [], "/v1/secrets?limit=2"
        while query:
            page = expect(other.get(query), 200).json
            listed += [s["secret"] for s in page["secrets"]]
            query = page["next"] and "/v1/secrets?limit=2&after=" + page["next"]
            expect(other.delete("/v1/secrets/" + listed[-1]), 204)
        assert len(listed) == len(set(listed)) and made <= set(listed), (made, listed)


@test
def a_secret_is_gone_after_its_lifetime(keyd):
    a = Agreement(keyd, "ec-p256")
    before = time.monotonic()  # the wall clock may be set meanwhile
    made = keyd.ok(a.path + "/ecdh", a.body(lifetime=1))
    path = f"/v1/secrets/{made['secret']}/encrypt"
    wait_for(lambda: keyd.post(path, {"plaintext": ""}).status == 404, what="the expiry")
    assert time.monotonic() - before >= 0.999
    lifetime = (datetime.datetime.fromisoformat(made["expires"]) -
                datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert -90 < lifetime < 90, made
    for lifetime in (0, -1, 86401, 1.5, "1"):
        expect(keyd.post(a.path + "/ecdh", a.body(lifetime=lifetime)), 400, "field-invalid")


@test
def another_principal_neither_sees_nor_uses_a_secret(keyd):
    a = Agreement(keyd, "ec-p256")
    secret = keyd.ok(a.path + "/ecdh", a.body())["secret"]
    path = "/v1/secrets/" + secret
    with keyd.client(bearer="other-token") as other:
        expect(other.get(path), 404, "no-such-secret")
        expect(other.delete(path), 404, "no-such-secret")
        expect(other.post(path + "/encrypt", {"plaintext": ""}), 404, "no-such-secret")
        expect(other.post(path + "/derive", {"kdf": "aes-cbc-data"}), 404, "no-such-secret")
        assert secret not in [s["secret"] for s in other.get("/v1/secrets?limit=1000").json["secrets"]]
    expect(keyd.get(path), 200)


@test
def secrets_do_only_what_their_type_says(keyd):
    a = Agreement(keyd, "ec-p256")
    aes = keyd.ok(a.path + "/ecdh", a.body())["secret"]
    mac = keyd.ok(a.path + "/ecdh", a.body(type="hmac-sha256"))["secret"]
    for path, body in ((f"{aes}/mac", {"data": ""}), (f"{mac}/encrypt", {"plaintext": ""}),
                       (f"{aes}/mac-verify", {"data": "", "mac": ""})):
        r = keyd.post("/v1/secrets/" + path, body)
        assert r.status == 409 and r.type in ("key-type", "key-usage"), r
    expect(keyd.post(f"/v1/secrets/{mac}/mac", {"data": "", "version": 1}), 400, "field-unknown")
    expect(keyd.get("/v1/secrets/AAAAAAAAAAAAAAAAAAAAAA"), 404, "no-such-secret")
    expect(keyd.get("/v1/secrets/short"), 404, "no-such-secret")


@test
def more_secrets_than_the_token_caches_all_work(token):
    """DESIGN 5, budget of token objects: a secret that the worker has dropped
    is derived again."""
    keyd = daemon.Keyd(token, {"secrets.cached-in-token": 10, "workers.processes": 1}).start()
    a = Agreement(keyd, "ec-p256")
    infos = [b"%d" % i for i in range(200)]
    body = {"items": [a.body(kdf="hkdf-sha256", info=b64(i), type="hmac-sha256") for i in infos]}
    made = keyd.ok(a.path + "/ecdh", body)["items"]
    for info, s in zip(infos, made):
        tag = oracle.mac("hmac-sha256", expected(a.shared, "hkdf-sha256", "hmac-sha256", b"", info),
                         b"d")
        assert unb64(keyd.ok(f"/v1/secrets/{s['secret']}/mac", {"data": b64(b"d")})["mac"]) == tag
    keyd.stop()


@test
def secrets_have_limits_for_each_principal(token):
    keyd = daemon.Keyd(token, {"secrets.per-principal-max": 3, "secrets.total-max": 4,
                               "secrets.lifetime-max": 50, "secrets.lifetime-default": 20}).start()
    a = Agreement(keyd, "ec-p256")
    made = [keyd.ok(a.path + "/ecdh", a.body()) for _ in range(3)]
    r = expect(keyd.post(a.path + "/ecdh", a.body()), 413, "too-many")
    assert "secrets.per-principal-max" in r.json["detail"] and r.json["detail"].endswith(": 3."), r
    with keyd.client(bearer="other-token") as other:
        other.ok(a.path + "/ecdh", a.body())
        r = expect(other.post(a.path + "/ecdh", a.body()), 413, "too-many")
        assert "secrets.total-max" in r.json["detail"] and r.json["detail"].endswith(": 4."), r
    expect(keyd.delete("/v1/secrets/" + made[0]["secret"]), 204)
    keyd.ok(a.path + "/ecdh", a.body(lifetime=50))
    r = expect(keyd.post(a.path + "/ecdh", a.body(lifetime=51)), 400, "field-invalid", "lifetime")
    assert "secrets.lifetime-max" in r.json["detail"] and r.json["detail"].endswith(": 50."), r
    keyd.stop()


if __name__ == "__main__":
    main()
