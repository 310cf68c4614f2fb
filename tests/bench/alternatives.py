# SPDX-License-Identifier: Apache-2.0
"""What one would take instead of keyd to give a token's keys to other programs, on the same
machine and the same token, and keyd doing the same; each is a file alt_*.py of its own."""
import alt_agent
import alt_engine
import alt_p11_kit
import alt_tang
import load
from alt_common import Missing
from harness import Keyd, oracle
from keyd_rates import item

CLIENTS = (1, 16)
TARGET = 3
ALTERNATIVES = (alt_p11_kit, alt_agent, alt_engine, alt_tang)



def rows(token, table):
    keyd = load.start(Keyd(token, {"log-level": "warn", "workers.processes": load.N_WORKERS}))
    keyd.create("alt-mac", "hmac-sha256", "sign")
    key = keyd.create("alt-sign", "ec-p256", "sign")
    keyd.create("alt-ecdh", "ec-p256", "derive")
    point = oracle.point_of(key["versions"][0]["pem"].encode())
    own = Own(keyd)
    for alternative in ALTERNATIVES:
        for operation in alternative.OPERATIONS:
            compare(table, token, own, alternative, operation, point)
    keyd.stop()


class Own:
    """keyd's rates, each measured once."""

    def __init__(self, keyd):
        self.keyd = keyd
        self.known = {}

    def rate(self, operation, batch, connections):
        which = (operation, batch, connections)
        if which not in self.known:
            self.known[which] = load.measure(self.keyd, f"/v1/keys/alt-{operation}/{operation}",
                                             item(operation), batch, connections)
        return self.known[which]


def compare(table, token, own, alternative, operation, point):
    rate = None
    for clients in CLIENTS:
        name = f"{operation}, {alternative.NAME}, {clients} client{'s' if clients > 1 else ''}"
        try:
            rate = alternative.measure(token, own.keyd, operation, clients, load.MS, point)
        except (Missing, load.Failed) as why:
            table.failed(token.kind, "instead of keyd", name, str(why))
            continue
        table.add(token.kind, "instead of keyd", name, rate, "/s", note=alternative.NOTE)
        single = own.rate(operation, 0, clients)
        table.add(token.kind, "instead of keyd",
                  f"{operation}, keyd, single, {clients} conn., to {alternative.NAME}",
                  single.per_sec, "/s", base=rate, target=TARGET, against=alternative.NAME,
                  p50=single.p50_us, p99=single.p99_us, plot=True)
    if rate:
        batch = own.rate(operation, 64, 8)
        table.add(token.kind, "instead of keyd",
                  f"{operation}, keyd, batch 64, 8 conn., to {alternative.NAME}",
                  batch.per_sec, "/s", base=rate, target=TARGET, against=alternative.NAME,
                  p50=batch.p50_us, p99=batch.p99_us, plot=True)
