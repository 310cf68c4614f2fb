# SPDX-License-Identifier: Apache-2.0
"""Wycheproof vectors through the API (tests/vectors/wycheproof)."""
import json
import os

from harness import Keyd, b64, expect, main, oracle, run, test, unb64, wait_for

VECTORS = os.path.join(os.environ.get("KD_SRCDIR", os.path.dirname(os.path.abspath(__file__)) +
                                      "/../.."), "tests/vectors/wycheproof")
BATCH = 64


def groups(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as f:
        return json.load(f)["testGroups"]


def batches(items):
    for i in range(0, len(items), BATCH):
        yield items[i:i + BATCH]


def import_into(token, name, aes):
    """Puts a key into the token past keyd, as another application would."""
    path = os.path.join(token.directory, "import-" + name)
    with open(path, "wb") as f:
        f.write(aes)
    run("softhsm2-util", "--import", path, "--aes", "--token", token.label, "--label", name,
        "--id", name.encode().hex(), "--pin", token.pin, env=token.process_environment())
    os.unlink(path)


@test
def ecdsa_verdicts_are_those_of_the_vectors(keyd):
    n = 0
    for g, group in enumerate(groups("ecdsa_secp256r1_sha256_p1363_test.json")):
        name = f"wycheproof-{g}"
        jwk = {k: v for k, v in group.get("publicKeyJwk", {}).items() if k != "kid"}
        body = {"jwk": jwk} if g % 2 and jwk else {"pem": group["publicKeyPem"]}
        keyd.ok("/v1/keys", {"name": name, **body}, 201)
        for tests in batches(group["tests"]):
            items = [{"data": b64(bytes.fromhex(t["msg"])),
                      "signature": b64(bytes.fromhex(t["sig"]))} for t in tests]
            verdicts = keyd.ok(f"/v1/keys/{name}/verify", {"items": items})["items"]
            for t, verdict in zip(tests, verdicts):
                n += 1
                assert verdict.get("valid") is (t["result"] == "valid"), (t, verdict)
    assert n == 262, n


@test
def ecdh_refuses_the_invalid_points_and_takes_the_valid_ones(keyd):
    private = oracle.ec_private("ec-p256")
    key = keyd.create("wycheproof-ecdh", "ec-p256", "derive")
    pem = key["versions"][0]["pem"].encode()
    (group,) = groups("ecdh_secp256r1_ecpoint_test.json")
    n = {True: 0, False: 0}
    for tests in batches(group["tests"]):
        items = [{"peer": b64(bytes.fromhex(t["public"])), "release": True} for t in tests]
        answers = keyd.ok("/v1/keys/wycheproof-ecdh/ecdh", {"items": items})["items"]
        for t, answer in zip(tests, answers):
            # "acceptable" is a compressed point, which docs/api.md does not take.
            good = t["result"] == "valid"
            n[good] += 1
            if good:
                assert len(unb64(answer["value"])) == 32, (t, answer)
            else:
                # Nothing at all is no point, but a member that is missing.
                word = "bad-point" if t["public"] else "field-missing"
                assert answer["error"]["type"] == "urn:keyd:problem:" + word, (t, answer)
    assert n == {True: 330, False: 25}, n
    # The same key agrees with openssl after all of them.
    point = oracle.point_of(oracle.ec_public(private))
    got = keyd.ok("/v1/keys/wycheproof-ecdh/ecdh", {"peer": b64(point), "release": True})
    assert unb64(got["value"]) == oracle.ecdh(private, pem)
    assert keyd.restarts() == 0


@test(on=("softhsm",))
def aes_gcm_decryption_follows_the_vectors(token):
    """256-bit keys with 12-byte ivs and 16-byte tags, which is what keyd uses."""
    keyd = Keyd(token).start()
    # A login rewrites the token's file, and softhsm2-util may read half of it.
    wait_for(lambda: len(keyd.workers()) == 2, what="both workers")
    keys, n = {}, 0
    for group in groups("aes_gcm_test.json"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        for t in group["tests"]:
            if any(b in bytes.fromhex(t["key"]) for b in b"\0\n"):
                continue  # softhsm2-util reads the file as text
            n += 1
            if t["key"] not in keys:
                name = keys[t["key"]] = f"g{t['tcId']}"
                import_into(token, name, bytes.fromhex(t["key"]))
                keyd.ok("/v1/keys", {"name": name,
                                     "uri": f"pkcs11:object={name};type=secret-key"}, 201)
            body = {"iv": b64(bytes.fromhex(t["iv"])), "aad": b64(bytes.fromhex(t["aad"])),
                    "ciphertext": b64(bytes.fromhex(t["ct"] + t["tag"]))}
            r = keyd.post(f"/v1/keys/{keys[t['key']]}/decrypt", body)
            if t["result"] == "valid":
                assert unb64(expect(r, 200).json["plaintext"]).hex() == t["msg"], (t, r)
            else:
                expect(r, 422, "not-authentic")
    assert n == 29, n
    assert keyd.restarts() == 0
    keyd.stop()


if __name__ == "__main__":
    main()
