# SPDX-License-Identifier: Apache-2.0
"""Connections: very many, slow, broken and hostile ones."""
import concurrent.futures
import json
import resource
import selectors
import signal
import socket
import subprocess
import threading
import time

from harness import (SOFTHSM, Keyd, Skip, b64, check_health, daemon, expect, main, open_socket,
                     raw, read_all, rss_kib, status_of, test, wait_for)

N_CONNECTIONS = 10_000
# What a connection that waits for its next request may cost the front.
KIB_PER_CONNECTION = 72 if daemon.SANITIZED else 24
BODY = json.dumps({"data": b64(b"x" * 100)}).encode()
REQUEST = (b"POST /v1/keys/k/mac HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
           b"Content-Length: %d\r\n\r\n" % len(BODY)) + BODY
TIMEOUTS = {"http.header-timeout-ms": 500, "http.body-timeout-ms": 500,
            "http.idle-timeout-ms": 1500}


def start(token, **config):
    keyd = Keyd(token, config).start()
    keyd.create("k", "hmac-sha256", "sign")
    return keyd


def open_count(keyd):
    return keyd.get("/v1/status").json["counts"]["connections"]


@test(on=SOFTHSM)
def ten_thousand_connections_at_once_all_get_their_answers(token):
    needed = N_CONNECTIONS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Skip(f"{needed} open files are needed, {hard} are allowed")
    # keyd raises its own limit from the soft one that it is started with.
    keyd = start(token, **{"http.connections-max": N_CONNECTIONS + 10, "workers.queue-max": 4096,
                           "http.idle-timeout-ms": 600_000})
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    sockets = []
    try:
        before = rss_kib(keyd.pid)
        for _ in range(N_CONNECTIONS):
            sockets.append(open_socket(keyd.socket))
        wait_for(lambda: open_count(keyd) >= N_CONNECTIONS, what="all connections accepted")
        check_health(keyd)
        for _ in range(2):  # the second time on the same connections
            statuses = exchange(sockets)
            assert set(statuses) <= {200, 503}, set(statuses)
            # 503 only says that the queues were full at that moment: repeat those.
            again = [s for s, status in zip(sockets, statuses) if status == 503]
            while again:
                assert len(again) < len(sockets), "all were refused"
                left = exchange(again)
                again = [s for s, status in zip(again, left) if status == 503]
        grown = rss_kib(keyd.pid) - before
        assert grown < N_CONNECTIONS * KIB_PER_CONNECTION, f"{grown} KiB"
        expect(keyd.get("/healthz"), 200)
    finally:
        for s in sockets:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: open_count(keyd) < 10, what="the end of the connections")
    keyd.stop()


def exchange(sockets):
    """One request on each, all sent before any answer is read."""
    for s in sockets:
        s.sendall(REQUEST)
    got = {s: b"" for s in sockets}
    with selectors.DefaultSelector() as selector:
        for s in sockets:
            selector.register(s, selectors.EVENT_READ)
        n_left = len(sockets)
        while n_left:
            ready = selector.select(60)
            assert ready, f"{n_left} connections have no answer"
            for key, _ in ready:
                s = key.fileobj
                part = s.recv(65536)
                assert part, "a connection was closed without an answer"
                got[s] += part
                if is_whole(got[s]):
                    selector.unregister(s)
                    n_left -= 1
    return [status_of(got[s]) for s in sockets]


def is_whole(answer):
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


@test(on=SOFTHSM)
def connections_over_the_limit_are_told_so(token):
    keyd = start(token, **{"http.connections-max": 20})
    held = [open_socket(keyd.socket) for _ in range(19)]
    wait_for(lambda: open_count(keyd) == 20, what="20 connections")
    answer = raw(keyd.socket, REQUEST)
    assert status_of(answer) in (0, 503), answer
    expect(keyd.get("/healthz"), 200)
    for s in held:
        s.close()
    wait_for(lambda: open_count(keyd) == 1, what="room")
    assert status_of(raw(keyd.socket, REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n",
                                                      1))) == 200
    keyd.stop()


