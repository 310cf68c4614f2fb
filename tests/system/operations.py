# SPDX-License-Identifier: Apache-2.0
"""Operations with keys, single and in batches, against openssl and Python."""
import hashlib
import json
import os

from harness import SOFTHSM, Keyd, b64, expect, main, oracle, test, unb64

SIZES = (0, 1, 31, 32, 33, 63, 64, 65, 255, 4096, 100_000)


def ensure(keyd, name, type_, *usages):
    if keyd.get("/v1/keys/" + name).status == 404:
        keyd.create(name, type_, *usages)
    return "/v1/keys/" + name


def public_pem(keyd, path):
    return keyd.get(path).json["versions"][0]["pem"].encode()


@test
def signatures_verify_with_openssl(keyd):
    for type_ in ("ec-p256", "ec-p384"):
        path = ensure(keyd, "op-" + type_, type_, "sign")
        pem = public_pem(keyd, path)
        for n in SIZES:
            data = os.urandom(n)
            made = keyd.ok(path + "/sign", {"data": b64(data)})
            raw = unb64(made["signature"])
            assert made["version"] == 1 and len(raw) == 2 * oracle.COORDINATE_BYTES[type_], made
            assert oracle.ecdsa_verify(type_, pem, data, raw), n
            digest = hashlib.new(oracle.HASHES[type_], data).digest()
            made = keyd.ok(path + "/sign", {"data": b64(digest), "prehashed": True})
            assert oracle.ecdsa_verify(type_, pem, data, unb64(made["signature"])), n


@test
def verify_accepts_good_signatures_and_no_others(keyd):
    for type_ in ("ec-p256", "ec-p384"):
        path = ensure(keyd, "op-" + type_, type_, "sign")
        data = b"a message"
        signature = unb64(keyd.ok(path + "/sign", {"data": b64(data)})["signature"])

        def verdict(data, signature, **more):
            return keyd.ok(path + "/verify", {"data": b64(data), "signature": b64(signature),
                                              **more})["valid"]

        digest = hashlib.new(oracle.HASHES[type_], data).digest()
        assert verdict(data, signature) is True
        assert verdict(digest, signature, prehashed=True) is True
        assert verdict(b"another message", signature) is False
        half = len(signature) // 2
        for bad in (signature[:-1], signature + b"\0", bytes(2 * half), b"",
                    signature[half:] + signature[:half], bytes(half) + signature[half:],
                    signature[:half] + b"\xff" * half, oracle.der_signature(signature),
                    bytes([signature[0] ^ 0x80]) + signature[1:]):
            assert verdict(data, bad) is False, bad.hex()


def ill_formed(der):
    """The same numbers in BER, or with a byte too many."""
    n = der[3]
    r, s = der[4:4 + n], der[6 + n:]
    yield der + b"\0"
    yield der[:-1]
    yield b"\x30\x81" + der[1:]
    yield b"\x30\x80" + der[2:] + b"\0\0"
    yield bytes([0x30, len(der) - 1, 2, n + 1, 0]) + r + bytes([2, len(s)]) + s
    yield bytes([0x30, len(der) - 1, 2, n]) + r + bytes([2, len(s) + 1, 0]) + s


@test
def signatures_are_given_and_taken_in_der(keyd):
    for type_, half in (("ec-p256", 32), ("ec-p384", 48)):
        path = ensure(keyd, "op-" + type_, type_, "sign")
        pem = public_pem(keyd, path)
        data = [b64(b"%d" % i) for i in range(20)]
        made = keyd.ok(path + "/sign", {"format": "der", "items": [{"data": d} for d in data]})
        items = [{"data": d, "signature": m["signature"]} for d, m in zip(data, made["items"])]
        for item in items:
            raw = oracle.raw_signature(unb64(item["signature"]), half)
            assert oracle.der_signature(raw) == unb64(item["signature"])
            assert oracle.ecdsa_verify(type_, pem, unb64(item["data"]), raw)
        alone = keyd.ok(path + "/sign", {"format": "der", "data": data[0]})
        assert keyd.ok(path + "/verify", {"format": "der", "data": data[0],
                                          "signature": alone["signature"]})["valid"] is True
        items[1] = {"data": data[1], "signature": b64(oracle.raw_signature(
            unb64(items[1]["signature"]), half))}
        for i, bad in enumerate(ill_formed(unb64(items[2]["signature"]))):
            items[2 + i] = {"data": data[2], "signature": b64(bad)}
        verdicts = [i["valid"] for i in keyd.ok(path + "/verify",
                                                {"format": "der", "items": items})["items"]]
        assert verdicts == [True] + [False] * 7 + [True] * 12, verdicts
        verdicts = [i["valid"] for i in keyd.ok(path + "/verify", {"items": items})["items"]]
        assert verdicts == [False, True] + [False] * 18, verdicts
        expect(keyd.post(path + "/sign", {"data": data[0], "format": "pem"}), 400, "field-invalid")


