# SPDX-License-Identifier: Apache-2.0
"""Certificates by reference: peers that nobody registered, believed by their CA; certificates
that are fetched; and all that is wrong with either (A05-A07, A10, A11, J11)."""
import concurrent.futures
import hashlib
import os
import re
import signal
import socket
import time

from harness import (BOTH, SOFTHSM, b64, children, expect, is_alive, main, peer, test, unb64,
                     wait_for)
from harness.peer import Server
from harness.pki import Ca, CertifiedDevice, Web, chain_bytes, device_uris, head, raw_chain
from harness.tokens import BUILD, write

REFUSED = bytes([0x01, 0x67]) + b"refused"


class World:
    """A CA, a web server for certificates, and a keyd that believes the one and fetches from
    the other."""

    def __init__(self, token, config=None, crl=False):
        self.ca = Ca("root")
        self.web = Web(self.ca)
        self.anchors = os.path.join(token.directory, "anchors")
        self.crls = os.path.join(token.directory, "crls")
        write(self.anchors, self.ca.pem)
        write(self.crls, self.ca.crl())
        self.keyd = Server(token, {
            "trust.anchors-file": self.anchors, "trust.accept-unregistered": True,
            "trust.crl-file": self.crls if crl else None,
            "trust.required-uris": ["urn:keyd:server:s1", "urn:keyd:relation:*"],
            "fetch.allow-private": [self.web.base], "fetch.ca-file": self.anchors,
            "fetch.program": os.path.join(BUILD, "keyd-fetch"), **(config or {})}).set_up()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.web.__exit__()
        self.keyd.stop()

    def device(self, name, issued=None, named_by="chain"):
        return CertifiedDevice(self.keyd, name, issued or self.ca.issue(name), named_by)

    def on_web(self, name, path=None, issued=None, **page):
        """A device whose certificate is at a URI."""
        issued = issued or self.ca.issue(name)
        uri = self.web.serve(path or f"c/{name}", issued[1], **page)
        return CertifiedDevice(self.keyd, name, issued, uri)

    def step(self, device, method=0):
        """The answer to message_3."""
        first = self.keyd.ok("/v1/handshakes", {"message": b64(device.begin(method))}, 201)
        third = device.read(unb64(first["message"]))
        return self.keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)})

    def refuses(self, device, why, method=0):
        """The peer gets what every peer gets; the log has the reason."""
        before = len(self.keyd.log())
        r = expect(self.step(device, method), 422, "handshake-credential")
        assert unb64(r.json["message"]) == REFUSED, r
        log = self.keyd.log()[before:]
        assert re.search(f"detail={re.escape(why)}( unsaid=\\d+)?$", log, re.M), f"{why}\n{log}"

    def peers(self):
        return self.keyd.get("/v1/peers").json["peers"]


# ---- certificates that are sent ----

@test(on=SOFTHSM)
def what_nobody_vouches_for_is_refused_and_the_log_says_why(token):
    """A11, J11: whatever is wrong with a certificate that is sent is refused, and the log says why."""
    with World(token, {"trust.crl-file": os.path.join(token.directory, "crls")}) as w:
        other, twin = Ca("other"), Ca("root")
        good = w.ca.issue("good")
        revoked = w.ca.issue("revoked")
        w.ca.revoke(revoked[1])
        write(w.crls, w.ca.crl())
        w.keyd.hup()
        path = "a certificate of its path "
        cases = {
            "expired": (w.ca.issue("d", start=-20 * 86400), path + "has expired"),
            "future": (w.ca.issue("d", start=3600), path + "is not valid yet"),
            "issuer": (other.issue("d"), "no path leads to a trust anchor"),
            "look-alike": (twin.issue("d"), "no path leads to a trust anchor"),
            "usage": (w.ca.issue("d", usage="keyAgreement"),
                      "its key usage does not allow signatures"),
            "no-usage": (w.ca.issue("d", usage=""), "its key usage does not allow signatures"),
            "server": (w.ca.issue("d", extended="serverAuth"),
                       "its extended key usage is not that of a client"),
            "id": (w.ca.issue("d", ["urn:keyd:device:d", "urn:keyd:server:s2",
                                    "urn:keyd:relation:1"]),
                   "it lacks a URI of trust.required-uris"),
            "no-name": (w.ca.issue("d", device_uris("d")[1:]),
                        "it has no peer's name: no URI that begins with trust.peer-uri"),
            "two-names": (w.ca.issue("d", device_uris("d") + ["urn:keyd:device:e"]),
                          "it has two peers' names"),
            "sha-1": (w.ca.issue("d", md="sha1"), "a signature of its path is by a weak hash"),
            "revoked": (revoked, path + "is revoked"),
        }
        for name, (issued, why) in cases.items():
            with w.device(name, issued) as d:
                w.refuses(d, why)
        # A self-signed one with all the right names.
        lone = Ca("d")
        with w.device("self", lone.issue("d", key=open(lone.path("ca.key"), "rb").read())) as d:
            w.refuses(d, "it is self-signed and no trust anchor")
        with w.device("good", good) as d:
            d.connect(w.keyd)
        assert [p["name"] for p in w.peers()] == ["good"]


