# SPDX-License-Identifier: Apache-2.0
"""keydctl device provision, connect, send and listen (libkeyd) with a bootstrap server, a gateway
and a backend: a device's life from its one-time secret on."""
import json
import os
import re
import ssl
import subprocess
import threading
import time

from harness import BOTH, SOFTHSM, expect, main, oracle, test, tokens, unb64, wait_for
from harness.boot import Bootstrap, Owner
from harness.gateway import Backend, Chain, Gateway, free_port

KEYDCTL = os.path.join(tokens.BUILD, "client", "keydctl")
OK, NO, USAGE, REFUSED, UNREACHABLE = range(5)


class World(Chain):
    """A bootstrap server, its gateway, and a folder for devices."""

    def __init__(self, token, mailbox=False, type_="ec-p256", **config):
        channel = {k.replace("__", ".").replace("_", "-"): v for k, v in config.items()}
        if mailbox:
            channel["channel.envelope"] = "mailbox"
        self.keyd = Bootstrap(token, channel).set_up(type_)
        if mailbox:
            self.keyd.create("mailbox", "ec-p256", "derive")
        self.backend = Backend()
        self.gateway = Gateway(self.keyd, self.backend).start()
        self.server = {k: f"{k}://127.0.0.1:{p}" for k, p in self.gateway.ports.items()}

    def folder(self, id_):
        return os.path.join(self.keyd.directory, "devices", id_)

    def secret_file(self, id_, secret, mode=0o600):
        os.makedirs(os.path.join(self.keyd.directory, "devices"), exist_ok=True)
        path = self.folder(id_) + ".secret"
        with open(path, "w", encoding="ascii") as f:
            f.write(secret + "\n")
        os.chmod(path, mode)
        return path

    def provision(self, id_, secret_file, *more, url=None, ca=None, status=OK):
        return self.ctl("provision", id_, "--bootstrap", url or self.keyd.url, "--ca",
                        ca or self.keyd.tls_file, "--secret-file", secret_file, "--dir",
                        self.folder(id_), *more, status=status)

    def device(self, id_, *more, **enrolment):
        """Enrolled and provisioned."""
        self.provision(id_, self.secret_file(id_, self.keyd.enrol(id_, **enrolment)), *more)
        return self

    def ctl(self, verb, *argv, data=b"", status=OK):
        r = subprocess.run([KEYDCTL, "device", verb, *argv], input=data, capture_output=True,
                           timeout=600, check=False)
        text = r.stderr.decode()
        assert r.returncode == status, (argv, r.returncode, r.stdout, text)
        assert "Sanitizer" not in text and "runtime error" not in text, text
        assert status == OK or text, f"{argv} fails in silence"
        self.errors = text
        return r.stdout.decode()

    def use(self, verb, id_, *more, server="tcp", **other):
        return self.ctl(verb, "--dir", self.folder(id_), "--server",
                        self.server.get(server, server), *more, **other)

    def frames(self):
        """(direction, kind, bytes) of each frame that was traced."""
        return [(d, k, int(n))
                for d, k, n in re.findall(r"^([<>]) (\w+) +(\d+) bytes ", self.errors, re.M)]


@test(on=SOFTHSM)
def a_device_is_not_provisioned_by_what_is_wrong(token):
    """A02, A07: the reason is said, nothing is used up, and it can be done again."""
    with World(token) as w:
        secret = w.keyd.enrol("d")
        good = w.secret_file("d", secret)
        for id_, file, options in (("d", w.secret_file("x", "A" * 43), {}), ("e", good, {})):
            w.provision(id_, file, status=REFUSED, **options)
            assert "secret" in w.errors, w.errors
        w.provision("d", w.secret_file("open", secret, 0o644), status=USAGE)
        assert "open to others" in w.errors, w.errors
        w.provision("d", "/nowhere", status=USAGE)
        w.provision("d", good, url=w.keyd.url.replace("https", "http"), status=USAGE)
        w.provision("d", good, ca=w.keyd.ca_file, status=UNREACHABLE)  # not its TLS certificate's
        w.provision("d", good, url="https://127.0.0.1:1", status=UNREACHABLE)
        w.ctl("provision", "d", "--bootstrap", w.keyd.url, "--ca", w.keyd.tls_file, "--secret-file",
              good, "--dir", "/dev/null/d", status=USAGE)
        w.ctl("provision", "d", "--bootstrap", w.keyd.url, status=USAGE)
        assert "--secret-file" in w.errors, w.errors
        # None of this has used the secret up; and then it is good once.
        w.provision("d", good)
        w.provision("d", good)  # which it is: its certificate is at its URI
        key = os.path.join(w.folder("d"), "key.pem")
        os.rename(key, key + ".away")
        w.provision("d", good, status=REFUSED)
        assert not os.path.exists(key)
        os.rename(key + ".away", key)
        for name in os.listdir(w.folder("d")):
            assert os.stat(os.path.join(w.folder("d"), name)).st_mode & 0o77 == 0, name
        assert w.use("send", "d", data=b"hello") == "olleh"


