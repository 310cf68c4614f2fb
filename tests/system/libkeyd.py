# SPDX-License-Identifier: Apache-2.0
"""libkeyd, by its example client/examples/request.c, against the real gateway and keyd."""
import os
import socket
import subprocess
import threading

from harness import (BOTH, SOFTHSM, b64, cbor, expect, main, oracle, test, tokens, unb64,
                     wait_for)
from harness.gateway import (ANSWER, FAILURE, MESSAGE, PUSH, REFUSED, RESUME, RETRY, UPDATE, Backend,
                             Chain, Gateway, head)
from harness.mailbox import Mailbox
from harness.peer import Server, certificate, pem

REQUEST = os.path.join(tokens.BUILD, "client", "examples", "request")
THREADS = os.path.join(tokens.BUILD, "client", "examples", "threads")


class Lib:
    """The example with a software key, registered as a peer."""

    def __init__(self, keyd, name, server, uri=True, register=True, server_certificate=None,
                 days="30", envelope_key=None):
        private = oracle.ec_private("ec-p256")
        self.certificate = certificate(oracle.ec_public(private), name, days)
        self.uri = f"https://pki.example/c/{name}" if uri else "-"
        self.files = oracle.Files(key=private, cert=pem(self.certificate).encode(), server=pem(
            server_certificate or keyd.own_certificate).encode(),
                                  envelope=(envelope_key or "").encode())
        path = self.files.__enter__()
        os.chmod(path("key"), 0o600)
        if register:
            keyd.ok("/v1/peers", {"name": name, "certificate": pem(self.certificate),
                                  **({"uri": self.uri} if uri else {})}, 201)
        self.path = path
        self.argv = [server, path("key"), path("cert"), self.uri, path("server")]
        self.process = subprocess.Popen(
            [REQUEST, *self.argv, *(["-", path("envelope")] if envelope_key else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()
        self.files.__exit__()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


class Set(Chain):
    def __init__(self, token, keyd=None, push_timeout_ms=None, idle_timeout_ms=None, **channel):
        self.keyd = keyd or Server(token, {f"channel.{k}": v for k, v in channel.items()}).set_up()
        self.backend = Backend()
        limits = {"push-timeout-ms": push_timeout_ms, "idle-timeout-ms": idle_timeout_ms}
        self.gateway = Gateway(self.keyd, self.backend,
                               **{k: v for k, v in limits.items() if v}).start()
        self.tcp = f"tcp://127.0.0.1:{self.gateway.ports['tcp']}"
        self.udp = f"udp://127.0.0.1:{self.gateway.ports['udp']}"
        self.http = f"http://127.0.0.1:{self.gateway.ports['http']}"


@test(on=SOFTHSM)
def what_cannot_work_is_said(token):
    """A07, J06: files, a server that is another, a peer that nobody knows."""
    with Set(token) as s:
        with Lib(s.keyd, "nobody", s.tcp, register=False) as d:
            assert d.ask("x") == "refused"
        other = certificate(oracle.ec_public(oracle.ec_private("ec-p256")), "other")
        with Lib(s.keyd, "misled", s.tcp, server_certificate=other) as d:
            assert d.ask("x") == "server"
        with Lib(s.keyd, "late", "tcp://127.0.0.1:1") as d:
            assert d.ask("x") == "transport"
            assert d.ask("!move ftp://127.0.0.1:1") == "argument"
            assert "ftp://127.0.0.1:1" in d.ask("!detail")
            assert d.ask("!move http://127.0.0.1:1") == "ok" and d.ask("x") == "transport"
            assert d.ask("!receive 1") == "argument" and "HTTP" in d.ask("!detail")
            assert d.ask("!envelope x") == "argument" and "envelope_key" in d.ask("!detail")
            for argv in ((s.tcp, "/nowhere", d.path("cert")), (s.tcp, d.path("cert"), d.path("cert")),
                         ("tcp://", d.path("key"), d.path("cert")),
                         (s.tcp, d.path("key"), d.path("server"))):
                r = subprocess.run([REQUEST, *argv, "-", d.path("server")], capture_output=True,
                                   text=True, check=False)
                assert r.returncode == 1 and r.stdout in ("file\n", "argument\n"), r
                assert '"' in r.stderr, r  # what it is about
            os.chmod(d.path("key"), 0o644)  # others may read it
            r = subprocess.run([REQUEST, s.tcp, d.path("key"), d.path("cert"), "-",
                                d.path("server")], capture_output=True, text=True, check=False)
            assert r.returncode == 1 and r.stdout == "file\n", r
        assert not s.backend.messages


@test(on=SOFTHSM)
def server_that_sends_its_certificate_is_reached_over_udp(token):
    """Its first answer is longer than one to an address that nobody has proven may be."""
    with Set(token, **{"id-cred": "x5chain"}) as s:
        for server, handshakes in ((s.tcp, 2), (s.udp, 3)):
            before = s.gateway.metric('keyd_gateway_frames_total{kind="handshake"}')
            with Lib(s.keyd, server[:3], server) as d:
                assert d.ask("hello") == "ok olleh"
            after = s.gateway.metric('keyd_gateway_frames_total{kind="handshake"}')
            assert after - before == handshakes, (server, before, after)


@test(on=SOFTHSM)
def expired_certificate_is_renewed_before_it_is_sent(token):
    """A05: no URI of an expired certificate leaves the device; the new one is sent whole."""
    with Set(token) as s:
        private = oracle.ec_private("ec-p256")
        old = certificate(oracle.ec_public(private), "d", days="0")
        new = certificate(oracle.ec_public(private), "d")
        s.keyd.ok("/v1/peers", {"name": "d", "certificate": pem(new)}, 201)
        with oracle.Files(key=private, old=pem(old).encode(), new=new,
                          server=pem(s.keyd.own_certificate).encode()) as path:
            os.chmod(path("key"), 0o600)
            argv = [REQUEST, s.tcp, path("key"), path("old"), "https://pki.example/c/d",
                    path("server")]
            for more, answer in (([], "expired\n"), ([path("old")], "expired\n"),
                                 (["/nowhere"], "expired\n"), ([path("new")], "ok olleh\n")):
                r = subprocess.run(argv + more, input="hello\n", capture_output=True, text=True,
                                   check=False, timeout=300)
                assert r.stdout == answer, (more, r)
        assert s.gateway.metric('keyd_gateway_frames_total{kind="handshake"}') == 2
        assert s.backend.bodies() == [b"hello"]


@test(on=BOTH)
def device_asks_and_gets_its_answer(token):
    """J01, J03, J04, J09, A01, A06: over TCP and UDP, named by URI and by fingerprint."""
    with Set(token) as s:
        for server, uri in ((s.tcp, True), (s.udp, True), (s.http, True), (s.tcp, False)):
            name = f"{server[:3]}-{uri}"
            with Lib(s.keyd, name, server, uri) as d:
                assert d.ask("hello") == "ok olleh"
                assert d.ask("") == "ok "
                assert s.backend.messages[-1][0]["Keyd-Peer"] == name
                assert d.ask("!update") == "ok"
                assert d.ask("new keys") == "ok syek wen"
                assert d.ask("!connect") == "ok" and d.ask("again") == "ok niaga"
                assert d.ask("!close") == "ok" and d.ask("anew") == "ok wena"
                s.backend.status = 418
                assert d.ask("teapot") == "backend 418"
                s.backend.status = 200


@test(on=SOFTHSM)
def device_learns_the_form_of_the_one_time_passwords(token):
    for profile in ("resident", "released"):
        with Set(token, **{"otp-digits": 9, "otp-step": 1, "otp-window": 10,
                           "profile": profile}) as s:
            with Lib(s.keyd, "d", s.tcp) as d:
                assert d.ask("hello") == "ok olleh"
                assert d.ask("!update") == "ok" and d.ask("new keys") == "ok syek wen"
                assert d.ask("!save") == "ok"
                s.keyd.restart()
                assert d.ask("resumed") == "ok demuser"
                assert 'keyd_channel_resumes_total{result="ok"} 1' in \
                    s.keyd.get("/metrics").body.decode()


@test(on=SOFTHSM)
def session_that_ends_is_renewed_without_the_user_noticing(token):
    """J08: by an expiry; by a restart of keyd, with and without a ticket."""
    with Set(token, **{"session-records-max": 6}) as s:
        with Lib(s.keyd, "d", s.tcp) as d:
            for i in range(12):
                assert d.ask(f"message {i}") == "ok " + f"message {i}"[::-1]
            assert s.backend.bodies() == [b"message %d" % i for i in range(12)]
    with Set(token) as s:
        with Lib(s.keyd, "d2", s.tcp) as d:
            assert d.ask("before") == "ok erofeb"
            assert d.ask("!save") == "ok"
            s.keyd.kill()
            assert d.ask("away") == "busy"
            s.keyd.start()
            assert d.ask("resumed") == "ok demuser"
            assert 'keyd_channel_resumes_total{result="ok"} 1' in \
                s.keyd.get("/metrics").body.decode()
            s.keyd.restart()
            assert d.ask("once more") == "ok erom ecno"
            assert s.backend.bodies() == [b"before", b"resumed", b"once more"]


@test(on=SOFTHSM)
def connection_that_was_closed_for_being_idle_costs_no_message(token):
    """J09: the device sees it before it asks, and keeps its session."""
    with Set(token, idle_timeout_ms=1000) as s:
        with Lib(s.keyd, "d", s.tcp) as d:
            for i in range(3):
                assert d.ask(f"m{i}") == f"ok {i}m"
                wait_for(lambda: s.gateway.metric("keyd_gateway_connected") == 0)
        assert s.backend.bodies() == [b"m0", b"m1", b"m2"]
        assert s.gateway.metric('keyd_gateway_frames_total{kind="handshake"}') == 2


@test(on=SOFTHSM)
def session_moves_to_another_server(token):
    """J13"""
    with Set(token) as s:
        other = Server(token, like=s.keyd).adopt_from(s.keyd)
        second = Gateway(other, s.backend).start()
        with Lib(s.keyd, "d", s.tcp) as d:
            other.ok("/v1/peers", {"name": "d", "certificate": pem(d.certificate),
                                   "uri": d.uri}, 201)
            assert d.ask("here") == "ok ereh" and d.ask("!save") == "ok"
            assert d.ask(f"!move tcp://127.0.0.1:{second.ports['tcp']}") == "ok"
            assert d.ask("there") == "ok ereht"
        assert 'keyd_channel_resumes_total{result="ok"} 1' in other.get("/metrics").body.decode()
        second.stop()
        other.stop()


class Proxy:
    """A UDP proxy that loses, repeats and changes as it is told."""

    def __init__(self, port, plan, change=lambda data: data):
        self.change = change  # of what comes down
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.connect(("127.0.0.1", port))
        self.port, self.plan, self.client = self.front.getsockname()[1], plan, None
        self.seen = [0, 0]
        for i, run in enumerate((self.up, self.down)):
            threading.Thread(target=run, args=(i,), daemon=True).start()

    def pass_on(self, side, data, send):
        what = self.plan(side, self.seen[side])
        self.seen[side] += 1
        for _ in range(what):
            send(data)

    def up(self, side):
        while True:
            data, self.client = self.front.recvfrom(65536)
            self.pass_on(side, data, self.back.send)

    def down(self, side):
        while True:
            data = self.change(self.back.recv(65536))
            self.pass_on(side, data, lambda d: self.front.sendto(d, self.client))


@test(on=SOFTHSM)
def lost_and_repeated_datagrams_change_nothing(token):
    """J09, J10: each message is delivered once."""
    with Set(token) as s:
        # Of what goes up the first is lost, then each third twice; of what comes down each fourth
        # is lost.
        proxy = Proxy(s.gateway.ports["udp"], lambda side, n: (
            (0 if n == 0 else 2 if n % 3 == 0 else 1) if side == 0 else (0 if n % 4 == 1 else 1)))
        with Lib(s.keyd, "d", f"udp://127.0.0.1:{proxy.port}") as d:
            for i in range(6):
                assert (said := d.ask(f"m{i}")) == f"ok {i}m", (i, said, proxy.seen)
        assert s.backend.bodies() == [b"m%d" % i for i in range(6)]
        assert s.gateway.metric("keyd_gateway_repeated_total") > 0


@test(on=SOFTHSM)
def resumption_that_is_tampered_with_leaves_nothing_in_the_next_session(token):
    """J08, J13: another nonce of the node, another session, no record; then a handshake."""
    forged = {}  # what comes again, as the device has asked again, is the same

    def change(data):
        if data[0] != RESUME | ANSWER:
            return data
        (session, nonce, record), _ = cbor.decode_from(data, 5)
        answers = ([session, bytes(len(nonce)), record], [bytes(len(session)), nonce, record],
                   [session, nonce, b""])
        if data not in forged:
            forged[data] = data[:5] + cbor.encode(answers[len(forged)])
        return forged[data]

    with Set(token) as s:
        proxy = Proxy(s.gateway.ports["udp"], lambda *_: 1, change)
        with Lib(s.keyd, "d", f"udp://127.0.0.1:{proxy.port}") as d:
            for i in range(3):
                assert d.ask("before") == "ok erofeb" and d.ask("!save") == "ok"
                s.keyd.restart()
                assert d.ask("after") == "ok retfa" and len(forged) == i + 1
                assert d.ask("more") == "ok erom"
            s.keyd.restart()  # the ticket was of the session before: it is not tried
            assert d.ask("again") == "ok niaga" and len(forged) == 3
        assert s.gateway.metric('keyd_gateway_frames_total{kind="resume"}') == 3


@test(on=SOFTHSM)
def server_that_has_much_to_do_is_shown_that_its_answers_are_heard(token):
    """Over UDP by its cookie; one that somebody forged ends in "busy", and harms nothing."""
    forging = [False]

    def change(data):
        return data[:5] + cbor.encode([RETRY, b"forged"]) if forging[0] else data

    with Set(token, Server(token, {"channel.handshakes-max": 8,
                                   "channel.handshake-timeout-ms": 600_000}).set_up()) as s:
        with s.keyd.device("many") as many:
            for _ in range(4):
                s.keyd.ok("/v1/handshakes", {"message": b64(many.begin())}, 201)
        proxy = Proxy(s.gateway.ports["udp"], lambda *_: 1,
                      lambda data: change(data) if data[0] == FAILURE else data)
        with Lib(s.keyd, "d", f"udp://127.0.0.1:{proxy.port}") as d:
            forging[0] = True
            said = d.ask("hello")
            assert said == "busy", said
            forging[0] = False
            assert d.ask("hello") == "ok olleh"
        assert s.gateway.metric('keyd_gateway_failures_total{code="retry"}') == 3
        assert s.backend.bodies() == [b"hello"]


@test(on=SOFTHSM)
def session_in_which_the_server_refuses_a_record_is_not_used_again(token):
    """J08, J09: where its keys or clock are other ones all would be refused; also after an update
    whose answer nobody got, or got another.  Nothing is delivered twice."""
    forged, known = [], set()  # an answer that comes again is none to what was asked since

    def change(data):
        is_new = data[1:5] not in known
        known.add(data[1:5])
        if not forged or not is_new or data[0] != forged[0] | ANSWER:
            return data
        kind = forged.pop()
        return data[:5] + b"x" if kind == UPDATE else head(FAILURE, 0)[:1] + data[1:5] + \
            cbor.encode([REFUSED])

    with Set(token) as s:
        proxy = Proxy(s.gateway.ports["udp"], lambda *_: 1, change)
        with Lib(s.keyd, "d", f"udp://127.0.0.1:{proxy.port}") as d:
            def handshakes():
                return s.gateway.metric('keyd_gateway_frames_total{kind="handshake"}')
            for i, (kind, line, error) in enumerate(((MESSAGE, "one", "refused"),
                                                     (UPDATE, "!update", "server"))):
                assert d.ask(f"before {i}") == f"ok {i} erofeb"
                n = handshakes()
                forged.append(kind)
                assert d.ask(line) == error and not forged and handshakes() == n
                assert d.ask(f"after {i}") == f"ok {i} retfa" and handshakes() == n + 2
                assert d.ask(f"more {i}") == f"ok {i} erom" and handshakes() == n + 2
        assert s.backend.bodies() == [b"before 0", b"one", b"after 0", b"more 0", b"before 1",
                                      b"after 1", b"more 1"]


@test(on=SOFTHSM)
def threads_share_a_device(token):
    """J14: each answer comes to who asked, while others renew keys and session."""
    with Set(token) as s:
        for server in (s.tcp, s.udp, s.http):
            with Lib(s.keyd, f"shared-{server.split(':')[0]}", server) as d:
                r = subprocess.run([THREADS, *d.argv, "12", "50"], capture_output=True, text=True,
                                   check=False, timeout=3000)
                assert r.stdout == "600\n" and r.returncode == 0, (server, r)
        bodies = s.backend.bodies()
        assert len(bodies) == 1800 and len(set(bodies)) == 600


@test(on=BOTH)
def device_receives_what_the_server_sends_unasked(token):
    """J03, J08, J12: while it asks, after new keys, and after the gateway was away."""
    with Set(token) as s:
        with Lib(s.keyd, "d", s.tcp) as d:
            assert d.ask("!receive 1") == "timeout"  # and by this it is known to the gateway

            def push(text):
                statuses = []
                t = threading.Thread(
                    target=lambda: statuses.append(s.gateway.push("d", text.encode())))
                t.start()
                assert d.ask("!receive 30000") == "ok " + text
                t.join()
                assert statuses == [204]

            push("first")
            assert d.ask("hello") == "ok olleh"
            push("second")
            for command in ("!update", "!connect"):
                assert d.ask(command) == "ok"
                push("after " + command)
            s.gateway.stop()
            assert d.ask("!receive 1000") == "transport"
            s.gateway.start()
            assert d.ask("!receive 1") == "timeout"
            push("back")
            s.keyd.restart()  # the session is resumed
            assert d.ask("hello") == "ok olleh"
            push("restarted")


class LosesOnce(Proxy):
    """Of pushes and their acknowledgements each datagram is lost the first time."""

    def __init__(self, port):
        super().__init__(port, lambda *_: 1)
        self.known = set()

    def pass_on(self, side, data, send):
        if data[0] in (PUSH, PUSH | ANSWER) and data not in self.known:
            self.known.add(data)
        else:
            send(data)


@test(on=SOFTHSM)
def device_receives_over_udp_what_was_lost_once(token):
    """J03, J09, J12: each message comes once, and its sender learns that it has."""
    with Set(token, push_timeout_ms=60000) as s:
        proxy = LosesOnce(s.gateway.ports["udp"])
        with Lib(s.keyd, "d", f"udp://127.0.0.1:{proxy.port}") as d:
            assert d.ask("!receive 1") == "timeout"  # by this the gateway knows the address
            statuses = []
            for i in range(3):
                t = threading.Thread(target=lambda i=i: statuses.append(
                    s.gateway.push("d", b"push %d" % i)))
                t.start()
                assert d.ask("!receive 30000") == f"ok push {i}"
            while len(statuses) < 3:
                assert d.ask("!receive 200") == "timeout"
            assert statuses == [204] * 3
        assert len(proxy.known) == 6


@test(on=BOTH)
def envelope_is_delivered_without_a_session(token):
    """J15"""
    with Set(token, Mailbox(token).set_up()) as s:
        key = expect(s.keyd.get("/v1/envelopes/key"), 200).json["pem"]
        for server in (s.tcp, s.udp, s.http):
            with Lib(s.keyd, f"sender-{server.split(':')[0]}", server, register=False,
                     envelope_key=key) as d:
                assert d.ask("!envelope before anything") == "ok"
                headers, body = s.backend.messages[-1]
                assert body == b"before anything" and "Keyd-Peer" not in headers
                assert unb64(headers["Keyd-Sender"]) == b"example"
        assert len(s.backend.messages) == 3
        assert s.gateway.metric('keyd_gateway_frames_total{kind="handshake"}') == 0


@test(on=SOFTHSM)
def many_devices_at_once(token):
    """J12, J14"""
    with Set(token) as s:
        devices = [Lib(s.keyd, f"d{i}", s.udp if i % 3 == 0 else s.tcp) for i in range(20)]

        def run(d, i):
            for n in range(20):
                text = f"{i}-{n}"
                assert d.ask(text) == "ok " + text[::-1]
            done.append(i)

        done = []
        threads = [threading.Thread(target=run, args=(d, i)) for i, d in enumerate(devices)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for d in devices:
            d.__exit__()
        assert len(done) == 20
        bodies = s.backend.bodies()
        assert len(bodies) == 400 and len(set(bodies)) == 400


if __name__ == "__main__":
    main()
