# SPDX-License-Identifier: Apache-2.0
"""keyd's rates: single calls and batches over 1, 16 and 256 connections, records,
handshakes; held against one thread of the module in process with session keys, which is measured
before and after each."""
import json

import limits
import load
from load import CBOR, MS, N_WORKERS, Failed, Rate, request
from harness import b64, peer, unb64

N_DEVICES = 48 if load.QUICK else 192  # one worker asks for cookies from 240 handshakes on
N_RECORD_DEVICES = 8
CONNECTIONS = (1, 16, 256)
# Batch: connections.  Not more than devices, so that no session has two batches under way,
# whose numbers would leave the window; and little work that is left over at the end.
BATCHES = {8: 8, 64: 8, 512: 4}
KEYS = {"mac": ("hmac-sha256", "sign"), "sign": ("ec-p256", "sign"), "ecdh": ("ec-p256", "derive"),
        "encrypt": ("aes-256", "encrypt"), "derive": ("aes-256", "derive")}
HANDSHAKE_CONNECTIONS = 64
# What the module does for one of keyd's.
BASE = {"seal": "encrypt", "open": "encrypt"}
IDLE_ADDED_US = 120
ONE_WORKER, ALL_WORKERS, SINGLE, TOKEN_BOUND = 0.9, 1.3, 0.5, 0.9


def item(operation):
    if operation == "ecdh":
        return {"peer": load.PEER, "release": True}  # otherwise secrets would pile up
    if operation == "derive":
        return {"kdf": "aes-cbc-data", "info": b64(b"bench"), "release": True}
    if operation == "encrypt":
        return {"plaintext": b64(bytes(load.RECORD_BYTES))}
    return {"data": b64(bytes(32))}