@test(on=SOFTHSM)
def an_enrolment_that_was_interrupted_is_gone_on_with(token):
    """A02: the secret is used up, and the certificate was not written."""
    with World(token) as w:
        secret = w.secret_file("d", w.keyd.enrol("d"))
        staged = os.path.join(w.folder("d"), "certificate.pem.new")
        os.makedirs(staged)
        os.chmod(w.folder("d"), 0o700)
        w.provision("d", secret, status=USAGE)
        assert "certificate.pem" in w.errors, w.errors
        os.rmdir(staged)
        w.provision("d", secret)
        assert w.use("send", "d", data=b"hello") == "olleh"
        w.keyd.ok("/v1/devices/d/revoke", {})
        w.provision("d", secret, status=REFUSED)


@test(on=SOFTHSM)
def a_key_is_written_to_no_place_that_another_has_made(token):
    """A folder that all may write, and a file in it that somebody holds open."""
    with World(token) as w:
        secret = w.secret_file("d", w.keyd.enrol("d"))
        folder = w.folder("d")
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        w.provision("d", secret, status=USAGE)
        assert "others may write" in w.errors and not os.listdir(folder), w.errors
        with open(os.path.join(folder, "key.pem.new"), "w+", encoding="ascii") as held:
            os.chmod(held.name, 0o666)
            os.chmod(folder, 0o700)
            w.provision("d", secret)
            assert held.read() == "" and os.fstat(held.fileno()).st_nlink == 0
        assert os.stat(os.path.join(folder, "key.pem")).st_mode & 0o777 == 0o600


@test(on=SOFTHSM)
def what_a_device_cannot_do_is_said(token):
    """A07, A12"""
    with World(token).device("d") as w:
        w.ctl("send", "--dir", w.folder("d"), status=USAGE)
        w.use("send", "nobody", status=USAGE)
        w.use("send", "d", server="ftp://127.0.0.1:1", status=USAGE)
        w.use("send", "d", server="tcp://127.0.0.1:1", status=UNREACHABLE, data=b"x")
        w.use("send", "d", "--lines", "--in", "/dev/null", status=USAGE)
        w.use("send", "d", "--envelope", status=USAGE)
        assert "envelope" in w.errors, w.errors
        w.use("listen", "d", "--count", "0", status=USAGE)
        w.use("listen", "d", server="http", status=USAGE)
        w.backend.status = 503
        w.use("send", "d", data=b"x", status=NO)
        assert "503" in w.errors, w.errors
        w.backend.status = 200
        w.use("send", "d", "--in", "/nowhere", status=USAGE)
        w.use("send", "d", data=b"x" * 65537, status=USAGE)
        os.chmod(os.path.join(w.folder("d"), "key.pem"), 0o644)
        w.use("send", "d", data=b"x", status=USAGE)
        os.chmod(os.path.join(w.folder("d"), "key.pem"), 0o600)
        assert w.use("send", "d", data=b"x") == "x"
        w.keyd.ok("/v1/devices/d/revoke", {})
        w.use("connect", "d", status=REFUSED)
        assert [m for _, m in w.backend.messages] == [b"x", b"x"]


@test(on=SOFTHSM)
def the_relation_of_a_device_is_told_also_by_a_gateway_that_opens_itself(token):
    """A02"""
    with World(token, channel__profile="released") as w:
        w.gateway.stop()
        w.gateway = Gateway(w.keyd, w.backend, mode="released").start()
        w.server = {k: f"{k}://127.0.0.1:{p}" for k, p in w.gateway.ports.items()}
        w.device("d", relation="contract-7")
        for _ in range(3):
            assert w.use("send", "d", data=b"hello") == "olleh"
            headers, _ = w.backend.messages[-1]
            assert (headers["Keyd-Peer"], headers["Keyd-Relation"]) == ("d", "contract-7"), headers
        assert w.gateway.metric("keyd_gateway_released") is not None


