# SPDX-License-Identifier: Apache-2.0
"""Workers that die or hang, a keyd that is killed, a token that comes late."""
import os
import random
import re
import resource
import signal
import threading

from harness import (SOFTHSM, Client, Keyd, b64, expect, is_alive, main, oracle, test, tokens,
                     unb64, wait_for)


class Load:
    """Threads that call without a pause and check each answer."""

    def __init__(self, keyd, n_threads=4):
        self.keyd = keyd
        self.stop = threading.Event()
        self.n_right = 0
        self.wrong = []
        self.lock = threading.Lock()
        private, point = oracle.new_peer("ec-p256")
        key = keyd.create("load-agree", "ec-p256", "derive")
        shared = oracle.ecdh(private, key["versions"][0]["pem"].encode())
        self.secret = keyd.ok("/v1/keys/load-agree/ecdh", {"peer": b64(point),
                                                           "type": "hmac-sha256"})["secret"]
        self.key = shared
        keyd.create("load-aes", "aes-256", "encrypt", "decrypt")
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n_threads)]

    def one(self, client, i, n):
        data = b"%d/%d" % (i, n)
        if i % 2:
            r = client.post(f"/v1/secrets/{self.secret}/mac", {"data": b64(data)})
            if r.status != 200 or unb64(r.json["mac"]) != oracle.mac("hmac-sha256", self.key, data):
                return r
            return None
        r = client.post("/v1/keys/load-aes/encrypt", {"plaintext": b64(data)})
        if r.status != 200:
            return r
        sealed = {k: r.json[k] for k in ("iv", "ciphertext")}
        r = client.post("/v1/keys/load-aes/decrypt", sealed)
        return None if r.status == 200 and unb64(r.json["plaintext"]) == data else r

    def run(self, i):
        n = 0
        try:
            with self.keyd.client() as client:
                while not self.stop.is_set():
                    n += 1
                    bad = self.one(client, i, n)
                    with self.lock:
                        self.n_right += bad is None
                        if bad is not None:
                            self.wrong.append(bad)
        except Exception as e:  # an unanswered request
            with self.lock:
                self.wrong.append(e)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()

    def go_on(self, n=50):
        """Waits until so many more calls have been right."""
        goal = self.n_right + n
        wait_for(lambda: self.n_right >= goal or self.wrong, what="calls under load")


@test
def each_request_is_answered_and_right_while_workers_are_killed(token):
    """kill -9; the API repeats what is safe to repeat."""
    keyd = Keyd(token).start()
    n_kills = 6
    with Load(keyd) as load:
        for i in range(n_kills):
            load.go_on()
            pids = wait_for(lambda: len(p := keyd.workers()) == 2 and p, what="two workers")
            os.kill(pids[i % 2], signal.SIGKILL)
            wait_for(lambda n=i + 1: keyd.restarts() >= n, what="the count of restarts")
        load.go_on()
    assert not load.wrong, (load.n_right, load.wrong[:5])
    wait_for(lambda: len(keyd.workers()) == 2, what="both workers")
    assert keyd.restarts() == n_kills, keyd.restarts()
    metrics = keyd.get("/metrics").body.decode()
    counted = sum(float(v) for v in re.findall(r"^keyd_worker_restarts_total\S* (\S+)$", metrics,
                                               re.M))
    assert counted == n_kills, metrics
    keyd.stop()


@test
def a_hung_worker_is_replaced_after_the_deadline(token):
    """krill #643, nethsm-pkcs11 #156: a PKCS#11 call cannot be timed out."""
    keyd = Keyd(token, {"workers.processes": 1, "workers.deadline-ms": 8000}).start()
    keyd.create("k", "hmac-sha256", "sign")
    tag = keyd.ok("/v1/keys/k/mac", {"data": ""})["mac"]
    (pid,) = keyd.workers()
    os.kill(pid, signal.SIGSTOP)
    r = keyd.post("/v1/keys/k/mac", {"data": ""})
    expect(r, 504, "deadline")
    wait_for(lambda: keyd.try_get("/readyz") == 200 and keyd.workers() not in ([], [pid]),
             what="another worker")
    assert not is_alive(pid), "the hung worker is left behind"
    assert keyd.restarts() == 1
    assert keyd.ok("/v1/keys/k/mac", {"data": ""})["mac"] == tag
    keyd.stop()


