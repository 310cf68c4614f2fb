# SPDX-License-Identifier: Apache-2.0
"""keyd on a slow HSM: 2 ms for each operation, 32 at once (slow_module.c), so 16,000 MACs a
second at best.  What counts is that keyd keeps all 32 places busy."""
import os

import load
from harness import Keyd, daemon, tokens
from keyd_rates import item

IDEAL = 32 / 0.002
TARGET = 0.9
# (workers, threads of each)
SHAPES = ((1, 32), (2, 16))
MS = max(load.MS, 1000)
LONG_MS = 3 * MS  # a batch of 64 takes 128 ms, and what is not whole is not counted


class Slow(tokens.SoftHsm):
    """A SoftHSM token behind the slow module."""

    def __init__(self):
        super().__init__()
        self.environment += (f"SLOW_MODULE={self.module}",
                             f"SLOW_LIMIT={os.path.join(self.directory, 'limit')}")
        self.module = os.path.join(load.BUILD, "tests", "bench", "slow_module.so")


def rows(table):
    token = Slow()
    try:
        for processes, threads in SHAPES:
            keyd = load.start(Keyd(token, {"log-level": "warn", "workers.processes": processes,
                                           "workers.threads": threads}), processes)
            name = f"slow-{processes}"
            keyd.create(name, "hmac-sha256", "sign")
            shape = f"{processes} x {threads} threads"
            for batch, connections in ((0, 32), (0, 256), (8, 256), (64, 64)):
                measure(table, keyd, name, shape, batch, connections)
            keyd.stop()
    finally:
        daemon.kill_all_on(token)
        token.remove()


def measure(table, keyd, key, shape, batch, connections):
    calls = f"batch {batch}" if batch else "single"
    row = f"mac, {calls}, {connections} conn., {shape}"
    try:
        rate = load.measure(keyd, f"/v1/keys/{key}/mac", item("mac"), batch, connections,
                            MS if batch < 64 else LONG_MS)
    except load.Failed as why:
        table.failed("softhsm", "slow HSM", row, str(why))
        return
    table.add("softhsm", "slow HSM", row, rate.per_sec, "/s", base=IDEAL,
              target=TARGET if connections == 256 or batch else None,
              against="ideal, 32 at once, 2 ms each C_Sign", plot=connections == 256 or batch > 0,
              p50=rate.p50_us, p99=rate.p99_us, front=rate.front_us, workers=rate.workers_us)
