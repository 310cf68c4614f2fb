# SPDX-License-Identifier: Apache-2.0
"""Requests for keyd, made beforehand, and what their answers cost: the load generator
(http_load.c), a client in Python that keeps the answers, CPU times and memory."""
import dataclasses
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("KD_BUILDDIR", os.getcwd())
SOURCE = os.environ.get("KD_SRCDIR", os.getcwd())
sys.path.insert(0, os.path.join(SOURCE, "tests", "system"))

from harness import b64, cbor, daemon, open_socket  # noqa: E402

HTTP_LOAD = os.path.join(BUILD, "tests", "bench", "http_load")
QUICK = os.environ.get("BENCH_QUICK", "") not in ("", "0")
MS = int(float(os.environ.get("BENCH_SECONDS", "0.2" if QUICK else "1")) * 1000)
CORES = len(os.sched_getaffinity(0))
N_WORKERS = min(CORES, 8)  # as keyd's default
RECORD_BYTES = 256
PATIENCE_MS = 5000
WARMUP_MS = 200  # as http_load.c
JSON, CBOR = "application/json", "application/cbor-seq"
# The generator of P-256: any valid point does.
PEER = ("BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_"
        "UfU")


class Failed(Exception):
    """A measurement that measured nothing."""


def request(path, body, media=JSON):
    text = json.dumps(body).encode() if media == JSON else cbor.sequence(body)
    return (f"POST {path} HTTP/1.1\r\nHost: keyd\r\nContent-Type: {media}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n").encode() + text


def start(keyd, n_workers=N_WORKERS):
    """readyz says 200 as soon as one worker is ready; a measurement waits for all."""
    keyd.start()
    daemon.wait_for(lambda: len(keyd.workers()) == n_workers, what="all workers")
    return keyd


# ---- CPU and memory ----------------------------------------------------------

class Cpu:
    """What front and workers use from here on."""

    def __init__(self, keyd):
        self.front = [keyd.pid]
        self.workers = keyd.workers()
        self.before = [self._now(p) for p in (self.front, self.workers)]

    @staticmethod
    def _now(pids):
        return sum(daemon.cpu_sec(p) for p in pids)

    def microseconds(self, n):
        """(front, workers) for each of n items."""
        now = [self._now(p) for p in (self.front, self.workers)]
        return tuple((a - b) * 1e6 / n for a, b in zip(now, self.before))


def front_kib(keyd):
    return daemon.rss_kib(keyd.pid)


# ---- the load generator ------------------------------------------------------

@dataclasses.dataclass
class Rate:
    per_sec: float        # items
    p50_us: float = None  # of a call
    p99_us: float = None
    front_us: float = None    # CPU of an item
    workers_us: float = None


def run_load(keyd, requests, connections, ms, last=None):
    """`last`: the most answers, or with ms = 0 a file for them."""
    with tempfile.NamedTemporaryFile(suffix=".requests") as f:
        for r in requests:
            f.write(len(r).to_bytes(4, "big") + r)
        f.flush()
        argv = [HTTP_LOAD, keyd.socket, f.name, str(connections), str(ms)]
        argv += [] if last is None else [str(last)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False)
    if done.returncode:
        raise Failed(done.stderr.strip())
    result = json.loads(done.stdout)
    settle(keyd)
    if result["refused"]:
        raise Failed(f"refused with {result['status']}")
    if not result["answers"]:
        if ms >= PATIENCE_MS:
            raise Failed("no answer in time")
        return run_load(keyd, requests, connections, PATIENCE_MS)
    return result


def ask_all(keyd, requests, connections):
    """Seconds, and the bodies of the answers in the order of the requests; all are 2xx."""
    with tempfile.NamedTemporaryFile(suffix=".answers") as f:
        result = run_load(keyd, requests, connections, 0, f.name)
        data = f.read()
    bodies, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at:at + 4], "big")
        bodies.append(data[at + 4:end])
        at = end
    return result["elapsed_us"] / 1e6, bodies


def settle(keyd):
    """What was under way when the time was over is not the next measurement's."""
    def is_idle():
        report = keyd.get("/v1/status").json
        return not any(w["in_flight"] for w in report["workers"])
    daemon.wait_for(is_idle, 120, "the end of what was under way")


def check(keyd, sample, is_good):
    """One answer looked at: a part that fails would be answered with 200, too.  Its length."""
    _, ((status, body),) = drive(keyd, [sample], 1)
    if status != 200 or not is_good(body):
        raise Failed(f"{status} {body[:300]}")
    return len(body)


