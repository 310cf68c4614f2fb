# SPDX-License-Identifier: Apache-2.0
"""Keys: create, list, show, rotate, disable, delete, adopt, import."""
from harness import Keyd, b64, expect, main, oracle, test, unb64

CREATIONS = [
    ("ec-p256", ["sign"]), ("ec-p256", ["derive"]), ("ec-p384", ["sign"]), ("ec-p384", ["derive"]),
    ("hmac-sha256", ["sign", "verify"]), ("hmac-sha256", ["sign"]), ("hmac-sha256", ["verify"]),
    ("hmac-sha384", ["sign", "verify"]), ("hmac-sha256", ["derive"]),
    ("aes-256", ["encrypt", "decrypt"]), ("aes-256", ["derive"]),
]
REFUSED_CREATIONS = [
    ("ec-p256", ["sign", "derive"]), ("ec-p256", ["encrypt"]), ("ec-p256", ["verify"]),
    ("ec-p384", []), ("hmac-sha256", ["encrypt"]), ("hmac-sha256", []),
    ("aes-256", ["sign"]), ("aes-256", []), ("ec-p521", ["sign"]), ("rsa-2048", ["sign"]),
    ("aes-256", ["sing"]), ("", ["sign"]),
]


def labels(token):
    return sorted(o["label"] for o in token.objects())


@test
def create_makes_each_type_with_exactly_the_usages_asked_for(keyd):
    for i, (type_, usages) in enumerate(CREATIONS):
        key = keyd.create(f"create-{i}", type_, *usages)
        assert key["name"] == f"create-{i}" and key["type"] == type_, key
        assert sorted(key["usages"]) == sorted(usages), key
        assert key["origin"] == "created" and key["primary"] == 1, key
        (version,) = key["versions"]
        assert version["state"] == "enabled" and version["version"] == 1, version
        assert version["local"] is True and version["extractable"] is False, version
        assert ("jwk" in version) == type_.startswith("ec-"), version
        assert expect(keyd.get(f"/v1/keys/create-{i}"), 200).json == key
        expect(keyd.delete(f"/v1/keys/create-{i}"), 204)


@test
def create_says_where_the_new_key_is(keyd):
    r = expect(keyd.post("/v1/keys", {"name": "located", "type": "aes-256",
                                      "usages": ["encrypt"]}), 201)
    assert r.headers["Location"] == "/v1/keys/located", r.headers.items()
    expect(keyd.get(r.headers["Location"]), 200)


@test
def create_refuses_types_and_usages_that_do_not_fit(keyd):
    for type_, usages in REFUSED_CREATIONS:
        r = keyd.post("/v1/keys", {"name": "refused", "type": type_, "usages": usages})
        expect(r, 400, "field-invalid")
    expect(keyd.get("/v1/keys/refused"), 404, "no-such-key")


@test
def create_refuses_bad_names(keyd):
    for name in ("", ".", "-a", "_a", "a/b", "a b", "ä", "a" * 65, "a\n", "../a", "a%"):
        expect(keyd.post("/v1/keys", {"name": name, "type": "aes-256", "usages": ["encrypt"]}),
               400, "bad-name", "name")
    for name in ("a" * 64, "A", "0", "a.b_c-D"):
        keyd.create(name, "aes-256", "encrypt")
        expect(keyd.get("/v1/keys/" + name), 200)
        expect(keyd.delete("/v1/keys/" + name), 204)


@test
def create_refuses_a_name_that_is_taken(keyd):
    keyd.create("taken", "aes-256", "encrypt")
    r = keyd.post("/v1/keys", {"name": "taken", "type": "ec-p256", "usages": ["sign"]})
    expect(r, 409, "key-exists")
    assert keyd.get("/v1/keys/taken").json["type"] == "aes-256"


@test
def create_refuses_missing_unknown_and_repeated_members(keyd):
    full = {"name": "members", "type": "aes-256", "usages": ["encrypt"]}
    for member in full:
        r = keyd.post("/v1/keys", {k: v for k, v in full.items() if k != member})
        expect(r, 400, "field-missing", member)
    expect(keyd.post("/v1/keys", {**full, "extractable": True}), 400, "field-unknown",
           "extractable")
    expect(keyd.post("/v1/keys", {**full, "jwk": {}}), 400)
    repeated = b'{"name":"members","name":"other","type":"aes-256","usages":["encrypt"]}'
    expect(keyd.post("/v1/keys", repeated), 400)
    expect(keyd.get("/v1/keys/members"), 404, "no-such-key")