@test(on=SOFTHSM)
def a_certificate_without_its_key_is_refused(token):
    """Whoever has seen a certificate can send it."""
    with World(token) as w:
        own, other = w.ca.issue("mine"), w.ca.issue("other")
        with w.device("thief", (own[0], other[1])) as d:
            r = expect(w.step(d), 422)
            assert r.json["type"].endswith("handshake-not-authentic"), r
            assert w.peers() == []


@test(on=SOFTHSM)
def chains_are_taken_up_to_four_and_loops_and_longer_ones_are_not(token):
    """A10"""
    with World(token) as w:
        a = Ca("a", w.ca)
        b = Ca("b", a)
        own = b.issue("deep")
        with w.device("deep", own, raw_chain([own[1], b.der, a.der])) as d:
            d.be(raw_chain([own[1], b.der]))
            w.refuses(d, "no path leads to a trust anchor")
            d.be(raw_chain([own[1], b.der, a.der]))
            d.connect(w.keyd)
            d.be(raw_chain([own[1], b.der, a.der, b.der]))  # one of them twice
            d.connect(w.keyd)
        # Two CAs that certify each other.
        x = Ca("x")
        y = Ca("y", x)
        back = y._sign(y._request(x.path("ca.key"), "x"), "issuer", 0, 30)
        leaf = x.issue("d")
        with w.device("loop", leaf, raw_chain([leaf[1], back, y.der, back])) as d:
            w.refuses(d, "no path leads to a trust anchor")
        # Longer than four: no form that is used, and no message that is read.
        with w.device("long", own, raw_chain([own[1]] + [b"x" * 50] * 19)) as d:
            try:
                r = w.step(d)
                assert r.status == 422, r
            except peer.PeerError:
                pass  # the device's own library does not send it


@test(on=BOTH)
def a_stranger_is_a_peer_while_its_sessions_are(token):
    """A11, A10: x5chain, and what is done to a peer is done to this one."""
    with World(token) as w:
        with w.device("pump-7") as d, w.device("car") as e:
            session = d.connect(w.keyd)
            assert session["peer"] == "pump-7", session
            e.connect_reverse(w.keyd)
            found = {p["name"]: p for p in w.peers()}
            assert sorted(found) == ["car", "pump-7"], found
            assert found["car"]["registered"] is False
            record = unb64(w.keyd.seal(d, b"hello").json["record"])
            assert d.open(record)[2] == b"hello"
            # Again, now known by its fingerprint.
            d.be("x5t")
            other = d.connect(w.keyd)
            for s in (session, other):
                expect(w.keyd.delete("/v1/sessions/" + s["session"]), 204)
            assert [p["name"] for p in w.peers()] == ["car"]
            # Deleted: its session ends; it may come back, as its certificate is good still.
            expect(w.keyd.delete("/v1/peers/car"), 204)
            assert w.peers() == [] and w.keyd.get("/v1/sessions").json["sessions"] == []
            e.connect(w.keyd)
            # Registered: what was there by trust alone ends, and the registration counts.
            w.keyd.ok("/v1/peers", {"name": "car", "certificate": peer.pem(e.certificate)}, 201)
            assert w.keyd.get("/v1/sessions").json["sessions"] == []
            e.connect(w.keyd)
            assert "registered" not in w.peers()[0]


