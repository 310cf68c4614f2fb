# SPDX-License-Identifier: Apache-2.0
"""kill -9 of keyd in the middle of its work: afterwards the registry, the token and the audit log
agree, what was answered holds, and what is left in the token is found and explained.

Certificates, envelopes, and the storms of changes are in certificates_kept.py, envelopes.py, audit.py
and faults.py."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import threading

from harness import (BOTH, SOFTHSM, Keyd, b64, expect, main, open_socket, oracle, test, unb64,
                     wait_for)
from harness.ctl import ctl, objects_of
from harness.peer import Server

GONE = (OSError, http.client.HTTPException)  # what a client sees of a kill
ROUNDS, THREADS, STEPS = 3, 3, 500


def audited(keyd, **config):
    """Writes an audit log."""
    keyd.audit_file = os.path.join(keyd.directory, "audit.log")
    keyd.set_config({**getattr(keyd, "channel", {}), "audit.file": keyd.audit_file, **config})
    return keyd


def storm(keyd, step, enough):
    """step(client, thread, i) in some threads, again and again, until `enough` says so, and
    then keyd is killed."""
    def run(n):
        with keyd.client() as c:
            for i in range(STEPS):
                try:
                    step(c, n, i)
                except GONE:
                    return

    threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
    for t in threads:
        t.start()
    wait_for(enough, what="some work")
    keyd.wait_all_ready()  # who is killed in his login leaves SoftHSM without a token
    keyd.kill()
    for t in threads:
        t.join()


def in_accord(keyd):
    """The registry has what the token has, the doctor agrees, and the log is whole."""
    def both():
        keys = keyd.get("/v1/keys?limit=1000").json["keys"]
        ours = {f"{k['name']}.v{v['version']}" for k in keys for v in k["versions"]}
        return ours == {o["label"] for o in keyd.token.objects()}
    wait_for(both, what="registry and token to agree")
    found = objects_of(keyd)
    assert found["finding"] == "ok", found
    r = ctl(keyd, "audit", "verify", keyd.audit_file)
    assert r.returncode == 0, (r.stdout, r.stderr)


def lines_of(keyd, event):
    with open(keyd.audit_file, encoding="ascii") as f:
        lines = [json.loads(line) for line in f if line.endswith("\n")]  # else it is being written
    return [line for line in lines if line["event"] == event]


# ---- keys ----

@test(on=BOTH)
def what_a_version_has_encrypted_is_read_after_a_kill_while_keys_are_rotated(token):
    keyd = audited(Keyd(token)).start()
    for n in range(THREADS):
        keyd.create(f"k{n}", "aes-256", "encrypt", "decrypt")
    texts = []
    for _ in range(ROUNDS):
        before = len(texts)

        def step(c, n, i):
            if i % 2 == 0:
                c.post(f"/v1/keys/k{n}/rotate", {})
            a = c.post(f"/v1/keys/k{n}/encrypt", {"plaintext": b64(b"%d" % i)})
            if a.status == 200:
                texts.append((n, i, a.json))

        storm(keyd, step, lambda before=before: len(texts) > before + 4)
        keyd.start()
        in_accord(keyd)
    for n, i, sealed in texts:
        assert unb64(keyd.ok(f"/v1/keys/k{n}/decrypt", sealed)["plaintext"]) == b"%d" % i
    asked = {e["seq"] for e in lines_of(keyd, "key.rotate") if e.get("phase") == "asked"}
    versions = sum(len(keyd.get(f"/v1/keys/k{n}").json["versions"]) for n in range(THREADS))
    assert versions - THREADS <= len(asked), "no version that nobody has asked for"
    keyd.stop()


@test(on=BOTH)
def versions_are_destroyed_whole_and_their_numbers_stay_given_after_a_kill(token):
    """The newest version is disabled and destroyed, so that the next one could have its number."""
    keyd = audited(Keyd(token)).start()
    for n in range(THREADS):
        keyd.create(f"k{n}", "aes-256", "encrypt", "decrypt")
    given, gone = set(), set()
    for _ in range(ROUNDS):
        before = len(gone)

        def step(c, n, i):
            path = f"/v1/keys/k{n}"
            a = c.post(path + "/rotate", {})
            if a.status != 201:
                return
            number = a.json["primary"]
            assert (n, number) not in given, "a number was given twice"
            given.add((n, number))
            if c.post(path + "/disable", {"version": number}).status != 200:
                return
            if c.delete(f"{path}/versions/{number}").status == 204:
                gone.add((n, number))

        storm(keyd, step, lambda before=before: len(gone) > before + 4)
        keyd.start()
        in_accord(keyd)
        for n in range(THREADS):
            found = {v["version"] for v in keyd.get(f"/v1/keys/k{n}").json["versions"]}
            assert not {v for m, v in gone if m == n} & found, (n, found)
            last = max([v for m, v in given if m == n], default=1)
            number = keyd.ok(f"/v1/keys/k{n}/rotate", {}, 201)["primary"]
            assert number > last, (number, last)
            given.add((n, number))
    asked = [e["input"]["version"] for e in lines_of(keyd, "key.delete-version")
             if e.get("phase") == "asked"]
    assert len(asked) >= len(gone), "each was written down before"
    keyd.stop()


@test(on=BOTH)
def a_version_whose_end_was_cut_off_comes_to_it_at_the_next_start(token):
    """keyd is killed while it waits for the token, which then has destroyed the object or has not."""
    keyd = audited(Keyd(token), **{"workers.processes": 1}).start()
    keyd.create("k", "hmac-sha256", "sign")
    for old, is_destroyed in ((1, False), (2, True)):
        assert keyd.ok("/v1/keys/k/rotate", {}, 201)["primary"] == old + 1
        (pid,) = keyd.workers()
        os.kill(pid, signal.SIGSTOP)
        with open_socket(keyd.socket) as s:
            s.sendall(b"DELETE /v1/keys/k/versions/%d HTTP/1.1\r\nHost: x\r\n\r\n" % old)
            wait_for(lambda: keyd.get("/v1/status").json["counts"]["in_flight"] > 0, what="work")
            if not is_destroyed:
                os.kill(keyd.pid, signal.SIGSTOP)  # it starts no other
                os.kill(pid, signal.SIGKILL)
            keyd.process.kill()
            keyd.process.wait()
        if is_destroyed:
            with contextlib.suppress(ProcessLookupError):  # it may have gone on with the front's end
                os.kill(pid, signal.SIGCONT)
        keyd.kill()
        left = [o["label"] for o in token.objects()]
        assert (f"k.v{old}" in left) != is_destroyed, (old, left)
        keyd.start()
        in_accord(keyd)
        (version,) = keyd.get("/v1/keys/k").json["versions"]
        assert version["version"] == old + 1, version
        keyd.ok("/v1/keys/k/mac", {"data": ""})
        asked = lines_of(keyd, "key.delete-version")[-1]
        assert asked["seq"] in lines_of(keyd, "keyd.start")[-1]["unanswered"], asked
        assert asked["input"] == {"version": old}, asked
    keyd.stop()


@test(on=SOFTHSM)
def what_the_registry_does_not_know_is_found_and_explained(token):
    """A registry from before: what was made since is in the token alone."""
    keyd = audited(Keyd(token)).start()
    keyd.create("old", "aes-256", "encrypt")
    keyd.stop()
    state, saved = (os.path.join(keyd.directory, name) for name in ("state", "saved"))
    shutil.copytree(state, saved)
    keyd.start()
    keyd.ok("/v1/keys/old/rotate", {}, 201)
    keyd.create("new", "aes-256", "encrypt")
    keyd.wait_all_ready()
    keyd.kill()
    shutil.rmtree(state)
    os.rename(saved, state)
    keyd.start()
    found = objects_of(keyd)
    assert found["finding"] == "note" and "adopt" in found["advice"], found
    what = found["what"]
    assert "2 of 3 objects" in what and " new.v1" in what and " old.v2" in what, found
    keyd.stop()


# ---- the channel ----

@test(on=SOFTHSM)
def records_sealed_before_a_kill_are_good_and_their_numbers_never_come_again(token):
    keyd = audited(Server(token)).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        for _ in range(ROUNDS):
            ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
            sealed = []

            def step(c, n, i, sealed=sealed):
                a = c.post("/v1/records/seal", {"session": d.session, "data": b64(b"%d" % i)})
                if a.status == 200:
                    sealed.append(unb64(a.json["record"]))

            storm(keyd, step, lambda sealed=sealed: len(sealed) > 30)
            numbers = [d.open(record)[1] for record in sealed]
            assert len(set(numbers)) == len(numbers), numbers
            keyd.start()
            nonce = os.urandom(16)
            r = keyd.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}, 201)
            d.attach(nonce, unb64(r["node_nonce"]))  # other keys: its numbers begin anew
            assert d.open(unb64(r["record"])) == (0, 0, b"")
            assert d.open(unb64(keyd.seal(d, b"after").json["record"]))[2] == b"after"
            expect(keyd.open(d.seal(b"and back")), 200)
        in_accord(keyd)
    keyd.stop()


@test(on=SOFTHSM)
def sessions_that_were_ended_before_a_kill_stay_so(token):
    """J08, J13: who was told that a session has ended sees it ended, by its ticket too."""
    keyd = audited(Server(token)).set_up()
    with keyd.device("d") as d:
        for _ in range(ROUNDS):
            tickets = {}
            for _ in range(THREADS * 8):
                d.connect(keyd)
                tickets[d.session] = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
            ids, ended = list(tickets), set()

            def step(c, n, i, ids=ids, ended=ended):
                mine = ids[n::THREADS]
                if i < len(mine) and c.delete("/v1/sessions/" + mine[i]).status == 204:
                    ended.add(mine[i])

            storm(keyd, step, lambda ended=ended: len(ended) >= THREADS)
            keyd.start()
            noted = {e["session"] for e in lines_of(keyd, "session.delete")}
            assert ended <= noted, "what was answered was written down before"
            for id_, ticket in tickets.items():
                a = keyd.post("/v1/sessions/resume", {"ticket": ticket, "client_nonce": "AA"})
                assert (a.status == 201 and id_ not in ended) or a.type == "session-ended", a
        in_accord(keyd)
    keyd.stop()


@test(on=SOFTHSM)
def peers_that_were_deleted_before_a_kill_stay_so(token):
    keyd = audited(Server(token)).set_up()
    _, point = oracle.new_peer("ec-p256")
    half = len(point) // 2
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(point[1:1 + half]), "y": b64(point[1 + half:])}
    made, deleted, cut_off = set(), set(), set()
    for round_ in range(ROUNDS):
        before = len(deleted)

        def step(c, n, i, round_=round_):
            name = f"p{round_}-{n}-{i}"
            body = {"name": name, "public_key": jwk, "kid": b64(name.encode())}
            if expect_known(c.post("/v1/peers", body)) == 201:
                made.add(name)
            if i % 2:
                cut_off.add(name)  # done or not, unless it is answered
                if expect_known(c.delete("/v1/peers/" + name)) == 204:
                    deleted.add(name)

        storm(keyd, step, lambda before=before: len(deleted) > before + 4)
        keyd.start()
        names = {p["name"] for p in keyd.get("/v1/peers?limit=1000").json["peers"]}
        assert not deleted & names, deleted & names
        assert made - deleted - cut_off <= names, made - deleted - names
        in_accord(keyd)
    keyd.stop()


def expect_known(answer):
    assert answer.status in (201, 204, 503), answer
    return answer.status


if __name__ == "__main__":
    main()
