# SPDX-License-Identifier: Apache-2.0
"""A token on its bad days: tests/system/faulty.c stands before SoftHSM, counts
calls and lets them fail (the reports of docs/field.md)."""
import threading

from harness import SOFTHSM, Faulty, Keyd, b64, expect, main, oracle, test, unb64, wait_for
from harness.peer import Server

# PKCS#11 v2.40: values of CK_RV.
GENERAL_ERROR, DEVICE_ERROR, DEVICE_MEMORY, DEVICE_REMOVED = "0x5", "0x30", "0x31", "0x32"
SESSION_CLOSED, SESSION_HANDLE_INVALID, NOT_LOGGED_IN = "0xb0", "0xb3", "0x101"
KEY_HANDLE_INVALID, TOKEN_NOT_PRESENT, FUNCTION_FAILED = "0x60", "0xe0", "0x6"
SESSION_COUNT, MECHANISM_INVALID, FUNCTION_NOT_SUPPORTED = "0xb1", "0x70", "0x54"


def start(token, **config):
    faulty = Faulty(token)
    keyd = Keyd(token, {"workers.processes": 1, "workers.restart-delay": 20, **config}).start()
    keyd.create("k", "hmac-sha256", "sign", "verify")
    keyd.create("s", "ec-p256", "sign")
    return keyd, faulty


def mac(keyd):
    return keyd.post("/v1/keys/k/mac", {"data": b64(b"x")})


def heals(keyd, tag):
    """All is well again without anybody's doing, and the key is the same."""

    def is_well():  # a worker that was found sick may be ending still
        answers = [mac(keyd) for _ in range(3)]
        assert all(a.json["mac"] == tag for a in answers if a.status == 200), answers
        return all(a.status == 200 for a in answers)

    wait_for(is_well, what="the token's return")
    wait_for(lambda: keyd.get("/readyz").status == 200, what="readyz")


@test(on=SOFTHSM)
def lost_sessions_are_opened_again_without_a_restart_of_the_daemon(token):
    """yubihsm-shell #541, #262; smallstep/certificates #937."""
    keyd, faulty = start(token, **{"workers.threads": 1})
    tag = expect(mac(keyd), 200).json["mac"]
    for result in (SESSION_HANDLE_INVALID, SESSION_CLOSED, KEY_HANDLE_INVALID):
        for function in ("C_SignInit", "C_Sign"):
            faulty.set_once(function, result)
            r = mac(keyd)
            assert faulty.has_happened(function)
            # The caller does not notice: the worker opens another and asks again.
            assert expect(r, 200).json["mac"] == tag, (result, function)
    # The only session of a process takes the login with it.
    assert keyd.restarts() == 0 and faulty.calls().count("C_Login") <= 1 + 4, faulty.calls()
    keyd.stop()


@test(on=SOFTHSM)
def a_token_that_contradicts_itself_on_the_login_is_served_by_another_worker(token):
    """The session says that it is logged in, and the operation that it is not."""
    keyd, faulty = start(token)
    tag = expect(mac(keyd), 200).json["mac"]
    for function in ("C_SignInit", "C_Sign"):
        faulty.set_once(function, NOT_LOGGED_IN)
        assert mac(keyd).status in (200, 502, 503)
        heals(keyd, tag)
    keyd.stop()


@test(on=SOFTHSM)
def sessions_that_are_lost_again_and_again_end_in_another_worker(token):
    keyd, faulty = start(token)
    tag = expect(mac(keyd), 200).json["mac"]
    with faulty.fails("C_SignInit", SESSION_HANDLE_INVALID):
        for _ in range(3):
            assert mac(keyd).status in (502, 503, 504)
    heals(keyd, tag)
    keyd.stop()


@test(on=SOFTHSM)
def device_errors_are_502_and_the_service_recovers(token):
    """Pkcs11Interop #188, #214; hyperledger/fabric PR 1022."""
    keyd, faulty = start(token)
    tag = expect(mac(keyd), 200).json["mac"]
    for result in (DEVICE_ERROR, DEVICE_REMOVED, FUNCTION_FAILED, GENERAL_ERROR, DEVICE_MEMORY,
                   TOKEN_NOT_PRESENT):
        with faulty.fails("C_Sign", result):
            r = mac(keyd)
            assert r.status in (502, 503), (result, r)
            if r.status == 503:
                assert "Retry-After" in r.headers
        heals(keyd, tag)
    keyd.stop()


@test(on=SOFTHSM)
def a_token_that_is_away_for_a_while_is_waited_for(token):
    keyd, faulty = start(token, **{"workers.deadline-ms": 6000})
    tag = expect(mac(keyd), 200).json["mac"]
    with faulty.fails("C_Sign", DEVICE_REMOVED), faulty.fails("C_OpenSession", DEVICE_REMOVED), \
            faulty.fails("C_GetSlotList", DEVICE_REMOVED):
        for _ in range(3):
            assert mac(keyd).status in (502, 503, 504)
        wait_for(lambda: keyd.get("/readyz").status == 503, what="readyz 503")
        assert mac(keyd).status == 503
    heals(keyd, tag)
    keyd.stop()


