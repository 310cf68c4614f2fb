# SPDX-License-Identifier: Apache-2.0
"""TCP: bearer tokens on loopback, TLS, client certificates, and their files read again."""
import hashlib
import os
import re
import shutil
import socket
import ssl
import threading

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
        wait_for(lambda k=keyd, n=named: n in k.log(), what=f"{named} in the log")


class Reloaded:
    """A keyd with TLS, whose files are copies that can be replaced."""

    def __init__(self, token):
        self.ca = Authority(token.directory, "ca")
        self.first = self.issue("first")
        self.files = {n: os.path.join(token.directory, "in-force." + n)
                      for n in ("certificate", "key", "client-ca")}
        self.put(self.first, self.ca.certificate)
        self.client = self.ca.issue("client", "extendedKeyUsage=clientAuth")
        self.policy = ME + 'principal "device" { certificate = { "sha256:%s" } }\n' \
            'allow "device" { operations = { "random" } }\n'
        self.keyd = Keyd(token, {"http.tcp-address": "127.0.0.1",
                                 "http.tls-handshakes-max": 10_000,
                                 "http.tls-handshakes-per-source": 10_000,
                                 **{"http.tls-" + n: path for n, path in self.files.items()}},
                         self.policy % fingerprint(self.client[0])).start()
        self.address = tcp_address(self.keyd)

    def issue(self, name, **more):
        return self.ca.issue(name, "subjectAltName=DNS:localhost", "extendedKeyUsage=serverAuth",
                             **more)

    def put(self, pair, client_ca=None):
        for name, path in zip(self.files, (*pair, client_ca)):
            if path:
                shutil.copy(path, self.files[name])  # with its mode

    def connect(self, certificate=None):
        return Client(self.address, tls=context(self.ca, certificate or self.client))

    def served(self):
        """The fingerprint of the certificate that a new connection is shown."""
        with self.connect() as c:
            expect(c.get("/healthz"), 200)
            return hashlib.sha256(c.connection.sock.getpeercert(True)).hexdigest()

    def said(self):
        """What status and metrics say of the last reload."""
        error = self.keyd.get("/v1/status").json["tls"]["error"]
        metrics = self.keyd.get("/metrics").body.decode()
        assert f"\nkeyd_tls_valid {int(error == '')}\n" in metrics, (error, metrics)
        return error


def is_served_from(source, keyd, ca):
    try:
        with socket.create_connection(tcp_address(keyd), timeout=60,
                                      source_address=(source, 0)) as s:
            with context(ca).wrap_socket(s, server_hostname="127.0.0.1"):
                return True
    except (ssl.SSLError, ConnectionError):
        return False


def ask_until_refused(source, keyd, ca):
    """How many handshakes were served before; others are served meanwhile."""
    for served in range(3000):
        if not is_served_from(source, keyd, ca):
            return served
        keyd.ok("/v1/random", {"length": 1})
    raise AssertionError("none was refused")


@test(on=SOFTHSM)
def one_source_leaves_handshakes_to_others(token):
    """Who has had his share of a second is refused, and another is not."""
    keyd = Keyd(token)
    ca = Authority(keyd.directory, "ca")
    certificate, key = ca.issue("server", "subjectAltName=IP:127.0.0.1")
    keyd.set_config({"http.tcp-address": "127.0.0.1", "http.tls-certificate": certificate,
                     "http.tls-key": key, "http.tls-handshakes-max": 1000,
                     "http.tls-handshakes-per-source": 2})
    keyd.start()
    assert ask_until_refused("127.0.0.2", keyd, ca) >= 2
    for last in range(3, 20):
        assert is_served_from(f"127.0.0.{last}", keyd, ca), last
    keyd.stop()


@test(on=SOFTHSM)
def handshakes_of_strangers_leave_time_for_others(token):
    """Over the limit of a second a connection ends before its handshake, and the next second has
    room again."""
    keyd = Keyd(token)
    ca = Authority(keyd.directory, "ca")
    certificate, key = ca.issue("server", "subjectAltName=IP:127.0.0.1")
    keyd.set_config({"http.tcp-address": "127.0.0.1", "http.tls-certificate": certificate,
                     "http.tls-key": key, "http.tls-handshakes-max": 3,
                     "http.tls-handshakes-per-source": 3})
    keyd.start()

    def is_served():
        return is_served_from("127.0.0.1", keyd, ca)
    assert ask_until_refused("127.0.0.1", keyd, ca) >= 3
    wait_for(is_served, what="a second with room")
    metric = re.search(r"^keyd_http_tls_refused_total (\d+)", keyd.get("/metrics").body.decode(),
                       re.M)
    assert int(metric.group(1)) >= 1, metric
    keyd.stop()