@test
def show_gives_jwk_and_pem_of_the_same_point_that_openssl_reads(keyd):
    for type_, curve in (("ec-p256", "P-256"), ("ec-p384", "P-384")):
        keyd.create("show-" + type_, type_, "sign")
        version = keyd.get("/v1/keys/show-" + type_).json["versions"][0]
        jwk, pem = version["jwk"], version["pem"].encode()
        assert jwk["kty"] == "EC" and jwk["crv"] == curve, jwk
        assert set(jwk) <= {"kty", "crv", "x", "y", "kid", "use", "key_ops", "alg"}, jwk
        x, y = unb64(jwk["x"]), unb64(jwk["y"])
        assert len(x) == len(y) == oracle.COORDINATE_BYTES[type_]
        assert oracle.point_of(pem) == b"\x04" + x + y
        oracle.openssl("pkey", "-pubin", "-pubcheck", "-noout", data=pem)


@test
def list_gives_all_keys_by_name_in_pages(token):
    keyd = Keyd(token).start()
    names = [f"list-{i:02}" for i in range(25)]
    for name in reversed(names):
        keyd.create(name, "hmac-sha256", "sign")
    got = keyd.get("/v1/keys").json
    assert [k["name"] for k in got["keys"]] == names and got["next"] is None, got
    seen, path = [], "/v1/keys?limit=10"
    while path:
        page = expect(keyd.get(path), 200).json
        assert 0 < len(page["keys"]) <= 10
        seen += [k["name"] for k in page["keys"]]
        path = page["next"] and f"/v1/keys?limit=10&after={page['next']}"
    assert seen == names, seen
    for query in ("limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1&limit=2", "limits=1"):
        expect(keyd.get("/v1/keys?" + query), 400)
    assert keyd.get("/v1/keys?after=list-24").json == {"keys": [], "next": None}


@test
def rotate_keeps_old_versions_good_for_old_results_until_they_are_disabled(keyd):
    data = b64(b"an order")
    keyd.create("rot-sign", "ec-p256", "sign")
    keyd.create("rot-mac", "hmac-sha256", "sign", "verify")
    keyd.create("rot-aes", "aes-256", "encrypt", "decrypt")
    old_sign = keyd.ok("/v1/keys/rot-sign/sign", {"data": data})
    old_mac = keyd.ok("/v1/keys/rot-mac/mac", {"data": data})
    old_aes = keyd.ok("/v1/keys/rot-aes/encrypt", {"plaintext": data})
    checks = [
        ("rot-sign", "verify", {"data": data, "signature": old_sign["signature"]}, "sign"),
        ("rot-mac", "mac-verify", {"data": data, "mac": old_mac["mac"]}, "mac"),
        ("rot-aes", "decrypt", {k: old_aes[k] for k in ("iv", "ciphertext")}, "encrypt"),
    ]
    for name, check, body, make in checks:
        key = keyd.ok(f"/v1/keys/{name}/rotate", {}, 201)
        assert key["primary"] == 2 and [v["version"] for v in key["versions"]] == [1, 2], key
        made = keyd.ok(f"/v1/keys/{name}/{make}",
                       {"plaintext" if make == "encrypt" else "data": data})
        assert made["version"] == 2, made
        old = keyd.ok(f"/v1/keys/{name}/{check}", body)
        assert old["version"] == 1 and old.get("valid", True) is True, old
        if check == "decrypt":
            assert old["plaintext"] == data
        # Named versions: the one that made it, and the one that did not.
        assert keyd.ok(f"/v1/keys/{name}/{check}", {**body, "version": 1})["version"] == 1
        other = keyd.post(f"/v1/keys/{name}/{check}", {**body, "version": 2})
        assert (other.status, other.json.get("valid")) in ((200, False), (422, None)), other
        expect(keyd.post(f"/v1/keys/{name}/{check}", {**body, "version": 3}), 404,
               "no-such-version")
        keyd.ok(f"/v1/keys/{name}/disable", {"version": 1})
        after = keyd.post(f"/v1/keys/{name}/{check}", body)
        assert (after.status, after.json.get("valid")) in ((200, False), (422, None)), after
        expect(keyd.post(f"/v1/keys/{name}/{check}", {**body, "version": 1}), 409,
               "version-disabled")
        keyd.ok(f"/v1/keys/{name}/enable", {"version": 1})
        assert keyd.ok(f"/v1/keys/{name}/{check}", body)["version"] == 1
    points = {v["jwk"]["x"] for v in keyd.get("/v1/keys/rot-sign").json["versions"]}
    assert len(points) == 2, "rotate must make another key"


