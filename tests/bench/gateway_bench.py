#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-gateway: messages of 256 bytes through the TCP gateway, keyd and SoftHSM, with
resident keys, to a backend that echoes them, and back.

Devices with software keys (tests/system/peer.c) seal their records beforehand; the load generator
(gateway_load.c) carries them and counts the answers, on the same cores as everything else.
"""
import json
import os
import resource
import subprocess
import sys

SOURCE = os.environ.get("KD_SRCDIR", os.getcwd())
sys.path.insert(0, os.path.join(SOURCE, "tests", "system"))

from harness import daemon, peer, tokens, wait_for  # noqa: E402
from harness.gateway import MESSAGE, Gateway, Talker, free_port  # noqa: E402

ECHO, LOAD = (os.path.join(tokens.BUILD, "tests", "bench", n) for n in ("echo", "gateway_load"))
N_DEVICES = int(os.environ.get("BENCH_DEVICES", "64"))
N_MESSAGES = int(os.environ.get("BENCH_MESSAGES", "100000"))
IN_FLIGHT = int(os.environ.get("BENCH_IN_FLIGHT", "5"))  # of one device
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


def frames_of(talker, n):
    frames = [talker.seal(MESSAGE, BODY)[1] for _ in range(n)]
    data = b"".join(len(f).to_bytes(4, "big") + f for f in frames)
    return len(data).to_bytes(4, "big") + data


def start_load(path, talkers):
    fds = [t.transport.socket.fileno() for t in talkers]
    return subprocess.Popen([LOAD, path, str(IN_FLIGHT), *map(str, fds)], pass_fds=fds,
                            stdout=subprocess.PIPE)


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
    path = os.path.join(token.directory, "frames")
    with open(path, "wb") as f:
        f.write(b"".join(frames_of(t, N_MESSAGES // N_DEVICES) for t in talkers))
    for t in talkers:
        t.transport.socket.settimeout(None)  # the flag is of the connection
    pids = {"gateway": gateway.process.pid, "keyd": keyd.pid, "backend": backend.process.pid}
    pids.update({f"worker {i}": p for i, p in enumerate(daemon.children(keyd.pid))})
    before = {k: cpu_ms(p) for k, p in pids.items()}
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = ended.ru_utime + ended.ru_stime
    result = json.loads(start_load(path, talkers).communicate()[0])
    n = result["answers"]
    used = {k: (cpu_ms(p) - before[k]) * 1000 / n for k, p in pids.items()}
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used["client"] = (ended.ru_utime + ended.ru_stime - own) * 1e6 / n
    print(f"{N_DEVICES} devices, {IN_FLIGHT} messages of 256 bytes in flight each: "
          f"{n * 1e6 / result['elapsed_us']:.0f} messages/s (target 10000)\n"
          f"latency: median {result['p50_us'] / 1e3:.1f} ms, p99 {result['p99_us'] / 1e3:.1f} ms "
          "(target: p99 under 50)")
    batches, batched = (gateway.metric(f"keyd_gateway_{m}_total") for m in ("batches", "batched"))
    print(f"records in a request to keyd: {batched / batches:.1f}")
    print("CPU of a message: " + ", ".join(f"{k} {v:.0f} us" for k, v in used.items()))
    for t in talkers:
        t.device.__exit__()
        t.transport.close()
    gateway.stop()
    keyd.stop()
    backend.close()
    token.remove()


if __name__ == "__main__":
    main()
