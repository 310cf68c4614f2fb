# SPDX-License-Identifier: Apache-2.0
"""What /openapi.json describes: a good request for each route, and which answers of each were
reached, in the form that the document gives them."""
import os

from . import daemon, oracle, schema
from .boot import Bootstrap
from .daemon import wait_for
from .mailbox import Mailbox
from .rest import b64, expect, unb64
from .tokens import Faulty

KEY, SECRET = "/v1/keys/{name}", "/v1/secrets/{id}"
VERSION = KEY + "/versions/{version}"
DEVICE = "/v1/devices/{name}"
PEER, HANDSHAKE, SESSION = "/v1/peers/{name}", "/v1/handshakes/{id}", "/v1/sessions/{id}"
POLICY = daemon.POLICY + 'principal "nobody" { token = { "sha256:%s" } }\n' % \
    daemon.sha256_hex("nobody-token")
_, POINT = oracle.new_peer("ec-p256")
PUBLIC = oracle.ec_public(oracle.ec_private("ec-p256"))
CREATE = {"name": "new", "type": "aes-256", "usages": ["encrypt"]}
DATA, CBC = {"data": ""}, {"kdf": "aes-cbc-data", "info": ""}
MAC_OF_NOTHING = {"data": "", "mac": b64(bytes(32))}
FORGED = {"iv": b64(bytes(12)), "ciphertext": b64(bytes(16))}

# For each operation: the key that it goes with, a body, and the functions of the
# token behind it (those of the first use of a key, too).
KEY_OPERATIONS = {
    "sign": ("sign", DATA, ["C_Sign"]),
    "verify": ("sign", {"data": "", "signature": b64(bytes(64))}, []),
    "mac": ("mac", DATA, ["C_Sign"]),
    "mac-verify": ("mac", MAC_OF_NOTHING, ["C_Sign"]),
    "encrypt": ("aes", {"plaintext": ""}, ["C_EncryptInit"]),
    "decrypt": ("aes", FORGED, ["C_DecryptInit"]),
    "rewrap": ("aes", FORGED, ["C_DecryptInit"]),
    "ecdh": ("agree", {"peer": b64(POINT)}, ["C_DeriveKey"]),
    "derive": ("base", CBC, ["C_DeriveKey"]),
}
SECRET_OPERATIONS = {
    "mac": ("mac", DATA, ["C_Sign"]),
    "mac-verify": ("mac", MAC_OF_NOTHING, ["C_Sign"]),
    "encrypt": ("aes", {"plaintext": ""}, ["C_EncryptInit"]),
    "decrypt": ("aes", FORGED, ["C_DecryptInit"]),
    "derive": ("aes", CBC, ["C_DeriveKey"]),
}
NONCE = b64(bytes(16))
PAPERS = (("root", {"subject": "CA"}), ("request", {"subject": "CA"}), ("server-certificate", {}))


class Everything(Bootstrap, Mailbox):
    """Devices enrol with it, and it opens envelopes."""

    def set_up(self, *argv, **more):
        Bootstrap.set_up(self, *argv, **more)
        self.create("mailbox", "ec-p256", "derive")
        self.read_key()
        return self


