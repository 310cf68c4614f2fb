# SPDX-License-Identifier: Apache-2.0
"""The other end of the secure channel: devices with a software key (peer.c),
their certificates, and a keyd with identity, channel root and ticket key."""
import os
import subprocess
import tempfile

from . import oracle
from .daemon import Keyd
from .rest import b64, expect, unb64
from .tokens import BUILD

CONFIG = {"channel.identity": "identity", "channel.root": "root", "channel.ticket": "ticket"}


class PeerError(Exception):
    """The device refuses; args[0] is the error's name."""


def certificate(public_pem, name, days="30"):
    """A certificate, DER, for a public key whose private part is elsewhere."""
    with oracle.Files(ca=oracle.ec_private("ec-p256"), public=public_pem) as path:
        return oracle.openssl("x509", "-new", "-key", path("ca"), "-force_pubkey", path("public"),
                              "-subj", "/CN=" + name, "-days", days, "-outform", "DER")


def claims(kid, type_, point):
    """The CRED of a public key alone: a CWT claims set (RFC 9528 3.5.2), CBOR."""
    half = oracle.COORDINATE_BYTES[type_]

    def text(value):
        return b"\x58" + bytes([len(value)]) + value

    return (b"\xa1\x08\xa1\x01\xa5\x01\x02\x02" + bytes([0x40 + len(kid)]) + kid + b"\x20" +
            (b"\x01" if type_ == "ec-p256" else b"\x02") + b"\x21" + text(point[1:1 + half]) +
            b"\x22" + text(point[1 + half:]))


def pem(der):
    return oracle.openssl("x509", "-inform", "DER", data=der).decode()


class Server(Keyd):
    """A keyd with a channel.  Its keys are made, or adopted from another's token."""

    def __init__(self, token, config=None, policy=None, like=None):
        self.certificate_file = like.certificate_file if like else None
        super().__init__(token, {}, policy)
        self.certificate_file = self.certificate_file or os.path.join(self.directory, "own.pem")
        self.channel = {**CONFIG, "channel.certificate-file": self.certificate_file,
                        **(config or {})}
        self.set_config(self.channel)

    def set_up(self, type_="ec-p256", usage="sign"):
        """usage: "derive" for an identity that does static Diffie-Hellman."""
        self.start()
        key = self.create("identity", type_, usage)
        self.create("root", type_, "derive")
        self.create("ticket", "aes-256", "encrypt", "decrypt")
        public = key["versions"][0]["pem"].encode()
        self.own_certificate = certificate(public, "server")
        with open(self.certificate_file, "w", encoding="utf-8") as f:
            f.write(pem(self.own_certificate))
        self.own_point = oracle.point_of(public)
        return self

    def adopt_from(self, other):
        """The same keys of the same token, at a second node."""
        self.start()
        for name, class_ in (("identity", "private"), ("root", "private"),
                             ("ticket", "secret-key")):
            self.ok("/v1/keys", {"name": name, "uri": f"pkcs11:object={name}.v1;type={class_}"},
                    201)
        self.own_certificate, self.own_point = other.own_certificate, other.own_point
        return self

    def device(self, name, named_by="https://pki.example/c/7f/3a.ce", register=True,
               type_="ec-p256"):
        return Device(self, name, named_by, register, type_)

    def seal(self, device, data, status=200, **more):
        return expect(self.post("/v1/records/seal", {"session": device.session, "data": b64(data),
                                                     **more}), status)

    def open(self, record, **more):
        return self.post("/v1/records/open", {"record": b64(record), **more})