@test
def disable_takes_a_key_out_of_use_and_enable_puts_it_back(keyd):
    keyd.create("off", "hmac-sha256", "sign", "verify")
    tag = keyd.ok("/v1/keys/off/mac", {"data": ""})["mac"]
    key = keyd.ok("/v1/keys/off/disable", None)
    assert key["primary"] is None and key["versions"][0]["state"] == "disabled", key
    expect(keyd.post("/v1/keys/off/mac", {"data": ""}), 409, "version-disabled")
    expect(keyd.post("/v1/keys/off/mac-verify", {"data": "", "mac": tag}), 409, "version-disabled")
    expect(keyd.post("/v1/keys/off/disable", {"version": 2}), 404, "no-such-version")
    assert keyd.ok("/v1/keys/off/enable", {})["primary"] == 1
    assert keyd.ok("/v1/keys/off/mac", {"data": ""})["mac"] == tag


@test
def delete_destroys_all_versions_in_the_token(token):
    keyd = Keyd(token).start()
    keyd.create("kept", "aes-256", "encrypt")
    before = labels(token)
    keyd.create("gone", "ec-p256", "sign")
    keyd.ok("/v1/keys/gone/rotate", None, 201)
    assert len(labels(token)) >= len(before) + 2, labels(token)
    expect(keyd.delete("/v1/keys/gone"), 204)
    expect(keyd.get("/v1/keys/gone"), 404, "no-such-key")
    expect(keyd.delete("/v1/keys/gone"), 404, "no-such-key")
    expect(keyd.post("/v1/keys/gone/sign", {"data": ""}), 404, "no-such-key")
    assert labels(token) == before, (before, labels(token))
    keyd.create("gone", "hmac-sha256", "sign")  # the name is free again
    keyd.stop()


def numbers(keyd, name):
    return [v["version"] for v in keyd.get("/v1/keys/" + name).json["versions"]]


@test
def a_version_that_the_key_needs_is_not_deleted(keyd):
    path = "/v1/keys/needed"
    expect(keyd.delete(path + "/versions/1"), 404, "no-such-key")
    keyd.create("needed", "aes-256", "encrypt")
    expect(keyd.delete(path + "/versions/1"), 409, "version-primary")
    keyd.ok(path + "/disable", {})
    expect(keyd.delete(path + "/versions/1"), 409, "version-primary")  # the last
    keyd.ok(path + "/rotate", {}, 201)
    expect(keyd.delete(path + "/versions/2"), 409, "version-primary")
    for number in ("0", "3", "01", "-1", "x", "4294967296", "18446744073709551617"):
        expect(keyd.delete(f"{path}/versions/{number}"), 404, "no-such-version")
    assert numbers(keyd, "needed") == [1, 2]
    expect(keyd.delete(path), 204)


