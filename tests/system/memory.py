# SPDX-License-Identifier: Apache-2.0
"""Memory: a hundred thousand calls leave neither the front nor a worker larger."""
import os

from harness import Keyd, b64, daemon, expect, main, oracle, rss_kib, test

# Quarantines and shadow memory of the sanitizers grow by themselves; there the
# leak check at the end of each process says more.
N_CALLS = 10_000 if daemon.SANITIZED else 100_000
BATCH = 100
SINGLE_IN = 20       # of so many calls one is a single one
LIMIT_KIB = 65536 if daemon.SANITIZED else 1024  # a leak of 16 bytes a call shows
# SoftHSM 2.6.1 keeps something of every session object that was ever made until
# C_Finalize, 240 bytes as measured: for each ECDH, derivation and secret.
SOFTHSM_OBJECT_BYTES = 280


def sizes(keyd):
    return [rss_kib(pid) for pid in (keyd.pid, *sorted(daemon.children(keyd.pid)))]


class Work:
    """Calls of all kinds, good ones and refused ones."""

    def __init__(self, keyd):
        self.keyd = keyd
        keyd.create("mac", "hmac-sha256", "sign", "verify")
        keyd.create("aes", "aes-256", "encrypt", "decrypt")
        keyd.create("sign", "ec-p256", "sign")
        keyd.create("agree", "ec-p256", "derive")
        _, self.point = oracle.new_peer("ec-p256")
        sealed = keyd.ok("/v1/keys/aes/encrypt", {"plaintext": b64(b"x" * 50)})
        forged = {"iv": sealed["iv"], "ciphertext": b64(os.urandom(66))}
        data = {"data": b64(b"y" * 50)}
        self.batches = [
            ("/v1/keys/mac/mac", data), ("/v1/keys/sign/sign", data),
            ("/v1/keys/aes/encrypt", {"plaintext": b64(b"z" * 50)}),
            ("/v1/keys/aes/decrypt", {k: sealed[k] for k in ("iv", "ciphertext")}),
            ("/v1/keys/aes/decrypt", forged), ("/v1/random", {"length": 32}),
            ("/v1/keys/agree/ecdh", {"peer": b64(bytes(65))}),
        ]
        self.n_objects = 0

    def once(self, i):
        path, item = self.batches[i % len(self.batches)]
        expect(self.keyd.post(path, {"items": [item] * BATCH}), 200)
        for _ in range(BATCH // SINGLE_IN):
            assert self.keyd.post(path, item).status in (200, 422)
        expect(self.keyd.post("/v1/keys/mac/mac", b"{"), 400)
        expect(self.keyd.get("/v1/keys/none"), 404)
        with self.keyd.client() as other:
            expect(other.get("/metrics"), 200)
        return BATCH + BATCH // SINGLE_IN + 3

    def derive(self):
        path, body = "/v1/keys/agree/ecdh", {"peer": b64(self.point)}
        made = self.keyd.ok(path, {"items": [body] * 10 + [{**body, "release": True}] * 90})
        for item in made["items"][:10]:
            secret = "/v1/secrets/" + item["secret"]
            self.keyd.ok(secret + "/encrypt", {"plaintext": ""})
            expect(self.keyd.delete(secret), 204)
        self.n_objects += 100

    def run(self, n_calls):
        done = i = 0
        while done < n_calls:
            done += self.once(i)
            i += 1


@test
def memory_does_not_grow_over_many_calls(token):
    keyd, work = start(token)
    work.run(N_CALLS // 4)  # caches, pools and allocators fill
    before = sizes(keyd)
    work.run(N_CALLS)
    check_growth(keyd, before, LIMIT_KIB)


@test
def memory_does_not_grow_over_many_derivations(token):
    keyd, work = start(token)
    for _ in range(30):
        work.derive()
    before = sizes(keyd)
    n_before = work.n_objects
    for _ in range(N_CALLS // 1000):
        work.derive()
    limit = LIMIT_KIB
    if token.kind == "softhsm":
        limit += (work.n_objects - n_before) * SOFTHSM_OBJECT_BYTES // 1024
    check_growth(keyd, before, limit)


def start(token):
    keyd = Keyd(token, {"workers.processes": 1, "log-level": "error"}).start()
    return keyd, Work(keyd)


def check_growth(keyd, before, limit):
    after = sizes(keyd)
    print(f"# front and worker: {before} KiB before, {after} KiB after")
    assert len(before) == len(after) == 2, (before, after)
    assert max(b - a for a, b in zip(before, after)) < limit, (before, after)
    assert keyd.restarts() == 0
    keyd.stop()


if __name__ == "__main__":
    main()