@test
def prehashed_data_must_have_the_length_of_the_digest(keyd):
    for type_, n in (("ec-p256", 32), ("ec-p384", 48)):
        path = ensure(keyd, "op-" + type_, type_, "sign")
        for wrong in (0, n - 1, n + 1, 64):
            r = keyd.post(path + "/sign", {"data": b64(bytes(wrong)), "prehashed": True})
            expect(r, 400, "field-invalid")


@test
def mac_verify_accepts_the_tag_in_full_length_only(keyd):
    for type_ in ("hmac-sha256", "hmac-sha384"):
        path = ensure(keyd, "op-" + type_, type_, "sign", "verify")
        for n in SIZES:
            data = os.urandom(n)
            tag = unb64(keyd.ok(path + "/mac", {"data": b64(data)})["mac"])
            assert len(tag) == hashlib.new(oracle.HASHES[type_]).digest_size

            def verdict(tag):
                return keyd.ok(path + "/mac-verify", {"data": b64(data), "mac": b64(tag)})["valid"]

            assert verdict(tag) is True
            for bad in (b"", tag[:16], tag[:-1], tag + b"\0", bytes(len(tag)),
                        tag[:-1] + bytes([tag[-1] ^ 1])):
                assert verdict(bad) is False, bad.hex()


@test
def encrypt_and_decrypt_are_inverse_and_bind_the_aad(keyd):
    path = ensure(keyd, "op-aes", "aes-256", "encrypt", "decrypt")
    ivs = set()
    for n in SIZES:
        for aad in (None, b"", b"header", os.urandom(1000)):
            text = os.urandom(n)
            body = {"plaintext": b64(text)}
            if aad is not None:
                body["aad"] = b64(aad)
            sealed = keyd.ok(path + "/encrypt", body)
            assert len(unb64(sealed["iv"])) == 12 and len(unb64(sealed["ciphertext"])) == n + 16
            ivs.add(sealed["iv"])
            opening = {"iv": sealed["iv"], "ciphertext": sealed["ciphertext"]}
            if aad:
                expect(keyd.post(path + "/decrypt", opening), 422, "not-authentic")
                opening["aad"] = b64(aad)
            assert unb64(keyd.ok(path + "/decrypt", opening)["plaintext"]) == text
    assert len(ivs) == 4 * len(SIZES), "an iv came twice"