class Bench:
    """keyd with a key for each operation and devices; started anew with other workers."""

    def __init__(self, token, table):
        self.token, self.table = token, table
        self.keyd = peer.Server(token, self.config(N_WORKERS)).set_up()
        for operation, (type_, usage) in KEYS.items():
            self.keyd.create("bench-" + operation, type_, usage)
        self.devices = [self.keyd.device(f"d{i}") for i in range(N_DEVICES)]

    @staticmethod
    def config(n_workers):
        return {"log-level": "warn", "workers.processes": n_workers,
                "channel.sessions-per-peer": 100000, "channel.sessions-max": 1000000,
                "http.body-max-bytes": 16777216}

    def restart(self, n_workers, **config):
        self.keyd.stop()
        self.keyd.set_config({**self.keyd.channel, **self.config(n_workers), **config})
        load.start(self.keyd, n_workers)
        self.n_workers = n_workers
        self.keyd.close()
        for d in self.devices[:N_RECORD_DEVICES]:
            d.connect(self.keyd)

    def close(self):
        for d in self.devices:
            d.__exit__()
        self.keyd.stop()

    # ---- one measurement ----

    def beside(self, operation, measure, *arguments):
        """What `measure` gives, and the module's own rate around it."""
        before = limits.near(self.token, operation)
        rate = measure(*arguments)
        return rate, (before + limits.near(self.token, operation)) / 2

    def rate(self, operation, batch, connections, media=load.JSON):
        devices = self.devices[:N_RECORD_DEVICES]
        if operation == "open":
            return load.measure_open(self.keyd, devices, batch, connections, media)
        if operation == "seal":
            return load.measure_seal(self.keyd, devices, batch, connections, media)
        return load.measure(self.keyd, f"/v1/keys/bench-{operation}/{operation}", item(operation),
                            batch, connections)

    def row(self, operation, batch, connections, target=None, media=load.JSON, plot=False):
        base = BASE.get(operation, operation)
        calls = f"batch {batch}" if batch else "single"
        form = ", CBOR" if media == CBOR else ""
        workers = "1 worker" if self.n_workers == 1 else f"{self.n_workers} workers"
        name = f"{operation}{form}, {calls}, {connections} conn., {workers}"
        try:
            rate, own = self.beside(base, self.rate, operation, batch, connections, media)
        except Failed as why:
            self.table.failed(self.token.kind, "keyd", name, str(why))
            return None
        against = f"module's {base}, one thread"
        self.table.add(self.token.kind, "keyd", name, rate.per_sec, "/s", base=own,
                       against=against, target=target, plot=plot or target is not None,
                       p50=rate.p50_us, p99=rate.p99_us, front=rate.front_us,
                       workers=rate.workers_us)
        return rate, own

    # ---- the rows ----

    def one_worker(self):
        self.restart(1)
        self.row("mac", 64, 8, ONE_WORKER)
        self.row("open", 64, 8, ONE_WORKER)
        self.row("open", 64, 8, ONE_WORKER, CBOR)
        self.row("seal", 64, 8, plot=True)
        self.row("seal", 64, 8, None, CBOR, plot=True)
        self.row("sign", 64, 8, TOKEN_BOUND)
        self.row("ecdh", 64, 8, TOKEN_BOUND)
        self.handshakes(HANDSHAKE_CONNECTIONS, TOKEN_BOUND)

    def all_workers(self):
        self.restart(N_WORKERS)
        many = ALL_WORKERS if N_WORKERS > 1 else ONE_WORKER
        batch_targets = {"mac": many, "open": many, "sign": TOKEN_BOUND, "ecdh": TOKEN_BOUND}
        single_targets = {o: SINGLE for o in ("mac", "open", "seal", "encrypt", "derive")}
        for operation in (*KEYS, "seal", "open"):
            for connections in CONNECTIONS:
                target = single_targets.get(operation, TOKEN_BOUND) if connections == 256 else None
                measured = self.row(operation, 0, connections, target)
                if operation == "mac" and connections == 1 and measured:
                    self.idle(*measured)
            for batch in BATCHES:
                target = batch_targets.get(operation) if batch == 64 else None
                self.row(operation, batch, BATCHES[batch], target, plot=batch == 64)
                if operation in BASE and batch == 64:
                    self.row(operation, batch, 8, target, CBOR, plot=True)
        for connections in (1, 16):
            self.handshakes(connections, None)
        self.handshakes(HANDSHAKE_CONNECTIONS, TOKEN_BOUND)

    def idle(self, rate, own_per_sec):
        own = 1e6 / own_per_sec
        self.table.add(self.token.kind, "keyd", "mac, idle: added to the token's own time, median",
                       max(0, rate.p50_us - own), "us", target=IDLE_ADDED_US, at_most=True,
                       against=f"the module's {own:.0f} us")

    def handshakes(self, connections, target):
        rate, own = self.beside("handshake", self.handshake_rate, connections)
        workers = "1 worker" if self.n_workers == 1 else f"{self.n_workers} workers"
        self.table.add(self.token.kind, "keyd", f"handshake, {connections} conn., {workers}",
                       rate.per_sec, "/s", base=own, target=target,
                       against="module's key pair, ecdh, sign and more", front=rate.front_us,
                       workers=rate.workers_us, plot=target is not None)

    def handshake_rate(self, connections):
        seconds = n = 0
        cpu = load.Cpu(self.keyd)
        while seconds * 1000 < MS * 2:
            seconds += sum(self.round(connections))
            n += len(self.devices)
        front, workers = cpu.microseconds(n)
        return Rate(n / seconds, None, None, front, workers)

    def round(self, connections):
        """A handshake of each device, whose own part is not in the seconds."""
        first = [request("/v1/handshakes", {"message": b64(d.begin())}) for d in self.devices]
        s1, answers = load.ask_all(self.keyd, first, connections)
        third = [request("/v1/handshakes/" + a["handshake"],
                         {"message": b64(d.read(unb64(a["message"])))})
                 for d, a in zip(self.devices, map(json.loads, answers))]
        s2, answers = load.ask_all(self.keyd, third, connections)
        for d, a in zip(self.devices, map(json.loads, answers)):
            d.read(unb64(a["message"]))
        return s1, s2