@test(on=SOFTHSM)
def a_module_that_crashes_or_hangs_in_a_call_costs_that_call_at_most(token):
    keyd, faulty = start(token, **{"workers.deadline-ms": 6000})
    tag = expect(mac(keyd), 200).json["mac"]
    for end in ("crash", "abort"):
        with faulty.fails("C_Sign", end):
            assert mac(keyd).status in (502, 503, 504)
            expect(keyd.get("/healthz"), 200)
        heals(keyd, tag)
    before = keyd.restarts()
    with faulty.fails("C_Sign", "hang"):
        expect(mac(keyd), 504, "deadline")
    heals(keyd, tag)
    assert keyd.restarts() >= before + 1
    keyd.stop()


@test(on=SOFTHSM)
def login_happens_once_and_keys_are_searched_once(token):
    """cfssl PR 330: login at each operation; teleport #58950: search at each."""
    keyd, faulty = start(token)
    expect(mac(keyd), 200)
    keyd.ok("/v1/keys/s/sign", {"data": ""})
    before = faulty.calls()
    assert before.count("C_Login") == 1 and "C_Logout" not in before, before
    for _ in range(50):
        expect(mac(keyd), 200)
        keyd.ok("/v1/keys/s/sign", {"data": ""})
    keyd.ok("/v1/keys/k/mac", {"items": [{"data": ""}] * 500})
    new = faulty.calls()[len(before):]
    assert new.count("C_Sign") == 600, new.count("C_Sign")
    for rare in ("C_Login", "C_Logout", "C_OpenSession", "C_FindObjectsInit"):
        assert rare not in new, (rare, new.count(rare))
    keyd.stop()


@test(on=SOFTHSM)
def no_more_sessions_are_opened_than_configured(token):
    """teleport #52768, smallstep/crypto PR 639: more sessions than the token has."""
    keyd, faulty = start(token, **{"workers.threads": 3})
    for _ in range(20):
        keyd.ok("/v1/keys/k/mac", {"items": [{"data": ""}] * 64})
    assert faulty.calls().count("C_OpenSession") <= 3 + 1, faulty.calls().count("C_OpenSession")
    keyd.stop()


@test(on=SOFTHSM)
def a_token_with_fewer_sessions_than_threads_is_used_with_those_it_has(token):
    """pkcs11-provider #185: some tokens allow one session only."""
    faulty = Faulty(token)
    faulty.set("C_OpenSession", SESSION_COUNT, after=1)
    keyd = Keyd(token, {"workers.processes": 1, "workers.threads": 4}).start()
    keyd.create("k", "hmac-sha256", "sign", "verify")
    keyd.ok("/v1/keys/k/mac", {"items": [{"data": ""}] * 200})
    assert keyd.get("/v1/status").json["token"]["threads"] == 1
    keyd.stop()


@test(on=SOFTHSM)
def abilities_that_the_token_lacks_are_501_and_in_the_status(token):
    keyd, faulty = start(token)
    keyd.create("agree", "ec-p256", "derive")
    keyd.stop()
    with faulty.fails("C_GetMechanismInfo", MECHANISM_INVALID):
        keyd.start()
        abilities = keyd.get("/v1/status").json["abilities"]
        assert abilities["hmac-sha256"] == "missing", abilities
    with faulty.fails("C_SignInit", MECHANISM_INVALID):
        expect(mac(keyd), 501, "token-lacks")
    expect(mac(keyd), 200)
    keyd.stop()


@test(on=SOFTHSM)
def a_shared_secret_leaves_the_token_only_where_that_is_allowed(token):
    """A token that has neither HKDF nor C_DigestKey: the channel is off, until an operator lets the
    secret pass through the worker."""
    faulty = Faulty(token)
    faulty.set("C_DigestKey", FUNCTION_NOT_SUPPORTED)
    keyd = Server(token).set_up()
    keyd.create("agree", "ec-p256", "derive")
    agreement = {"peer": b64(oracle.new_peer("ec-p256")[1]), "kdf": "hkdf-sha256", "type": "aes-256"}
    with keyd.device("d") as d:
        assert keyd.get("/v1/status").json["hkdf"] == "none"
        expect(keyd.post("/v1/keys/agree/ecdh", agreement), 501, "token-lacks")
        r = expect(keyd.post("/v1/handshakes", {"message": b64(d.begin())}), 501, "token-lacks")
        assert "handshake" not in r.json, r
        keyd.set_config({**keyd.channel, "secrets.allow-extractable": True})
        keyd.restart()
        assert keyd.get("/v1/status").json["hkdf"] == "extract"
        expect(keyd.post("/v1/keys/agree/ecdh", agreement), 200)
        d.connect(keyd)
        assert unb64(keyd.open(d.seal(b"by a lesser token")).json["data"]) == b"by a lesser token"
    keyd.stop()


