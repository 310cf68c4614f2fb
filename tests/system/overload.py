# SPDX-License-Identifier: Apache-2.0
"""More than can be done: who asks too much is told so, and the others do not notice."""
import contextlib
import json
import threading

from harness import (SOFTHSM, Keyd, check_health, daemon, expect, main, open_socket, rss_kib, test,
                     wait_for)

BATCH = {"items": [{"data": ""}] * 100}


class Hog:
    """One principal, asking without end from many connections."""

    def __init__(self, keyd, n, body, path="/v1/keys/slow/sign"):
        self.keyd, self.stop, self.answers = keyd, threading.Event(), []
        text = json.dumps(body).encode()  # once

        def ask():
            with keyd.client(bearer="other-token") as c:
                while not self.stop.is_set():
                    self.answers.append(c.post(path, text))

        self.threads = [threading.Thread(target=ask) for _ in range(n)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        self.keyd.close()  # the test's own connection may have been idle for too long


@test(on=SOFTHSM)
def a_principal_that_asks_without_end_leaves_room_for_the_others(token):
    keyd = Keyd(token, {"workers.processes": 1, "workers.threads": 1, "workers.queue-max": 8,
                        "workers.deadline-ms": 60_000}).start()  # so 6 for each
    keyd.create("slow", "ec-p384", "sign")
    keyd.create("k", "hmac-sha256", "sign")
    with Hog(keyd, 40, BATCH) as hog, keyd.client() as c:
        while not any(a.status == 503 for a in hog.answers):
            expect(c.post("/v1/keys/k/mac", {"data": ""}), 200)
        for _ in range(10):
            expect(c.post("/v1/keys/k/mac", {"data": ""}), 200)
            for path in ("/healthz", "/readyz", "/v1/status", "/metrics"):
                expect(c.get(path), 200)
    refused = [a for a in hog.answers if a.status != 200]
    for a in refused:
        expect(a, 503, "busy")
        assert a.json["detail"] == "6 requests of this principal are under way.", a
        assert "Retry-After" in a.headers
    assert len(refused) < len(hog.answers), "some of its own are done"
    expect(keyd.post("/v1/keys/slow/sign", BATCH, bearer="other-token"), 200)
    keyd.stop()


@test(on=SOFTHSM)
def ten_times_what_can_be_done_takes_bounded_memory_and_passes(token):
    keyd = Keyd(token, {"workers.processes": 1, "workers.queue-max": 32,
                        "http.principal-max": 32,
                        "http.large-max-bytes": 64 << 20}).start()
    keyd.create("k", "hmac-sha256", "sign")
    body = {"items": [{"data": "A" * 4096}] * 100}  # 400 KB
    with Hog(keyd, 8, body, "/v1/keys/k/mac") as hog:
        while len(hog.answers) < 100:
            keyd.ok("/v1/keys/k/mac", {"data": ""})
    before = rss_kib(keyd.pid)
    with Hog(keyd, 320, body, "/v1/keys/k/mac") as hog, keyd.client() as c:
        while len(hog.answers) < 2000:
            expect(c.get("/healthz"), 200)
        check_health(keyd, 50)
    assert {a.status for a in hog.answers} <= {200, 503}
    assert all(a.type == "busy" for a in hog.answers if a.status == 503)
    # 64 MiB of large requests, and 64 KiB of what each connection may have beside; as much again
    # for what is parsed and on its way to the worker.  Without a limit it would be a GB.
    grown = rss_kib(keyd.pid) - before
    assert grown < 2 * (64 + 320 / 16) * 1024 * (3 if daemon.SANITIZED else 1), grown
    keyd.ok("/v1/keys/k/mac", body)
    assert keyd.restarts() == 0
    keyd.stop()


@test(on=SOFTHSM)
def health_is_told_at_once_in_a_burst_of_ten_times_what_can_be_done(token):
    keyd = Keyd(token, {"workers.processes": 1, "workers.queue-max": 32,
                        "http.principal-max": 32}).start()
    keyd.create("k", "hmac-sha256", "sign")
    with Hog(keyd, 320, BATCH, "/v1/keys/k/mac") as hog:
        wait_for(lambda: any(a.status == 503 for a in hog.answers), what="more than can be done")
        check_health(keyd)
    check_health(keyd)
    keyd.ok("/v1/keys/k/mac", BATCH)
    keyd.stop()


def idle(keyd, sends=b""):
    """A connection that says this much and reads nothing."""
    s = open_socket(keyd.socket)
    s.sendall(sends)
    return s


def open_count(keyd):
    return keyd.get("/v1/status").json["counts"]["connections"]


@test(on=SOFTHSM)
def who_idles_drips_and_does_not_read_is_carried_and_gone_when_he_goes(token):
    """All places but a few are held by those who do nothing with them, while one asks without
    end; the supervisor and another principal are served all the while, and at once after."""
    n = 200
    keyd = Keyd(token, {"workers.processes": 1, "http.connections-max": 3 * n + 60,
                        "workers.queue-max": 8, "workers.deadline-ms": 60_000,
                        "http.header-timeout-ms": 600_000, "http.body-timeout-ms": 600_000,
                        "http.idle-timeout-ms": 600_000}).start()  # nobody goes by himself
    keyd.create("slow", "ec-p384", "sign")
    keyd.create("k", "hmac-sha256", "sign")
    request = b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n"
    before = rss_kib(keyd.pid)
    with contextlib.ExitStack() as held, keyd.client() as supervisor, keyd.client() as c:
        expect(supervisor.get("/healthz"), 200)
        for i in range(n):
            held.enter_context(idle(keyd))
            held.enter_context(idle(keyd, request[:10 + i % 20]))
            held.enter_context(idle(keyd, request * 8))  # eight answers that nobody takes
        wait_for(lambda: open_count(keyd) >= 3 * n, what="all of them accepted")
        with Hog(keyd, 40, BATCH) as hog:
            while not any(a.status == 503 for a in hog.answers):
                expect(supervisor.get("/healthz"), 200)
            check_health(keyd)
            for _ in range(5):
                for path in ("/healthz", "/readyz"):
                    expect(supervisor.get(path), 200)
                expect(c.post("/v1/keys/k/mac", {"data": ""}), 200)
        # Of each a header, or one answer and what the kernel does not take of it.
        grown = rss_kib(keyd.pid) - before
        assert grown < 3 * n * (256 if daemon.SANITIZED else 160), grown
    expect(keyd.post("/v1/keys/k/mac", {"data": ""}), 200)
    wait_for(lambda: open_count(keyd) < 10, what="the end of the connections")
    assert keyd.restarts() == 0
    keyd.stop()


main()