@test(on=SOFTHSM)
def a_worker_that_hangs_while_idle_does_no_harm(token):
    """The other worker serves; the hung one is noticed when it is asked."""
    keyd = Keyd(token, {"workers.deadline-ms": 8000}).start()
    keyd.create("k", "hmac-sha256", "sign")
    pid = keyd.workers()[0]
    os.kill(pid, signal.SIGSTOP)
    statuses = [keyd.post("/v1/keys/k/mac", {"data": ""}).status for _ in range(20)]
    assert set(statuses) <= {200, 504} and statuses.count(504) <= 1, statuses
    wait_for(lambda: pid not in keyd.workers() and len(keyd.workers()) == 2, what="two workers")
    keyd.stop()


@test(on=SOFTHSM)
def a_request_for_a_full_queue_is_503_with_retry_after(token):
    keyd = Keyd(token, {"workers.processes": 1, "workers.queue-max": 1, "http.retry-after": 7,
                        "workers.deadline-ms": 60_000}).start()
    keyd.create("k", "hmac-sha256", "sign")
    (pid,) = keyd.workers()
    os.kill(pid, signal.SIGSTOP)
    answers = []
    body = {"data": ""}

    def call():
        with keyd.client() as c:
            answers.append(c.post("/v1/keys/k/mac", body))

    threads = [threading.Thread(target=call) for _ in range(40)]
    for t in threads:
        t.start()
    wait_for(lambda: any(a.status == 503 for a in list(answers)), 50, "a full queue")
    expect(keyd.get("/healthz"), 200)  # the front does not wait for the worker
    os.kill(pid, signal.SIGCONT)
    for t in threads:
        t.join()
    full = [a for a in answers if a.status == 503]
    assert {a.status for a in answers} <= {200, 503} and len(answers) == 40, answers
    assert any(a.status == 200 for a in answers)
    for a in full:
        expect(a, 503, "busy")
        assert a.headers["Retry-After"] == "7", a.headers.items()
    expect(keyd.post("/v1/keys/k/mac", body), 200)
    assert keyd.restarts() == 0
    keyd.stop()