@test
def what_is_rewrapped_is_by_the_primary_and_outlives_the_old_version(keyd):
    keyd.create("op-rewrap", "aes-256", "encrypt", "decrypt")
    path = "/v1/keys/op-rewrap"
    old = []
    for n in SIZES:
        text, aad = os.urandom(n), os.urandom(n % 100)
        sealed = keyd.ok(path + "/encrypt", {"plaintext": b64(text), "aad": b64(aad)})
        old.append((text, {"iv": sealed["iv"], "ciphertext": sealed["ciphertext"],
                           "aad": b64(aad)}))
    keyd.ok(path + "/rotate", {}, 201)
    raw = unb64(old[5][1]["ciphertext"])
    forged = {**old[5][1], "ciphertext": b64(raw[:-1] + bytes([raw[-1] ^ 1]))}
    expect(keyd.post(path + "/rewrap", forged), 422, "not-authentic")
    expect(keyd.post(path + "/rewrap", {**old[5][1], "aad": b64(b"other")}), 422, "not-authentic")
    expect(keyd.post(path + "/rewrap", {**old[5][1], "iv": b64(bytes(11))}), 400, "field-invalid")
    expect(keyd.post(path + "/rewrap", {**old[5][1], "version": 2}), 422, "not-authentic")
    expect(keyd.post(path + "/rewrap", {**old[5][1], "version": 3}), 404, "no-such-version")
    items = [item for _, item in old]
    for version in ({}, {"version": 1}):
        made = keyd.ok(path + "/rewrap", {"items": items[:3] + [forged] + items[3:], **version})
        assert made["items"][3]["error"]["type"] == "urn:keyd:problem:not-authentic", made
        anew = made["items"][:3] + made["items"][4:]
        assert all(i["version"] == 2 and "plaintext" not in i for i in anew), anew
        assert not {i["iv"] for i in anew} & {i["iv"] for i in items}, "an iv came twice"
    again = keyd.ok(path + "/rewrap", {**anew[0], "aad": items[0]["aad"]})
    assert again["version"] == 2 and again["iv"] != anew[0]["iv"]
    keyd.ok(path + "/disable", {"version": 1})
    expect(keyd.post(path + "/rewrap", {**items[0], "version": 1}), 409, "version-disabled")
    expect(keyd.post(path + "/rewrap", items[0]), 422, "not-authentic")
    expect(keyd.request("DELETE", path + "/versions/1"), 204)
    expect(keyd.post(path + "/rewrap", {**items[0], "version": 1}), 404, "no-such-version")
    for (text, item), sealed in zip(old, anew):
        assert unb64(keyd.ok(path + "/decrypt", {
            "iv": sealed["iv"], "ciphertext": sealed["ciphertext"], "aad": item["aad"],
            "version": 2})["plaintext"]) == text
    for name, type_, usages in (("op-only-d", "aes-256", ["decrypt"]),
                                ("op-only-e", "aes-256", ["encrypt"])):
        keyd.create(name, type_, *usages)
        expect(keyd.post(f"/v1/keys/{name}/rewrap", items[0]), 409, "key-usage")
    ensure(keyd, "op-hmac-sha256", "hmac-sha256", "sign", "verify")
    expect(keyd.post("/v1/keys/op-hmac-sha256/rewrap", items[0]), 409, "key-type")


@test
def a_forged_ciphertext_is_422_and_hurts_nothing(keyd):
    """DESIGN 4: a forged tag is CKR_GENERAL_ERROR on SoftHSM."""
    path = ensure(keyd, "op-aes", "aes-256", "encrypt", "decrypt")
    sealed = keyd.ok(path + "/encrypt", {"plaintext": b64(b"text"), "aad": b64(b"aad")})
    good = {"iv": sealed["iv"], "ciphertext": sealed["ciphertext"], "aad": b64(b"aad")}
    keyd.wait_all_ready()
    before = keyd.workers()
    raw = unb64(sealed["ciphertext"])
    for change in ({"ciphertext": b64(bytes([raw[0] ^ 1]) + raw[1:])},
                   {"ciphertext": b64(raw[:-1] + bytes([raw[-1] ^ 1]))},
                   {"ciphertext": b64(raw[1:])}, {"ciphertext": b64(raw + b"\0")},
                   {"ciphertext": b64(bytes(16))}, {"iv": b64(bytes(12))}, {"aad": b64(b"aax")}):
        for _ in range(5):
            expect(keyd.post(path + "/decrypt", {**good, **change}), 422, "not-authentic")
            assert unb64(keyd.ok(path + "/decrypt", good)["plaintext"]) == b"text"
    forged = {**good, "iv": b64(bytes(12))}
    items = keyd.ok(path + "/decrypt", {"items": [good, forged, good]})["items"]
    assert [unb64(i["plaintext"]) for i in (items[0], items[2])] == [b"text", b"text"]
    assert items[1]["error"]["type"] == "urn:keyd:problem:not-authentic", items[1]
    assert sorted(keyd.workers()) == sorted(before) and keyd.restarts() == 0