@test(on=BOTH)
def a_device_lives_from_its_secret_to_its_messages(token):
    """A02, A04, J01, J03, J06, J09: over each transport."""
    with World(token).device("d", relation="contract-7") as w:
        assert "Connected" in w.use("connect", "d")
        # message_1 with its method, suite and point; message_2, message_3 with the certificate's
        # name in place of it; message_4 with what the session begins with.
        assert [(d, k) for d, k, _ in w.frames()[:4]] == [(">", "handshake"), ("<", "handshake")] * 2
        first, second, third, _ = (n for _, _, n in w.frames()[:4])
        assert 37 <= first <= 45 and second <= 160 and third <= 160, w.frames()
        for server in ("tcp", "udp", "http"):
            assert w.use("send", "d", server=server, data=b"hello") == "olleh"
            headers, _ = w.backend.messages[-1]
            assert (headers["Keyd-Peer"], headers["Keyd-Relation"]) == ("d", "contract-7"), headers
        answers = w.use("send", "d", "--lines", "--trace", data=b"one\n\ntwo").split("\n")
        assert answers == ["eno", "", "owt", ""], answers
        assert [k for d, k, _ in w.frames() if d == ">"] == ["handshake"] * 2 + ["message"] * 3 + \
            ["close"], w.errors


@test(on=SOFTHSM)
def an_expired_session_is_renewed_unnoticed(token):
    """J08"""
    with World(token, channel__session_lifetime=6).device("d") as w:
        p = subprocess.Popen([KEYDCTL, "device", "send", "--dir", w.folder("d"), "--server",
                              w.server["tcp"], "--lines", "--trace"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for text, pause in (("before", 6.5), ("after", 0)):
            p.stdin.write(text + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == text[::-1] + "\n"
            time.sleep(pause)
        p.stdin.close()
        w.errors = p.stderr.read()
        assert p.wait(60) == 0, w.errors
        p.stdout.close()
        p.stderr.close()
        assert [k for d, k, _ in w.frames() if d == ">"][:6] == \
            ["handshake"] * 2 + ["message"] * 2 + ["handshake"] * 2, w.errors
        assert w.backend.bodies() == [b"before", b"after"]


@test(on=SOFTHSM)
def a_certificate_that_has_expired_is_renewed_before_it_is_used(token):
    """A05"""
    with World(token, ca__device_validity=8, ca__renew_grace=3600).device("d") as w:
        path, url = (os.path.join(w.folder("d"), n) for n in ("certificate.pem", "bootstrap.url"))
        with open(path, "rb") as f:
            first = f.read()
        upto = oracle.openssl("x509", "-noout", "-enddate", data=first).decode()
        w.keyd.set_config({**w.keyd.channel, "ca.device-validity": None})  # the next is good longer
        w.keyd.restart()
        tokens.write(url, w.keyd.url)
        wait_for(lambda: ssl.cert_time_to_seconds(upto.strip().split("=")[1]) < time.time(),
                 what="its end")
        assert w.use("send", "d", data=b"hello") == "olleh"
        with open(path, "rb") as f:
            assert f.read() != first
        # It has the first one still, which is good for nothing: the later one has been used.
        tokens.write(path, first.decode())
        assert w.use("send", "d", data=b"again") == "niaga"
        with open(path, "rb") as f:
            assert f.read() != first
        # And its bootstrap server has gone.
        tokens.write(path, first.decode())
        tokens.write(url, "https://127.0.0.1:1")
        w.use("send", "d", data=b"lost", status=UNREACHABLE)
        assert "expired" in w.errors, w.errors
        assert w.backend.bodies() == [b"hello", b"again"]


@test(on=SOFTHSM)
def a_certificate_of_the_server_that_is_another_is_asked_for(token):
    """A07: by the device's own certificate; an envelope's key comes with it."""
    with World(token, mailbox=True).device("d") as w:
        server, envelope, url = (os.path.join(w.folder("d"), n)
                                 for n in ("server.pem", "envelope.pem", "bootstrap.url"))
        w.keyd.write_pem(w.keyd.certificate_file,
                         w.keyd.ok("/v1/ca/server-certificate", {})["certificate"])
        w.keyd.hup()
        tokens.write(url, "https://127.0.0.1:1")  # it has gone
        w.use("send", "d", data=b"lost", status=REFUSED)
        assert "certificate is not the stored one" in w.errors, w.errors
        with open(server, "rb") as f:
            known = f.read()
        os.unlink(envelope)
        tokens.write(url, w.keyd.url)
        assert w.use("send", "d", data=b"hello") == "olleh"
        with open(server, "rb") as f:
            assert f.read() != known and os.path.exists(envelope)
        assert w.use("send", "d", "--envelope", data=b"sealed") == ""
        assert w.backend.bodies() == [b"hello", b"sealed"]


@test(on=SOFTHSM)
def a_renewal_of_which_nobody_here_heard_is_gone_on_with(token):
    """A05: the server has a later certificate of the device's than the device itself."""
    with World(token).device("d") as w:
        path, key = (os.path.join(w.folder("d"), n) for n in ("certificate.pem", "key.pem"))
        owner = Owner("d")
        with open(path, "rb") as f:
            first = f.read()
        with open(key, "rb") as f:
            owner.private, owner.certificate = f.read(), oracle.der_of(first)
        assert owner.reenroll(w.keyd)[0] == 200
        assert w.use("send", "d", data=b"hello") == "olleh"
        with open(path, "rb") as f:
            assert oracle.der_of(f.read()) == owner.certificate
        tokens.write(path, first.decode())
        w.keyd.ok("/v1/devices/d/revoke", {})
        w.use("send", "d", data=b"lost", status=REFUSED)


@test(on=SOFTHSM)
def a_key_has_the_curve_of_the_servers_suite(token):
    """A02, J02"""
    with World(token, type_="ec-p384").device("d") as w:
        with open(os.path.join(w.folder("d"), "key.pem"), "rb") as f:
            assert b"secp384r1" in oracle.openssl("pkey", "-text", "-noout", data=f.read())
        assert w.use("send", "d", data=b"hello") == "olleh"
        # Another provisioning goes on with the key that is there.
        secret = w.keyd.ok("/v1/devices/d/secret", {})["secret"]
        with open(os.path.join(w.folder("d"), "key.pem"), "rb") as f:
            key = f.read()
        w.provision("d", w.secret_file("d2", secret))
        with open(os.path.join(w.folder("d"), "key.pem"), "rb") as f:
            assert f.read() == key
        assert w.use("send", "d", data=b"again") == "niaga"


@test(on=SOFTHSM)
def a_device_listens_for_what_comes_unasked(token):
    """J16"""
    with World(token).device("d") as w:
        p = subprocess.Popen([KEYDCTL, "device", "listen", "--dir", w.folder("d"), "--server",
                              w.server["tcp"], "--count", "2"], stdout=subprocess.PIPE, text=True)
        wait_for(lambda: w.gateway.push("d", b"first") == 204)
        assert p.stdout.readline() == "first\n"
        assert w.gateway.push("d", b"second") == 204
        assert p.communicate(timeout=60)[0] == "second\n" and p.returncode == 0


@test(on=SOFTHSM)
def an_envelope_needs_no_session(token):
    """J15: its key came with the provisioning, in CBOR and in JSON."""
    with World(token, mailbox=True).device("d") as w:
        with open(os.path.join(w.folder("d"), "envelope.pem"), "rb") as f:
            known = oracle.point_of(f.read())
        assert known == oracle.point_of(w.keyd.get("/v1/envelopes/key").json["pem"].encode())
        secret = w.keyd.ok("/v1/devices/d/secret", {})["secret"]
        p = json.loads(w.keyd.curl("/provision", "-u", "d:" + secret)[2])
        assert p["envelope_key"]["public_key"] == expect(w.keyd.get("/v1/envelopes/key"),
                                                         200).json["jwk"], p
        assert w.use("send", "d", "--envelope", "--sender", "me", data=b"sealed") == ""
        headers, body = w.backend.messages[-1]
        assert body == b"sealed" and unb64(headers["Keyd-Sender"]) == b"me"
        assert w.gateway.metric('keyd_gateway_frames_total{kind="handshake"}') == 0


@test(on=SOFTHSM)
def an_answer_that_is_no_bootstrap_servers_leaves_no_device(token):
    """A12: whatever a server with the right TLS certificate answers."""
    with World(token) as w:
        secret = w.secret_file("d", "A" * 43)
        for body in (b"", b"\xff" * 64, b"\x8d\x02", b"\x8d\x01\x61d\x61u" + b"\x40" * 9):
            with Impostor(w, body) as url:
                w.provision("d", secret, url=url, status=REFUSED)
            assert not os.path.exists(os.path.join(w.folder("d"), "certificate.pem"))


class Impostor:
    """openssl s_server with the bootstrap server's own TLS key, and one answer for all."""

    def __init__(self, world, body):
        self.port = free_port()
        self.answer = (f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
                       "\r\n").encode() + body
        self.world, self.process, self.thread = world, None, None

    def __enter__(self):
        keyd = self.world.keyd
        self.process = subprocess.Popen(
            ["openssl", "s_server", "-quiet", "-naccept", "2", "-accept", f"127.0.0.1:{self.port}",
             "-cert", keyd.tls_file, "-key", keyd.tls_key], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wait_for(self.is_there)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return f"https://127.0.0.1:{self.port}"

    def is_there(self):
        with open("/proc/net/tcp", encoding="ascii") as f:
            return f"0100007F:{self.port:04X} 00000000:0000 0A" in f.read()

    def serve(self):
        while self.process.stdout.readline().strip():
            pass
        self.process.stdin.write(self.answer)
        self.process.stdin.flush()

    def __exit__(self, *_):
        self.thread.join()
        self.process.kill()
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


if __name__ == "__main__":
    main()
