#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-channel: handshakes and records of the secure channel through keyd,
beside what the module itself does in process, on SoftHSM and on NSS softokn.

Devices with software keys (tests/system/peer.c) make all messages and records
beforehand; what is timed is keyd's part with a client that only carries bytes.
The client is Python on the same machine and takes part of it.
"""
import json
import os
import selectors
import statistics
import sys
import time

SOURCE = os.environ.get("KD_SRCDIR", os.getcwd())
sys.path.insert(0, os.path.join(SOURCE, "tests", "system"))
sys.path.insert(0, os.path.join(SOURCE, "tests", "bench"))

from bench import module_rates  # noqa: E402
from harness import b64, cbor, daemon, open_socket, peer, tokens, unb64  # noqa: E402

N_HANDSHAKES = int(os.environ.get("BENCH_HANDSHAKES", "6000"))
N_BATCHES = int(os.environ.get("BENCH_BATCHES", "2000"))
N_SINGLE = int(os.environ.get("BENCH_SINGLE", "30000"))
N_SESSIONS = int(os.environ.get("BENCH_SESSIONS", "20000"))
CACHED = 500
N_DEVICES = 64
BODY = bytes(256)


def request(path, body, media="application/json"):
    text = json.dumps(body).encode() if media == "application/json" else cbor.sequence(body)
    return (f"POST {path} HTTP/1.1\r\nHost: keyd\r\nContent-Type: {media}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n").encode() + text


def whole_answer(data):
    """(status, body) once all of it is there, else None."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            n = int(line[15:])
            return (int(head[9:12]), bytes(body)) if len(body) >= n else None
    raise AssertionError(head)


def drive(keyd, requests, n_connections):
    """Seconds, and the answers in the order of the requests."""
    waiting = iter(enumerate(requests))
    answers = [None] * len(requests)
    selector = selectors.DefaultSelector()
    sockets = [open_socket(keyd.socket) for _ in range(n_connections)]
    state = {}
    begin = time.perf_counter()

    def send_next(s):
        try:
            i, data = next(waiting)
        except StopIteration:
            selector.unregister(s)
            return
        state[s] = (i, bytearray())
        s.sendall(data)

    for s in sockets:
        selector.register(s, selectors.EVENT_READ)
        send_next(s)
    while selector.get_map():
        for key, _ in selector.select():
            i, got = state[key.fileobj]
            got += key.fileobj.recv(1 << 20)
            answer = whole_answer(got)
            if answer:
                answers[i] = answer
                send_next(key.fileobj)
    seconds = time.perf_counter() - begin
    for s in sockets:
        s.close()
    return seconds, answers


def all_good(answers, status=200):
    bad = [a for a in answers if a[0] != status]
    assert not bad, bad[:3]
    return [json.loads(a[1]) for a in answers]


def handshakes(keyd, devices):
    """A second; each device makes one at a time, many times."""
    seconds = 0
    n = 0
    while n < N_HANDSHAKES:
        first = [request("/v1/handshakes", {"message": b64(d.begin())}) for d in devices]
        s, answers = drive(keyd, first, 16)
        seconds += s
        answers = all_good(answers, 201)
        third = [request("/v1/handshakes/" + a["handshake"],
                         {"message": b64(d.read(unb64(a["message"])))})
                 for d, a in zip(devices, answers)]
        s, answers = drive(keyd, third, 16)
        seconds += s
        for d, a in zip(devices, all_good(answers)):
            d.read(unb64(a["message"]))
        n += len(devices)
    return n / seconds