@test(on=SOFTHSM)
def a_session_ends_with_the_certificate(token):
    with World(token) as w:
        with w.device("d", w.ca.issue("d", days=0.01)) as d:
            d.connect(w.keyd)
            assert 800 <= int(d.tell("terms")[1]) <= 864, d.tell("terms")


@test(on=SOFTHSM)
def a_certificate_of_a_megabyte_is_no_message(token):
    with World(token) as w:
        with w.device("d") as d:
            first = w.keyd.ok("/v1/handshakes", {"message": b64(d.begin())}, 201)
            path = "/v1/handshakes/" + first["handshake"]
            expect(w.keyd.post(path, {"message": b64(bytes(1_000_000))}), 413,
                   "item-too-large")
            third = d.read(unb64(first["message"]))
            w.keyd.ok(path, {"message": b64(third)})  # nothing has happened to the handshake


@test(on=SOFTHSM)
def a_registered_name_is_not_taken_by_another_certificate(token):
    with World(token) as w:
        with w.device("car") as first, w.device("car") as second:
            w.keyd.ok("/v1/peers", {"name": "car", "certificate": peer.pem(first.certificate)},
                      201)
            w.refuses(second, "a peer of its name is registered with another certificate")
            first.connect(w.keyd)


@test(on=SOFTHSM)
def a_renewed_certificate_takes_the_place_of_the_old_one(token):
    """A05: the device sends the new one itself; the name has one certificate at a time."""
    with World(token) as w:
        with w.device("car") as old, w.device("car") as new:
            gone = old.connect(w.keyd)
            new.connect(w.keyd)
            expect(w.keyd.get("/v1/sessions/" + gone["session"]), 404)
            assert len(w.peers()) == 1
            assert "why=peer-changed" in w.keyd.log()


@test(on=SOFTHSM)
def nobody_is_believed_unless_it_is_allowed(token):
    with World(token, {"trust.accept-unregistered": False, "fetch.allow-private": None}) as w:
        with w.device("d") as d:
            w.refuses(d, "no peer with this credential is registered")


@test(on=SOFTHSM)
def the_usage_must_be_that_of_the_method(token):
    """A10: static Diffie-Hellman needs keyAgreement."""
    with World(token, {"channel.methods": [0, 2]}) as w:
        with w.device("sign") as s, w.device("agree", w.ca.issue("agree", usage="keyAgreement")) \
                as a, w.device("both", w.ca.issue("both", usage="digitalSignature,keyAgreement")) \
                as b:
            w.refuses(s, "its key usage does not allow key agreement", method=2)
            w.refuses(a, "its key usage does not allow signatures", method=0)
            s.connect(w.keyd)
            s.be("x5t")  # known by now
            w.refuses(s, "its key usage does not allow this method", method=2)
            a.connect(w.keyd, method=2)
            b.connect(w.keyd)
            b.connect(w.keyd, method=2)


@test(on=SOFTHSM)
def a_revocation_ends_sessions_at_the_next_reload(token):
    with World(token, crl=True) as w:
        with w.device("good") as good, w.device("bad") as bad:
            kept = good.connect(w.keyd)
            lost = bad.connect(w.keyd)
            w.ca.revoke(bad.certificate)
            write(w.crls, w.ca.crl())
            w.keyd.hup()
            expect(w.keyd.get("/v1/sessions/" + lost["session"]), 404)
            expect(w.keyd.get("/v1/sessions/" + kept["session"]), 200)
            w.refuses(bad, "a certificate of its path is revoked")
            # A file that cannot be read changes nothing.
            write(w.crls, "rubbish")
            w.keyd.hup()
            wait_for(lambda: "it has no revocation list in PEM" in w.keyd.log(), what="the log")
            w.refuses(bad, "a certificate of its path is revoked")
            good.connect(w.keyd)


