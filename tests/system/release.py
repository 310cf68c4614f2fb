# SPDX-License-Identifier: Apache-2.0
"""Sessions whose traffic keys a message server takes over: it seals and opens by itself,
and keyd does not any more, so that no nonce is used twice."""
import os
import re
import signal
import threading

from harness import BOTH, SOFTHSM, b64, daemon, expect, main, test, unb64, wait_for
from harness.daemon import is_in
from harness.peer import MessageServer, Server

RELEASED = {"channel.profile": "released", "channel.root": None}
DATA, KEY_UPDATE = 0, 2


def release(keyd, device, status=200, type_=None, **more):
    return expect(keyd.post(f"/v1/sessions/{device.session}/release", {}, **more), status, type_)


def released(keyd, device):
    r = release(keyd, device).json
    assert r["session"]["session"] == device.session and r["session"]["released"] is True, r
    assert r["role"] == "server" and r["otp"] == {"digits": 8, "step": 30, "window": 1}, r
    return r


def refused_by_keyd(keyd, device, record):
    """Nothing more is sealed, opened or given out here."""
    seal = {"session": device.session, "data": b64(b"x")}
    expect(keyd.post("/v1/records/seal", seal), 409, "session-released")
    expect(keyd.open(record), 409, "session-released")
    batch = expect(keyd.post("/v1/records/seal", {"items": [seal, seal]}), 200).json["items"]
    assert all(i["error"]["type"].endswith(":session-released") for i in batch), batch
    release(keyd, device, 409, "session-released")
    assert keyd.get("/v1/sessions/" + device.session).json["released"] is True


def talk(server, device, text):
    """The message server and the device alone."""
    assert device.open(server.seal(text, b"aad"), b"aad")[2] == text
    assert server.open(device.seal(text[::-1], b"aad"), b"aad")[2] == text[::-1]


def exchange(keyd, device, text):
    assert unb64(expect(keyd.open(device.seal(text)), 200).json["data"]) == text
    assert device.open(unb64(keyd.seal(device, text[::-1]).json["record"]))[2] == text[::-1]


# ---- what is refused ----

@test(on=SOFTHSM)
def who_may_make_sessions_does_not_get_their_keys_by_that(token):
    keyd = Server(token, RELEASED, daemon.POLICY + f"""
principal "server" {{ token = {{ "sha256:{daemon.sha256_hex('server-token')}" }} }}
allow "server" {{ operations = {{ handshake, show, sign }} keys = {{ "*" }} }}
""").set_up()
    with keyd.device("d") as d, keyd.client(bearer="server-token") as server:
        d.connect(server)
        release(server, d, 403, "denied")
        release(keyd, d, 404, "no-such-session")  # it is another's
        expect(server.post("/v1/records/open", {"record": b64(d.seal(b"x"))}), 200)
        # With the permission: no restart is needed.
        with open(keyd.policy_file, "a", encoding="utf-8") as f:
            f.write('allow "server" { operations = { release } keys = { "identity" } }\n')
        keyd.hup()
        assert release(server, d).json["window"]["highest"] == 0
    expect(keyd.post("/v1/sessions/0011223344556677/release", {}), 404, "no-such-session")
    expect(keyd.get("/v1/sessions/0011223344556677/release"), 405)
    keyd.stop()


@test(on=SOFTHSM)
def a_resident_session_keeps_its_keys(token):
    keyd = Server(token).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        release(keyd, d, 409, "session-resident")
        exchange(keyd, d, b"as before")
        assert "released" not in keyd.get("/v1/sessions/" + d.session).json
    keyd.stop()


@test(on=SOFTHSM)
def an_expired_session_gives_nothing_and_a_released_one_says_no_more_than_that(token):
    keyd = Server(token, {**RELEASED, "channel.session-records-max": 1}).set_up()
    with keyd.device("d") as d, keyd.device("e") as e:
        d.connect(keyd)
        keyd.seal(d, b"x")
        answer = keyd.post("/v1/records/seal", {"session": d.session, "data": ""})
        assert "answer" in expect(answer, 409, "session-expired").json
        release(keyd, d, 409, "session-expired")
        e.connect(keyd)
        assert released(keyd, e)["left"]["records"] == 1
        refused_by_keyd(keyd, e, e.seal(b"x"))
    keyd.stop()


# ---- what works ----