@test
def delete_of_a_version_destroys_it_in_the_token_and_its_number_never_comes_again(token):
    keyd = Keyd(token).start()
    keyd.create("aes", "aes-256", "encrypt", "decrypt")
    keyd.create("pair", "ec-p256", "derive")
    sealed = keyd.ok("/v1/keys/aes/encrypt", {"plaintext": b64(b"by the first")})
    opening = {k: sealed[k] for k in ("iv", "ciphertext")}
    _, point = oracle.new_peer("ec-p256")
    agreed = keyd.ok("/v1/keys/pair/ecdh", {"peer": b64(point), "type": "hmac-sha256"})["secret"]
    for name in ("aes", "pair"):
        for _ in range(2):
            keyd.ok(f"/v1/keys/{name}/rotate", {}, 201)
        expect(keyd.delete(f"/v1/keys/{name}/versions/1"), 204)
        expect(keyd.delete(f"/v1/keys/{name}/versions/1"), 404, "no-such-version")
        assert numbers(keyd, name) == [2, 3]
    assert labels(token) == ["aes.v2", "aes.v3", "pair.v2", "pair.v3"], labels(token)
    expect(keyd.post("/v1/keys/aes/decrypt", {**opening, "version": 1}), 404, "no-such-version")
    expect(keyd.post("/v1/keys/aes/decrypt", opening), 422, "not-authentic")
    expect(keyd.post(f"/v1/secrets/{agreed}/mac", {"data": ""}), 404, "no-such-secret")
    # The newest, too, and at the next start it is not forgotten which numbers there were.
    keyd.ok("/v1/keys/aes/disable", {"version": 3})
    expect(keyd.delete("/v1/keys/aes/versions/3"), 204)
    assert keyd.ok("/v1/keys/aes/encrypt", {"plaintext": ""})["version"] == 2
    keyd.restart()
    assert keyd.ok("/v1/keys/aes/rotate", {}, 201)["primary"] == 4
    expect(keyd.delete("/v1/keys/aes/versions/2"), 204)
    assert numbers(keyd, "aes") == [4] and labels(token) == ["aes.v4", "pair.v2", "pair.v3"]
    expect(keyd.delete("/v1/keys/pair"), 204)
    assert labels(token) == ["aes.v4"], labels(token)
    keyd.stop()


@test
def objects_in_the_token_are_sensitive_local_and_not_extractable(token):
    keyd = Keyd(token).start()
    for i, (type_, usages) in enumerate(CREATIONS):
        keyd.create(f"attr-{i}", type_, *usages)
    objects = token.objects()
    assert len(objects) == len(CREATIONS), objects
    for o in objects:
        # NSS does not say that a key is local.
        assert o["sensitive"] and not o["extractable"] and o["local"] == (token.kind != "nss"), o
        wanted = next(u for i, (_, u) in enumerate(CREATIONS) if o["label"] == f"attr-{i}.v1")
        assert sorted(o["usages"]) == sorted(wanted), o
    keyd.stop()


@test
def adopt_takes_an_object_that_another_registry_made(token):
    """Two daemons with registries of their own on one token."""
    first = Keyd(token).start()
    second = Keyd(token).start()
    first.create("theirs", "ec-p256", "sign")
    first.create("their-mac", "hmac-sha256", "sign", "verify")
    expect(second.get("/v1/keys/theirs"), 404, "no-such-key")
    uri = "pkcs11:object=theirs.v1;type=private"
    for name in ("ours", "theirs.v1", "their"):
        why = expect(second.post("/v1/keys", {"name": name, "uri": uri}), 409, "object-unfit")
        assert "theirs.v1" in why.json["detail"], "under its own name alone"
    key = second.ok("/v1/keys", {"name": "theirs", "uri": uri}, 201)
    assert key["origin"] == "adopted" and key["type"] == "ec-p256" and key["usages"] == ["sign"]
    data = b"signed by the one, verified by the other"
    signature = second.ok("/v1/keys/theirs/sign", {"data": b64(data)})["signature"]
    assert first.ok("/v1/keys/theirs/verify", {"data": b64(data), "signature": signature})["valid"]
    second.ok("/v1/keys", {"name": "their-mac",
                           "uri": "pkcs11:object=their-mac.v1;type=secret-key"}, 201)
    assert second.ok("/v1/keys/their-mac/mac", {"data": b64(data)})["mac"] == \
        first.ok("/v1/keys/their-mac/mac", {"data": b64(data)})["mac"]
    # An adopted key is only forgotten: the object stays its maker's.
    expect(second.delete("/v1/keys/theirs"), 204)
    first.ok("/v1/keys/theirs/sign", {"data": b64(data)})
    second.stop()
    first.stop()


