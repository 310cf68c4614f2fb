# SPDX-License-Identifier: Apache-2.0
"""CAs of the openssl command, devices with their certificates, and a web server for these that
behaves as badly as it is told."""
import datetime
import http.server
import os
import re
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time

from . import oracle
from .peer import Device
from .tokens import BUILD

DAY = 86400
SERVER_ID, RELATION = "urn:keyd:server:s1", "urn:keyd:relation:42"

CONFIG = """
[ca]
default_ca = own
[own]
dir = {dir}
database = {dir}/index
serial = {dir}/serial
crlnumber = {dir}/crlnumber
certificate = {dir}/ca.pem
private_key = {dir}/ca.key
new_certs_dir = {dir}
default_md = {md}
default_crl_days = 30
default_days = 30
policy = any
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
{leaf}
[issuer]
basicConstraints = critical,CA:TRUE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
keyUsage = critical,keyCertSign,cRLSign
[root]
basicConstraints = critical,CA:TRUE
subjectKeyIdentifier = hash
keyUsage = critical,keyCertSign,cRLSign
[crl]
authorityKeyIdentifier = keyid
"""


def device_uris(name):
    return [f"urn:keyd:device:{name}", SERVER_ID, RELATION]


def stamp(seconds):
    """Seconds from now as openssl ca wants them."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return then.strftime("%Y%m%d%H%M%SZ")


class Ca:
    """A CA with a database, so that it can revoke."""

    def __init__(self, name, parent=None):
        self.name, self.folder = name, tempfile.TemporaryDirectory(prefix="keyd-ca-")
        self.path = lambda file: os.path.join(self.folder.name, file)
        for file, text in (("index", ""), ("serial", "1000\n"), ("crlnumber", "01\n")):
            self._write(file, text.encode())
        self._write("ca.key", oracle.ec_private("ec-p256"))
        self._configure("")
        if parent is None:
            oracle.openssl("req", "-x509", "-new", "-key", self.path("ca.key"), "-subj",
                           "/CN=" + name, "-days", "30", "-config", self.path("config"),
                           "-extensions", "root", "-out", self.path("ca.pem"))
        else:
            self._write("ca.pem", oracle.openssl(
                "x509", "-inform", "DER",
                data=parent._sign(self._request(self.path("ca.key"), name), "issuer", 0, 30)))
        self.pem = open(self.path("ca.pem"), encoding="utf-8").read()
        self.der = oracle.openssl("x509", "-in", self.path("ca.pem"), "-outform", "DER")

    def _write(self, file, content):
        with open(self.path(file), "wb") as f:
            f.write(content)

    def _configure(self, leaf, md="sha256"):
        text = CONFIG.format(dir=self.folder.name, leaf=leaf, md=md)
        # openssl req wants these.
        self._write("config", (text + "[req]\ndistinguished_name = dn\n[dn]\n").encode())

    def _request(self, key, name):
        return oracle.openssl("req", "-new", "-key", key, "-subj", "/CN=" + name, "-config",
                              self.path("config"))

    def _sign(self, request, section, start, days):
        self._write("request", request)
        oracle.openssl("ca", "-batch", "-notext", "-config", self.path("config"), "-extensions",
                       section, "-startdate", stamp(start - 60), "-enddate",
                       stamp(start + days * DAY), "-in", self.path("request"), "-out",
                       self.path("out.pem"))
        return oracle.openssl("x509", "-in", self.path("out.pem"), "-outform", "DER")

    def issue(self, name, uris=None, usage="digitalSignature", extended="clientAuth", start=0,
              days=10, key=None, san=None, md="sha256", type_="ec-p256"):
        """(private key PEM, certificate DER); start: seconds from now."""
        key = key or oracle.ec_private(type_)
        uris = device_uris(name) if uris is None else uris
        san = san or ",".join("URI:" + uri for uri in uris)
        self._configure((f"keyUsage = critical,{usage}\n" if usage else "") +
                        (f"extendedKeyUsage = {extended}\n" if extended else "") +
                        (f"subjectAltName = {san}\n" if san else ""), md)
        with oracle.Files(key=key) as path:
            return key, self._sign(self._request(path("key"), name), "leaf", start, days)

    def certify(self, public, name, start, days):
        """A certificate, DER, for a public key (PEM, P-256) whose private part is elsewhere:
        one of another key, in which the key is changed before it is signed again."""
        key, der = self.issue(name, extended="", start=start, days=days)
        spki = [oracle.openssl("pkey", *more, "-outform", "DER", data=data) for more, data in
                ((["-pubout"], key), (["-pubin"], public))]
        outer, tbs = der_content(der, 0), der_item(der_content(der, 0)[0], 0)
        new = tbs.replace(*spki)
        assert new != tbs
        algorithm = der_item(outer[0], len(tbs))
        with oracle.Files(key=open(self.path("ca.key"), "rb").read()) as path:
            signature = oracle.openssl("dgst", "-sha256", "-sign", path("key"), data=new)
        return der_sequence(new + algorithm + b"\x03" + der_length(len(signature) + 1) + b"\0" +
                            signature)

    def revoke(self, der):
        self._write("revoked", oracle.openssl("x509", "-inform", "DER", data=der))
        oracle.openssl("ca", "-config", self.path("config"), "-revoke", self.path("revoked"))

    def crl(self):
        return oracle.openssl("ca", "-config", self.path("config"), "-gencrl", "-crlexts",
                              "crl").decode()


class CertifiedDevice(Device):
    """A device with a certificate of a CA, named to the server in some form."""

    def __init__(self, keyd, name, issued, named_by):
        self.name, self.session, self.sequence, self.named_by = name, None, 0, named_by
        private, self.certificate = issued
        self.files = oracle.Files(key=private, cert=self.certificate, server=keyd.own_certificate)
        self.path = self.files.__enter__()
        self.process = subprocess.Popen([os.path.join(BUILD, "tests/system/peer")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.be(named_by)
        self.tell("server", self.path("server"), keyd.own_point.hex())

    def be(self, named_by):
        self.tell("own", self.path("key"), self.path("cert"), named_by)


# ---- DER, as far as it is needed to sign a certificate again ----

def der_length(n):
    return bytes([n]) if n < 128 else bytes([0x82]) + n.to_bytes(2, "big")


def der_sequence(content):
    return b"\x30" + der_length(len(content)) + content


def der_content(der, at):
    """(content, its offset) of the item at an offset."""
    n, start = der[at + 1], at + 2
    if n >= 128:
        n, start = int.from_bytes(der[start:start + n - 128], "big"), start + n - 128
    return der[start:start + n], start


def der_item(der, at):
    content, start = der_content(der, at)
    return der[at:start + len(content)]


# ---- CBOR, as far as an ID_CRED needs it ----

def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    if n < 256:
        return bytes([major << 5 | 24, n])
    return bytes([major << 5 | 25]) + n.to_bytes(2, "big")


def chain_bytes(certificates):
    """COSE_X509."""
    items = b"".join(head(2, len(c)) + c for c in certificates)
    return items if len(certificates) == 1 else head(4, len(certificates)) + items


def raw_chain(certificates):
    """The name of a device by x5chain."""
    return "raw:" + (b"\xa1\x18\x21" + chain_bytes(certificates)).hex()


# ---- the web server ----

class Web:
    """https on loopback.  `pages`: path -> (type, body); /never/, /slow/, /redirect/, /huge/ and
    /status/ do what they say.  `asked` counts requests by path."""

    def __init__(self, ca):
        key, der = ca.issue("web", san="IP:127.0.0.1,DNS:localhost", extended="serverAuth")
        with oracle.Files(key=key, cert=oracle.openssl("x509", "-inform", "DER",
                                                       data=der)) as path:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(path("cert"), path("key"))
        self.pages, self.asked, self.end = {}, {}, threading.Event()
        self.lock = threading.Lock()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                self.request.settimeout(20)
                self.request = web.tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self):
                web.answer(self)

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *_):
                pass  # clients that go are what the tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        self.base = f"https://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end.set()
        self.server.shutdown()
        self.server.server_close()

    def serve(self, path, body, type_="application/pkix-cert"):
        """Gives the URI."""
        self.pages[path] = (type_, body)
        return self.base + path

    def answer(self, q):
        path = q.path[1:]
        with self.lock:
            self.asked[path] = self.asked.get(path, 0) + 1
        kind = re.match(r"\w*", path).group(0)
        if kind == "never":
            self.end.wait(60)
            q.close_connection = True
            return
        if kind == "redirect":
            q.send_response(302)
            q.send_header("Location", self.base + "good")
            q.send_header("Content-Length", "0")
            q.end_headers()
            return
        type_, body = self.pages.get(path, ("application/pkix-cert", None))
        if kind == "huge":
            body = bytes(1_000_000)
        q.send_response(404 if body is None else 200)
        body = body or b""
        q.send_header("Content-Type", type_)
        if kind == "endless":  # no length
            q.close_connection = True
        else:
            q.send_header("Content-Length", str(len(body)))
        q.end_headers()
        if kind == "slow":
            for i in range(len(body)):
                q.wfile.write(body[i:i + 1])
                q.wfile.flush()
                if self.end.wait(0.1):
                    return
        q.wfile.write(body)
        while kind == "endless":
            q.wfile.write(bytes(1000))
            time.sleep(0.001)
