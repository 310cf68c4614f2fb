# SPDX-License-Identifier: Apache-2.0
"""A token that fails, hangs and dies under a running keyd, which heals by itself.

faulty.c stands before SoftHSM and gives the results that the tests ask for."""
import threading

from harness import SOFTHSM, Keyd, b64, expect, kill, main, oracle, test, unb64, wait_for
from harness.peer import Server
from harness.tokens import Faulty

CKRS = {"CKR_GENERAL_ERROR": 0x5, "CKR_FUNCTION_FAILED": 0x6, "CKR_HOST_MEMORY": 0x2,
        "CKR_DEVICE_ERROR": 0x30, "CKR_DEVICE_MEMORY": 0x31, "CKR_DEVICE_REMOVED": 0x32,
        "CKR_KEY_HANDLE_INVALID": 0x60, "CKR_OPERATION_ACTIVE": 0x90,
        "CKR_SESSION_CLOSED": 0xb0, "CKR_SESSION_COUNT": 0xb1,
        "CKR_SESSION_HANDLE_INVALID": 0xb3, "CKR_TOKEN_NOT_PRESENT": 0xe0,
        "CKR_USER_NOT_LOGGED_IN": 0x101, "a vendor's own": 0x80000001}


def operations(keyd):
    """(name, the calls that it makes, path, body)"""
    _, point = oracle.new_peer("ec-p256")
    peer = {"peer": b64(point)}
    sealed = keyd.ok("/v1/keys/aes/encrypt", {"plaintext": b64(b"text")})
    return (
        ("mac", ("C_SignInit", "C_Sign"), "/v1/keys/mac/mac", {"data": ""}),
        ("sign", ("C_SignInit", "C_Sign"), "/v1/keys/sign/sign", {"data": ""}),
        ("ecdh", ("C_DeriveKey",), "/v1/keys/agree/ecdh", {**peer, "type": "hmac-sha256"}),
        ("hkdf", ("C_DigestInit", "C_DigestUpdate", "C_DigestKey", "C_DigestFinal",
                  "C_CreateObject", "C_DestroyObject"), "/v1/keys/agree/ecdh",
         {**peer, "type": "hmac-sha256", "kdf": "hkdf-sha256"}),
        ("release", ("C_GetAttributeValue",), "/v1/keys/agree/ecdh", {**peer, "release": True}),
        ("encrypt", ("C_EncryptInit", "C_Encrypt"), "/v1/keys/aes/encrypt", {"plaintext": ""}),
        ("decrypt", ("C_DecryptInit", "C_Decrypt"), "/v1/keys/aes/decrypt", sealed),
        ("random", ("C_GenerateRandom",), "/v1/random", {"length": 4}),
    )


def set_up(token, config=None):
    faulty = Faulty(token)
    keyd = Keyd(token, {"workers.restart-delay": 50, **(config or {})}).start()
    keyd.create("mac", "hmac-sha256", "sign")
    keyd.create("sign", "ec-p256", "sign")
    keyd.create("agree", "ec-p256", "derive")
    keyd.create("aes", "aes-256", "encrypt", "decrypt")
    return faulty, keyd


def expect_told(r):
    """A problem of its own kind: of the token's, and never of keyd's own doing."""
    assert 400 <= r.status < 600 and r.type and r.type not in ("internal", "bug"), r
    if r.status == 503:
        assert "Retry-After" in r.headers, r.headers.items()


def heals(keyd, path, body):
    wait_for(lambda: keyd.post(path, body).status == 200, what=f"an answer of {path}")


@test(on=SOFTHSM)
def each_error_at_each_call_is_cured_or_told_and_the_next_request_works(token):
    """Pkcs11Interop #188, #214; yubihsm-shell #541."""
    faulty, keyd = set_up(token, {"workers.processes": 1})
    for name, calls, path, body in operations(keyd):
        for call in calls:
            for ckr, value in CKRS.items():
                faulty.set_once(call, f"{value:x}")
                r = keyd.post(path, body)
                assert faulty.has_happened(call), (name, call, ckr, "was never called", r)
                try:
                    if r.status != 200:
                        expect_told(r)
                    heals(keyd, path, body)
                except AssertionError as e:
                    raise AssertionError(f"{name}: {call} gives {ckr}: {r}: {e}") from e
    assert faulty.calls().count("C_Login") <= keyd.restarts() + 1, "a process logs in once"
    keyd.stop()


