# SPDX-License-Identifier: Apache-2.0
"""Certificates by reference: peers that nobody registered, believed by their CA; certificates
that are fetched; and all that is wrong with either (A05-A07, A10, A11, J11)."""
import hashlib
import os
import re

from harness import BOTH, SOFTHSM, b64, expect, gateway, main, peer, test, unb64, wait_for
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
            "fetch.timeout-ms": 30_000,
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
            assert (session["peer"], session["registered"]) == ("pump-7", False), session
            opened = w.keyd.ok("/v1/records/open", {"record": b64(d.seal(b"x"))})
            assert (opened["peer"], opened["registered"]) == ("pump-7", False), opened
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
            assert e.connect(w.keyd)["registered"] is True
            assert "registered" not in w.peers()[0]


class Chain(gateway.Chain):
    """A gateway and a backend beside it."""

    def __init__(self, w, mode):
        self.keyd, self.backend = w.keyd, gateway.Backend()
        self.gateway = gateway.Gateway(w.keyd, self.backend, mode=mode).start()

    def told(self, talker):
        """What the backend is told of a message."""
        assert talker.message(b"abc") == (0, b"cba")
        headers, _ = self.backend.messages[-1]
        return headers["Keyd-Peer"], headers["Keyd-Registered"]


def backend_is_told(token, mode, config):
    """Whether anybody registered the peer, also after a resume."""
    w = World(token, config)
    w.web.__exit__()
    with Chain(w, mode) as c, w.device("pump-7") as d, w.keyd.device("known") as e:
        for device, yes in ((d, "no"), (e, "yes")):
            t = gateway.Talker(device, c.gateway.tcp()).connect()
            ticket = t.ticket()
            assert c.told(t) == c.told(t) == (device.name, yes)
            assert c.gateway.metric("keyd_gateway_own_records_total") > 0 or mode == "resident"
            t.resume(ticket, b"nonce")
            assert c.told(t) == (device.name, yes)
        # Registered now: what was there by trust alone has ended.
        t = gateway.Talker(d, c.gateway.tcp()).connect()
        w.keyd.ok("/v1/peers", {"name": "pump-7", "certificate": peer.pem(d.certificate)}, 201)
        assert c.told(t.connect()) == ("pump-7", "yes")


@test(on=SOFTHSM)
def the_backend_is_told_whether_anybody_registered_the_peer(token):
    """A11: Keyd-Peer alone does not say it."""
    backend_is_told(token, "resident", {})


@test(on=SOFTHSM)
def a_gateway_that_opens_itself_tells_whether_anybody_registered_the_peer(token):
    backend_is_told(token, "released", {"channel.profile": "released", "channel.root": None})


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
            expect(keyd.post("/v1/handshakes", {"message": b64(d.begin())}), 503,
                   "own-certificate")
            assert keyd.get("/v1/status").json["channel"]["certificate"]["expires_in_sec"] == 0
    assert "the certificate is not valid now" in keyd.log()
    keyd.stop()


if __name__ == "__main__":
    main()