# ---- certificates that are fetched ----

@test(on=BOTH)
def a_certificate_is_fetched_by_its_uri(token):
    """A11: x5u alone, and with the fingerprint; one certificate, and a chain."""
    with World(token) as w:
        with w.on_web("one") as one, w.on_web("two") as two:
            assert one.connect(w.keyd)["peer"] == "one"
            one.connect_reverse(w.keyd)
            two.be("x5t+" + two.named_by)
            assert two.connect(w.keyd)["peer"] == "two"
            found = {p["name"]: p["uri"] for p in w.peers()}
            assert found == {"one": one.named_by, "two": two.named_by}, found
            asked = dict(w.web.asked)
            two.connect(w.keyd)  # with the fingerprint it is known while it has sessions
            assert w.web.asked == asked, w.web.asked
            one.connect(w.keyd)  # by the URI alone it is asked for each time
            assert w.web.asked["c/one"] == asked["c/one"] + 1
        middle = Ca("middle", w.ca)
        issued = middle.issue("three")
        uri = w.web.serve("c/three", chain_bytes([issued[1], middle.der]),
                          "application/cose-x509; usage=chain")
        with w.device("three", issued, uri) as three:
            assert three.connect(w.keyd)["peer"] == "three"


@test(on=SOFTHSM)
def what_a_uri_leads_to_is_refused_and_the_log_says_why(token):
    """A11, J11: the same for certificates that are fetched."""
    with World(token, {"fetch.timeout-ms": 1500}) as w:
        own, other = w.ca.issue("d"), w.ca.issue("other")
        allowed = "its URI is not allowed"
        size = "the answer from its URI is empty or too large"
        cases = {
            w.web.base + "redirect": "its URI redirects, which is not followed",
            w.web.base + "never/1": "the answer from its URI took too long",
            w.web.serve("slow/1", own[1]): "the answer from its URI took too long",
            w.web.base + "endless": size,
            w.web.base + "huge": size,
            w.web.serve("empty", b""): size,
            w.web.base + "nothing-here": "its URI does not answer with 200",
            w.web.serve("html", own[1], "text/html"):
                "the answer from its URI is not of a certificate's type",
            w.web.serve("bag", own[1], "application/cose-x509"):
                "the answer from its URI is not of a certificate's type",
            w.web.serve("no-chain", own[1], "application/cose-x509; usage=chains; x-usage=chain"):
                "the answer from its URI is not of a certificate's type",
            w.web.serve("rubbish", b"rubbish"): "a certificate of its chain cannot be read",
            w.web.serve("chain", b"\x85\x41\x00", "application/cose-x509;usage=chain"):
                "what its URI leads to is no chain of certificates",
            w.web.base.replace("https://", "https://user:secret@"): allowed,
            w.web.base.replace("https://", "http://") + "x": allowed,
            w.web.base + "../x": allowed, w.web.base + "%2e%2e/x": allowed,
            w.web.base + "x?y": allowed, "file:///etc/passwd": allowed,
            "https://127.0.0.1:1/x": allowed, "https://10.0.0.1/x": allowed,
        }
        with w.device("d", own, "x5t") as d:
            for uri, why in cases.items():
                d.be(uri)
                w.refuses(d, why)
            # Another device's certificate: its fingerprint shows it, or else the proof does.
            uri = w.web.serve("swapped", other[1])
            d.be("x5t+" + uri)
            w.refuses(d, "the certificate at its URI does not have the fingerprint that it names")
        assert w.peers() == [] and "good" not in w.web.asked, w.web.asked
        with w.device("d", own, w.web.serve("swapped-2", other[1])) as d:
            expect(w.step(d), 422)
        assert w.peers() == []
        with w.on_web("fine") as fine:
            fine.connect(w.keyd)


