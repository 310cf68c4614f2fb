# SPDX-License-Identifier: Apache-2.0
"""A keyd that is a bootstrap server, and devices that use it with curl and openssl."""
import base64
import contextlib
import os
import re
import sqlite3
import subprocess

from . import oracle, peer
from .daemon import wait_for

EST = "/.well-known/est/"
BASE = "https://boot.example"


class Bootstrap(peer.Server):
    """The CA's certificate and the server's own come from itself."""

    def __init__(self, token, config=None, policy=None, base=BASE):
        super().__init__(token, {}, policy)
        self.ca_file = os.path.join(self.directory, "ca.pem")
        self.tls_file = os.path.join(self.directory, "tls.pem")
        self.tls_key = os.path.join(self.directory, "tls.key")
        oracle.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                       "-nodes", "-keyout", self.tls_key, "-out", self.tls_file, "-days", "2",
                       "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
        os.chmod(self.tls_key, 0o600)
        self.channel = {**self.channel, "ca.key": "ca", "ca.certificate-file": self.ca_file,
                         "ca.server-id": "hub", "ca.base-uri": base,
                         "bootstrap.tcp-address": "127.0.0.1",
                         "bootstrap.tls-certificate": self.tls_file,
                         "bootstrap.tls-key": self.tls_key,
                         "http.tls-handshakes-per-source": 500,  # all come from one
                         **(config or {})}
        self.set_config(self.channel)

    def set_up(self, type_="ec-p256", usage="sign", ca="ec-p256"):
        self.start()
        self.create("ca", ca, "sign")
        key = self.create("identity", type_, usage)
        self.create("root", type_, "derive")
        self.create("ticket", "aes-256", "encrypt", "decrypt")
        self.write_pem(self.ca_file, self.ok("/v1/ca/root", {"subject": "test CA"})["certificate"])
        self.hup()
        own = self.ok("/v1/ca/server-certificate", {})["certificate"]
        self.write_pem(self.certificate_file, own)
        self.hup()
        self.own_certificate = oracle.der_of(own.encode())
        self.own_point = oracle.point_of(key["versions"][0]["pem"].encode())
        return self

    @staticmethod
    def write_pem(path, text):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)

    @property
    def devices_address(self):
        """The port is another one after each start."""
        found = wait_for(lambda: re.findall(r"serving; address=(\S+) port=(\d+)", self.log()))
        return found[-1][0], int(found[-1][1])

    @property
    def url(self):
        return "https://{}:{}".format(*self.devices_address)

    def enrol(self, id_, **more):
        """The one-time secret."""
        return self.ok("/v1/devices", {"id": id_, **more}, 201)["secret"]

    def end_certificates(self, device):
        """As if they had been issued for a time that has ended; while keyd is stopped."""
        path = os.path.join(self.directory, "state", "keyd.db")
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            n = db.execute("UPDATE certificates SET upto_ms = 1 WHERE device = ?",
                           (device,)).rowcount
        assert n > 0, "it has certificates"

    def curl(self, path, *argv, data=None):
        """(status, headers, body) as curl sees them."""
        argv = ["curl", "-sS", "-i", "--http1.1", "--cacert", self.tls_file, "--max-time", "240",
                "-H", "Expect:", *argv]
        if data is not None:
            argv += ["--data-binary", "@-"]
        r = subprocess.run([*argv, self.url + path], input=data or b"", stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=300, check=False)
        assert r.returncode == 0, r.stderr.decode()
        head, _, body = r.stdout.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split()[1]), headers, body

    def post_request(self, path, request, *argv):
        return self.curl(EST + path, "-H", "Content-Type: application/pkcs10", *argv,
                         data=base64.encodebytes(request))


class Owner:
    """A device's own software key and what it can do with it."""

    def __init__(self, id_, type_="ec-p256"):
        self.id, self.type = id_, type_
        self.private = oracle.ec_private(type_)
        self.certificate = None

    def request(self, *more, subject=None):
        """PKCS #10, DER, made by openssl."""
        with oracle.Files(key=self.private) as path:
            return oracle.openssl("req", "-new", "-key", path("key"), "-subj",
                                  "/CN=" + self.id if subject is None else subject,
                                  "-outform", "DER", *more)

    def enroll(self, keyd, secret, request=None, user=None):
        """What simpleenroll answers; takes the certificate."""
        answer = keyd.post_request("simpleenroll", request or self.request(), "-u",
                                   f"{user or self.id}:{secret}")
        return self.take(answer)

    def reenroll(self, keyd, request=None, certificate=None, private=None, also=()):
        with oracle.Files(key=private or self.private,
                          cert=peer.pem(certificate or self.certificate).encode()) as path:
            os.chmod(path("key"), 0o600)
            answer = keyd.post_request("simplereenroll", request or self.request(),
                                       "--cert", path("cert"), "--key", path("key"), *also)
        return self.take(answer)

    def provision(self, keyd, secret=None):
        if secret is not None:
            return keyd.curl("/provision", "-u", f"{self.id}:{secret}")
        with oracle.Files(key=self.private, cert=peer.pem(self.certificate).encode()) as path:
            os.chmod(path("key"), 0o600)
            return keyd.curl("/provision", "--cert", path("cert"), "--key", path("key"))

    def take(self, answer):
        if answer[0] == 200:
            self.certificate, = certificates(answer)
        return answer


class Issued(peer.Device):
    """The device of an Owner on the channel, which names its certificate by its URI."""

    def __init__(self, keyd, owner, named_by=None):
        self.owner, self.named_by = owner, named_by or f"{BASE}/c/hub/{owner.id}"
        super().__init__(keyd, owner.id, self.named_by, False, owner.type)

    def make_key(self, type_):
        return self.owner.private, self.owner.certificate

    def name_of(self, named_by, name):
        return named_by


def certificates(answer):
    """The certificates of a certs-only answer, DER, as openssl reads it."""
    assert answer[1]["content-type"] == "application/pkcs7-mime; smime-type=certs-only", answer
    pems = oracle.openssl("pkcs7", "-inform", "DER", "-print_certs",
                          data=base64.b64decode(answer[2]))
    found = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pems, re.S)
    return [oracle.der_of(p) for p in found]
