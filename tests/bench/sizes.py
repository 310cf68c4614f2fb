# SPDX-License-Identifier: Apache-2.0
"""How keyd grows: memory of a session, a connection and a key, the start with many keys, and
the rate of records where many sessions are alive."""
import os
import statistics
import tempfile
import time

import load
from harness import Keyd, b64, daemon, open_socket, tokens
from keyd_rates import N_RECORD_DEVICES, item

FEW_SESSIONS = N_RECORD_DEVICES
N_SESSIONS = int(os.environ.get("BENCH_SESSIONS", "2000" if load.QUICK else "100000"))
N_RESTORED, N_OBJECTS = (2000, 50) if load.QUICK else (20000, 500)
RESTORED_MS = 1
N_CONNECTIONS = 1000
N_CALLS = int(os.environ.get("BENCH_MEMORY_CALLS", "50000" if load.QUICK else "1000000"))
KEYS = (10, 100, 300) if load.QUICK else (10, 1000, 10000)
KEYS_NSS_MAX = 1000  # makes them slower and slower
MEMORY = "/dev/shm"
SAME = 0.9  # a rate with many sessions, held against the one with few
REPEAT = 3


# ---- sessions ------------------------------------------------------------------

def records(bench):
    """Items a second of the same few sessions: the better of some turns."""
    devices = bench.devices[:N_RECORD_DEVICES]
    found = {}
    for _ in range(REPEAT):
        for name, measured in (("open", load.measure_open), ("seal", load.measure_seal)):
            rate = measured(bench.keyd, devices, 64, 8, load.CBOR)
            found[name] = max(rate, found.get(name, rate), key=lambda r: r.per_sec)
    return found


def of_sessions(bench):
    bench.restart(load.N_WORKERS)
    table, kind = bench.table, bench.token.kind
    few = records(bench)
    before = load.front_kib(bench.keyd)
    begin = time.monotonic()
    n = 0
    others = bench.devices[N_RECORD_DEVICES:]
    all_devices, bench.devices = bench.devices, others
    while n < N_SESSIONS:
        bench.round(16)
        n += len(others)
    bench.devices = all_devices
    seconds = time.monotonic() - begin
    bench.keyd.close()  # keyd has closed a connection that was idle for so long
    grown = load.front_kib(bench.keyd) - before
    many = records(bench)
    for name, rate in many.items():
        table.add(kind, "growth", f"{name}, CBOR, batch 64, {n + FEW_SESSIONS} sessions alive",
                  rate.per_sec, "/s", base=few[name].per_sec, target=SAME, plot=True,
                  against=f"the same with {FEW_SESSIONS} sessions",
                  p50=rate.p50_us, p99=rate.p99_us, front=rate.front_us, workers=rate.workers_us)
    table.add(kind, "growth", "memory of a session, front", grown * 1024 / n, "B",
              note=f"{n} handshakes in {seconds:.0f} s, devices on the same cores")
    connections(bench.keyd, table, kind)
    calls(bench)


def of_restored(bench):
    """Far more sessions than the workers keep keys of: an idle call of each, whose keys are
    derived again from its ticket."""
    bench.restart(load.N_WORKERS, **{"secrets.cached-in-token": N_OBJECTS})
    requests = []
    while len(requests) < N_RESTORED:
        for d in bench.devices:
            d.connect(bench.keyd)
            requests.append(load.request("/v1/records/seal",
                                         {"session": d.session, "data": b64(b"x")}))
    times = []
    for r in requests:
        seconds, answers = load.drive(bench.keyd, [r], 1)
        if answers[0][0] != 200:
            raise load.Failed(answers[0])
        times.append(seconds * 1e6)
    bench.table.add(bench.token.kind, "growth",
                    f"a session restored from its ticket, {N_RESTORED} on {N_OBJECTS} objects",
                    statistics.median(times) / 1000, "ms", target=RESTORED_MS, at_most=True,
                    against="the median of an idle call, which seals",
                    p50=statistics.median(times), p99=statistics.quantiles(times, n=100)[98])


def connections(keyd, table, kind):
    """Connections that have each made a request and wait for the next."""
    before = load.front_kib(keyd)
    sockets = [open_socket(keyd.socket) for _ in range(N_CONNECTIONS)]
    for s in sockets:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: keyd\r\n\r\n")
    for s in sockets:
        s.recv(65536)
    grown = load.front_kib(keyd) - before
    for s in sockets:
        s.close()
    table.add(kind, "growth", "memory of an idle connection, front", grown * 1024 / N_CONNECTIONS,
              "B", note=f"{N_CONNECTIONS} at once")


def calls(bench):
    """Resident memory of front and workers over very many calls."""
    keyd = bench.keyd
    request = load.request("/v1/keys/bench-mac/mac", item("mac"))
    load.run_load(keyd, [request], 16, 60000, N_CALLS // 20)  # caches and pools are filled
    pids = [keyd.pid, *keyd.workers()]
    before = sum(daemon.rss_kib(p) for p in pids)
    load.run_load(keyd, [request], 16, 600000, N_CALLS)
    grown = sum(daemon.rss_kib(p) for p in pids) - before
    bench.table.add(bench.token.kind, "growth", f"memory over {N_CALLS} mac calls, all processes",
                    grown, "KiB", note=f"{before} KiB before")


# ---- keys ----------------------------------------------------------------------

def start_ms(keyd):
    """From exec to the first 200 of readyz, the best of some."""
    times = []
    for _ in range(REPEAT):
        begin = time.perf_counter()
        keyd.start()
        times.append((time.perf_counter() - begin) * 1000)
        resident = load.front_kib(keyd)
        keyd.stop()
    return min(times), resident


def of_keys(kind, table):
    """The same keyd and token with more and more keys.  In memory, if there is a place: that
    each key waits several times for the disk is another question."""
    before, tempfile.tempdir = tempfile.tempdir, MEMORY if os.path.isdir(MEMORY) else None
    token = tokens.make(kind)
    tempfile.tempdir = before
    try:
        keyd = Keyd(token, {"log-level": "warn"})
        n, before = 0, None
        for wanted in KEYS if kind == "softhsm" else [k for k in KEYS if k <= KEYS_NSS_MAX]:
            begin = time.monotonic()
            keyd.start()
            create(keyd, n, wanted)
            keyd.stop()
            seconds = time.monotonic() - begin
            ms, resident = start_ms(keyd)
            table.add(kind, "growth", f"start with {wanted} keys", ms, "ms",
                      note=f"{wanted - n} keys made in {seconds:.0f} s")
            if before is not None:
                per_key = (resident - before) * 1024 / (wanted - n)
                table.add(kind, "growth", f"memory of a key, front, from {n} to {wanted}", per_key,
                          "B")
            n, before = wanted, resident
    finally:
        daemon.kill_all_on(token)
        token.remove()


def create(keyd, first, last):
    requests = [load.request("/v1/keys", {"name": f"k{i}", "type": "hmac-sha256",
                                          "usages": ["sign"]}) for i in range(first, last)]
    _, answers = load.drive(keyd, requests, 4)
    bad = [a for a in answers if a[0] != 201]
    if bad:
        raise load.Failed(bad[0])
