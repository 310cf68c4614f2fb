# SPDX-License-Identifier: Apache-2.0
"""Tang: an exchange of a recovery (POST /rec), which is one ECDH, over HTTP.  Its keys are in
files, in no token, so it has less to do than keyd."""
import json
import os
import selectors
import socket
import subprocess
import tempfile
import time

from alt_common import Missing, installed
from harness import wait_for
from harness.gateway import free_port

NAME = "tang"
OPERATIONS = ("ecdh",)
NOTE = "keys in files, no token; P-256; a process for each connection"
TANGD = ("/usr/libexec/tangd", "/usr/lib/tangd")


def jose(*argv, data=None):
    return subprocess.run(["jose", *argv], input=data, capture_output=True, check=True).stdout


def make_keys(directory):
    """Two keys as tangd-keygen makes them, but of P-256; gives the thumbprint of the one for
    exchanges."""
    for form in ('{"alg":"ES256"}', '{"alg":"ECMR","crv":"P-256","kty":"EC"}'):
        key = jose("jwk", "gen", "-i", form)
        name = jose("jwk", "thp", "-i", "-", "-a", "S256", data=key).decode().strip()
        with open(os.path.join(directory, name + ".jwk"), "wb") as f:
            f.write(key)
    return name


def measure(_token, _keyd, _operation, clients, ms, _point):
    tangd, _ = installed(*TANGD), installed("/usr/bin/jose")
    activate = installed("/usr/bin/systemd-socket-activate")
    with tempfile.TemporaryDirectory() as d:
        name, port = make_keys(d), free_port()
        pub = json.loads(jose("jwk", "gen", "-i", '{"alg":"ECMR","crv":"P-256","kty":"EC"}'))
        body = json.dumps({k: pub[k] for k in ("alg", "kty", "crv", "x", "y")} |
                          {"key_ops": ["deriveKey"]}).encode()
        request = (f"POST /rec/{name} HTTP/1.1\r\nHost: tang\r\nContent-Type: application/jwk+json"
                   f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        p = subprocess.Popen([activate, "--accept", "--inetd", "-l", f"127.0.0.1:{port}", tangd, d],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: answers(port), what="tangd")
            return drive(port, request, clients, ms / 1000)
        finally:
            p.terminate()
            p.wait()


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def drive(port, request, clients, seconds):
    """Exchanges a second; a connection for each, as clients that recover a key make them."""
    selector, got, n = selectors.DefaultSelector(), {}, 0

    def begin_one():
        s = socket.create_connection(("127.0.0.1", port))
        selector.register(s, selectors.EVENT_READ)
        got[s] = b""
        s.sendall(request)

    def end_one(s):
        selector.unregister(s)
        del got[s]
        s.close()

    for _ in range(clients):
        begin_one()
    begin = now = time.perf_counter()
    while now - begin < seconds or n == 0:
        for key, _ in selector.select():
            s = key.fileobj
            part = s.recv(65536)
            got[s] += part
            if not part or b'"y"' in got[s] or b"HTTP/1.1 4" in got[s]:
                if b"200" not in got[s][:20]:
                    raise Missing(f"does not work: {got[s][:60]!r}")
                n += 1
                end_one(s)
                begin_one()
        now = time.perf_counter()
    for s in list(got):
        end_one(s)
    return n / (now - begin)