# What a worker calls before its first answer, and at it.
START = ("C_GetInfo", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login",
         "C_GetSessionInfo", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
         "C_GetAttributeValue", "C_CopyObject", "C_GetSlotInfo", "C_DestroyObject")


@test(on=SOFTHSM)
def a_start_in_which_any_call_fails_once_ends_well(token):
    faulty, keyd = set_up(token, {"workers.processes": 1})
    for call in START:
        keyd.stop()
        faulty.set_once(call, "30")
        keyd.start(wait=False)  # as each failure of one makes the next wait for longer
        keyd.wait_serving()
        heals(keyd, "/v1/keys/mac/mac", {"data": ""})
        assert faulty.has_happened(call), call
        wait_for(lambda: keyd.try_get("/readyz") == 200, what="readyz 200")
    keyd.stop()


@test(on=SOFTHSM)
def a_token_that_is_taken_out_and_put_in_again_ends_no_session_of_the_channel(token):
    """J13: sessions are restored by their tickets, and no number is used up by what failed."""
    faulty = Faulty(token)
    keyd = Server(token, {"workers.processes": 1, "workers.restart-delay": 20,
                          "channel.otp-step": 3600}).set_up()  # the record waits for the token
    with keyd.device("d") as d:
        d.connect(keyd)
        expect(keyd.open(d.seal(b"before")), 200)
        faulty.set_once("C_DecryptInit", "lose")  # all sessions of the process, and the login
        record = d.seal(b"lost")
        wait_for(lambda: keyd.open(record).status == 200, what="the record")
        assert faulty.has_happened("C_DecryptInit")
        record = d.seal(b"away")
        with faulty.fails("C_DecryptInit", "32"), faulty.fails("C_OpenSession", "32"), \
                faulty.fails("C_GetSlotList", "32"):
            wait_for(lambda: keyd.open(record).status == 503 and keyd.try_get("/readyz") == 503,
                     what="readyz 503")
            r = expect(keyd.open(record), 503)
            assert "Retry-After" in r.headers, r.headers.items()
            expect(keyd.get("/healthz"), 200)
            expect(keyd.get("/v1/status"), 200)
        wait_for(lambda: keyd.open(record).status == 200, what="the record")
        expect(keyd.open(record), 422, "record-replayed")
        assert d.open(unb64(keyd.seal(d, b"back").json["record"]))[2] == b"back"
    keyd.stop()


@test(on=SOFTHSM)
def a_call_that_hangs_ends_its_worker_and_the_others_go_on(token):
    """krill #643, nethsm-pkcs11 #156: a PKCS#11 call cannot be timed out."""
    faulty, keyd = set_up(token, {"workers.deadline-ms": 8000})
    for path in ("/v1/keys/mac/mac", "/v1/keys/sign/sign"):
        keyd.ok(path, {"data": ""})
    before = keyd.restarts()
    faulty.set_once("C_DeriveKey", "hang")
    answers = []
    _, _, path, body = operations(keyd)[2]

    def call():
        with keyd.client() as c:
            answers.append(c.post(path, body))

    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: faulty.has_happened("C_DeriveKey"), what="the call that hangs")
    n_meanwhile = 0
    while not answers and n_meanwhile < 5:
        expect(keyd.get("/healthz"), 200)
        expect(keyd.get("/v1/status"), 200)
        n_meanwhile += 1
    thread.join()
    assert n_meanwhile == 5, n_meanwhile
    expect(answers[0], 200)  # an agreement is safe to repeat, and the other worker did
    wait_for(lambda: keyd.restarts() == before + 1 and len(keyd.workers()) == 2, what="both workers")
    heals(keyd, path, body)
    keyd.stop()