@test(on=SOFTHSM)
def an_address_that_is_not_public_is_not_connected_to(token):
    """Also where a name leads to it, and only an explicit list allows it."""
    with World(token) as w:
        port = w.web.base.rsplit(":", 1)[1]
        bases = [f"https://127.0.0.1:{port}", f"https://localhost:{port}",
                 f"https://[::ffff:127.0.0.1]:{port}", f"https://[::1]:{port}",
                 "https://10.0.0.1/", "https://192.168.1.1/", "https://169.254.169.254/",
                 "https://[fe80::1]/", "https://0.0.0.0/", "https://2130706433/"]
        w.keyd.stop()
        w.keyd.set_config({**w.keyd.channel, "fetch.allow-private": None,
                           "fetch.allow": bases})
        w.keyd.start()
        issued = w.ca.issue("d")
        w.web.serve("c/d", issued[1])
        with w.device("d", issued, "x5t") as d:
            for base in bases:
                d.be(base + "c/d")
                w.refuses(d, "the host of its URI is at an address that is not public")
        assert w.web.asked == {}, w.web.asked
        metrics = w.keyd.get("/metrics").body.decode()
        assert f'keyd_channel_fetches_total{{result="address"}} {len(bases)}' in metrics, metrics


@test(on=SOFTHSM)
def a_host_that_takes_the_connection_and_says_nothing_costs_the_timeout(token):
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))  # and does not listen
        bases = [f"https://127.0.0.1:{s.getsockname()[1]}/" for s in (mute, shut)]
        with World(token, {"fetch.allow-private": bases, "fetch.timeout-ms": 700}) as w:
            with w.device("d", named_by=bases[0] + "c/d") as d:
                before = time.monotonic()
                w.refuses(d, "the answer from its URI took too long")
                assert time.monotonic() - before >= 0.6
                d.be(bases[1] + "c/d")
                w.refuses(d, "nobody answers at its URI")


@test(on=SOFTHSM)
def a_web_server_that_is_not_trusted_gives_nothing(token):
    with World(token) as w, Web(Ca("other")) as other:
        w.keyd.stop()
        w.keyd.set_config({**w.keyd.channel, "fetch.allow-private": [other.base]})
        w.keyd.start()
        issued = w.ca.issue("d")
        with w.device("d", issued, other.serve("c/d", issued[1])) as d:
            w.refuses(d, "the server at its URI is not trusted")
        assert other.asked == {}


@test(on=SOFTHSM)
def the_environment_has_no_say_in_a_fetch(token):
    """A proxy, a key log or another resolver's options would be an intruder's joy."""
    with World(token) as w:
        w.keyd.stop()
        keys = os.path.join(token.directory, "tls-keys")
        w.keyd.environment = {"https_proxy": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1",
                              "SSLKEYLOGFILE": keys, "SSL_CERT_FILE": "/dev/null"}
        w.keyd.start()
        with w.on_web("d") as d:
            d.connect(w.keyd)
        assert not os.path.exists(keys)


@test(on=SOFTHSM)
def a_failure_is_remembered_for_a_while(token):
    with World(token, {"fetch.failed-for": 3600, "fetch.failed-max": 2}) as w:
        with w.device("d", named_by="x5t") as d:
            for path in ("no/1", "no/1", "no/2", "no/2"):
                d.be(w.web.base + path)
                expect(w.step(d), 422, "handshake-credential")
            assert w.web.asked == {"no/1": 1, "no/2": 1}, w.web.asked
            d.be(w.web.base + "no/3")  # takes the place of the first
            expect(w.step(d), 422, "handshake-credential")
            d.be(w.web.base + "no/1")
            expect(w.step(d), 422, "handshake-credential")
            assert w.web.asked == {"no/1": 2, "no/2": 1, "no/3": 1}, w.web.asked


def prepare(w, device, uris):
    """(path, message_3) for a handshake of each URI."""
    steps = []
    for uri in uris:
        device.be(uri)
        first = w.keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
        third = device.read(unb64(first["message"]))
        steps.append(("/v1/handshakes/" + first["handshake"], {"message": b64(third)}))
    return steps