@test(on=SOFTHSM)
def a_failed_creation_leaves_no_half_key(token):
    keyd, faulty = start(token)
    objects = len(token.objects())
    for function in ("C_GenerateKeyPair", "C_GenerateKey"):
        type_ = "ec-p256" if function.endswith("Pair") else "aes-256"
        usage = "sign" if type_ == "ec-p256" else "encrypt"
        for result in (DEVICE_ERROR, DEVICE_MEMORY, "crash"):
            with faulty.fails(function, result):
                r = keyd.post("/v1/keys", {"name": "half", "type": type_, "usages": [usage]})
                assert r.status in (502, 503), (function, result, r)
            wait_for(lambda: keyd.try_get("/readyz") == 200, what="readyz")
            # A creation that was cut off is taken back before the name is free.
            assert keyd.get("/v1/keys/half").status == 404
            body = {"name": "half", "type": type_, "usages": [usage]}
            wait_for(lambda b=body: keyd.post("/v1/keys", b).status == 201, what="the next one")
            expect(keyd.delete("/v1/keys/half"), 204)
    assert len(token.objects()) == objects, token.objects()
    keyd.stop()


@test(on=SOFTHSM)
def a_worker_is_not_killed_in_its_login(token):
    """SoftHSM writes the token's file at a login: killed then, it leaves an empty
    one, and all keys are lost."""
    faulty = Faulty(token)
    # When keyd stops.
    keyd = Keyd(token, {"workers.processes": 1})
    faulty.set_once("C_Login", "slow")
    keyd.start(wait=False)
    wait_for(lambda: faulty.has_happened("C_Login"), what="the login")
    keyd.stop()
    assert faulty.calls().count("C_Login-after-all") == 1, faulty.calls()
    # When the start takes too long.
    keyd.set_config({"workers.processes": 1, "workers.start-deadline-ms": 3000})
    faulty.set_once("C_Login", "slow")
    keyd.start()  # another worker gets ready
    assert faulty.calls().count("C_Login-after-all") == 2, faulty.calls()
    assert keyd.restarts() >= 1
    keyd.stop()


@test(on=SOFTHSM)
def a_wrong_pin_reaches_the_module_once(token):
    """Counted at C_Login itself, over four workers, reloads and restarts."""
    faulty = Faulty(token)
    with open(token.pin_file, "w", encoding="utf-8") as f:
        f.write("wrong\n")
    keyd = Keyd(token, {"workers.processes": 4, "workers.restart-delay": 1}).start(wait=False)
    for _ in range(3):
        keyd.wait_serving()
        wait_for(lambda: keyd.get("/readyz").type in ("pin-refused", "pin-last-try"),
                 what="pin-refused")
        keyd.process.send_signal(1)
        keyd.stop()
        keyd.start(wait=False)
    keyd.wait_serving()
    assert faulty.calls().count("C_Login") == 1, faulty.calls()
    keyd.stop()


def start_four(token):
    keyd, faulty = start(token, **{"workers.processes": 4})
    tag = expect(mac(keyd), 200).json["mac"]
    wait_for(lambda: len(keyd.workers()) == 4, what="all workers")
    return keyd, faulty, tag


def end_all_logins(faulty):
    """The token forgets those who have logged in so far."""
    faulty.set("C_GetSessionInfo", "old" + SESSION_HANDLE_INVALID)
    faulty.set("C_SignInit", "old" + NOT_LOGGED_IN)


@test(on=SOFTHSM)
def callers_do_not_notice_where_all_workers_lose_their_login(token):
    keyd, faulty, tag = start_four(token)
    before = faulty.calls().count("C_Login")
    end_all_logins(faulty)
    answers = [mac(keyd)]

    def call():
        with keyd.client() as c:
            answers.append(c.post("/v1/keys/k/mac", {"data": b64(b"x")}))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.json.get("mac") for a in answers] == [tag] * 9, answers
    # Each process once, and those that were not asked do not know yet.
    wait_for(lambda: len(keyd.workers()) == 4, what="all workers")
    assert 1 <= faulty.calls().count("C_Login") - before <= 4, faulty.calls()
    keyd.stop()


@test(on=SOFTHSM)
def a_pin_that_was_changed_is_submitted_once_where_all_workers_lose_their_login(token):
    """Four processes that log in again by themselves would lock the token."""
    keyd, faulty, tag = start_four(token)
    before = faulty.calls().count("C_Login")
    with open(token.pin_file, encoding="utf-8") as f:
        right = f.read()
    with open(token.pin_file, "w", encoding="utf-8") as f:
        f.write("changed\n")
    end_all_logins(faulty)
    wait_for(lambda: mac(keyd).type in ("pin-refused", "pin-last-try") and
             keyd.get("/readyz").status == 503, what="pin-refused of all workers")
    assert faulty.calls().count("C_Login") == before + 1, faulty.calls()
    with open(token.pin_file, "w", encoding="utf-8") as f:
        f.write(right)
    keyd.process.send_signal(1)
    heals(keyd, tag)
    keyd.stop()


if __name__ == "__main__":
    main()