@test(on=SOFTHSM)
def a_module_that_dies_while_it_makes_a_key_leaves_nothing_half_made(token):
    faulty, keyd = set_up(token)
    for n, (call, type_, usage) in enumerate((("C_GenerateKeyPair", "ec-p256", "sign"),
                                              ("C_GenerateKey", "aes-256", "encrypt"))):
        faulty.set_once(call, "crash")
        r = keyd.post("/v1/keys", {"name": f"new{n}", "type": type_, "usages": [usage]})
        assert faulty.has_happened(call), call
        if r.status != 201:
            expect_told(r)
        keyd.wait_ready()
        names = {k["name"] for k in expect(keyd.get("/v1/keys"), 200).json["keys"]}
        assert (f"new{n}" in names) == (r.status == 201), (r, names)
        wait_for(lambda s={name + ".v1" for name in names}:
                 {o["label"] for o in token.objects()} == s, what="accord of registry and token")
    keyd.stop()


@test(on=SOFTHSM)
def a_worker_that_loses_its_session_while_it_tries_the_token_says_nothing_of_its_abilities(token):
    faulty, keyd = set_up(token, {"workers.processes": 1})
    faulty.set("C_GenerateRandom", "b3")
    kill(keyd.workers()[0])
    wait_for(lambda: keyd.try_get("/readyz") == 503, what="readyz 503")
    wait_for(lambda: "The token failed while it was being tried" in keyd.log(), what="the reason")
    faulty.clear("C_GenerateRandom")
    heals(keyd, "/v1/keys/mac/mac", {"data": ""})
    assert expect(keyd.get("/v1/status"), 200).json["abilities"]["random"] == "verified"
    keyd.stop()


@test(on=SOFTHSM)
def a_token_that_lacks_what_the_channel_needs_is_told_at_the_start(token):
    faulty = Faulty(token)
    keyd = Server(token, {"workers.processes": 1}).set_up()
    text = "this token cannot do what the channel needs"
    assert text not in keyd.log()
    with keyd.device("d") as d, faulty.fails("C_DigestKey", "54"):
        keyd.restart()
        wait_for(lambda: text in keyd.log(), what="the line")
        abilities = expect(keyd.get("/v1/status"), 200).json["abilities"]
        assert abilities["handshake"] == "missing" and abilities["ecdh"] == "verified", abilities
        expect(keyd.post("/v1/handshakes", {"message": b64(d.begin())}), 501, "token-lacks")
        keyd.stop()


@test(on=SOFTHSM)
def a_token_that_goes_while_nothing_is_asked_is_missed_and_welcomed_back(token):
    """yubihsm-shell #541: the device closes idle sessions; readyz must tell by itself."""
    faulty, keyd = set_up(token, {"workers.ping-ms": 200})
    n_asked = faulty.calls().count("C_GenerateRandom")
    wait_for(lambda: faulty.calls().count("C_GenerateRandom") > n_asked + 4,
             what="pings that reach the token")
    assert keyd.restarts() == 0
    with faulty.fails("C_GenerateRandom", "32"), faulty.fails("C_OpenSession", "32"):
        wait_for(lambda: keyd.try_get("/readyz") == 503, what="readyz 503")
        r = keyd.post("/v1/keys/mac/mac", {"data": ""})
        assert r.status == 503 and "Retry-After" in r.headers, r
        assert keyd.try_get("/healthz") == 200
    wait_for(lambda: keyd.try_get("/readyz") == 200, what="readyz 200")
    heals(keyd, "/v1/keys/mac/mac", {"data": ""})
    wait_for(lambda: len(keyd.workers()) == 2, what="both workers")
    with faulty.fails("C_GenerateRandom", "b3"):  # the session alone: no worker is lost
        before = keyd.restarts()
        n_opened = faulty.calls().count("C_OpenSession")
        wait_for(lambda: faulty.calls().count("C_OpenSession") > n_opened, what="a new session")
        assert keyd.restarts() == before and keyd.try_get("/readyz") == 200
    keyd.stop()


if __name__ == "__main__":
    main()