@test(on=SOFTHSM)
def a_thousand_unknown_uris_at_once_hold_up_nobody_else(token):
    # All are begun first, which may take longer than a handshake may otherwise.
    with World(token, {"channel.handshakes-max": 2000, "channel.handshakes-retry": 1100,
                       "channel.handshake-timeout-ms": 300_000,
                       "workers.processes": 3}) as w:
        n, pending = 1000, 64
        w.keyd.hup()
        with w.device("flood", named_by="x5t") as flood, w.device("known") as known:
            known.connect(w.keyd)
            steps = prepare(w, flood, [f"{w.web.base}never/{i}" for i in range(n)])

            def send(step):
                with w.keyd.client() as c:
                    return c.post(*step)

            with concurrent.futures.ThreadPoolExecutor(100) as pool:
                answers = [pool.submit(send, s) for s in steps]
                wait_for(lambda: len(w.web.asked) >= pending, what="the first fetches")
                # Others go on meanwhile.
                session = known.connect(w.keyd)
                assert session["peer"] == "known"
                record = unb64(w.keyd.seal(known, b"still here").json["record"])
                assert known.open(record)[2] == b"still here"
                report = w.keyd.get("/v1/status").json["channel"]["fetch"]
                assert report["pending"] <= pending, report
                kinds = {}
                for a in answers:
                    r = a.result()
                    assert unb64(r.json["message"]) == REFUSED, r
                    name = r.json["type"].rsplit("/", 1)[-1].rsplit(":", 1)[-1]
                    kinds[name] = kinds.get(name, 0) + 1
            assert sum(kinds.values()) == n, kinds
            assert set(kinds) <= {"handshake-credential", "busy"}, kinds
            status = w.keyd.get("/v1/status").json["channel"]
            assert status["handshakes"] == 0 and status["fetch"]["pending"] == 0, status
            assert w.keyd.get("/v1/peers").json["peers"][0]["name"] == "known"


@test(on=SOFTHSM)
def one_uri_is_fetched_once_for_all_who_wait(token):
    with World(token, {"fetch.timeout-ms": 1000}) as w:
        with w.device("d", named_by="x5t") as d:
            steps = prepare(w, d, [w.web.base + "never/one"] * 20)

            def send(step):
                with w.keyd.client() as c:
                    return c.post(*step)

            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                for r in pool.map(send, steps):
                    expect(r, 422, "handshake-credential")
        assert w.web.asked == {"never/one": 1}, w.web.asked


@test(on=SOFTHSM)
def a_handshake_ends_in_its_time_while_its_certificate_is_fetched(token):
    with World(token, {"fetch.timeout-ms": 20000, "channel.handshake-timeout-ms": 1500}) as w:
        with w.device("d", named_by=w.web.base + "never/late") as d:
            before = time.monotonic()
            r = expect(w.step(d), 504, "deadline")
            assert time.monotonic() - before < 15
            assert unb64(r.json["message"]) == REFUSED, r


@test(on=SOFTHSM)
def who_waits_for_a_certificate_is_answered_when_keyd_must_stop(token):
    with World(token, {"fetch.timeout-ms": 30000}) as w:
        with w.device("d", named_by=w.web.base + "never/stop") as d, \
                concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(w.step, d)
            wait_for(lambda: w.web.asked, what="the fetch")
            before = time.monotonic()
            w.keyd.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "info main stopping" in w.keyd.log(), what="the log")
            w.keyd.stop()  # asked twice: at once
            assert time.monotonic() - before < 20
            r = answer.result()
            assert r.status == 503 and unb64(r.json["message"]) == REFUSED, r
        w.keyd.start()


# ---- how the server names itself ----