def all_parts(batch):
    """Whether each item of an answer in JSON, or the answer, is a result."""
    def is_good(body):
        answer = json.loads(body)
        items = answer["items"] if batch else [answer]
        return len(items) == (batch or 1) and not any("type" in i and "title" in i for i in items)
    return is_good


def measure(keyd, path, item, batch, connections, ms=MS):
    """The same request again and again; batch 0: a single call."""
    body = {"items": [item] * batch} if batch else item
    r = request(path, body)
    check(keyd, r, all_parts(batch))
    cpu = Cpu(keyd)
    result = run_load(keyd, [r], connections, ms)
    return to_rate(result, batch, cpu, warm=True)


def measure_once(keyd, requests, batch, connections):
    """Requests that can be sent only once; all answers must be as long as each other."""
    cpu = Cpu(keyd)
    result = run_load(keyd, requests, connections, 0)
    if result["body_max"] > result["body_min"] * 1.2:
        raise Failed(f"answers of {result['body_min']} to {result['body_max']} bytes")
    return to_rate(result, batch, cpu)


def to_rate(result, batch, cpu, warm=False):
    """CPU also counts what was left over when the time was over, so it is a little high."""
    n = result["answers"] * (batch or 1)
    # What was used while it was not yet counted is used at the same rate.
    if warm:
        n *= (result["elapsed_us"] + 200e3) / result["elapsed_us"]
    front, workers = cpu.microseconds(n)
    return Rate(result["answers"] * (batch or 1) * 1e6 / result["elapsed_us"], result["p50_us"],
                result["p99_us"], front, workers)


# ---- a client that keeps the answers -----------------------------------------

def whole_answer(data):
    """(status, body) once all of it is there, else None."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            n = int(line[15:])
            return (int(head[9:12]), bytes(body)) if len(body) >= n else None
    raise Failed(head)


def drive(keyd, requests, n_connections):
    """Seconds, and the answers in the order of the requests."""
    waiting = iter(enumerate(requests))
    answers = [None] * len(requests)
    selector = selectors.DefaultSelector()
    sockets = [open_socket(keyd.socket) for _ in range(n_connections)]
    state = {}
    begin = time.perf_counter()

    def send_next(s):
        i, data = next(waiting, (None, None))
        if data is None:
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
            part = key.fileobj.recv(1 << 20)
            if not part:
                raise Failed("keyd has closed a connection")
            got += part
            answer = whole_answer(got)
            if answer:
                answers[i] = answer
                send_next(key.fileobj)
    seconds = time.perf_counter() - begin
    for s in sockets:
        s.close()
    return seconds, answers


# ---- records -----------------------------------------------------------------

def open_requests(devices, n_items, batch, media=JSON):
    """Sessions of several devices, so that each worker has its part; a batch is of one."""
    size = batch or 1
    n_calls = max(len(devices), n_items // size)
    calls = [n_calls // len(devices) + (i < n_calls % len(devices)) for i in range(len(devices))]
    queues = []
    for device, n in zip(devices, calls):
        records = device.seal_many(n * size, RECORD_BYTES)
        queues.append([records[i:i + size] for i in range(0, len(records), size)])
    requests = []
    for i in range(n_calls):
        records = queues[i % len(devices)][i // len(devices)]
        if media == CBOR:
            body = [[r] for r in records]
        elif batch:
            body = {"items": [{"record": b64(r)} for r in records]}
        else:
            body = {"record": b64(records[0])}
        requests.append(request("/v1/records/open", body, media))
    return requests


def seal_requests(devices, batch, media=JSON):
    """One for each device; each can be sent as often as wanted."""
    text = bytes(RECORD_BYTES)
    if media == CBOR:
        bodies = [[[d.session, 0, text]] * batch for d in devices]
    else:
        items = [{"session": d.session, "data": b64(text)} for d in devices]
        bodies = [{"items": [i] * batch} if batch else i for i in items]
    return [request("/v1/records/seal", b, media) for b in bodies]


def measure_open(keyd, devices, batch, connections, media=JSON, ms=MS):
    """As many records as take about the time: found out with a few, and then with as many as
    warm everything up, as http_load does for requests that can be sent again."""
    n = trial = max(batch, 1) * 32
    for next_ms in (WARMUP_MS, ms, 0):
        rate = measure_once(keyd, open_requests(devices, n, batch, media), batch, connections)
        n = max(int(rate.per_sec * next_ms / 1000), trial)
    return rate


def measure_seal(keyd, devices, batch, connections, media=JSON, ms=MS):
    requests = seal_requests(devices, batch, media)
    cpu = Cpu(keyd)
    return to_rate(run_load(keyd, requests, connections, ms), batch, cpu, warm=True)
