# SPDX-License-Identifier: Apache-2.0
"""Who may do what: principals, deny by default, reload."""
import os
import subprocess
import threading

from harness import SOFTHSM, Keyd, Skip, b64, expect, main, oracle, sha256_hex, test, wait_for

ME = f'principal "me" {{ uid = {{ {os.getuid()} }} }}\n'
ALL = 'allow "me" { operations = { "*" } keys = { "*" } }\n'


def bearer(name):
    return f'principal "{name}" {{ token = {{ "sha256:{sha256_hex(name + "-token")}" }} }}\n'


@test(on=SOFTHSM)
def nothing_is_allowed_by_default(token):
    keyd = Keyd(token, policy=ME).start()
    for method, path, body in (
            ("POST", "/v1/keys", {"name": "a", "type": "aes-256", "usages": ["encrypt"]}),
            ("POST", "/v1/keys", {"name": "a", "uri": "pkcs11:object=a"}),
            ("POST", "/v1/keys", {"name": "a", "pem": oracle.ec_public(
                oracle.ec_private("ec-p256")).decode()}),
            ("GET", "/v1/keys/a", None), ("DELETE", "/v1/keys/a", None),
            ("POST", "/v1/keys/a/rotate", {}), ("POST", "/v1/keys/a/disable", {}),
            ("POST", "/v1/keys/a/enable", {}), ("POST", "/v1/keys/a/mac", {"data": ""}),
            ("POST", "/v1/keys/a/sign", {"data": ""}), ("POST", "/v1/random", {"length": 1}),
            ("GET", "/v1/status", None), ("GET", "/metrics", None)):
        expect(keyd.request(method, path, body), 403, "denied")
    assert keyd.get("/v1/keys").json == {"keys": [], "next": None}
    for path in ("/healthz", "/readyz", "/openapi.json"):
        expect(keyd.get(path), 200)
    keyd.stop()


@test(on=SOFTHSM)
def who_may_rotate_does_not_choose_an_object_for_it(token):
    """An object of the token becomes a version for one who may adopt, too."""
    other = Keyd(token).start()
    other.create("k", "hmac-sha256", "sign")
    other.ok("/v1/keys/k/rotate", {}, 201)
    uri = {"uri": "pkcs11:object=k.v2;type=secret-key"}
    create = 'allow "me" { operations = { "create", "rotate" } keys = { "*" } }\n' \
        'allow "me" { operations = { "status" } }\n'
    keyd = Keyd(token, policy=ME + create).start()
    keyd.create("k", "hmac-sha256", "sign")
    expect(keyd.post("/v1/keys/k/rotate", uri), 403, "denied")
    keyd.set_policy(ME + create + 'allow "me" { operations = { "adopt" } keys = { "other" } }\n')
    keyd.hup()
    expect(keyd.post("/v1/keys/k/rotate", uri), 403, "denied")
    keyd.set_policy(ME + create + 'allow "me" { operations = { "adopt" } keys = { "k" } }\n')
    keyd.hup()
    assert keyd.ok("/v1/keys/k/rotate", uri, 201)["primary"] == 2
    keyd.stop()
    other.stop()


@test(on=SOFTHSM)
def who_may_rewrap_reads_nothing_and_who_may_read_does_not_rewrap(token):
    operator = 'allow "me" { operations = { "create", "rotate", "encrypt", "status" } ' \
        'keys = { "*" } }\n'
    keyd = Keyd(token, policy=ME + operator + bearer("w") + bearer("d") +
                'allow "w" { operations = { "rewrap" } keys = { "k" } }\n'
                'allow "d" { operations = { "encrypt", "decrypt" } keys = { "*" } }\n').start()
    for name in ("k", "other"):
        keyd.create(name, "aes-256", "encrypt", "decrypt")
    sealed = {name: keyd.ok(f"/v1/keys/{name}/encrypt", {"plaintext": b64(b"text")})
              for name in ("k", "other")}
    keyd.ok("/v1/keys/k/rotate", {}, 201)

    def ask(operation, who, name="k", what=None):
        return keyd.post(f"/v1/keys/{name}/{operation}", what or sealed[name], bearer=who)

    for who in (None, "d-token"):
        r = expect(ask("rewrap", who), 403, "denied")
        assert "needs rewrap on" in r.json["detail"], r.json
        item = {k: sealed["k"][k] for k in ("iv", "ciphertext")}
        expect(ask("rewrap", who, what={"items": [item, item]}), 403, "denied")
    expect(ask("rewrap", "w-token", "other"), 403, "denied")
    for operation in ("decrypt", "encrypt"):
        body = sealed["k"] if operation == "decrypt" else {"plaintext": ""}
        expect(ask(operation, "w-token", what=body), 403, "denied")
    anew = expect(ask("rewrap", "w-token"), 200).json
    assert anew["version"] == 2 and sorted(anew) == ["ciphertext", "iv", "version"], anew
    assert expect(ask("decrypt", "d-token", what=anew), 200).json["plaintext"] == b64(b"text")
    keyd.stop()


