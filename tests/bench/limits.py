# SPDX-License-Identifier: Apache-2.0
"""What the module itself does in process: one thread, a thread a core, a process a core
(keyd-hsm --bench, hsm/bench.c)."""
import json
import subprocess

from load import CORES, MS, Failed
from harness import tokens

OPERATIONS = ("mac", "sign", "ecdh", "encrypt", "derive", "handshake")
HANDSHAKE = ("generate", "agree", "mac", "sign", "encrypt")
NEAR_MS = max(100, MS // 4)


def _start(token, n_threads, ms=MS, only=()):
    argv = [tokens.WORKER, "--bench", "--ms", str(ms), "--threads", str(n_threads),
            *token.worker_args(), "--uri", token.uri, "--pin-file", token.pin_file]
    argv += ["--only", ",".join(only)] if only else []
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


def _with_handshake(rates):
    """What the token does for one, method 0: an ephemeral key, ECDH, HKDF-Extract (as long as a
    MAC), a signature, and the ticket is sealed.  The ECDH of resident keys comes with the
    first record and is part of "a session restored from its ticket"."""
    parts = [rates[o] for o in HANDSHAKE]
    rates["handshake"] = 1 / sum(1 / p for p in parts) if all(parts) else 0
    return rates


def _run(token, n_processes, n_threads, tries=10, **more):
    """What each printed.  SoftHSM rewrites the token's file at each login: a process that looks
    at that moment sees no token, and all are started again."""
    for _ in range(tries):
        processes = [_start(token, n_threads, **more) for _ in range(n_processes)]
        if any([_has_failed(p) for p in processes]):
            for p in processes:
                p.kill()
                p.communicate()
            continue
        outputs = [p.communicate()[0] for p in processes]
        if not any(p.returncode for p in processes):
            return [json.loads(o) for o in outputs]
    raise Failed("keyd-hsm --bench has failed")


def _has_failed(process):
    """Soon, and so before it has measured anything."""
    try:
        return process.wait(0.2) != 0
    except subprocess.TimeoutExpired:
        return False


def _rates(token, n_processes, n_threads):
    """{"session": {operation: per second}, "token": ...}, all processes together."""
    sums = {"session": {}, "token": {}}
    for report in _run(token, n_processes, n_threads):
        for kind, rates in report.items():
            for operation, rate in rates.items():
                sums[kind][operation] = sums[kind].get(operation, 0) + rate
    return {kind: _with_handshake(rates) for kind, rates in sums.items()}


def near(token, operation):
    """One thread with session keys, now and shortly: for the figure that is measured beside it,
    as a host gives its guests more at one time and less at another."""
    only = HANDSHAKE if operation == "handshake" else (operation,)
    rates = _run(token, 1, 1, ms=NEAR_MS, only=only)[0]["session"]
    return _with_handshake(rates)[operation] if operation == "handshake" else rates[operation]


def measure(token):
    """{"thread": ..., "threads": ..., "processes": ...}"""
    found = {"thread": _rates(token, 1, 1)}
    if CORES > 1:
        found["threads"] = _rates(token, 1, CORES)
        found["processes"] = _rates(token, CORES, 1)
    return found


def rows(table, token, found):
    names = {"thread": "one thread", "threads": f"{CORES} threads",
             "processes": f"{CORES} processes"}
    one = found["thread"]["session"]
    for kind, keys in (("session", "session keys"), ("token", "token keys")):
        for way, rates in found.items():
            for operation in OPERATIONS:
                table.add(token.kind, "module in process", f"{operation}, {names[way]}, {keys}",
                          rates[kind][operation], "/s", base=one[operation],
                          against="one thread, session keys",
                          plot=False)


def rows_again(table, token, found):
    """One thread at the end of the run: how far the ratios in between can be trusted."""
    rates = _rates(token, 1, 1)["session"]
    for operation in OPERATIONS:
        table.add(token.kind, "module in process, again at the end",
                  f"{operation}, one thread, session keys", rates[operation], "/s",
                  base=found["thread"]["session"][operation],
                  against="the same at the beginning")