@test(on=SOFTHSM)
def new_certificate_is_served_after_sighup_and_open_connections_go_on(token):
    r = Reloaded(token)
    before = r.keyd.get("/v1/status").json["tls"]
    assert before["read"] and before["error"] == "", before
    second = r.issue("second")
    with r.connect() as open_before:
        expect(open_before.post(*RANDOM), 200)
        sock = open_before.connection.sock
        r.put(second)
        assert r.served() == fingerprint(r.first[0])  # nothing is read before it is asked for
        r.keyd.hup()
        assert r.served() == fingerprint(second[0])
        expect(open_before.post(*RANDOM), 200)
        assert open_before.connection.sock is sock
        assert hashlib.sha256(sock.getpeercert(True)).hexdigest() == fingerprint(r.first[0])
    assert r.keyd.get("/v1/status").json["tls"]["read"] > before["read"] and r.said() == ""
    r.keyd.stop()


@test(on=SOFTHSM)
def tls_files_that_cannot_be_used_leave_the_old_ones_in_force(token):
    r = Reloaded(token)
    other = r.issue("other")
    empty = os.path.join(token.directory, "empty.pem")
    with open(empty, "wb"):
        os.chmod(empty, 0o600)
    for pair, client_ca, named in (
            ((other[0], None), None, "certificate"), ((None, other[1]), None, "certificate"),
            ((empty, None), None, "certificate"), ((None, other[0]), None, "key"),
            ((None, None), empty, "client-ca"), ((None, None), other[1], "client-ca")):
        r.put(pair, client_ca)
        if named == "key":
            os.chmod(r.files["key"], 0o644)
        r.keyd.hup()
        assert r.said().startswith(r.files[named] + ": "), (r.said(), named)
        with r.connect() as c:
            expect(c.post(*RANDOM), 200)
        assert r.served() == fingerprint(r.first[0])
        r.put(r.first, r.ca.certificate)
        r.keyd.hup()
        assert r.said() == ""
    os.unlink(r.files["key"])
    r.keyd.hup()
    assert "No such file" in r.said() and r.served() == fingerprint(r.first[0])
    errors = re.findall(r"error http the new TLS files cannot be used; the old ones stay in force",
                        r.keyd.log())
    assert len(errors) == 7, r.keyd.log()
    assert "PRIVATE KEY" not in r.keyd.log()
    r.keyd.stop()


@test(on=SOFTHSM)
def certificate_that_has_expired_is_served_and_warned_of(token):
    r = Reloaded(token)
    assert "expired" not in r.keyd.log()
    expired = r.issue("expired", days="-1")
    r.put(expired)
    r.keyd.hup()
    assert r.said() == "" and "the TLS certificate has expired" in r.keyd.log()
    anything = ssl.create_default_context()
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    with Client(r.address, tls=anything) as c:
        expect(c.get("/healthz"), 200)
        shown = hashlib.sha256(c.connection.sock.getpeercert(True)).hexdigest()
    assert shown == fingerprint(expired[0])
    r.keyd.stop()


@test(on=SOFTHSM)
def client_ca_is_the_new_one_after_sighup(token):
    r = Reloaded(token)
    next_ca = Authority(token.directory, "next-ca")
    next_client = next_ca.issue("next-client", "extendedKeyUsage=clientAuth")

    def status_of(certificate):
        try:
            with r.connect(certificate) as c:
                return c.post(*RANDOM).status
        except (ssl.SSLError, ConnectionError):
            return 401  # the client has seen that its CA is not asked for
    with r.connect() as open_before:
        expect(open_before.post(*RANDOM), 200)
        r.keyd.set_policy(r.policy % f'{fingerprint(r.client[0])}", '
                          f'"sha256:{fingerprint(next_client[0])}')
        r.keyd.hup()
        assert [status_of(c) for c in (r.client, next_client)] == [200, 401]
        r.put((None, None), next_ca.certificate)
        r.keyd.hup()
        assert [status_of(c) for c in (r.client, next_client)] == [401, 200]
        expect(open_before.post(*RANDOM), 200)
    r.keyd.stop()


@test(on=SOFTHSM)
def no_request_is_lost_while_tls_files_are_read_again(token):
    r = Reloaded(token)
    pairs = [r.issue("one"), r.issue("two")]
    lost, seen, done = [], set(), threading.Event()

    def ask(is_new):
        c = r.connect()
        try:
            while not done.is_set():
                expect(c.post(*RANDOM), 200)
                shown = hashlib.sha256(c.connection.sock.getpeercert(True)).hexdigest()
                if is_new:
                    seen.add(shown)
                    c.close()  # the next request connects again
        except Exception as e:  # pylint: disable=broad-except
            lost.append(repr(e))
        finally:
            c.close()
    threads = [threading.Thread(target=ask, args=(i % 2 == 0,)) for i in range(6)]
    for t in threads:
        t.start()
    for i in range(20):
        r.put(pairs[i % 2])
        r.keyd.hup()
        shown = r.served()
        assert shown == fingerprint(pairs[i % 2][0])
        wait_for(lambda s=shown: s in seen or lost, what="a connection that began with it")
        seen.clear()
    done.set()
    for t in threads:
        t.join()
    assert not lost, lost
    r.keyd.stop()


if __name__ == "__main__":
    main()