LIMITED = ('allow "me" { operations = { "create", "import", "adopt" } keys = { "t-*" } '
           'keys-max = 3 }\n'
           'allow "me" { operations = { "rotate" } keys = { "t-*" } versions-max = 2 }\n'
           'allow "me" { operations = { "show", "delete", "status", "disable" } keys = { "*" } }\n')


@test(on=SOFTHSM)
def who_may_make_keys_and_versions_does_not_fill_the_token(token):
    """At its limit a rule allows no more, by any way, of many at once too; deleting makes room."""
    keyd = Keyd(token, policy=ME + LIMITED + bearer("o") +
                'allow "o" { operations = { "*" } keys = { "*" } }\n').start()
    new = {"type": "hmac-sha256", "usages": ["sign"]}
    pem = oracle.ec_public(oracle.ec_private("ec-p256")).decode()
    statuses = []

    def make(i):
        with keyd.client() as c:
            statuses.append(c.post("/v1/keys", {"name": f"t-{i}", **new}).status)

    threads = [threading.Thread(target=make, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [201] * 3 + [413] * 5, statuses
    names = [k["name"] for k in keyd.get("/v1/keys").json["keys"]]
    assert len(names) == 3, names
    for body in (new, {"pem": pem}, {"uri": "pkcs11:object=x"}):
        r = expect(keyd.post("/v1/keys", {"name": "t-new", **body}), 413, "too-many")
        assert "keys-max = 3" in r.json["detail"], r
    expect(keyd.post("/v1/keys", {"name": "u", **new}), 403, "denied")
    expect(keyd.post("/v1/keys", {"name": "t-other", **new}, bearer="o-token"), 201)
    for name in ("t-other", names[0]):
        expect(keyd.post("/v1/keys", {"name": "t-new", **new}), 413, "too-many")
        expect(keyd.delete("/v1/keys/" + name), 204)
    keyd.ok("/v1/keys", {"name": "t-new", "pem": pem}, 201)

    path = f"/v1/keys/{names[1]}"
    keyd.ok(path + "/rotate", {}, 201)
    keyd.ok(path + "/disable", {"version": 1})
    for body in ({}, {"uri": "pkcs11:object=x"}):
        r = expect(keyd.post(path + "/rotate", body), 413, "too-many")
        assert "versions-max = 2" in r.json["detail"] and path + "/versions/" in r.json["detail"], r
    expect(keyd.delete(path + "/versions/1"), 204)
    assert keyd.ok(path + "/rotate", {}, 201)["primary"] == 3
    expect(keyd.post(path + "/rotate", {}), 413, "too-many")
    keyd.set_policy(ME + LIMITED.replace("keys-max = 3", "keys-max = 4"))
    keyd.hup()
    keyd.ok("/v1/keys", {"name": "t-more", **new}, 201)
    expect(keyd.post("/v1/keys", {"name": "t-more-still", **new}), 413, "too-many")
    keyd.stop()


@test(on=SOFTHSM)
def a_caller_whom_the_policy_does_not_name_is_401(token):
    keyd = Keyd(token, policy=bearer("other") + 'allow "other" { operations = { "random" } }\n')
    keyd.start()
    r = expect(keyd.post("/v1/random", {"length": 1}), 401, "unauthenticated")
    assert r.headers["WWW-Authenticate"].startswith("Bearer"), r.headers.items()
    expect(keyd.post("/v1/random", {"length": 1}, bearer="other-token"), 200)
    keyd.stop()


@test(on=SOFTHSM)
def a_bearer_token_decides_alone(token):
    """A wrong token is not made good by the socket's uid."""
    keyd = Keyd(token, policy=ME + ALL + bearer("r") +
                'allow "r" { operations = { "random" } }\n').start()
    path, body = "/v1/random", {"length": 1}
    for wrong in ("wrong", "r-token2", "R-TOKEN", "x" * 1000, sha256_hex("r-token")):
        expect(keyd.post(path, body, bearer=wrong), 401, "unauthenticated")
    for header in ("Bearer", "Bearer ", "Basic cjpy", "Bearer a b"):
        r = keyd.post(path, body, headers={"Authorization": header})
        assert r.status in (400, 401), (header, r)
    expect(keyd.post(path, body, bearer="r-token"), 200)
    expect(keyd.get("/v1/status", bearer="r-token"), 403, "denied")
    expect(keyd.get("/v1/status"), 200)
    keyd.stop()


@test(on=SOFTHSM)
def who_is_refused_is_told_what_is_missing(token):
    look = 'allow "me" { operations = { "status" } }\n'
    keyd = Keyd(token, policy=ME + look).start()
    missing = 'Principal "me" needs %s (keyd-policy(5)).'
    for path, body, what in (
            ("/v1/keys/orders/sign", {"data": ""}, 'sign on "orders"'),
            ("/v1/keys/k/rotate", {}, 'rotate on "k"; for a uri adopt, too'),
            ("/v1/keys/j/derive", {"type": "aes-256", "kdf": "hkdf-sha256"},
             'derive on "j"; for what is to leave the token release, too'),
            ("/v1/random", {"length": 1}, "random"),
            ("/v1/keys", {"name": "n", "type": "aes-256", "usages": ["encrypt"]},
             'create on "n"'),
            ("/v1/keys", {"name": "n", "uri": "pkcs11:object=n"}, 'adopt on "n"')):
        r = expect(keyd.post(path, body), 403, "denied")
        assert r.json["detail"] == missing % what, r
    r = expect(keyd.delete("/v1/keys/k/versions/1"), 403, "denied")
    assert r.json["detail"] == missing % 'delete on "k"', r
    # Who may create, but not this: the name is what is wrong.
    keyd.set_policy(ME + look +
                    'allow "me" { operations = { "create" } keys = { "t-*" } }\n')
    keyd.hup()
    r = expect(keyd.post("/v1/keys", {"name": "n", "type": "aes-256", "usages": ["encrypt"]}),
               403, "denied")
    assert r.json["detail"] == missing % 'create on "n", and has create on other names only', r
    keyd.stop()
    ours = os.getuid()
    keyd = Keyd(token, policy=bearer("r")).start()
    assert f"uid {ours}," in expect(keyd.get("/v1/keys"), 401, "unauthenticated").json["detail"]
    wrong = expect(keyd.get("/v1/keys", bearer="wrong"), 401, "unauthenticated").json["detail"]
    assert wrong == "No principal of the policy has this bearer token.", wrong
    assert f"problem=unauthenticated field= from=uid:{ours}" in keyd.log()
    keyd.stop()


@test(on=SOFTHSM)
def a_supplementary_group_is_enough(token):
    group = 47110
    if os.getuid() != 0:
        raise Skip("only root may take another group")
    keyd = Keyd(token, policy=f'principal "g" {{ gid = {{ {group} }} }}\n'
                'allow "g" { operations = { "random" } }\n').start()

    def status(*groups):
        return subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", keyd.socket,
             "-H", "Content-Type: application/json", "-d", '{"length":1}',
             "http://localhost/v1/random"],
            extra_groups=groups, capture_output=True, text=True, timeout=300, check=True).stdout
    assert status(group + 1) == "401"
    assert status(*range(1, 200)) == "401"
    assert status(group) == "200"
    assert status(*range(1, 200), group) == "200"
    keyd.stop()