class End:
    """One process of peer.c."""

    def __init__(self):
        self.session, self.sequence = None, 0
        self.process = subprocess.Popen([os.path.join(BUILD, "tests/system/peer")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def tell(self, *words):
        self.process.stdin.write(" ".join(w.hex() or "-" if isinstance(w, bytes) else str(w)
                                          for w in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        assert answer, "the device has ended"
        if answer[0] != "ok":
            raise PeerError(answer[1])
        return answer[1:]

    def seal(self, data, aad=b"", sequence=None, shift_ms=0, type_=0):
        if sequence is None:
            sequence, self.sequence = self.sequence, self.sequence + 1
        return unhex(self.tell("seal", type_, sequence, shift_ms, aad, data)[0])

    def seal_many(self, n, n_body):
        """So many records of zeros, made at once."""
        with tempfile.NamedTemporaryFile() as f:
            self.tell("seals", self.sequence, n, n_body, f.name)
            data = f.read()
        self.sequence += n
        records, at = [], 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at:at + 4], "big")
            records.append(data[at + 4:end])
            at = end
        return records

    def open(self, record, aad=b""):
        """(type, sequence, body)"""
        type_, sequence, body = self.tell("open", aad, record)
        return int(type_), int(sequence), unhex(body)


class MessageServer(End):
    """Goes on with a session of which keyd has released the keys; no window of its own."""

    def __init__(self, released):
        super().__init__()
        keys, ivs, otp = released["keys"], released["ivs"], released["otp"]
        self.session, self.sequence = released["session"]["session"], released["send_next"]
        self.tell("take", self.session, b"".join(unb64(x) for x in (
            keys["c2s"], keys["s2c"], keys["otp"], ivs["c2s"], ivs["s2c"])),
                  otp["digits"], otp["step"], otp["window"])


class Device(End):
    """With credentials of its own."""

    def __init__(self, keyd, name, named_by, register, type_):
        super().__init__()
        self.name = name
        self.named_by = named_by if named_by in ("chain", "x5t") or named_by.startswith("kid:") \
            else self.name_of(named_by, name)
        private, self.certificate = self.make_key(type_)
        public = oracle.ec_public(private)
        self.public_pem = public.decode()
        self.kid = bytes.fromhex(named_by[4:]) if named_by.startswith("kid:") else b""
        cred = claims(self.kid, type_, oracle.point_of(public)) if self.kid else self.certificate
        self.files = oracle.Files(key=private, cert=cred, server=keyd.own_certificate)
        path = self.files.__enter__()
        self.tell("own", path("key"), path("cert"), self.named_by)
        self.tell("server", path("server"), keyd.own_point.hex())
        if register:
            self.register(keyd)

    def name_of(self, named_by, name):
        return f"{named_by}{name}"

    def make_key(self, type_):
        private = oracle.ec_private(type_)
        return private, certificate(oracle.ec_public(private), self.name)

    def register(self, keyd):
        if self.kid:
            keyd.ok("/v1/peers", {"name": self.name, "public_key": self.public_pem,
                                  "kid": b64(self.kid)}, 201)
            return
        uri = {} if self.named_by in ("chain", "x5t") else {"uri": self.named_by}
        keyd.ok("/v1/peers", {"name": self.name, "certificate": pem(self.certificate), **uri}, 201)

    def __exit__(self, *_):
        super().__exit__()
        self.files.__exit__()

    # ---- handshake ----

    def begin(self, method=0, suites="3"):
        return unhex(self.tell("begin", method, suites)[0])

    def read(self, message):
        """The next message, or nothing; takes the session when the handshake is done."""
        answer, session = self.tell("read", message)
        if session != "-":
            self.session, self.sequence = session, 0
        return unhex(answer)

    def connect(self, keyd, method=0, suites="3"):
        """A whole handshake that the device begins; gives the session as keyd tells it."""
        first = keyd.ok("/v1/handshakes", {"message": b64(self.begin(method, suites))}, 201)
        third = self.read(unb64(first["message"]))
        last = keyd.ok("/v1/handshakes/" + first["handshake"], {"message": b64(third)})
        assert self.read(unb64(last["message"])) == b""
        assert self.session == last["session"]["session"]
        return last["session"]

    def connect_reverse(self, keyd, method=0, suites="3"):
        """The same, and keyd begins."""
        self.tell("await", method, suites)
        first = keyd.ok("/v1/handshakes", {"initiate": True, "method": method}, 201)
        path = "/v1/handshakes/" + first["handshake"]
        second = self.read(unb64(first["message"]))
        third = keyd.ok(path, {"message": b64(second)})
        last = keyd.ok(path, {"message": b64(self.read(unb64(third["message"])))})
        assert self.session == last["session"]["session"]
        return last["session"]

    # ---- records ----

    def attach(self, client_nonce, node_nonce):
        self.tell("attach", client_nonce, node_nonce)
        self.sequence = 0

    def update(self, number):
        self.tell("update", number)
        self.sequence = 0


def unhex(word):
    return b"" if word == "-" else bytes.fromhex(word)