def fingerprint(number, name, der):
    """{34: [hash, value]} by another implementation."""
    size = {"sha256/64": 8, "shake128": 32, "shake256": 64}.get(name, 0)
    h = hashlib.new({"sha256/64": "sha256", "sha512/256": "sha512_256"}.get(
        name, name.replace("shake", "shake_")), der)
    value = h.digest(size)[:size] if name.startswith("shake") else h.digest()[:size or None]
    return b"\xa1\x18\x22\x82" + cbor_int(number) + cbor_bytes(value)


def cbor_int(n):
    return head(1, -1 - n)


def cbor_bytes(b):
    return head(2, len(b)) + b


HASHES = {"sha-256/64": (-15, "sha256/64"), "sha-256": (-16, "sha256"),
          "sha-512/256": (-17, "sha512/256"), "shake128": (-18, "shake128"),
          "sha-384": (-43, "sha384"), "sha-512": (-44, "sha512"), "shake256": (-45, "shake256")}


@test(on=SOFTHSM)
def the_server_names_itself_as_it_is_told_and_asked(token):
    """A06, A07"""
    uri = "https://pki.example/s/1"
    keyd = Server(token, {"channel.certificate-uri": uri, "channel.x5t-hash": "sha-256"}).set_up()
    der = keyd.own_certificate
    x5u = b"\x18\x23\xd8\x20" + head(3, len(uri)) + uri.encode()
    sha256 = fingerprint(-16, "sha256", der)
    chain = b"\xa1\x18\x21" + cbor_bytes(der)
    with keyd.device("d") as d:
        def named(form, hash_=0):
            d.tell("ask", form, hash_)
            d.connect(keyd)
            return bytes.fromhex(d.tell("named")[0])

        assert named(0) == sha256
        assert named(1) == sha256
        assert named(2) == b"\xa1" + x5u
        assert named(3) == b"\xa2" + sha256[1:] + x5u
        assert named(4) == chain
        for number, name in HASHES.values():
            assert named(1, number) == fingerprint(number, name, der), name
        # What is not known, or weak, is no wish: SHA-1 is -14, MD5 has no number.
        for form, hash_ in ((5, 0), (99, 0), (1, -14), (1, -1), (1, -46), (1, 5)):
            assert named(form, hash_) == sha256, (form, hash_)
        for setting, expected in (("x5u", b"\xa1" + x5u), ("x5chain", chain),
                                  ("x5u+x5t", b"\xa2" + sha256[1:] + x5u)):
            keyd.stop()
            keyd.set_config({**keyd.channel, "channel.id-cred": setting})
            keyd.start()
            assert named(0) == expected, setting
            d.connect_reverse(keyd)
            assert bytes.fromhex(d.tell("named")[0]) == expected, setting
        for name, (number, kind) in HASHES.items():
            keyd.stop()
            keyd.set_config({**keyd.channel, "channel.x5t-hash": name})
            keyd.start()
            assert named(0) == fingerprint(number, kind, der), name
    keyd.stop()


@test(on=SOFTHSM)
def the_servers_chain_goes_with_its_certificate(token):
    """A10"""
    keyd = Server(token, {"channel.id-cred": "x5chain"}).set_up()
    middle = Ca("middle", Ca("root"))
    with open(keyd.certificate_file, "a", encoding="utf-8") as f:
        f.write(middle.pem)
    keyd.hup()
    with keyd.device("d") as d:
        d.connect(keyd)
        assert bytes.fromhex(d.tell("named")[0]) == b"\xa1\x18\x21" + \
            chain_bytes([keyd.own_certificate, middle.der])
    keyd.stop()


