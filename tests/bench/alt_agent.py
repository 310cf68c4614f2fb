# SPDX-License-Identifier: Apache-2.0
"""ssh-agent with a PKCS#11 key: signatures over the agent's socket
(draft-ietf-sshm-ssh-agent; ECDSA with SHA-256 over the data)."""
import os
import selectors
import socket
import subprocess
import tempfile
import time

from alt_common import Missing, installed
from harness import wait_for

NAME = "ssh-agent"
OPERATIONS = ("sign",)
NOTE = ""
SIGN_REQUEST, SIGN_RESPONSE = 13, 14


def text(data):
    return len(data).to_bytes(4, "big") + data


def sign_request(point):
    key = text(b"ecdsa-sha2-nistp256") + text(b"nistp256") + text(point)
    body = bytes([SIGN_REQUEST]) + text(key) + text(bytes(32)) + bytes(4)
    return text(body)


def measure(token, _keyd, _operation, clients, ms, point):
    agent, add = installed("/usr/bin/ssh-agent"), installed("/usr/bin/ssh-add")
    if token.init_args:
        raise Missing("ssh-agent gives a module no initialisation arguments")
    with tempfile.TemporaryDirectory() as d:
        address, ask = os.path.join(d, "agent"), os.path.join(d, "ask")
        with open(ask, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o700)) as f:
            f.write(f"#!/bin/sh\ncat '{token.pin_file}'\n")
        env = token.process_environment(SSH_AUTH_SOCK=address, SSH_ASKPASS=ask,
                                        SSH_ASKPASS_REQUIRE="force")
        p = subprocess.Popen([agent, "-D", "-a", address, "-P", "/usr/lib/*"], env=env,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.exists(address), what="ssh-agent")
            added = subprocess.run([add, "-s", token.module], env=env, stdin=subprocess.DEVNULL,
                                   capture_output=True, text=True, check=False)
            if added.returncode:
                raise Missing("does not work: " + added.stderr.strip()[:200])
            return drive(address, sign_request(point), clients, ms / 1000)
        finally:
            p.terminate()
            p.wait()


def drive(address, request, clients, seconds):
    """Signatures a second, one under way on each connection."""
    selector, got, n = selectors.DefaultSelector(), {}, 0
    for _ in range(clients):
        s = socket.socket(socket.AF_UNIX)
        s.connect(address)
        selector.register(s, selectors.EVENT_READ)
        got[s] = b""
        s.sendall(request)
    begin = now = time.perf_counter()
    while now - begin < seconds or n == 0:
        for key, _ in selector.select():
            s = key.fileobj
            got[s] += s.recv(65536)
            if len(got[s]) >= 5 and len(got[s]) == 4 + int.from_bytes(got[s][:4], "big"):
                if got[s][4] != SIGN_RESPONSE:
                    raise Missing("does not work: the agent refuses to sign")
                got[s], n = b"", n + 1
                s.sendall(request)
        now = time.perf_counter()
    for s in got:
        s.close()
    return n / (now - begin)
