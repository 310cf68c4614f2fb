#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: keyd beside the module itself, in one run on one machine.

Starts keyd on a SoftHSM token and on an NSS database and prints one table for
each: what one thread gets from the module in process (with session keys, where
it is fastest, and with keys kept in the token, which is what a program uses),
what goes through keyd's Unix socket, and the ratios.  It never fails for being
slow; the targets stand beside what was measured.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("KD_BUILDDIR", os.getcwd())
SOURCE = os.environ.get("KD_SRCDIR", os.getcwd())
sys.path.insert(0, os.path.join(SOURCE, "tests", "system"))

from harness import daemon, tokens  # noqa: E402

LOAD = os.path.join(BUILD, "tests", "bench", "http_load")
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
MEMORY_CALLS = int(os.environ.get("BENCH_MEMORY_CALLS", "1000000"))
OPERATIONS = ("mac", "sign", "ecdh", "encrypt")
KEYS = {"mac": ("hmac-sha256", "sign"), "sign": ("ec-p256", "sign"),
        "ecdh": ("ec-p256", "derive"), "encrypt": ("aes-256", "encrypt")}
# Ratio to the module with keys of the token, one thread.
TARGETS = {("mac", "single"): 0.35, ("mac", "batch"): 0.8, ("ecdh", "single"): 0.8}
# The generator of P-256: any valid point does.
PEER = ("BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_"
        "UfU")


def module_rates(token):
    argv = [tokens.WORKER, "--bench", "--seconds", str(SECONDS), *token.worker_args(),
            "--uri", token.uri, "--pin-file", token.pin_file]
    return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)


def zeros(n):
    """n bytes of zeros in base64url."""
    return "A" * ((n * 4 + 2) // 3)


def item(operation):
    if operation == "ecdh":
        return {"peer": PEER, "release": True}
    if operation == "encrypt":
        return {"plaintext": zeros(256)}
    return {"data": zeros(32)}


def load(keyd, path, body, connections, seconds, requests_max=None):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(body, f)
        f.flush()
        argv = [LOAD, keyd.socket, path, f.name, str(connections), str(seconds)]
        if requests_max is not None:
            argv.append(str(requests_max))
        result = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    if result["refused"] or not result["answers"]:
        sys.exit(f"bench: {path}: refused with {result['status']}")
    return result


def resident(keyd):
    """Resident memory of keyd and its workers, in KiB."""
    return sum(daemon.rss_kib(pid) for pid in [keyd.pid, *keyd.workers()])


def show(ratio, target=None):
    text = f"{ratio:5.2f}"
    if target is None:
        return text + "       "
    return text + (f" >={target:<4}" if ratio >= target else f" <{target:<4}!")


def measure(token):
    print(f"\n{token.kind}: {token.module}", flush=True)
    module = module_rates(token)
    keyd = daemon.Keyd(token, {"log-level": "warn"}).start()
    try:
        for operation in OPERATIONS:
            type_, usage = KEYS[operation]
            keyd.create("bench-" + operation, type_, usage)
        print("operation  module/s  module/s   keyd/s     ratio        keyd/s    ratio        "
              "ratio\n"
              "           (session) (token)    16 conns   to token     batch 64  to token     "
              "to session", flush=True)
        for operation in OPERATIONS:
            path = f"/v1/keys/bench-{operation}/{operation}"
            single = load(keyd, path, item(operation), 16, SECONDS)["per_sec"]
            batch = 64 * load(keyd, path, {"items": [item(operation)] * 64}, 16,
                              SECONDS)["per_sec"]
            token_rate = module["token"][operation]
            print(f"{operation:9} {module['session'][operation]:9.0f} {token_rate:9.0f} "
                  f"{single:9.0f}    {show(single / token_rate, TARGETS.get((operation, 'single')))}"
                  f" {batch:9.0f}   {show(batch / token_rate, TARGETS.get((operation, 'batch')))}"
                  f"   {batch / module['session'][operation]:5.2f}", flush=True)
        idle(keyd, module)
        memory(keyd)
    finally:
        keyd.stop()


def idle(keyd, module):
    single = load(keyd, "/v1/keys/bench-mac/mac", item("mac"), 1, SECONDS)
    own = 1e6 / module["token"]["mac"]
    print(f"one idle mac call: median {single['p50_us']} us, of which the module {own:.0f} us: "
          f"added {max(0, single['p50_us'] - own):.0f} us (target: under 250); p99 {single['p99_us']} us")


def memory(keyd):
    path = "/v1/keys/bench-mac/mac"
    load(keyd, path, item("mac"), 16, 60, 50000)
    before = resident(keyd)
    start = time.monotonic()
    load(keyd, path, item("mac"), 16, 600, MEMORY_CALLS)
    print(f"resident memory of keyd and its workers over {MEMORY_CALLS} calls "
          f"({time.monotonic() - start:.0f} s): {before} KiB before, {resident(keyd)} KiB after",
          flush=True)


def main():
    print(f"{os.cpu_count()} cores; each figure is of {SECONDS} s; the load generator runs on the "
          "same cores")
    for make in (tokens.SoftHsm, tokens.Nss):
        token = make()
        try:
            measure(token)
        finally:
            token.remove()


if __name__ == "__main__":
    main()
