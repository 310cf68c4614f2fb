#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-gateway: messages of 256 bytes through the TCP gateway, keyd and SoftHSM, with
resident keys, to a backend that echoes them, and back.

Devices with software keys (tests/system/peer.c) seal their records beforehand; the client,
Python, carries them and counts the answers, on the same cores as everything else.
"""
import os
import selectors
import statistics
import subprocess
import sys
import time

SOURCE = os.environ.get("KD_SRCDIR", os.getcwd())
sys.path.insert(0, os.path.join(SOURCE, "tests", "system"))

from harness import daemon, peer, tokens, wait_for  # noqa: E402
from harness.gateway import FAILURE, MESSAGE, Gateway, Talker, free_port  # noqa: E402

ECHO = os.path.join(tokens.BUILD, "tests", "bench", "echo")
N_DEVICES = int(os.environ.get("BENCH_DEVICES", "64"))
N_MESSAGES = int(os.environ.get("BENCH_MESSAGES", "100000"))
IN_FLIGHT = int(os.environ.get("BENCH_IN_FLIGHT", "8"))  # of one device
BODY = bytes(256)


class Backend:
    """With BENCH_BACKEND=unix by a Unix socket."""

    def __init__(self, directory):
        self.path, self.port = "", free_port()
        if os.environ.get("BENCH_BACKEND") == "unix":
            self.path = os.path.join(directory, "backend.sock")
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process = subprocess.Popen([ECHO, self.path or str(self.port)], stdin=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class Sender:
    """One device's connection: so many frames in flight until all are answered."""

    def __init__(self, talker, n):
        self.socket = talker.transport.socket
        frames = [talker.seal(MESSAGE, BODY)[1] for _ in range(n)]
        self.waiting = iter([len(f).to_bytes(4, "big") + f for f in frames])
        self.sent, self.got = {}, b""

    def send(self, n):
        parts = []
        for _ in range(n):
            frame = next(self.waiting, None)
            if frame is None:
                break
            self.sent[frame[5:9]] = time.perf_counter()
            parts.append(frame)
        if parts:
            self.socket.sendall(b"".join(parts))

    def receive(self, times):
        self.got += self.socket.recv(1 << 18)
        now, n = time.perf_counter(), 0
        while len(self.got) >= 4:
            end = 4 + int.from_bytes(self.got[:4], "big")
            if len(self.got) < end:
                break
            assert self.got[4] != FAILURE, self.got[4:end]
            times.append(now - self.sent.pop(self.got[5:9]))
            self.got = self.got[end:]
            n += 1
        self.send(n)
        return n


def run(senders, total):
    times, selector, done = [], selectors.DefaultSelector(), 0
    for s in senders:
        selector.register(s.socket, selectors.EVENT_READ, s)
    begin = time.perf_counter()
    for s in senders:
        s.send(IN_FLIGHT)
    while done < total:
        for key, _ in selector.select():
            done += key.data.receive(times)
    return time.perf_counter() - begin, times


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 10


def main():
    token = tokens.make("softhsm")
    keyd = peer.Server(token, {"log-level": "warn"}).set_up()
    backend = Backend(token.directory)
    gateway = Gateway(keyd, backend, log_level="warn", backend_unix_path=backend.path).start()
    talkers = [Talker(keyd.device(f"d{i}"), gateway.tcp()) for i in range(N_DEVICES)]
    wait_for(lambda: all(t.connect() for t in talkers), what="handshakes")
    each = N_MESSAGES // N_DEVICES
    senders = [Sender(t, each) for t in talkers]
    pids = {"gateway": gateway.process.pid, "keyd": keyd.pid, "backend": backend.process.pid,
            "client": os.getpid()}
    pids.update({f"worker {i}": p for i, p in enumerate(daemon.children(keyd.pid))})
    before = {k: cpu_ms(p) for k, p in pids.items()}
    seconds, times = run(senders, each * N_DEVICES)
    n = len(times)
    quantiles = statistics.quantiles(times, n=100)
    print(f"{N_DEVICES} devices, {IN_FLIGHT} messages of 256 bytes in flight each: "
          f"{n / seconds:.0f} messages/s (target 10000)\n"
          f"latency: median {statistics.median(times) * 1e3:.1f} ms, p99 {quantiles[98] * 1e3:.1f} ms "
          "(target: p99 under 50)")
    batches, batched = (gateway.metric(f"keyd_gateway_{m}_total") for m in ("batches", "batched"))
    print(f"records in a request to keyd: {batched / batches:.1f}")
    print("CPU of a message: " + ", ".join(
        f"{k} {(cpu_ms(p) - before[k]) * 1000 / n:.0f} us" for k, p in pids.items()))
    for t in talkers:
        t.device.__exit__()
        t.transport.close()
    gateway.stop()
    keyd.stop()
    backend.close()
    token.remove()


if __name__ == "__main__":
    main()