@test
def a_kill_of_keyd_in_a_storm_of_creations_leaves_registry_and_token_in_accord(token):
    keyd = Keyd(token).start()
    known = set()
    for round_ in range(3):
        stop = threading.Event()
        created = [set() for _ in range(4)]

        def storm(i):
            rnd = random.Random(round_ * 100 + i)
            n = 0
            try:
                with Client(keyd.socket) as c:
                    while not stop.is_set():
                        n += 1
                        name = f"s{round_}-{i}-{n}"
                        type_, usage = rnd.choice((("ec-p256", "sign"), ("aes-256", "encrypt"),
                                                   ("hmac-sha256", "sign")))
                        if c.post("/v1/keys", {"name": name, "type": type_,
                                               "usages": [usage]}).status == 201:
                            created[i].add(name)
                        if n % 5 == 0:
                            created[i].discard(name)  # a cut-off delete may be done or not
                            if c.delete(f"/v1/keys/{name}").status == 204:
                                deleted.add(name)
            except Exception:  # keyd is gone
                pass

        deleted = set()
        threads = [threading.Thread(target=storm, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        wait_for(lambda: sum(map(len, created)) > 20 * (round_ + 1), what="a storm")
        keyd.kill()
        stop.set()
        for t in threads:
            t.join()
        keyd.start()
        known |= set().union(*created)
        # Changes that were cut off are taken up again; then both agree.
        wait_for(lambda: labels(token) == versions_of(keyd), what=
                 lambda: f"accord: {labels(token) - versions_of(keyd)} in the token only, "
                         f"{versions_of(keyd) - labels(token)} in the registry only")
        names = names_of(keyd)
        # What was answered with 201 is there, what was deleted with 204 is not.
        assert known - deleted <= names, known - names
        assert not deleted & names, deleted & names
        known = names
    for name in sorted(names)[:20]:
        key = keyd.get("/v1/keys/" + name).json
        operation, body = {"ec-p256": ("sign", {"data": ""}), "hmac-sha256": ("mac", {"data": ""}),
                           "aes-256": ("encrypt", {"plaintext": ""})}[key["type"]]
        keyd.ok(f"/v1/keys/{name}/{operation}", body)
    keyd.stop()


def names_of(keyd):
    names, after = set(), ""
    while after is not None:
        page = expect(keyd.get("/v1/keys?limit=1000" + (after and "&after=" + after)), 200).json
        names |= {k["name"] for k in page["keys"]}
        after = page["next"]
    return names


def versions_of(keyd):
    return {name + ".v1" for name in names_of(keyd)}


def labels(token):
    return {o["label"] for o in token.objects()}


@test(on=SOFTHSM)
def a_full_disk_refuses_changes_with_500_and_nothing_else(token):
    """Not even the log can be written; when there is room, all goes on."""
    keyd = Keyd(token)
    keyd.wrapper = ["env", "--ignore-signal=XFSZ"]  # a full disk sends no signal
    keyd.start()
    for name in ("k", "rotated", "disabled", "deleted"):
        keyd.create(name, "hmac-sha256", "sign")
    tag = keyd.ok("/v1/keys/k/mac", {"data": ""})["mac"]
    changes = (("POST", "/v1/keys", {"name": "new", "type": "aes-256", "usages": ["encrypt"]}),
               ("POST", "/v1/keys/rotated/rotate", {}), ("POST", "/v1/keys/disabled/disable", {}),
               ("DELETE", "/v1/keys/deleted", None))
    before, objects = keyd.get("/v1/keys").json, labels(token)
    limits = resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    for _ in range(3):
        for method, path, body in changes:
            expect(keyd.request(method, path, body), 500, "store")
        assert keyd.ok("/v1/keys/k/mac", {"data": ""})["mac"] == tag
        keyd.ok("/v1/keys/k/mac", {"items": [{"data": ""}] * 100})
    assert keyd.get("/v1/keys").json == before and labels(token) == objects
    resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE, limits)
    for method, path, body in changes:
        r = keyd.request(method, path, body)
        assert r.status in (200, 201, 204), (method, path, r)
    after = keyd.get("/v1/keys").json
    keyd.restart()
    assert keyd.get("/v1/keys").json == after
    assert labels(token) == {"k.v1", "rotated.v1", "rotated.v2", "disabled.v1", "new.v1"}
    assert keyd.ok("/v1/keys/k/mac", {"data": ""})["mac"] == tag
    keyd.stop()


@test
def a_token_that_is_absent_at_start_is_waited_for(token):
    """krill PR 761: the service starts before the token is there."""
    token.remove()
    late = tokens.make(token.kind, init=False)
    try:
        keyd = Keyd(late, {"workers.restart-delay": 50}).start(wait=False)
        keyd.wait_serving()
        # NSS cannot even be initialised without its directory.
        reasons = ("no-token",) if late.kind == "softhsm" else ("no-token", "no-module")
        wait_for(lambda: keyd.get("/readyz").type in reasons, what="the reason")
        expect(keyd.get("/readyz"), 503)
        problem = keyd.get("/v1/status").json["problem"]
        assert late.uri in problem["detail"] or late.module in problem["detail"], problem
        r = keyd.post("/v1/random", {"length": 1})
        expect(r, 503)
        assert "Retry-After" in r.headers, r.headers.items()
        late.init()
        keyd.wait_ready()
        keyd.create("k", "hmac-sha256", "sign")
        keyd.stop()
    finally:
        late.remove()


@test(on=SOFTHSM)
def a_module_that_is_absent_is_said(token):
    token.module = token.directory + "/nothing.so"
    keyd = Keyd(token).start(wait=False)
    keyd.wait_serving()
    wait_for(lambda: keyd.get("/readyz").type == "no-module", what="no-module")
    detail = keyd.get("/v1/status").json["problem"]["detail"]
    assert "nothing.so" in detail, detail
    keyd.stop()


@test(on=SOFTHSM)
def a_key_that_someone_destroyed_in_the_token_is_told(token):
    """pkcs11-provider #494, #495: a handle must never name another key."""
    first = Keyd(token, {"workers.processes": 1}).start()
    second = Keyd(token, {"workers.processes": 1}).start()
    first.create("k", "hmac-sha256", "sign")
    first.ok("/v1/keys/k/mac", {"data": ""})
    second.ok("/v1/keys", {"name": "k", "uri": "pkcs11:object=k.v1;type=secret-key"}, 201)
    tag = second.ok("/v1/keys/k/mac", {"data": ""})["mac"]
    expect(first.delete("/v1/keys/k"), 204)
    # Workers use copies of a software token's keys, and look for the originals
    # each second.
    wait_for(lambda: second.post("/v1/keys/k/mac", {"data": ""}).status != 200,
             what="the end of the key")
    for _ in range(3):
        r = second.post("/v1/keys/k/mac", {"data": ""})
        assert r.status in (404, 409) and r.type in ("no-such-object", "object-changed"), r
    # Another key of the same label is not taken for it.
    first.create("k", "hmac-sha256", "sign")
    assert first.ok("/v1/keys/k/mac", {"data": ""})["mac"] != tag
    r = second.post("/v1/keys/k/mac", {"data": ""})
    assert r.status in (404, 409) and r.type in ("no-such-object", "object-changed"), r
    assert second.restarts() == 0 and first.restarts() == 0
    second.stop()
    first.stop()


@test(on=SOFTHSM)
def a_graceful_stop_drops_no_accepted_request(token):
    # However slow the machine is, no time is over before the work is done.
    keyd = Keyd(token, {"workers.deadline-ms": 600_000, "stop-timeout": 600}).start()
    keyd.create("k", "ec-p384", "sign")
    answers, n_threads, n_items = [], 16, 100
    body = {"items": [{"data": b64(b"%d" % i)} for i in range(n_items)]}
    barrier = threading.Barrier(n_threads + 1)

    def call():
        with keyd.client() as c:
            c.get("/healthz")  # the connection is accepted
            barrier.wait()
            try:
                answers.append(c.post("/v1/keys/k/sign", body))
            except Exception as e:
                answers.append(e)

    threads = [threading.Thread(target=call) for _ in range(n_threads)]
    for t in threads:
        t.start()
    barrier.wait()
    # Each has been sent: keyd has it, or has answered it.
    wait_for(lambda: keyd.get("/v1/status").json["counts"]["in_flight"] + len(answers) >= n_threads,
             what="work")
    keyd.process.send_signal(signal.SIGTERM)
    for t in threads:
        t.join()
    keyd.process.wait(60)
    whole = [a for a in answers if not isinstance(a, Exception) and a.status == 200]
    refused = [a for a in answers if not isinstance(a, Exception) and a.status == 503]
    # Those that came after the stop are told so, or cannot send their request;
    # none of those that were sent goes without an answer or gets half of one.
    unsent = [a for a in answers if isinstance(a, BrokenPipeError)]
    lost = len(answers) - len(whole) - len(refused) - len(unsent)
    dropped = re.findall(r"dropped=(\d+)", keyd.log())
    said = [repr(a)[:80] for a in answers]
    assert whole and all(len(a.json["items"]) == n_items for a in whole), said
    assert lost == 0 and not any(int(d) for d in dropped), (len(whole), len(refused), said)
    assert keyd.process.returncode == 0
    keyd._forget()
    keyd.check_log()


if __name__ == "__main__":
    main()