def closes_in_time(keyd, first, drip=b"", seconds=60):
    """Sends `first`, then one byte of drip after the other; keyd must close."""
    with open_socket(keyd.socket, timeout=0.05) as s:
        s.sendall(first)
        end = time.monotonic() + seconds
        got = b""
        i = 0
        while True:
            assert time.monotonic() < end, "the connection is still open"
            try:
                part = s.recv(65536)
                if not part:
                    return got
                got += part
            except TimeoutError:
                pass
            except ConnectionResetError:
                return got
            if drip:
                try:
                    s.sendall(drip[i % len(drip):i % len(drip) + 1])
                    i += 1
                except (BrokenPipeError, ConnectionResetError):
                    return got


@test(on=SOFTHSM)
def half_sent_and_dripping_requests_are_closed_in_time(token):
    keyd = start(token, **TIMEOUTS)
    head, body = REQUEST.split(b"\r\n\r\n")
    cases = ((b"", b""), (b"POST /v1", b""), (head, b""), (head, b"X: y\r\n"), (b"G", b"ET"),
             (head + b"\r\n\r\n", b""), (head + b"\r\n\r\n" + body[:-1], b""),
             (REQUEST.replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 100000"), b"x"),
             (REQUEST.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"),
              b""))
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:  # each in its time
        for case, got in zip(cases, pool.map(lambda case: closes_in_time(keyd, *case), cases)):
            assert status_of(got) in (0, 400, 408, 413), (case, got)
    # One whole request, then silence: served, and closed as idle.
    assert status_of(closes_in_time(keyd, REQUEST)) == 200
    expect(keyd.client().get("/healthz"), 200)
    keyd.stop()


@test(on=SOFTHSM)
def many_slow_clients_do_not_hold_up_a_quick_one(token):
    keyd = start(token, **{"http.header-timeout-ms": 60000})
    slow = []
    for _ in range(500):
        s = open_socket(keyd.socket)
        s.sendall(REQUEST[:60])
        slow.append(s)
    for _ in range(50):
        keyd.ok("/v1/keys/k/mac", {"data": ""})
    for s in slow:
        s.sendall(REQUEST[60:])
    for s in slow:
        assert status_of(s.recv(65536)) == 200
        s.close()
    keyd.stop()


@test(on=SOFTHSM)
def a_client_that_vanishes_mid_request_leaves_nothing_behind(token):
    keyd = start(token)
    base = open_count(keyd)
    for n in (1, 30, len(REQUEST) - 1, len(REQUEST)):
        for _ in range(50):
            s = open_socket(keyd.socket)
            s.sendall(REQUEST[:n])
            s.close()
    # Reset instead of a proper end, while the worker is at it.
    items = json.dumps({"items": [{"data": ""}] * 1024}).encode()
    big = (b"POST /v1/keys/k/mac HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Content-Length: %d\r\n\r\n" % len(items)) + items
    for _ in range(20):
        s = open_socket(keyd.socket)
        s.sendall(big)
        s.shutdown(socket.SHUT_RDWR)
        s.close()
    wait_for(lambda: open_count(keyd) <= base, what="the end of the connections")
    wait_for(lambda: keyd.get("/v1/status").json["counts"]["in_flight"] == 0, what="no work left")
    keyd.ok("/v1/keys/k/mac", {"data": ""})
    assert keyd.restarts() == 0
    keyd.stop()


MALFORMED = [
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
    b"POST /v1/random HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/random HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
    b"POST /v1/random HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /v1/random HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 30_000 + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(5000)) + b"\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/keys/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"FROB /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


@test(on=SOFTHSM)
def malformed_http_is_refused_and_hurts_nothing(token):
    keyd = start(token, **TIMEOUTS)
    for data in MALFORMED:
        answer = raw(keyd.socket, data)
        assert status_of(answer) in (0, 400, 404, 405, 408, 411, 413, 414, 431, 501, 505), \
            (data[:80], answer[:200])
    keyd.set_config({})
    keyd.restart()
    # Two requests in one piece, and one in two pieces of each length.
    both = raw(keyd.socket, REQUEST + REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n",
                                                      1))
    assert both.count(b"HTTP/1.1 200") == 2, both
    for cut in range(1, len(REQUEST), 7):
        with open_socket(keyd.socket) as s:
            s.sendall(REQUEST[:cut])
            s.sendall(REQUEST[cut:])
            assert status_of(s.recv(65536)) == 200
    keyd.stop()


@test(on=SOFTHSM)
def malformed_json_is_a_problem_that_says_where(token):
    keyd = start(token)
    path = "/v1/keys/k/mac"
    deep = b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (b"", b"{", b"null", b"[]", b"1", b'"x"', b"{}{}", b'{"data":"",}', b"{'data':1}",
                 b'{"data":"\xff"}', b'{"data":"\\u0000"}', b"\xef\xbb\xbf{}", deep, b"{" * 5000):
        r = keyd.post(path, body)
        assert r.status == 400, (body[:40], r)
    for data, type_ in ((1, "field-invalid"), (None, "field-invalid"), ([], "field-invalid"),
                        ("=", "bad-base64"), ("YQ==", "bad-base64"), ("Y", "bad-base64"),
                        ("YR", "bad-base64"), ("a+b/", "bad-base64"), ("a b", "bad-base64"),
                        ("ä", "bad-base64")):
        expect(keyd.post(path, {"data": data}), 400, type_, "data")
    for content_type in ("text/plain", "application/cbor", "application/jsonx", ""):
        expect(keyd.post(path, b'{"data":""}', headers={"Content-Type": content_type}), 415,
               "media-type")
    for content_type in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        expect(keyd.post(path, b'{"data":""}', headers={"Content-Type": content_type}), 200)
    keyd.stop()


@test(on=SOFTHSM)
def answers_that_nobody_takes_have_a_limit_and_small_requests_pass(token):
    """One caller with many connections must not fill the memory."""
    keyd = start(token, **{"http.large-max-bytes": 64 << 20})
    items = json.dumps({"items": [{"length": 4096}] * 850}).encode()  # 4.4 MiB of an answer
    ask = (b"POST /v1/random HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Content-Length: %d\r\n\r\n" % len(items)) + items
    before = rss_kib(keyd.pid)
    sockets = []
    for _ in range(60):  # 280 MiB
        sockets.append(open_socket(keyd.socket))
        sockets[-1].sendall(ask)
    answers = [s.recv(12) for s in sockets]
    assert answers.count(b"HTTP/1.1 200") in range(5, 15), answers
    assert answers.count(b"HTTP/1.1 503") == 60 - answers.count(b"HTTP/1.1 200"), answers
    expect(keyd.post("/v1/random", {"items": [{"length": 4096}] * 850}), 503, "busy")
    expect(keyd.post("/v1/keys/k/mac", {"data": b64(bytes(30_000))}), 200)
    # Twice the limit: what a sanitizer adds is in it.
    assert rss_kib(keyd.pid) - before < 128 << 10
    for s in sockets:
        s.close()
    wait_for(lambda: keyd.post("/v1/random", items).status == 200, what="memory")
    keyd.stop()


@test(on=SOFTHSM)
def bodies_over_the_limit_are_413_and_those_at_it_are_served(token):
    keyd = start(token, **{"http.body-max-bytes": 20_000})
    path = "/v1/keys/k/mac"
    fits = b'{"data":"' + b"A" * 19_988 + b'"}'
    fits += b" " * (20_000 - len(fits))
    expect(keyd.post(path, fits), 200)
    expect(keyd.post(path, fits + b" "), 413, "body-too-large")
    head = b"POST /v1/keys/k/mac HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    last = head + b"Connection: close\r\n"
    assert status_of(raw(keyd.socket, last + b"Content-Length: 1000000\r\n\r\n" +
                         bytes(1_000_000))) == 413
    # By its length alone, before any of it has come, where the client asks first or it is far over
    # the limit; and chunked, without a length.
    for more in (b"Content-Length: 20001\r\nExpect: 100-continue", b"Content-Length: 67108865"):
        assert status_of(raw(keyd.socket, head + more + b"\r\n\r\n")) == 413
    chunks = b"".join(b"1000\r\n" + b" " * 4096 + b"\r\n" for _ in range(6)) + b"0\r\n\r\n"
    assert status_of(raw(keyd.socket, head + b"Connection: close\r\nTransfer-Encoding: chunked"
                         b"\r\n\r\n" + chunks)) == 413
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert status_of(raw(keyd.socket, head + b"Connection: close\r\nTransfer-Encoding: chunked"
                         b"\r\n\r\n" + body)) == 200
    keyd.stop()


@test(on=SOFTHSM)
def clients_that_send_all_before_they_read_are_told_of_the_limit(token):
    """With what most callers have: curl, and the library of Python."""
    keyd = start(token)
    body = b'{"data":"' + b"A" * (20 << 20) + b'"}'
    answer = expect(keyd.post("/v1/keys/k/mac", body), 413, "body-too-large")
    assert "http.body-max-bytes" in answer.json["detail"], answer
    for more in ((), ("-H", "Expect:"), ("-H", "Expect:", "-H", "Transfer-Encoding: chunked")):
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", keyd.socket, "-H", "Content-Type: application/json",
             *more, "--data-binary", "@-", "-w", "%{http_code}", "http://h/v1/keys/k/mac"],
            input=body, capture_output=True, check=False)
        assert done.returncode == 0 and done.stdout.endswith(b"413"), (more, done)
    keyd.stop()