@test(on=SOFTHSM)
def the_expiry_of_the_own_certificate_is_seen_before_it_is_used(token):
    keyd = Server(token).set_up()
    keyd.hup()  # the file was written when keyd ran
    own = keyd.get("/v1/status").json["channel"]["certificate"]
    assert 29 * 86400 < own["expires_in_sec"] <= 30 * 86400, own
    assert "expires soon" not in keyd.log()
    ca = Ca("ca")
    point = keyd.get("/v1/keys/identity").json["versions"][0]["pem"].encode()
    for start, days in ((0, 5), (-20 * 86400, 10)):
        with open(keyd.certificate_file, "w", encoding="utf-8") as f:
            keyd.own_certificate = ca.certify(point, "server", start, days)
            f.write(peer.pem(keyd.own_certificate))
        keyd.hup()
        wait_for(lambda: keyd.log().count("expires soon, or has expired") == (2 if start else 1),
                 what="the warning")
        metrics = keyd.get("/metrics").body.decode()
        left = float(re.search(r"^keyd_channel_certificate_expires_seconds (-?\d+)", metrics,
                               re.M).group(1))
        assert (left < 0) == (start != 0) and left <= 5 * 86400, left
        with keyd.device(f"d{days}") as d:
            if not start:
                d.connect(keyd)
                continue
            expect(keyd.post("/v1/handshakes", {"message": b64(d.begin())}), 400, "config")
            assert keyd.get("/v1/status").json["channel"]["certificate"]["expires_in_sec"] == 0
    assert "the certificate is not valid now" in keyd.log()
    keyd.stop()


# ---- the process ----

def fetcher(keyd):
    for pid in children(keyd.pid):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if f.read().startswith(os.path.join(BUILD, "keyd-fetch").encode()):
                return pid
    return None


@test(on=SOFTHSM)
def the_process_that_fetches_can_do_little_else(token):
    with World(token) as w:
        pid = wait_for(lambda: fetcher(w.keyd), what="keyd-fetch")
        with w.on_web("d") as d:
            d.connect(w.keyd)
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            status = dict(re.findall(r"^(\w+):\s+(.*)$", f.read(), re.M))
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert b"SOFTHSM" not in f.read()
        links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        assert not [x for x in links if "sqlite" in x or "softhsm" in x or "keyd.db" in x], links
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            maps = f.read()
        for library in ("libsofthsm", "libsqlite3"):
            assert library not in maps, library


@test(on=SOFTHSM)
def a_process_that_says_what_it_should_not_is_replaced(token):
    """What comes from keyd-fetch is not believed either."""
    program = os.path.join(token.directory, "liar")
    for said in (r"\377\377\377\377x", r"\0\0\0\0", r"\0\0\0\6\0\0\0\1\1\0",
                 r"\0\0\0\11\0\0\0\1\143\0\0\0\0"):
        write(program, f"#!/bin/sh\nprintf '{said}' >&3\nexec sleep 600\n", 0o700)
        with World(token, {"fetch.program": program}) as w:
            wait_for(lambda: w.keyd.get("/v1/status").json["channel"]["fetch"]["restarts"] >= 2,
                     what="restarts")
            assert "it said what is no answer" in w.keyd.log()
            with w.on_web("far") as far, w.device("near") as near:
                r = w.step(far)
                assert r.status in (422, 503) and unb64(r.json["message"]) == REFUSED, r
                near.connect(w.keyd)


@test(on=SOFTHSM)
def the_process_that_fetches_is_started_again(token):
    with World(token) as w:
        for kind in (signal.SIGKILL, signal.SIGABRT):
            pid = wait_for(lambda: fetcher(w.keyd), what="keyd-fetch")
            os.kill(pid, kind)
            wait_for(lambda: not is_alive(pid), what="its end")
            wait_for(lambda: fetcher(w.keyd) not in (None, pid), what="another")
        with w.on_web("d") as d:
            d.connect(w.keyd)
        # One that hangs is noticed by those who wait for it.
        pid = fetcher(w.keyd)
        os.kill(pid, signal.SIGSTOP)
        with w.on_web("e") as e:
            r = w.step(e)
            assert r.status == 503 and unb64(r.json["message"]) == REFUSED, r
            assert not is_alive(pid)
            wait_for(lambda: fetcher(w.keyd), what="another")
            wait_for(lambda: w.keyd.get("/v1/status").json["channel"]["fetch"]["running"],
                     what="its start")
            e.connect(w.keyd)
        assert w.keyd.get("/v1/status").json["channel"]["fetch"]["restarts"] >= 3


if __name__ == "__main__":
    main()
