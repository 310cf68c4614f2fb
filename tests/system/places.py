# SPDX-License-Identifier: Apache-2.0
"""One caller holds all connections that may be open (http.connections-max), and another comes."""
import contextlib
import os
import pwd
import re
import select
import signal
import time

from harness import (SOFTHSM, Client, Keyd, expect, main, open_socket, test, tokens,
                     wait_for)

N = 20
ASK = b"GET /openapi.json HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer other-token\r\n"
POST = ASK.replace(b"GET /openapi.json", b"POST /v1/keys") + \
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
# Half a header, half a body, and answers that nobody takes.
HALVES = (ASK, POST, (ASK + b"\r\n") * 50)
AT_ONCE_SEC = 60  # the shortest of keyd's own times is ten minutes
CONFIG = {"http.connections-max": N, "http.unix-mode": "0666", "http.tcp-address": "127.0.0.1",
          "http.header-timeout-ms": 600_000, "http.body-timeout-ms": 600_000,
          "http.idle-timeout-ms": 600_000, "workers.processes": 1, "workers.deadline-ms": 60_000}


@contextlib.contextmanager
def another_user():
    """Connections that are made meanwhile are his."""
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


class Hog:
    """Somebody else than the tests' user: another one, which takes root, or a principal over
    TCP."""

    def __init__(self, keyd, is_local):
        port = re.search(r"serving; address=127.0.0.1 port=(\d+)", keyd.log()).group(1)
        self.address = keyd.socket if is_local else ("127.0.0.1", int(port))
        self.user = another_user if is_local else contextlib.nullcontext

    def connect(self):
        with self.user():
            return open_socket(self.address)

    def client(self):
        """One whose first request was answered; None: keyd had no place for it."""
        client = Client(self.address, bearer="other-token")
        with self.user():
            if client.get("/v1/keys").status == 200:
                return client
        client.close()
        return None

    def take(self, n):
        """A connection of the harness's may still be closing."""
        return [wait_for(self.client, what="a place") for _ in range(n)]


def each(test_function):
    """With each kind of a hog that there is."""
    def run(token):
        os.chmod(token.directory, 0o711)
        for is_local in (True, False) if tokens.may_all() else (False,):
            keyd = Keyd(token, CONFIG).start()
            os.chmod(keyd.directory, 0o711)
            keyd.create(f"k{int(is_local)}", "hmac-sha256", "sign")
            keyd.close()
            test_function(keyd, Hog(keyd, is_local), f"/v1/keys/k{int(is_local)}/mac")
            keyd.stop()
    run.__name__, run.__doc__ = test_function.__name__, test_function.__doc__
    return run


def is_open(client):
    """No answer is to come, so what can be read is the end."""
    return not select.select([client.connection.sock], [], [], 0)[0]


def is_served(keyd, bearer=None):
    """A connection more, by which there is an answer at once."""
    begun = time.monotonic()
    client = keyd.client(bearer)
    expect(client.get("/v1/keys"), 200)
    assert time.monotonic() - begun < AT_ONCE_SEC, time.monotonic() - begun
    return client


def taken(keyd):
    client = keyd.client()
    if client.get("/v1/keys").status == 200:
        return client
    client.close()
    return None


def begin(client, mac):
    client.connection.request("POST", mac, body=b'{"data":""}',
                              headers={"Content-Type": "application/json",
                                       "Authorization": "Bearer other-token"})


def wait_under_way(client, n):
    """So many requests have been read, asked by a connection that has its place: who is not known
    to ask for anything might be displaced."""
    wait_for(lambda: expect(client.get("/v1/status"), 200).json["counts"]["in_flight"] == n,
             what=f"{n} requests")


def end(client):
    answer = client.connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status


def check_busy(client):
    expect(client.get("/healthz"), 503, "busy")
    client.close()


def close(clients):
    for c in clients:
        c.close()


@test(on=SOFTHSM)
@each
def who_holds_all_places_idle_makes_room_for_others_until_they_have_as_many(keyd, hog, _):
    held = hog.take(N)
    own = []
    for i in range(N // 2):
        own.append(is_served(keyd))
        wait_for(lambda n=i: not is_open(held[n]), what="the end of the longest idle one")
        assert all(is_open(c) for c in (*held[i + 1:], *own)), i
    check_busy(keyd.client())  # they have as many
    for c in (*own, *held[N // 2:]):
        assert is_open(c)
        expect(c.get("/v1/keys"), 200)
    close(own + held)


@test(on=SOFTHSM)
@each
def a_request_under_way_keeps_its_place_and_is_answered(keyd, hog, mac):
    (worker,) = keyd.workers()
    keyd.close()
    held = hog.take(N)
    busy = held[:N - 1]
    os.kill(worker, signal.SIGSTOP)
    for c in busy:  # the longest idle ones
        begin(c, mac)
    wait_under_way(held[-1], len(busy))
    with is_served(keyd) as own:
        assert not is_open(held[-1]) and all(is_open(c) for c in busy)
        check_busy(keyd.client())  # nobody is idle but who has one place
        os.kill(worker, signal.SIGCONT)
        for c in busy:
            end(c)
        expect(own.get("/v1/keys"), 200)
    close(held)


@test(on=SOFTHSM)
@each
def one_alone_has_all_places_and_none_of_his_is_taken_for_his_own(keyd, hog, _):
    held = hog.take(N)
    for c in held:
        assert is_open(c)
        expect(c.get("/v1/keys"), 200)
    if hog.address == keyd.socket:  # over TCP it shows by the first request only whose it is
        with hog.user():
            check_busy(keyd.client())
        assert all(is_open(c) for c in held)
    close(held)


@test(on=SOFTHSM)
@each
def who_opens_more_than_all_and_says_nothing_does_not_close_the_door(keyd, hog, _):
    """Those without a place wait for nobody's time to be over."""
    held = hog.take(N)
    silent = [hog.connect() for _ in range(300)]
    with is_served(keyd) as own, is_served(keyd, "stranger-token"):
        expect(own.get("/healthz"), 200)
    close(held + silent)


@test(on=SOFTHSM)
@each
def who_is_idle_in_the_middle_of_requests_makes_room_too_and_what_is_worked_on_goes_on(keyd, hog,
                                                                                       mac):
    (worker,) = keyd.workers()
    keyd.close()
    held = hog.take(N)
    busy = held[:N // 2]
    os.kill(worker, signal.SIGSTOP)
    for c in busy:
        begin(c, mac)
    wait_under_way(held[-1], len(busy))
    for i, c in enumerate(held[N // 2:]):
        c.connection.sock.sendall(HALVES[i % len(HALVES)])
    own = [wait_for(lambda: taken(keyd), AT_ONCE_SEC, "a place") for _ in range(N // 2)]
    check_busy(keyd.client())
    os.kill(worker, signal.SIGCONT)
    for c in busy:
        end(c)
    for c in own:
        expect(c.get("/v1/keys"), 200)
    close(held + own)


if __name__ == "__main__":
    main()