class Api:
    """Calls, and which status each documented operation has answered with."""

    def __init__(self, token):
        self.faulty = Faulty(token)
        # Not a software token to keyd, so: one process; keys without copies.
        self.keyd = Everything(token, {"workers.processes": 1, "workers.threads": 1,
                                       "workers.restart-delay": 1, "workers.deadline-ms": 10_000,
                                       "channel.profile": "released",
                                       "audit.file": os.path.join(token.directory, "audit.log"),
                                       "http.body-max-bytes": 5000}, POLICY).set_up()
        self.n_devices = 0
        self.device = self.keyd.device("device")
        for name, type_, *usages in (("sign", "ec-p256", "sign"), ("agree", "ec-p256", "derive"),
                                     ("mac", "hmac-sha256", "sign", "verify"),
                                     ("aes", "aes-256", "encrypt", "decrypt"),
                                     ("base", "aes-256", "derive"),
                                     ("aged", "aes-256", "encrypt")):
            self.keyd.create(name, type_, *usages)
        self.document = expect(self.keyd.get("/openapi.json"), 200).json
        self.documented = {(m.upper(), p): {int(s) for s in o["responses"]}
                           for p, item in self.document["paths"].items()
                           for m, o in item.items() if m in ("get", "post", "put", "delete")}
        self.reached = {route: set() for route in self.documented}
        self.make_secrets()

    def make_secrets(self):
        """Of each type one; they live as long as the daemon."""
        made = {t: self.keyd.ok("/v1/keys/agree/ecdh", {"peer": b64(POINT), "type": n})["secret"]
                for t, n in (("mac", "hmac-sha256"), ("aes", "aes-256"))}
        self.secrets = made

    def requests(self):
        """A good request for each route: (method, template, path, body, functions)."""
        yield from (("GET", p, p, None, []) for p in ("/healthz", "/readyz", "/openapi.json",
                                                      "/metrics", "/v1/status", "/v1/audit",
                                                      "/v1/keys", "/v1/secrets"))
        yield "POST", "/v1/random", "/v1/random", {"length": 1}, ["C_GenerateRandom"]
        yield "POST", "/v1/backup", "/v1/backup", {}, []
        yield "GET", KEY, "/v1/keys/mac", None, []
        for operation, (name, body, functions) in KEY_OPERATIONS.items():
            yield "POST", f"{KEY}/{operation}", f"/v1/keys/{name}/{operation}", body, functions
        for operation, (type_, body, functions) in SECRET_OPERATIONS.items():
            path = f"/v1/secrets/{self.secrets[type_]}/{operation}"
            yield "POST", f"{SECRET}/{operation}", path, body, functions
        yield "GET", SECRET, f"/v1/secrets/{self.secrets['mac']}", None, []
        yield "POST", "/v1/keys", "/v1/keys", CREATE, ["C_GenerateKey"]
        yield "POST", KEY + "/rotate", "/v1/keys/new/rotate", {}, ["C_GenerateKey"]
        yield "POST", KEY + "/disable", "/v1/keys/new/disable", {"version": 1}, []
        yield "POST", KEY + "/enable", "/v1/keys/new/enable", {"version": 1}, []
        yield "DELETE", VERSION, self.old_version(), None, ["C_DestroyObject"]
        yield "DELETE", KEY, "/v1/keys/new", None, ["C_DestroyObject"]
        spare = self.keyd.ok("/v1/keys/agree/ecdh", {"peer": b64(POINT)})["secret"]
        yield "DELETE", SECRET, "/v1/secrets/" + spare, None, []
        yield from self.peer_requests()
        yield from self.handshake_requests()
        yield from self.session_requests()
        yield from self.device_requests()

    def old_version(self):
        """A version that may go; the one before may be on its way."""
        def rotate():
            r = self.keyd.post("/v1/keys/aged/rotate", {})
            return r.status == 201 and f"/v1/keys/aged/versions/{r.json['primary'] - 1}"
        return wait_for(rotate, what="a version more")

    def device_requests(self):
        self.n_devices += 1
        name = f"d{self.n_devices}"
        yield "GET", "/v1/devices", "/v1/devices", None, []
        yield "POST", "/v1/devices", "/v1/devices", {"id": name, "relation": "r"}, []
        self.keyd.post("/v1/devices", {"id": name})
        yield "GET", DEVICE, "/v1/devices/" + name, None, []
        yield "POST", DEVICE + "/secret", f"/v1/devices/{name}/secret", {"secret_lifetime": 9}, []
        yield "POST", DEVICE + "/revoke", f"/v1/devices/{name}/revoke", {}, []
        yield "DELETE", DEVICE, "/v1/devices/" + name, None, []
        yield "GET", "/v1/ca", "/v1/ca", None, []
        for paper, body in PAPERS:
            yield "POST", "/v1/ca/" + paper, "/v1/ca/" + paper, body, ["C_Sign"]

    def peer_requests(self):
        yield "GET", "/v1/peers", "/v1/peers", None, []
        yield "POST", "/v1/peers", "/v1/peers", {
            "name": "new", "public_key": PUBLIC.decode(), "kid": b64(b"new")}, []
        yield "GET", PEER, "/v1/peers/new", None, []
        yield "DELETE", PEER, "/v1/peers/new", None, []

    def begin(self):
        """A handshake at its second message: its path, and the next message."""
        first = self.keyd.ok("/v1/handshakes", {"message": b64(self.device.begin())}, 201)
        return "/v1/handshakes/" + first["handshake"], {
            "message": b64(self.device.read(unb64(first["message"])))}

    def handshake_requests(self):
        yield "POST", "/v1/handshakes", "/v1/handshakes", {
            "message": b64(self.device.begin())}, ["C_Sign"]
        path, body = self.begin()
        yield "POST", HANDSHAKE, path, body, ["C_EncryptInit"]
        path, _ = self.begin()
        yield "DELETE", HANDSHAKE, path, None, []

    def session_requests(self):
        """Each with a session whose keys no worker has yet."""
        def path():
            return "/v1/sessions/" + self.device.connect(self.keyd)["session"]

        yield "GET", "/v1/sessions", "/v1/sessions", None, []
        yield "GET", SESSION, path(), None, []
        yield "GET", SESSION + "/ticket", path() + "/ticket", None, []
        yield "POST", SESSION + "/key-update", path() + "/key-update", {}, ["C_DecryptInit"]
        yield "POST", SESSION + "/release", path() + "/release", {}, ["C_DecryptInit"]
        ticket = self.keyd.get(path() + "/ticket").json["ticket"]
        yield "POST", "/v1/sessions/resume", "/v1/sessions/resume", {
            "ticket": ticket, "client_nonce": NONCE}, ["C_DecryptInit"]
        session = self.device.connect(self.keyd)["session"]
        yield "POST", "/v1/records/seal", "/v1/records/seal", {
            "session": session, "data": b64(b"x")}, ["C_DecryptInit"]
        self.device.connect(self.keyd)
        yield "POST", "/v1/records/open", "/v1/records/open", {
            "record": b64(self.device.seal(b"x"))}, ["C_DecryptInit"]
        yield "DELETE", SESSION, path(), None, []
        yield "GET", "/v1/envelopes/key", "/v1/envelopes/key", None, []
        yield "POST", "/v1/envelopes/open", "/v1/envelopes/open", {
            "envelope": b64(self.keyd.make(b"x"))}, ["C_DeriveKey"]

    def note(self, method, template, status):
        self.reached[method, template].add(status)
        assert status in self.documented[method, template], \
            f"{method} {template} answered {status}, which is not documented"

    def call(self, method, template, path, body=None, expected=None, **more):
        r = self.keyd.request(method, path, body, **more)
        self.note(method, template, r.status)
        self.check(method, template, r)
        if expected is not None:
            assert r.status == expected, (method, path, expected, r)
        return r

    def check(self, method, template, r):
        """Headers, media type and body are those of the document."""
        what = f"{method} {template} {r.status}"
        response = self.document["paths"][template][method.lower()]["responses"][str(r.status)]
        response = schema.resolved(self.document, response)
        for name, header in response.get("headers", {}).items():
            header = schema.resolved(self.document, header)
            assert name in r.headers or header.get("required") is False, f"{what} without {name}"
            if name not in r.headers:
                continue
            form = header["schema"]
            value = r.headers[name]
            schema.check(self.document, int(value) if form.get("type") == "integer" else value,
                         form, f"{what}: {name}")
        if "content" not in response:
            assert not r.body, f"{what} has a body"
            return
        media = r.headers["Content-Type"].split(";")[0]
        assert media in response["content"], f"{what}: {r.headers.items()}"
        content = response["content"][media]
        if media.endswith("json"):
            schema.check(self.document, r.json, content.get("schema", {}), what)

    def missing(self, *statuses):
        return {(route, s) for route, documented in self.documented.items() for s in documented
                if s in statuses and s not in self.reached[route]}