@test(on=SOFTHSM)
def rules_hold_for_their_operations_and_keys_only(token):
    policy = (ME + ALL + bearer("s") + 'allow "s" { operations = { "sign", "show" } '
              'keys = { "order-*", "one" } }\n'
              'allow "s" { operations = { "mac" } keys = { "m?" } }\n')
    keyd = Keyd(token, policy=policy).start()
    for name in ("order-1", "orders", "one", "ones", "m1", "m12", "m"):
        keyd.create(name, "hmac-sha256" if name[0] == "m" else "ec-p256", "sign")
    with keyd.client(bearer="s-token") as s:
        for name, status in (("order-1", 200), ("one", 200), ("orders", 403), ("ones", 403)):
            assert s.post(f"/v1/keys/{name}/sign", {"data": ""}).status == status, name
            assert s.get("/v1/keys/" + name).status == status, name
            expect(s.post(f"/v1/keys/{name}/verify", {"data": "", "signature": ""}), 403, "denied")
            expect(s.delete("/v1/keys/" + name), 403, "denied")
        for name, status in (("m1", 200), ("m12", 403), ("m", 403)):
            assert s.post(f"/v1/keys/{name}/mac", {"data": ""}).status == status, name
        assert [k["name"] for k in s.get("/v1/keys").json["keys"]] == ["one", "order-1"]
        # Whether a key exists is not told to those who may do nothing with it.
        expect(s.post("/v1/keys/unknown/sign", {"data": ""}), 403, "denied")
        expect(s.get("/v1/keys/unknown"), 403, "denied")
        expect(s.post("/v1/keys/order-unknown/sign", {"data": ""}), 404, "no-such-key")
    keyd.stop()


