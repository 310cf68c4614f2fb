# SPDX-License-Identifier: Apache-2.0
"""TCP: bearer tokens on loopback, TLS, client certificates."""
import hashlib
import os
import re
import ssl

from harness import SOFTHSM, Client, Keyd, expect, main, oracle, raw, test, wait_for

ME = f'principal "me" {{ uid = {{ {os.getuid()} }} }}\n' \
     'allow "me" { operations = { "*" } keys = { "*" } }\n'
TOKEN = 'principal "caller" { token = { "sha256:%s" } }\n' \
        'allow "caller" { operations = { "random" } }\n' % hashlib.sha256(b"secret").hexdigest()
RANDOM = ("/v1/random", {"length": 1})


class Authority:
    """A CA of openssl's in a directory."""

    def __init__(self, directory, name):
        self.directory = directory
        self.name = name
        self.key, self.certificate = self.path(name + ".key"), self.path(name + ".pem")
        oracle.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                       "-nodes", "-keyout", self.key, "-out", self.certificate, "-days", "2",
                       "-subj", "/CN=" + name)

    def path(self, name):
        return os.path.join(self.directory, name)

    def issue(self, name, *extensions, days="2"):
        """A certificate for a server or a client: paths of it and its key."""
        key, request, certificate, extra = (self.path(f"{name}.{e}")
                                            for e in ("key", "csr", "pem", "ext"))
        with open(extra, "w", encoding="utf-8") as f:
            f.write("\n".join(extensions) + "\n")
        oracle.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                       "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=" + name)
        oracle.openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                       "-CAcreateserial", "-out", certificate, "-days", days, "-extfile", extra)
        os.chmod(key, 0o600)
        return certificate, key


def fingerprint(certificate):
    with open(certificate, "rb") as f:
        return hashlib.sha256(oracle.der_of(f.read())).hexdigest()


def tcp_address(keyd):
    """The port that keyd chose, as its log says."""
    found = re.findall(r"serving; address=(\S+) port=(\d+)", keyd.log())
    return found[-1][0], int(found[-1][1])


def context(ca, certificate=None):
    c = ssl.create_default_context(cafile=ca.certificate)
    if certificate:
        c.load_cert_chain(*certificate)
    return c


@test(on=SOFTHSM)
def tcp_on_loopback_takes_bearer_tokens_only(token):
    keyd = Keyd(token, {"http.tcp-address": "127.0.0.1"}, ME + TOKEN).start()
    address = tcp_address(keyd)
    with Client(address) as c:
        # The uid that the policy names does not come over TCP.
        expect(c.post(*RANDOM), 401, "unauthenticated")
        expect(c.post(*RANDOM, bearer="wrong"), 401, "unauthenticated")
        expect(c.post(*RANDOM, bearer="secret"), 200)
        expect(c.get("/v1/status", bearer="secret"), 403, "denied")
        expect(c.get("/healthz"), 200)
    assert "secret" not in keyd.log()
    keyd.stop()


@test(on=SOFTHSM)
def tcp_without_tls_is_refused_beyond_loopback(token):
    keyd = Keyd(token, {"http.tcp-address": "0.0.0.0"})
    keyd.start(wait=False)
    assert keyd.process.wait(60) not in (0, 99)
    keyd._forget()
    assert "loopback" in keyd.log(), keyd.log()
    assert not os.path.exists(keyd.socket)