@test
def decrypt_refuses_ivs_and_ciphertexts_of_impossible_length(keyd):
    path = ensure(keyd, "op-aes", "aes-256", "encrypt", "decrypt")
    sealed = keyd.ok(path + "/encrypt", {"plaintext": ""})
    for n in (0, 11, 13, 16):
        r = keyd.post(path + "/decrypt", {"iv": b64(bytes(n)), "ciphertext": sealed["ciphertext"]})
        assert r.status in (400, 422), r
    for n in (0, 1, 15):
        r = keyd.post(path + "/decrypt", {"iv": sealed["iv"], "ciphertext": b64(bytes(n))})
        assert r.status in (400, 422), r


@test
def batches_answer_in_order_like_the_single_calls(keyd):
    mac = ensure(keyd, "op-hmac-sha256", "hmac-sha256", "sign", "verify")
    sign = ensure(keyd, "op-ec-p256", "ec-p256", "sign")
    aes = ensure(keyd, "op-aes", "aes-256", "encrypt", "decrypt")
    for n in (1, 2, 64, 1024):
        texts = [os.urandom(i % 200) for i in range(n)]
        tags = keyd.ok(mac + "/mac", {"items": [{"data": b64(t)} for t in texts]})["items"]
        assert len(tags) == n
        for i in (0, n // 2, n - 1):
            assert tags[i] == keyd.ok(mac + "/mac", {"data": b64(texts[i])})
        wrong = n // 2
        checks = [{"data": b64(t), "mac": a["mac"]} for t, a in zip(texts, tags)]
        checks[wrong] = {**checks[wrong], "data": b64(b"not this, and longer" + texts[wrong])}
        verdicts = keyd.ok(mac + "/mac-verify", {"items": checks})["items"]
        assert [v["valid"] for v in verdicts] == [i != wrong for i in range(n)]
        sealed = keyd.ok(aes + "/encrypt", {"items": [{"plaintext": b64(t)} for t in texts]})
        opened = keyd.ok(aes + "/decrypt", {"items": [{k: s[k] for k in ("iv", "ciphertext")}
                                                      for s in sealed["items"]]})["items"]
        assert [unb64(o["plaintext"]) for o in opened] == texts
        assert len({s["iv"] for s in sealed["items"]}) == n, "an iv came twice"
    signed = keyd.ok(sign + "/sign", {"items": [{"data": b64(t)} for t in texts[:20]],
                                      "version": 1})["items"]
    pem = public_pem(keyd, sign)
    for t, s in zip(texts, signed):
        assert oracle.ecdsa_verify("ec-p256", pem, t, unb64(s["signature"]))
    verdicts = keyd.ok(sign + "/verify", {"items": [{"data": b64(t), "signature": s["signature"]}
                                                    for t, s in zip(texts, signed)]})["items"]
    assert all(v["valid"] for v in verdicts)


def takes_back(keyd, aes, texts, aad=b""):
    """Encrypts these, decrypts what came, and says by how much the bodies differ."""
    more = {"aad": b64(aad)} if aad else {}
    body = json.dumps({"items": [{"plaintext": b64(t), **more} for t in texts]},
                      separators=(",", ":")).encode()
    made = expect(keyd.post(aes + "/encrypt", body), 200).json["items"]
    back = {"items": [{"iv": m["iv"], "ciphertext": m["ciphertext"], **more} for m in made],
            "version": made[0]["version"]}
    opened = expect(keyd.post(aes + "/decrypt", json.dumps(back).encode()), 200).json["items"]
    assert [unb64(o["plaintext"]) for o in opened] == texts
    return len(body)


@test
def what_was_encrypted_at_a_limit_is_decrypted(keyd):
    aes = ensure(keyd, "op-aes", "aes-256", "encrypt", "decrypt")
    most = 3 * 1024 * 1024 - 16  # with its tag it is a ciphertext at the limit
    over = keyd.post(aes + "/encrypt", b'{"plaintext":"%s"}' % b64(bytes(most + 1)).encode())
    assert str(most) in expect(over, 413, "item-too-large").json["detail"], over
    body = b'{"plaintext":"%s"}' % b64(bytes(most)).encode()
    sealed = expect(keyd.post(aes + "/encrypt", body), 200).json
    assert unb64(keyd.ok(aes + "/decrypt", sealed)["plaintext"]) == bytes(most)
    # Bodies of the default limit, of one item and of as many as there may be.
    limit = 4 * 1024 * 1024
    for n in (2, 1024):
        frame = len('{"items":[]}') + n * len('{"plaintext":""},') - 1
        each = (limit - frame) // n * 3 // 4 // 3 * 3
        texts = [bytes(each) for _ in range(n)]
        left = limit - frame - n * each // 3 * 4
        texts[0] += bytes(left // 4 * 3)
        assert limit - 4 < takes_back(keyd, aes, texts) <= limit
    # And the same of what is signed or has a MAC.
    mac = ensure(keyd, "op-hmac-sha384", "hmac-sha384", "sign", "verify")
    frame = len('{"items":[]}') + 1024 * len('{"data":""},') - 1
    data = b64(bytes((limit - frame) // 1024 * 3 // 4))
    asked = {"items": [{"data": data}] * 1024}
    body = json.dumps(asked, separators=(",", ":")).encode()
    assert limit - 4096 < len(body) <= limit
    made = expect(keyd.post(mac + "/mac", body), 200).json["items"]
    checks = {"items": [{"data": data, "mac": m["mac"]} for m in made]}
    verdicts = expect(keyd.post(mac + "/mac-verify", json.dumps(checks).encode()), 200)
    assert all(v["valid"] for v in verdicts.json["items"])


@test(on=SOFTHSM)
def what_was_encrypted_at_the_limit_of_all_items_is_decrypted(token):
    keyd = Keyd(token, {"http.body-max-bytes": 16 << 20}).start()
    aes = ensure(keyd, "op-aes", "aes-256", "encrypt", "decrypt")
    aad = os.urandom(100)
    most = 7 << 19
    for n in (2, 1024):
        each = most // n - 28 - len(aad)
        texts = [bytes(each)] * n
        takes_back(keyd, aes, texts, aad)
        items = [{"plaintext": b64(t), "aad": b64(aad)} for t in texts]
        items[0] = {"plaintext": b64(bytes(each + 1 + most % n)), "aad": b64(aad)}
        expect(keyd.post(aes + "/encrypt", {"items": items}), 413, "item-too-large")
    keyd.stop()


@test
def batches_are_refused_whole_when_they_are_not_well_formed(keyd):
    mac = ensure(keyd, "op-hmac-sha256", "hmac-sha256", "sign", "verify") + "/mac"
    good = {"data": b64(b"x")}
    expect(keyd.post(mac, {"items": []}), 400, "batch-empty")
    expect(keyd.post(mac, {"items": [good] * 1025}), 413, "batch-too-large")
    expect(keyd.post(mac, {"items": [good], "data": ""}), 400)
    expect(keyd.post(mac, {"items": good}), 400, "field-invalid")
    expect(keyd.post(mac, {"items": [good, 1]}), 400, "field-invalid")
    expect(keyd.post(mac, {"items": [good, {}]}), 400, "field-missing")
    expect(keyd.post(mac, {"items": [good, {**good, "version": 1}]}), 400, "field-unknown")
    expect(keyd.post(mac, {"items": [good, {"data": "="}]}), 400, "bad-base64")


@test
def operations_are_refused_for_keys_not_made_for_them(keyd):
    """Wrong usage and wrong type."""
    sign = ensure(keyd, "op-ec-p256", "ec-p256", "sign")
    derive = ensure(keyd, "op-derive", "ec-p256", "derive")
    mac_only = ensure(keyd, "op-mac-only", "hmac-sha256", "sign")
    verify_only = ensure(keyd, "op-verify-only", "hmac-sha256", "verify")
    seal_only = ensure(keyd, "op-seal-only", "aes-256", "encrypt")
    open_only = ensure(keyd, "op-open-only", "aes-256", "decrypt")
    _, point = oracle.new_peer("ec-p256")
    body = {"sign": {"data": ""}, "mac": {"data": ""}, "mac-verify": {"data": "", "mac": ""},
            "verify": {"data": "", "signature": ""}, "encrypt": {"plaintext": ""},
            "decrypt": {"iv": b64(bytes(12)), "ciphertext": b64(bytes(16))},
            "ecdh": {"peer": b64(point)}, "derive": {"kdf": "aes-cbc-data", "info": ""}}
    may = {sign: {"sign", "verify"}, derive: {"ecdh"}, mac_only: {"mac"},
           verify_only: {"mac-verify"}, seal_only: {"encrypt"}, open_only: {"decrypt"}}
    for path, allowed in may.items():
        for operation in body:
            r = keyd.post(f"{path}/{operation}", body[operation])
            if operation in allowed:
                assert r.status in (200, 422), (path, operation, r)
            elif (path, operation) == (derive, "derive"):
                expect(r, 400, "field-missing")  # a peer: it is ecdh that goes with EC keys
            else:
                assert r.status == 409 and r.type in ("key-usage", "key-type"), \
                    (path, operation, r)


@test
def unknown_keys_versions_and_routes_are_404(keyd):
    mac = ensure(keyd, "op-hmac-sha256", "hmac-sha256", "sign", "verify")
    expect(keyd.post("/v1/keys/unknown/mac", {"data": ""}), 404, "no-such-key")
    expect(keyd.post(mac + "/mac", {"data": "", "version": 9}), 404, "no-such-version")
    expect(keyd.post(mac + "/mac", {"data": "", "version": 0}), 400, "field-invalid")
    expect(keyd.post(mac + "/hash", {"data": ""}), 404, "no-such-route")
    expect(keyd.get("/v2/keys"), 404, "no-such-route")
    expect(keyd.get("/"), 404, "no-such-route")
    r = expect(keyd.get(mac + "/mac"), 405, "method-not-allowed")
    assert r.headers["Allow"] == "POST", r.headers.items()


@test
def a_length_that_cannot_be_is_told_with_its_member_and_its_bound(keyd):
    sign = ensure(keyd, "op-ec-p256", "ec-p256", "sign") + "/sign"
    verify = sign[:-4] + "verify"
    aes = ensure(keyd, "op-aes-256", "aes-256", "encrypt", "decrypt")
    digest, iv = b64(bytes(32)), b64(bytes(12))
    for path, body, status, field, bound in (
            (sign, {"data": b64(bytes(31)), "prehashed": True}, 400, "data", "32"),
            (sign, {"items": [{"data": digest}, {"data": b64(bytes(48))}], "prehashed": True}, 400,
             "items[1].data", "32"),
            (verify, {"data": "", "signature": b64(bytes(1025))}, 413, "signature", "1024"),
            (aes + "/encrypt", {"plaintext": "", "aad": b64(bytes(65537))}, 413, "aad", "65536"),
            (aes + "/decrypt", {"ciphertext": digest, "iv": b64(bytes(11))}, 400, "iv", "12"),
            (aes + "/decrypt", {"items": [{"ciphertext": digest, "iv": iv},
                                          {"ciphertext": digest, "iv": b64(bytes(13))}]}, 400,
             "items[1].iv", "12"),
            ("/v1/random", {"items": [{"length": 4096}] * 1024}, 413, None, "3670016")):
        r = keyd.post(path, body)
        assert r.status == status and r.json.get("field") == field, (path, r)
        assert bound in r.json["detail"], (path, r)


@test
def random_gives_as_many_bytes_as_asked(keyd):
    seen = set()
    for n in (1, 16, 32, 4096):
        value = unb64(keyd.ok("/v1/random", {"length": n})["random"])
        assert len(value) == n
    for _ in range(100):
        seen.add(keyd.ok("/v1/random", {"length": 16})["random"])
    assert len(seen) == 100
    for bad in (0, 4097, -1, 1.5, "32", None):
        expect(keyd.post("/v1/random", {"length": bad}), 400, "field-invalid")
    items = keyd.ok("/v1/random", {"items": [{"length": 8}, {"length": 9}]})["items"]
    assert [len(unb64(i["random"])) for i in items] == [8, 9]


if __name__ == "__main__":
    main()
