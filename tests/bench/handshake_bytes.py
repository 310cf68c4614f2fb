# SPDX-License-Identifier: Apache-2.0
"""Bytes on the wire of one whole handshake: EDHOC with references and with whole
certificates, against TLS 1.3, TLS 1.2 and DTLS as openssl speaks them, all with the
same keys and certificates.  Run by `make bench-bytes`; prints tables.

TLS is mutually authenticated, P-256 only, without tickets, and only the two
certificates are sent, not the root; "least" offers one suite and one signature
algorithm, "chain" sends the certificate of an intermediate CA too.  What is counted is what
passes a proxy between openssl s_client and openssl s_server until both
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
SESSION_DATA = 93  # on message_4, docs/protocol.md: time, id, lifetime, profile, channel key


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, capture_output=True).stdout


def make_key(name):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
    openssl("req", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-out", name + ".csr")


def sign(name, extensions, issuer, serial):
    with open(name + ".ext", "w", encoding="utf-8") as f:
        f.write(extensions + "authorityKeyIdentifier=none\n")
    openssl("x509", "-req", "-in", name + ".csr", "-CA", issuer + ".pem", "-CAkey",
            issuer + ".key", "-days", "365", "-set_serial", serial, "-extfile", name + ".ext",
            "-out", name + ".pem")
    openssl("x509", "-in", name + ".pem", "-outform", "DER", "-out", name + ".der")
    return os.path.getsize(name + ".der")


def make_certificate(name, san, usage):
    make_key(name)
    return sign(name, f"subjectAltName={san}\nkeyUsage=critical,digitalSignature\n"
                f"extendedKeyUsage={usage}\n", "middle", "0x1234567890abcdef")


def edhoc(method, suite, form, session_data=0):
    out = subprocess.run([BUILD + "/tests/bench/handshake_bytes", str(method), str(suite), form,
                          "device.key", "device.der", "server.key", "server.der", URI,
                          "middle.der", str(session_data)], check=True, capture_output=True, text=True).stdout
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


def has(version):
    """Whether this openssl speaks it; 3.0 to 3.5 have no DTLS 1.3."""
    return version.encode() in subprocess.run(["openssl", "s_client", "-help"], check=False,
                                              capture_output=True).stderr


def tls(*version, chain=False):
    """Bytes of client and server until neither says any more."""
    more = ["-cert_chain", "middle.pem"] if chain else []
    kind = socket.SOCK_DGRAM if "dtls" in version[0] else socket.SOCK_STREAM
    port = free_port(kind)
    # Who is sent no chain has the intermediate CA, as one who is sent a reference.
    common = [*version, "-verifyCAfile", "ca.pem" if chain else "all.pem", "-quiet", *more]
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


def edhoc_row(method, suite, form, text):
    m = edhoc(method, suite, form)
    return (f"EDHOC method {method}, suite {suite}, {text}", m[0] + m[2], m[1] + m[3],
            sum(m[:3]), sum(m))


def rows():
    names = {"refs": "x5u of 30 characters, x5t", "both": "x5u and x5t, x5t",
             "whole": "whole certificates (x5chain)", "chain": "chains of two"}
    for form, text in names.items():
        for method, suite in ((0, 3), (0, 2), (3, 2)) if form in ("refs", "whole") else ((0, 3),):
            yield edhoc_row(method, suite, form, text)
    least = ["-sigalgs", "ECDSA+SHA256"]
    for name, version in (("TLS 1.3", ["-tls1_3"]),
                          ("TLS 1.3 least", ["-tls1_3", *least, "-ciphersuites",
                                             "TLS_AES_128_CCM_SHA256"]),
                          ("TLS 1.2", ["-tls1_2"]), ("DTLS 1.2", ["-dtls1_2"]),
                          ("DTLS 1.2 least", ["-dtls1_2", *least, "-cipher",
                                              "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"]),
                          ("DTLS 1.3", ["-dtls1_3"])):
        if not has(version[0]):
            continue
        for chain in (False, True) if "least" not in name else (False,):
            client, server = tls(*version, chain=chain)
            total = client + server
            yield (f"{name}, {'chains of two' if chain else 'whole certificates'}", client, server,
                   total, total)


def print_messages():
    print("\n| EDHOC, bytes of | message_1 | message_2 | message_3 | message_4 "
          "| message_4 with the service's session data |")
    print("| --- | --- | --- | --- | --- | --- |")
    for form, text in (("refs", "x5u, x5t"), ("whole", "whole certificates")):
        for method, suite in ((0, 3), (3, 2)):
            m, last = edhoc(method, suite, form), edhoc(method, suite, form, SESSION_DATA)[3]
            print(f"| method {method}, suite {suite}, {text} | {m[0]} | {m[1]} | {m[2]} | {m[3]} "
                  f"| {last} |")


def make_certificates():
    """In this folder; the sizes of the device's, the server's and the intermediate CA's."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=ca", "-days", "3650", "-keyout", "ca.key", "-out", "ca.pem")
    make_key("middle")
    middle = sign("middle", "basicConstraints=critical,CA:TRUE\n"
                  "keyUsage=critical,keyCertSign,cRLSign\n", "ca", "0x1234567890abcd01")
    with open("all.pem", "w", encoding="utf-8") as f:
        f.write(open("ca.pem", encoding="utf-8").read() +
                open("middle.pem", encoding="utf-8").read())
    return (make_certificate("device", DEVICE_SAN, "clientAuth"),
            make_certificate("server", "DNS:localhost", "serverAuth"), middle)


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        device, server, middle = make_certificates()
        table = list(rows())
        base = next(total for name, _, _, total, _ in table if name.startswith("TLS 1.3"))
        print(f"Certificates: device {device} bytes, server {server} bytes, intermediate CA "
              f"{middle} bytes (DER, P-256); {openssl('version').decode().strip()}\n")
        print("| handshake | from the device | from the server | without message_4 | all "
              "| of TLS 1.3 |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, client, answer, short, total in table:
            print(f"| {name} | {client} | {answer} | {short} | {total} | {total / base:.2f} |")
        print_messages()
        if not has("-dtls1_3"):
            print("\nThis openssl has no DTLS 1.3.")


if __name__ == "__main__":
    main()