@test(on=SOFTHSM)
def request_ids_come_back_when_well_formed_and_are_new_otherwise(token):
    keyd = start(token)
    for good in ("a", "A-1_b.c", "x" * 36):
        r = keyd.get("/healthz", headers={"X-Request-Id": good})
        assert r.headers["X-Request-Id"] == good
    seen = set()
    for bad in (None, "", "x" * 37, "a b", "a\"b", "ä".encode("latin-1").decode("latin-1")):
        r = keyd.get("/healthz", headers={} if bad is None else {"X-Request-Id": bad})
        assert r.headers["X-Request-Id"] and r.headers["X-Request-Id"] != bad
        seen.add(r.headers["X-Request-Id"])
    assert len(seen) == 6, seen
    r = keyd.post("/v1/keys/none/mac", {"data": ""}, headers={"X-Request-Id": "find-me-42"})
    assert expect(r, 404).json["request_id"] == "find-me-42"
    keyd.stop()


@test(on=SOFTHSM)
def many_callers_at_once_get_their_own_answers(token):
    """Answers of one connection never show on another."""
    keyd = start(token)
    wrong = []

    def call(i):
        with keyd.client() as c:
            for n in range(60):
                name = f"r{i}-{n}"
                r = c.post("/v1/keys/k/mac", {"data": b64(name.encode())},
                           headers={"X-Request-Id": name})
                known = tags.setdefault(name, r.json.get("mac"))
                again = c.post("/v1/keys/k/mac", {"data": b64(name.encode())})
                if r.status != 200 or r.headers["X-Request-Id"] != name or \
                        known != again.json.get("mac"):
                    wrong.append((name, r, again))

    tags = {}
    threads = [threading.Thread(target=call, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(set(tags.values())) == 16 * 60, wrong[:3]
    keyd.stop()


@test(on=SOFTHSM)
def what_was_sent_before_a_stop_is_answered_though_nobody_had_read_it(token):
    """On idle connections, and on such as were not even accepted."""
    keyd = start(token, **{"workers.queue-max": 4096})
    known = [open_socket(keyd.socket) for _ in range(300)]
    assert set(exchange(known)) == {200}
    callers, silent = known[:200], known[200:]
    keyd.process.send_signal(signal.SIGSTOP)
    callers += [open_socket(keyd.socket) for _ in range(20)]
    for s in callers:
        s.sendall(REQUEST)
    keyd.process.send_signal(signal.SIGTERM)
    keyd.process.send_signal(signal.SIGCONT)
    statuses = [status_of(read_all(s)) for s in callers]
    assert set(statuses) <= {200, 503}, statuses
    # Those that have sent nothing do not hold up the end.
    assert [read_all(s) for s in silent] == [b""] * len(silent)
    assert keyd.process.wait(daemon.STOP_SEC) == 0
    keyd._forget()
    keyd.check_log()
    for s in known + callers:
        s.close()


if __name__ == "__main__":
    main()