@test
def adopt_refuses_what_is_not_one_usable_key(token):
    keyd = Keyd(token).start()
    keyd.create("one", "ec-p256", "sign")
    keyd.create("two", "ec-p256", "sign")

    def adopt(uri):
        return keyd.post("/v1/keys", {"name": "adopted", "uri": uri})

    expect(adopt("pkcs11:object=nothing-like-this"), 404, "no-such-object")
    expect(adopt("pkcs11:type=private"), 409, "object-ambiguous")
    expect(adopt("pkcs11:"), 409, "object-ambiguous")
    for bad in ("", "pkcs11", "http://x", "pkcs11:object=%", "pkcs11:colour=red",
                "pkcs11:object=one.v1?pin-value=1234", "pkcs11:object=one.v1?pin-source=/etc/pin"):
        expect(adopt(bad), 400, "bad-uri")
    expect(keyd.get("/v1/keys/adopted"), 404, "no-such-key")
    keyd.stop()


@test
def a_registry_that_was_lost_is_made_again_from_the_token(token):
    """And what another node made goes on here: version by version, in their order."""
    first = Keyd(token).start()
    first.create("seal", "aes-256", "encrypt", "decrypt")
    first.create("sign", "ec-p256", "sign")
    texts = [f"sealed by version {n}".encode() for n in (1, 2, 3)]
    sealed = []
    for n, text in enumerate(texts, 1):
        sealed.append(first.ok("/v1/keys/seal/encrypt", {"plaintext": b64(text)}))
        assert sealed[-1]["version"] == n
        first.ok("/v1/keys/seal/rotate", {}, 201)
    first.stop()
    second = Keyd(token).start()
    second.ok("/v1/keys", {"name": "seal", "uri": "pkcs11:object=seal.v1;type=secret-key"}, 201)

    def rotate(uri):
        return second.post("/v1/keys/seal/rotate", {"uri": uri})

    expect(rotate("pkcs11:object=seal.v1;type=secret-key"), 409, "key-exists")
    expect(rotate("pkcs11:object=seal.v9;type=secret-key"), 404, "no-such-object")
    expect(rotate("pkcs11:object=sign.v1;type=private"), 409, "object-unfit")
    expect(rotate("pkcs11:type=secret-key"), 409, "object-ambiguous")
    expect(rotate("seal.v2"), 400, "bad-uri")
    for n in (2, 3, 4):
        key = expect(rotate(f"pkcs11:object=seal.v{n};type=secret-key"), 201).json
        assert key["primary"] == n and len(key["versions"]) == n, key
        assert not key["versions"][-1]["local"]
    for text, answer in zip(texts, sealed):
        opened = second.ok("/v1/keys/seal/decrypt",
                           {"iv": answer["iv"], "ciphertext": answer["ciphertext"],
                            "version": answer["version"]})
        assert unb64(opened["plaintext"]) == text
    # A version that was adopted is only forgotten, and can be taken up again.
    expect(second.delete("/v1/keys/seal/versions/3"), 204)
    assert numbers(second, "seal") == [1, 2, 4] and labels(token).count("seal.v3") == 1
    assert second.ok("/v1/keys/seal/rotate", {}, 201)["primary"] == 5
    # Its own version goes with the key, those that were adopted stay.
    expect(second.delete("/v1/keys/seal"), 204)
    assert labels(token).count("seal.v5") == 0
    assert [labels(token).count(f"seal.v{n}") for n in (1, 2, 3, 4)] == [1] * 4
    second.stop()