@test(on=BOTH)
def a_message_server_goes_on_where_keyd_stopped(token):
    keyd = Server(token, RELEASED).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"by keyd")
        skipped = d.seal(b"never sent to keyd")
        exchange(keyd, d, b"by keyd, too")
        r = released(keyd, d)
        assert r["send_next"] == 2 and r["window"]["highest"] == 2, r
        assert unb64(r["window"]["seen"]) == bytes([0b101]) + bytes(127), r
        shown = keyd.get("/v1/sessions/" + d.session).json
        assert r["left"]["records"] == shown["records_max"] - 4, r
        assert r["left"]["bytes"] == shown["bytes_max"] - shown["bytes"], r
        assert 0 < r["left"]["milliseconds"] <= 86_400_000, r
        with MessageServer(r) as server:
            for i in range(20):
                talk(server, d, b"without keyd %d" % i)
            assert server.open(skipped)[1] == 1
            refused_by_keyd(keyd, d, d.seal(b"x"))
        listed = keyd.get("/v1/sessions").json["sessions"]
        assert [s["released"] for s in listed] == [True], listed
        expect(keyd.get(f"/v1/sessions/{d.session}/ticket"), 200)
        expect(keyd.delete("/v1/sessions/" + d.session), 204)
        release(keyd, d, 404, "no-such-session")
    keyd.stop()


def sequence_of(record):
    assert record[16] == 6, record  # the Partial IV ends the map, after the session's id
    return int.from_bytes(record[18:18 + (record[17] & 31)], "big")


class Sealers:
    """Callers that seal batches until their session is not keyd's any more."""

    def __init__(self, keyd, device, n):
        self.keyd, self.session = keyd, device.session
        self.records, self.others, self.started = [], set(), threading.Semaphore(0)
        self.threads = [threading.Thread(target=self.run) for _ in range(n)]
        for t in self.threads:
            t.start()

    def run(self):
        items = {"items": [{"session": self.session, "data": b64(b"x" * 100)}] * 64}
        with self.keyd.client() as client:
            while "session-released" not in self.others:
                for i in expect(client.post("/v1/records/seal", items), 200).json["items"]:
                    if "record" in i:
                        self.records.append(unb64(i["record"]))
                    else:
                        self.others.add(i["error"]["type"].rpartition(":")[2])
                self.started.release()

    def join(self):
        for t in self.threads:
            t.join(60)
            assert not t.is_alive()


@test(on=BOTH)
def a_release_in_the_middle_of_batches_repeats_no_number(token):
    keyd = Server(token, RELEASED).set_up()
    with keyd.device("d") as d:
        for _ in range(5):
            d.connect(keyd)
            sealers = Sealers(keyd, d, 3)
            for _ in range(4):
                sealers.started.acquire()
            r = released(keyd, d)
            sealers.join()
            assert sealers.others <= {"session-released", "change-under-way"}, sealers.others
            numbers = sorted(sequence_of(x) for x in sealers.records)
            assert numbers == list(range(r["send_next"])), (numbers[-1], r["send_next"])
            assert r["session"]["sent"] == r["send_next"], r
            with MessageServer(r) as server:
                talk(server, d, b"and on")
            for record in sealers.records[::50]:
                assert d.open(record)[2] == b"x" * 100
    keyd.stop()


@test(on=SOFTHSM)
def one_time_passwords_of_another_form_go_on_in_that_form(token):
    keyd = Server(token, {**RELEASED, "channel.otp-digits": 6, "channel.otp-step": 1,
                          "channel.otp-window": 10}).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"by keyd")
        r = release(keyd, d).json
        assert r["otp"] == {"digits": 6, "step": 1, "window": 10}, r
        with MessageServer(r) as server:
            talk(server, d, b"without keyd")
    keyd.stop()


# ---- new keys ----

@test(on=BOTH)
def a_key_update_makes_keys_that_are_keyds_again(token):
    keyd = Server(token, RELEASED).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        first = released(keyd, d)
        with MessageServer(first) as server:
            talk(server, d, b"under the first keys")
            late = d.seal(b"late")
            r = keyd.ok(f"/v1/sessions/{d.session}/key-update", {})
            assert "record" not in r and r["session"]["released"] is False, r
            number = r["session"]["update"]
            type_, _, body = d.open(server.seal(bytes([number]), type_=KEY_UPDATE))
            assert (type_, body) == (KEY_UPDATE, bytes([1]))
            expect(keyd.open(late), 422, "not-authentic")  # keyd does not try the old keys
            assert server.open(late)[2] == b"late"
        d.update(number)
        exchange(keyd, d, b"under new keys")
        second = released(keyd, d)
        assert not set(first["keys"].values()) & set(second["keys"].values())
        with MessageServer(second) as server:
            talk(server, d, b"and without keyd again")
    keyd.stop()


