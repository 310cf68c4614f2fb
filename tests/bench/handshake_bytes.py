# SPDX-License-Identifier: Apache-2.0
"""Bytes on the wire of one whole handshake: EDHOC with references and with whole
certificates, against TLS 1.3 and DTLS 1.2 as openssl speaks them, all with the
same keys and certificates.  Run by `make bench-bytes`; prints a table.

TLS is mutually authenticated, P-256 only, without tickets, and only the two
certificates are sent, not the root; "least" offers one suite and one signature
algorithm.  What is counted is what passes a proxy between openssl s_client and openssl s_server until both
have finished the handshake (no IP, TCP or UDP headers on any side)."""
import os
import select
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["KD_BUILDDIR"]
URI = "https://pki.example/c/7f/3a.cer"[:30]
DEVICE_SAN = "URI:urn:dev:7f,URI:urn:server:3a,URI:urn:relation:0042"
TIMEOUT = 10


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, capture_output=True).stdout


def make_certificate(name, san, usage):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
    openssl("req", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-out", name + ".csr")
    with open(name + ".ext", "w") as f:
        f.write(f"subjectAltName={san}\nkeyUsage=critical,digitalSignature\n"
                f"extendedKeyUsage={usage}\nauthorityKeyIdentifier=none\n")
    openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days",
            "365", "-set_serial", "0x1234567890abcdef", "-extfile", name + ".ext", "-out",
            name + ".pem")
    openssl("x509", "-in", name + ".pem", "-outform", "DER", "-out", name + ".der")
    return os.path.getsize(name + ".der")


def edhoc(method, suite, form):
    out = subprocess.run([BUILD + "/tests/bench/handshake_bytes", str(method), str(suite), form,
                          "device.key", "device.der", "server.key", "server.der", URI],
                         check=True, capture_output=True, text=True).stdout
    return [int(n) for n in out.split()]


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """Between one client and the server; counts what it hands on."""

    def __init__(self, kind, to):
        self.kind, self.to = kind, to
        self.near = socket.socket(socket.AF_INET, kind)
        self.near.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            self.near.listen()
        self.port = self.near.getsockname()[1]
        self.bytes = {"client": 0, "server": 0}
        self.idle_since = None

    def open(self):
        self.far = socket.socket(socket.AF_INET, self.kind)
        self.far.connect(("127.0.0.1", self.to))
        if self.kind == socket.SOCK_STREAM:
            self.client, _ = self.near.accept()

    def step(self):
        """Hands on what has come, False if nothing came for a while."""
        source = self.client if self.kind == socket.SOCK_STREAM else self.near
        ready, _, _ = select.select([source, self.far], [], [], 0.5)
        for s in ready:
            if s is self.far:
                data = s.recv(65536)
                self.bytes["server"] += len(data)
                if self.kind == socket.SOCK_STREAM:
                    self.client.sendall(data)
                else:
                    self.near.sendto(data, self.peer)
            elif self.kind == socket.SOCK_STREAM:
                data = s.recv(65536)
                self.bytes["client"] += len(data)
                self.far.sendall(data)
            else:
                data, self.peer = s.recvfrom(65536)
                self.bytes["client"] += len(data)
                self.far.send(data)
        return bool(ready)


def tls(*version):
    """Bytes of client and server until neither says any more."""
    kind = socket.SOCK_DGRAM if "dtls" in version[0] else socket.SOCK_STREAM
    port = free_port(kind)
    common = [*version, "-verifyCAfile", "ca.pem", "-quiet"]
    server = subprocess.Popen(["openssl", "s_server", "-port", str(port), "-cert", "server.pem",
                               "-key", "server.key", "-Verify", "1", "-verify_return_error",
                               "-num_tickets", "0", *common],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
    time.sleep(0.5)  # s_server says nothing when it listens
    proxy = Proxy(kind, port)
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}",
                               "-cert", "device.pem", "-key", "device.key", "-groups", "P-256",
                               "-verify_return_error", "-no_ticket", *common],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
    try:
        proxy.open()
        end = time.monotonic() + TIMEOUT
        while proxy.step() and time.monotonic() < end:
            pass
        if client.poll() is not None or server.poll() is not None:
            sys.exit(f"openssl ended: {client.stderr.read()} {server.stderr.read()}")
        return proxy.bytes["client"], proxy.bytes["server"]
    finally:
        client.kill()
        server.kill()


def rows():
    for form, text in (("refs", "x5u of 30 characters, x5t"), ("whole", "whole certificates")):
        for method, suite in ((0, 3), (0, 2), (3, 2)):
            m = edhoc(method, suite, form)
            yield (f"EDHOC method {method}, suite {suite}, {text}", m[0] + m[2], m[1] + m[3],
                   sum(m[:3]), sum(m))
    for name, version in (("TLS 1.3", ["-tls1_3"]),
                          ("TLS 1.3 least", ["-tls1_3", "-sigalgs", "ECDSA+SHA256",
                                             "-ciphersuites", "TLS_AES_128_CCM_SHA256"]),
                          ("TLS 1.2", ["-tls1_2"]), ("DTLS 1.2", ["-dtls1_2"])):
        client, server = tls(*version)
        total = client + server
        yield f"{name}, whole certificates", client, server, total, total


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/CN=ca", "-days", "3650", "-keyout", "ca.key", "-out", "ca.pem")
        device = make_certificate("device", DEVICE_SAN, "clientAuth")
        server = make_certificate("server", "DNS:localhost", "serverAuth")
        table = list(rows())
        base = next(total for name, _, _, total, _ in table if name.startswith("TLS 1.3"))
        print(f"Certificates: device {device} bytes, server {server} bytes (DER, P-256); "
              f"{openssl('version').decode().strip()}\n")
        print("| handshake | from the device | from the server | without message_4 | all "
              "| of TLS 1.3 |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, client, answer, short, total in table:
            print(f"| {name} | {client} | {answer} | {short} | {total} | {total / base:.2f} |")


if __name__ == "__main__":
    main()