@test
def import_takes_public_keys_and_certificates(keyd):
    data = b"signed outside"
    for type_ in ("ec-p256", "ec-p384"):
        private = oracle.ec_private(type_)
        pem = oracle.ec_public(private)
        point = oracle.point_of(pem)
        half = oracle.COORDINATE_BYTES[type_]
        jwk = {"kty": "EC", "crv": oracle.CURVES[type_], "x": b64(point[1:1 + half]),
               "y": b64(point[1 + half:])}
        with oracle.Files(key=private) as path:
            certificate = oracle.openssl("req", "-x509", "-new", "-key", path("key"), "-subj",
                                         "/CN=device 7", "-days", "2")
        signature = b64(oracle.ecdsa_sign(type_, private, data))
        for form, body in (("jwk", {"jwk": jwk}), ("pem", {"pem": pem.decode()}),
                           ("cert", {"pem": certificate.decode()})):
            name = f"in-{form}-{type_}"
            key = keyd.ok("/v1/keys", {"name": name, **body}, 201)
            assert key["origin"] == "imported" and key["type"] == type_, key
            version = key["versions"][0]
            assert oracle.point_of(version["pem"].encode()) == point, version
            shown = key.get("certificate", version.get("certificate"))
            assert (shown is not None) == (form == "cert"), key
            if shown:
                assert oracle.der_of(shown.encode()) == oracle.der_of(certificate)
            assert keyd.ok(f"/v1/keys/{name}/verify", {"data": b64(data), "signature": signature}) \
                == {"valid": True, "version": 1}
            assert keyd.ok(f"/v1/keys/{name}/verify", {"data": "", "signature": signature}) == \
                {"valid": False}
            r = keyd.post(f"/v1/keys/{name}/sign", {"data": ""})
            assert r.status == 409 and r.type in ("public-only", "key-usage"), r
            expect(keyd.delete("/v1/keys/" + name), 204)


@test
def import_refuses_private_keys(keyd):
    private = oracle.ec_private("ec-p256")
    public = oracle.ec_public(private)
    point = oracle.point_of(public)
    with oracle.Files(key=private) as path:
        traditional = oracle.openssl("ec", "-in", path("key"))
        encrypted = oracle.openssl("pkcs8", "-topk8", "-in", path("key"), "-passout", "pass:x")
    for pem in (private, traditional, encrypted, public + private, private + public):
        expect(keyd.post("/v1/keys", {"name": "private", "pem": pem.decode()}), 400,
               "private-key-import")
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
    expect(keyd.post("/v1/keys", {"name": "private", "jwk": {**jwk, "d": b64(bytes(32))}}), 400,
           "private-key-import")
    expect(keyd.post("/v1/keys", {"name": "private", "jwk": {"kty": "oct", "k": b64(bytes(32))}}),
           400)
    expect(keyd.get("/v1/keys/private"), 404, "no-such-key")


@test
def import_refuses_what_is_not_a_public_key_on_its_curve(keyd):
    _, point = oracle.new_peer("ec-p256")
    off = point[:64] + bytes([point[64] ^ 1])
    good = {"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
    bad_jwks = [{}, {**good, "y": b64(off[33:])}, {**good, "crv": "P-384"}, {**good, "kty": "RSA"},
                {**good, "x": b64(point[1:32])}, {**good, "x": b64(b"\0" + point[1:33])},
                {**good, "x": 1}, {"kty": "EC", "crv": "P-256", "x": good["x"]}]
    for jwk in bad_jwks:
        assert keyd.post("/v1/keys", {"name": "bad", "jwk": jwk}).status == 400, jwk
    rsa = oracle.openssl("genrsa", "2048")
    for pem in ("", "text", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                oracle.openssl("pkey", "-pubout", data=rsa).decode(),
                oracle.pem_of_point("ec-p256", off).decode(),
                oracle.pem_of_point("ec-p256", point[:64]).decode()):
        assert keyd.post("/v1/keys", {"name": "bad", "pem": pem}).status == 400, pem
    expect(keyd.get("/v1/keys/bad"), 404, "no-such-key")


@test
def a_restart_keeps_keys_and_their_versions(token):
    keyd = Keyd(token).start()
    for type_, usages in CREATIONS:
        keyd.create(f"stay-{type_}-{'-'.join(usages)}", type_, *usages)
    keyd.ok("/v1/keys/stay-ec-p256-sign/rotate", None, 201)
    keyd.ok("/v1/keys/stay-ec-p256-sign/disable", {"version": 1})
    data = {"data": b64(b"x")}
    tag = keyd.ok("/v1/keys/stay-hmac-sha256-sign-verify/mac", data)["mac"]
    before = keyd.get("/v1/keys").json
    keyd.restart()
    assert keyd.get("/v1/keys").json == before
    assert keyd.ok("/v1/keys/stay-hmac-sha256-sign-verify/mac", data)["mac"] == tag
    keyd.stop()


if __name__ == "__main__":
    main()