@test(on=SOFTHSM)
def tls_with_client_certificates(token):
    ca = Authority(token.directory, "ca")
    other_ca = Authority(token.directory, "other-ca")
    server = ca.issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                      "extendedKeyUsage=serverAuth")
    known = ca.issue("known", "extendedKeyUsage=clientAuth")
    unknown = ca.issue("unknown", "extendedKeyUsage=clientAuth")
    not_client = ca.issue("not-client", "extendedKeyUsage=serverAuth")
    expired = ca.issue("expired", "extendedKeyUsage=clientAuth", days="-1")
    foreign = other_ca.issue("foreign", "extendedKeyUsage=clientAuth")
    named = ", ".join(f'"sha256:{fingerprint(c[0])}"' for c in (known, not_client, foreign,
                                                               expired))
    policy = ME + TOKEN + f'principal "device" {{ certificate = {{ {named} }} }}\n' \
        'allow "device" { operations = { "random", "status" } }\n'
    keyd = Keyd(token, {"http.tcp-address": "127.0.0.1", "http.tls-certificate": server[0],
                        "http.tls-key": server[1], "http.tls-client-ca": ca.certificate},
                policy).start()
    address = tcp_address(keyd)
    with Client(address, tls=context(ca, known)) as c:
        for _ in range(3):
            expect(c.post(*RANDOM), 200)
        expect(c.get("/v1/status"), 200)
        expect(c.get("/metrics"), 403, "denied")
        # A bearer token, when given, decides alone.
        expect(c.get("/v1/status", bearer="secret"), 403, "denied")
        expect(c.post(*RANDOM, bearer="wrong"), 401, "unauthenticated")
    for certificate in (None, unknown, not_client, foreign, expired):
        try:
            with Client(address, tls=context(ca, certificate)) as c:
                expect(c.post(*RANDOM), 401, "unauthenticated")
                expect(c.post(*RANDOM, bearer="secret"), 200)
        except (ssl.SSLError, ConnectionError):
            assert certificate not in (None, unknown), "only a bad certificate ends the handshake"
    # Plain HTTP, and TLS that is broken off, on the TLS port.
    assert b"200" not in raw(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", finish=True)[:20]
    raw(address, b"\x16\x03\x01\x00\x05\x01\x00\x00", finish=True)
    with Client(address, tls=context(ca, known)) as c:
        expect(c.post(*RANDOM), 200)
    keyd.stop()


@test(on=SOFTHSM)
def old_tls_versions_are_refused(token):
    ca = Authority(token.directory, "ca")
    server = ca.issue("server", "subjectAltName=DNS:localhost")
    keyd = Keyd(token, {"http.tcp-address": "127.0.0.1", "http.tls-certificate": server[0],
                        "http.tls-key": server[1]}, ME + TOKEN).start()
    address = "%s:%d" % tcp_address(keyd)
    for version, accepted in (("-tls1", False), ("-tls1_1", False), ("-tls1_2", True),
                              ("-tls1_3", True)):
        out = oracle.openssl("s_client", "-connect", address, version, "-brief", "-cipher",
                             "ALL:@SECLEVEL=0", data=b"Q\n", check=False)
        assert (out is not None) == accepted, (version, out)
    keyd.stop()


@test(on=SOFTHSM)
def tls_files_that_cannot_be_used_stop_the_start_by_name(token):
    ca = Authority(token.directory, "ca")
    server = ca.issue("server", "subjectAltName=DNS:localhost")
    other = ca.issue("other", "subjectAltName=DNS:localhost")
    empty = os.path.join(token.directory, "empty.pem")
    with open(empty, "w", encoding="utf-8"):
        os.chmod(empty, 0o600)
    open_key = os.path.join(token.directory, "open.key")
    with open(server[1], "rb") as f, open(open_key, "wb") as g:
        g.write(f.read())
    os.chmod(open_key, 0o644)
    for certificate, key, client_ca, named in (
            (server[0], other[1], None, server[0]), (server[0], "/nowhere.key", None, "/nowhere.key"),
            (empty, server[1], None, empty), (server[0], open_key, None, open_key),
            (server[0], server[1], empty, empty)):
        keyd = Keyd(token, {"http.tcp-address": "127.0.0.1", "http.tls-certificate": certificate,
                            "http.tls-key": key, "http.tls-client-ca": client_ca})
        keyd.start(wait=False)
        assert keyd.process.wait(60) not in (0, 99)
        keyd._forget()
        wait_for(lambda k=keyd, n=named: n in k.log(), 5, f"{named} in the log")


if __name__ == "__main__":
    main()