def resume(keyd, device, ticket):
    nonce = os.urandom(16)
    r = keyd.ok("/v1/sessions/resume", {"ticket": ticket, "client_nonce": b64(nonce)}, 201)
    device.attach(nonce, unb64(r["node_nonce"]))
    assert device.open(unb64(r["record"])) == (DATA, 0, b"")


@test(on=BOTH)
def released_keys_stay_released_when_workers_and_keyd_are_killed(token):
    keyd = Server(token, {**RELEASED, "workers.processes": 2}).set_up()
    keyd.wait_all_ready()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"by keyd")
        ticket = keyd.get(f"/v1/sessions/{d.session}/ticket").json["ticket"]
        first = released(keyd, d)
        server = MessageServer(first)
        talk(server, d, b"without keyd")
        workers = [w["pid"] for w in keyd.get("/v1/status").json["workers"]]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        keyd.wait_replaced(*workers)
        record = d.seal(b"for the message server")
        refused_by_keyd(keyd, d, record)
        keyd.kill()
        keyd.start()
        for call in (lambda: keyd.open(record),
                     lambda: keyd.post("/v1/records/seal", {"session": d.session, "data": ""}),
                     lambda: keyd.post(f"/v1/sessions/{d.session}/release", {})):
            expect(call(), 404, "no-such-session")
        assert server.open(record)[2] == b"for the message server"
        server.__exit__()
        resume(keyd, d, ticket)
        release(keyd, d, 409, "change-under-way")  # until the device uses them
        expect(keyd.open(record), 422)
        exchange(keyd, d, b"by keyd again")
        second = released(keyd, d)
        assert not set(first["keys"].values()) & set(second["keys"].values())
        assert not set(first["ivs"].values()) & set(second["ivs"].values())
    keyd.stop()


@test(on=SOFTHSM)
def a_worker_that_is_killed_meanwhile_gives_no_keys_twice(token):
    """Whatever the caller hears: he has the keys and keyd has not, or the other way round."""
    keyd = Server(token, {**RELEASED, "workers.processes": 1}).set_up()
    with keyd.device("d") as d:
        for _ in range(5):
            keyd.wait_all_ready()
            d.connect(keyd)
            (pid,) = keyd.workers()
            os.kill(pid, signal.SIGSTOP)
            answers = []
            t = threading.Thread(target=lambda: answers.append(
                keyd.client().post(f"/v1/sessions/{d.session}/release", {})))
            t.start()
            wait_for(lambda: keyd.get("/v1/status").json["counts"]["in_flight"] > 0, what="work")
            os.kill(pid, signal.SIGKILL)
            t.join(60)
            wait_for(lambda: keyd.try_get("/readyz") == 200, what="readyz")
            if answers[0].status == 200:
                refused_by_keyd(keyd, d, d.seal(b"x"))
            else:
                exchange(keyd, d, b"still keyd's")
                released(keyd, d)
    keyd.stop()


# ---- what is told and kept ----

@test(on=SOFTHSM)
def what_happens_is_logged_and_counted(token):
    keyd = Server(token, {**RELEASED, "workers.processes": 1}).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"by keyd")
        keys = release(keyd, d).json["keys"]
        release(keyd, d, 409)
        log = keyd.log()
        assert re.search(f"the keys of a session were released.*session={d.session} peer=d "
                         "principal=tests", log), log
        metrics = keyd.get("/metrics").body.decode()
        assert re.search(r'^keyd_channel_releases_total\{result="ok"\} 1$', metrics, re.M), metrics
        for text in keys.values():
            assert text not in log and unb64(text).hex() not in log
    keyd.stop()


@test(on=SOFTHSM)
def no_key_that_was_released_stays_in_memory(token):
    keyd = Server(token, {**RELEASED, "workers.processes": 1}).set_up()
    with keyd.device("d") as d:
        d.connect(keyd)
        exchange(keyd, d, b"by keyd")
        texts = release(keyd, d).json["keys"].values()
        keys = [key for text in texts for key in (unb64(text), text.encode())]
        processes = [keyd.pid, *sorted(daemon.children(keyd.pid))]
        for pid in processes:
            daemon.find_in_memory(pid, token.module.encode())
        wait_for(lambda: not any(is_in(pid, *keys) for pid in processes),
                 what="memory without the keys")
    keyd.stop()


if __name__ == "__main__":
    main()