def opened(keyd, devices, n, batch, connections):
    """Sessions of several devices, so that each worker has its part; a batch is of one."""
    bodies = []
    for i in range(0, n, batch or 1):
        device = devices[i // (batch or 1) % len(devices)]
        records = [{"record": b64(device.seal(BODY))} for _ in range(batch or 1)]
        bodies.append({"items": records} if batch else records[0])
    seconds, answers = drive(keyd, [request("/v1/records/open", b) for b in bodies], connections)
    for a in all_good(answers):
        assert all("data" in i for i in a.get("items", [a])), a
    return n / seconds


def sealed(keyd, devices, n, batch, connections):
    items = [{"session": d.session, "data": b64(BODY)} for d in devices]
    bodies = [{"items": [i] * batch} for i in items] if batch else items
    bodies *= n // len(devices) // (batch or 1)
    seconds, answers = drive(keyd, [request("/v1/records/seal", b) for b in bodies], connections)
    all_good(answers)
    return n / seconds


def many_sessions(keyd, devices):
    """Far more sessions than the workers keep keys of: all of them work; median and
    p99 of one idle call in microseconds, and KiB of keyd for each."""
    before = daemon.rss_kib(keyd.pid)
    records = []
    while len(records) < N_SESSIONS:
        for d in devices:
            d.connect(keyd)
            records.append(request("/v1/records/seal", {"session": d.session, "data": b64(b"x")}))
    grown = daemon.rss_kib(keyd.pid) - before
    times = []
    for r in records:
        s, answers = drive(keyd, [r], 1)
        all_good(answers)
        times.append(s * 1e6)
    return statistics.median(times), statistics.quantiles(times, n=100)[98], grown / len(records)


def in_cbor(keyd, devices, n, batch, connections):
    """A second to open and to seal, in batches without JSON."""
    media = "application/cbor-seq"
    to_open, to_seal = [], []
    for i in range(0, n, batch):
        d = devices[i // batch % len(devices)]
        to_open.append(request("/v1/records/open", [[d.seal(BODY)] for _ in range(batch)], media))
        to_seal.append(request("/v1/records/seal", [[d.session, 0, BODY]] * batch, media))
    rates = []
    for requests, n_members in ((to_open, 5), (to_seal, 1)):
        seconds, answers = drive(keyd, requests, connections)
        for status, body in answers:
            assert status == 200, body
        assert all(len(i) == n_members for i in cbor.read_sequence(answers[-1][1]))
        rates.append(n / seconds)
    return rates


def row(name, rate, limit=None, target=None):
    ratio = f"{rate / limit:8.2f}" if limit else " " * 8
    print(f"{name:<38}{rate:>12.0f}{ratio} {'>=' + str(target) if target else ''}".rstrip(),
          flush=True)


def run(kind):
    token = tokens.make(kind)
    module = module_rates(token)["session"]
    gcm = module["encrypt"]
    # What the token must do for one, method 0, resident: an ephemeral key, two ECDH
    # (G_XY and the channel root key's), a signature.
    handshake = 1 / (1 / module["generate"] + 2 / module["ecdh"] + 1 / module["sign"])
    keyd = peer.Server(token, {"secrets.cached-in-token": CACHED, "log-level": "warn",
                               "channel.sessions-max": N_SESSIONS + 2 * N_HANDSHAKES}).set_up()
    devices = [keyd.device(f"d{i}") for i in range(N_DEVICES)]
    print(f"\n{kind}: by the module in process, one thread: AES-256-GCM of 256 bytes {gcm:.0f} /s,\n"
          f"a handshake's key pair, two ECDH and signature {handshake:.0f} /s; ratios are to these")
    row("handshakes /s (16 connections)", handshakes(keyd, devices), handshake, 0.6)
    row("open, batch 64, 4 connections /s", opened(keyd, devices[:8], 64 * N_BATCHES, 64, 4), gcm, 0.7)
    cbor_open, cbor_seal = in_cbor(keyd, devices[:8], 64 * N_BATCHES, 64, 4)
    row("  the same in CBOR /s", cbor_open, gcm, 0.7)
    row("open, single, 16 connections /s", opened(keyd, devices[:8], N_SINGLE, 0, 16), gcm, "10000 /s")
    row("seal, batch 64, 4 connections /s", sealed(keyd, devices[:8], 64 * N_BATCHES, 64, 4), gcm)
    row("  the same in CBOR /s", cbor_seal, gcm)
    row("seal, single, 16 connections /s", sealed(keyd, devices[:8], N_SINGLE, 0, 16), gcm)
    median, p99, kib = many_sessions(keyd, devices)
    print(f"{N_SESSIONS} sessions on a budget of {CACHED}: one idle call whose keys must be derived: "
          f"median {median:.0f} us,\n  p99 {p99:.0f} us (target: median under 1000); "
          f"{kib:.2f} KiB of keyd for each", flush=True)
    for x in devices:
        x.__exit__()
    keyd.stop()
    token.remove()


if __name__ == "__main__":
    for k in ("softhsm", "nss"):
        run(k)