@test(on=SOFTHSM)
def release_needs_a_permission_of_its_own(token):
    policy = (ME + ALL + bearer("e") + 'allow "e" { operations = { "ecdh", "mac", "derive" } '
              'keys = { "*" } }\n' + bearer("r") + 'allow "r" { operations = { "ecdh", "release" }'
              ' keys = { "agree" } }\n')
    keyd = Keyd(token, policy=policy).start()
    keyd.create("agree", "ec-p256", "derive")
    keyd.create("base", "aes-256", "derive")
    _, point = oracle.new_peer("ec-p256")
    body = {"peer": b64(point)}
    path = "/v1/keys/agree/ecdh"
    with keyd.client(bearer="e-token") as e:
        secret = e.ok(path, {**body, "type": "hmac-sha256"})["secret"]
        expect(e.post(path, {**body, "release": True}), 403, "denied")
        expect(e.post(path, {**body, "release": True, "kdf": "hkdf-sha256"}), 403, "denied")
        expect(e.post("/v1/keys/base/derive", {"kdf": "aes-cbc-data", "info": "",
                                               "release": True}), 403, "denied")
        expect(e.post(f"/v1/secrets/{secret}/derive", {"kdf": "hkdf-sha256", "release": True}),
               403, "denied")
        e.ok(f"/v1/secrets/{secret}/mac", {"data": ""})
        items = e.post(path, {"items": [body, {**body, "release": True}]})
        if items.status == 200:
            assert "secret" in items.json["items"][0], items
            assert items.json["items"][1]["error"]["type"].endswith(":denied"), items
        else:
            expect(items, 403, "denied")
    with keyd.client(bearer="r-token") as r:
        r.ok(path, {**body, "release": True})
        secret = r.ok(path, {**body, "type": "hmac-sha256"})["secret"]
        # What may be done with a secret is what is allowed on its key.
        expect(r.post(f"/v1/secrets/{secret}/mac", {"data": ""}), 403, "denied")
    keyd.stop()


@test(on=SOFTHSM)
def reload_changes_the_policy_without_a_failed_request(token):
    keyd = Keyd(token, policy=ME + ALL).start()
    keyd.create("k", "hmac-sha256", "sign")
    stop = threading.Event()
    counts, wrong = [0] * 4, []

    def load(i):
        with keyd.client() as c:
            while not stop.is_set():
                r = c.post("/v1/keys/k/mac", {"data": ""})
                counts[i] += 1
                if r.status != 200:
                    wrong.append(r)

    threads = [threading.Thread(target=load, args=(i,)) for i in range(len(counts))]
    for t in threads:
        t.start()
    try:
        expect(keyd.post("/v1/random", {"length": 1}, bearer="late-token"), 401)
        for i in range(10):
            keyd.set_policy(ME + ALL + bearer(f"p{i}") + bearer("late") +
                            'allow "late" { operations = { "random" } }\n')
            keyd.hup()
        expect(keyd.post("/v1/random", {"length": 1}, bearer="late-token"), 200)
        keyd.set_policy(ME + ALL)
        keyd.hup()
        expect(keyd.post("/v1/random", {"length": 1}, bearer="late-token"), 401)
        wait_for(lambda: min(counts) > 0, what="a request of each")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong and min(counts) > 0, (wrong[:3], counts)
    keyd.stop()


@test(on=SOFTHSM)
def a_broken_policy_keeps_the_old_one_and_says_why(token):
    good = ME + ALL
    keyd = Keyd(token, policy=good).start()
    broken = [
        (good + 'allow "nobody" { operations = { "*" } keys = { "*" } }\n', "nobody"),
        (good + 'allow "me" { operations = { "fly" } keys = { "*" } }\n', "fly"),
        (good + 'allow "me" { operations = { "sign" } keys = { "a b" } }\n', "a b"),
        (good + 'principal "x" { token = { "secret-in-clear" } }\n', "token"),
        (good + 'grant "me" {}\n', "grant"),
        (good + 'allow "me" { operations = { "create" } keys = { "*" } keys-max = 0 }', "keys-max"),
        (good + 'principal "me" { uid = { 1 } }\n', "me"),
        (good + 'principal "x" { user = { "no-such-user-here" } }\n', "no-such-user-here"),
        (good + 'allow "me" {', ""),
    ]
    for text, word in broken:
        keyd.set_policy(text)
        keyd.hup()
        why = keyd.get("/v1/status").json["policy"]["error"]
        assert word in why and "policy.conf:" in why, (why, word)
        assert "secret-in-clear" not in why + keyd.log()
        keyd.ok("/v1/random", {"length": 1})
        keyd.set_policy(good)
        keyd.hup()
        assert keyd.get("/v1/status").json["policy"]["error"] == ""
    os.unlink(keyd.policy_file)
    keyd.hup()
    assert keyd.get("/v1/status").json["policy"]["error"] != ""
    keyd.ok("/v1/random", {"length": 1})
    keyd.stop()


if __name__ == "__main__":
    main()
