# SPDX-License-Identifier: Apache-2.0
"""The bootstrap server: devices enrol, renew, are revoked, and make sessions; curl and
openssl judge requests and answers."""
import base64
import hashlib
import json
import os
import sqlite3
import ssl
import time

from harness import BOTH, SOFTHSM, b64, expect, main, oracle, peer, raw, status_of, test, unb64
from harness.boot import BASE, EST, Bootstrap, Issued, Owner, certificates


def problem(answer, status, type_):
    assert answer[0] == status, answer
    assert json.loads(answer[2])["type"] == "urn:keyd:problem:" + type_, answer


def text_of(der):
    return oracle.openssl("x509", "-inform", "DER", "-noout", "-text", data=der).decode()


def verify(keyd, der, *more):
    """openssl's judgement of a certificate under the CA's."""
    with oracle.Files(cert=peer.pem(der).encode()) as path:
        return oracle.openssl("verify", "-x509_strict", *more, "-CAfile", keyd.ca_file,
                              path("cert"), check=False)


def serial(der):
    return oracle.openssl("x509", "-inform", "DER", "-noout", "-serial", data=der)


# ---- enrolment -------------------------------------------------------------

@test(on=BOTH)
def A02_A04_a_device_enrols_and_openssl_believes_its_certificate(token):
    keyd = Bootstrap(token).set_up()
    owner = Owner("sensor-7")
    secret = keyd.enrol("sensor-7", relation="field-2")
    answer = owner.enroll(keyd, secret)
    assert answer[0] == 200, answer
    assert verify(keyd, owner.certificate, "-purpose", "sslclient") is not None
    text = text_of(owner.certificate)
    for wanted in ("URI:urn:keyd:device:sensor-7", "URI:urn:keyd:server:hub",
                   "URI:urn:keyd:relation:field-2", f"URI:{BASE}/c/hub/sensor-7", "CA:FALSE",
                   "Digital Signature", "Subject: CN = sensor-7", "Issuer: CN = test CA"):
        assert wanted in text, (wanted, text)
    device = keyd.get("/v1/devices/sensor-7").json
    assert device["state"] == "active" and device["uri"] == f"{BASE}/c/hub/sensor-7", device
    assert oracle.der_of(device["certificate"].encode()) == owner.certificate
    assert "secret" not in device and "secret_expires" not in device, device
    assert keyd.get("/v1/peers/sensor-7").json["uri"] == device["uri"]
    keyd.stop()
    assert secret not in keyd.log()


@test(on=SOFTHSM)
def a_p384_ca_and_p384_devices_work(token):
    keyd = Bootstrap(token).set_up(type_="ec-p384", ca="ec-p384")
    owner = Owner("d", "ec-p384")
    assert owner.enroll(keyd, keyd.enrol("d"))[0] == 200
    assert verify(keyd, owner.certificate) is not None
    assert "ecdsa-with-SHA384" in text_of(owner.certificate)
    attributes = keyd.curl(EST + "csrattrs")
    parsed = oracle.openssl("asn1parse", "-inform", "DER", data=base64.b64decode(attributes[2]))
    assert b"secp384r1" in parsed and b"ecdsa-with-SHA384" in parsed, parsed
    keyd.stop()


@test(on=SOFTHSM)
def a_secret_is_good_once_and_only_for_its_own_device_and_time(token):
    keyd = Bootstrap(token).set_up()
    a, b = Owner("a"), Owner("b")
    secret, others = keyd.enrol("a"), keyd.enrol("b")
    for user, given in (("a", "wrong"), ("a", others), ("a", secret[:-1]), ("a", secret + "A"),
                        ("nobody", secret), ("../a", secret), ("", secret), ("a", "")):
        problem(a.enroll(keyd, given, user=user or ":"), 401, "enrolment")
    problem(keyd.post_request("simpleenroll", a.request()), 401, "enrolment")
    problem(keyd.post_request("simpleenroll", a.request(), "-H", "Authorization: Bearer " + secret),
            401, "enrolment")
    problem(keyd.post_request("simpleenroll", a.request(), "-H", "Authorization: Basic !!!"),
            401, "enrolment")
    status, headers, _ = a.enroll(keyd, "wrong")
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="keyd"')
    assert a.enroll(keyd, secret)[0] == 200
    problem(a.enroll(keyd, secret), 401, "enrolment")  # used up
    problem(b.enroll(keyd, secret), 401, "enrolment")
    assert b.enroll(keyd, others)[0] == 200
    keyd.enrol("short", secret_lifetime=1)
    problem(Owner("short").enroll(keyd, secret), 401, "enrolment")
    late = keyd.ok("/v1/devices/short/secret", {"secret_lifetime": 1})
    time.sleep(1.1)
    problem(Owner("short").enroll(keyd, late["secret"]), 401, "enrolment")
    new = keyd.ok("/v1/devices/short/secret", {})["secret"]
    problem(Owner("short").enroll(keyd, late["secret"]), 401, "enrolment")
    assert Owner("short").enroll(keyd, new)[0] == 200
    for reason in ("its secret is wrong", "there is no such device", "has used it",
                   "its secret has expired"):
        assert reason in keyd.log(), reason
    keyd.stop()


@test(on=SOFTHSM)
def a_request_that_is_not_good_is_refused_and_uses_no_secret(token):
    keyd = Bootstrap(token).set_up()
    owner, other = Owner("a"), Owner("b")
    secret = keyd.enrol("a")
    good = owner.request()
    forged = bytearray(good)
    forged[-1] ^= 1
    rsa = oracle.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    with oracle.Files(key=rsa) as path:
        rsa = oracle.openssl("req", "-new", "-key", path("key"), "-subj", "/CN=a", "-outform",
                             "DER")
    bad = [bytes(forged), rsa, b"", good[:-1], good + b"\0", b"\x30\x80" + good[2:],
           other.request(), owner.request(subject="/CN=b"), owner.request("-sha1"),
           owner.request("-addext", "subjectAltName=URI:urn:keyd:device:b"),
           owner.request("-addext", "subjectAltName=DNS:hub"),
           owner.request("-addext", "basicConstraints=CA:TRUE")]
    for i, request in enumerate(bad):
        answer = keyd.post_request("simpleenroll", request, "-u", "a:" + secret)
        assert answer[0] == 400, (i, answer)
        problem(answer, 400, "bad-csr" if request else json.loads(answer[2])["type"].split(":")[-1])
    # Not base64, another media type, too long.
    path = EST + "simpleenroll"
    media = ["-H", "Content-Type: application/pkcs10", "-u", "a:" + secret]
    problem(keyd.curl(path, *media, data=b"-----BEGIN CERTIFICATE REQUEST-----"), 400, "bad-csr")
    problem(keyd.curl(path, *media, data=base64.b64encode(bytes(9000))), 413, "item-too-large")
    problem(keyd.curl(path, "-H", "Content-Type: application/json", "-u", "a:" + secret,
                      data=b"{}"), 415, "media-type")
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/pkcs10\r\n" \
        f"Content-Length: {1 << 20}\r\nConnection: close\r\n\r\n"
    answer = raw(keyd.devices_address, head.encode() + bytes(1 << 20), tls=ssl.create_default_context(
        cafile=keyd.tls_file))
    assert status_of(answer) == 413 and b"body-too-large" in answer, answer
    assert keyd.get("/v1/devices/a").json["state"] == "enrolled"
    assert owner.enroll(keyd, secret)[0] == 200
    keyd.stop()


@test(on=SOFTHSM)
def the_two_servers_have_nothing_of_each_other(token):
    keyd = Bootstrap(token).set_up()
    for path in ("/v1/keys", "/v1/status", "/v1/devices", "/metrics", "/openapi.json", "/healthz",
                 "/", "/c", "/c/", "/c/hub", "/c/hub/", "/c//a", "/c/hub/a/b", "/.well-known/est"):
        problem(keyd.curl(path), 404, "no-such-route")
    problem(keyd.curl("/v1/keys", "-H", "Authorization: Bearer other-token"), 404, "no-such-route")
    for path in (EST + "cacerts", EST + "csrattrs", "/c/hub/a", "/provision"):
        expect(keyd.get(path), 404, "no-such-route")
    problem(keyd.curl(EST + "simpleenroll"), 405, "method-not-allowed")
    expect(keyd.post("/v1/keys/ca/sign", {"data": ""}), 409, "key-reserved")
    expect(keyd.delete("/v1/keys/ca"), 409, "key-reserved")
    keyd.stop()


@test(on=SOFTHSM)
def the_version_that_the_ca_s_certificate_is_of_stays_until_there_is_another(token):
    keyd = Bootstrap(token).set_up()
    keyd.ok("/v1/keys/ca/rotate", {}, 201)
    expect(keyd.delete("/v1/keys/ca/versions/1"), 409, "version-certified")
    owner = Owner("before")
    assert owner.enroll(keyd, keyd.enrol("before"))[0] == 200
    keyd.write_pem(keyd.ca_file, keyd.ok("/v1/ca/root", {"subject": "next CA"})["certificate"])
    expect(keyd.delete("/v1/keys/ca/versions/1"), 409, "version-certified")  # not read yet
    keyd.hup()
    expect(keyd.delete("/v1/keys/ca/versions/1"), 204)
    assert Owner("after").enroll(keyd, keyd.enrol("after"))[0] == 200
    keyd.stop()


# ---- reading ---------------------------------------------------------------

@test(on=SOFTHSM)
def A03_a_certificate_is_found_by_its_uri_with_headers_for_caches(token):
    keyd = Bootstrap(token).set_up()
    owner = Owner("sensor-7")
    secret = keyd.enrol("sensor-7")
    problem(keyd.curl("/c/hub/sensor-7"), 404, "no-such-device")  # none yet
    owner.enroll(keyd, secret)
    status, headers, body = keyd.curl("/c/hub/sensor-7")
    assert (status, body) == (200, owner.certificate), (status, headers)
    assert headers["content-type"] == "application/pkix-cert"
    assert headers["cache-control"] == "public, max-age=300, must-revalidate"
    etag = headers["etag"]
    assert etag == '"' + hashlib.sha256(owner.certificate).hexdigest()[:32] + '"'
    status, headers, body = keyd.curl("/c/hub/sensor-7", "-H", "If-None-Match: " + etag)
    assert (status, body, headers["etag"]) == (304, b"", etag)
    for path in ("/c/hub/sensor-8", "/c/other/sensor-7", "/c/hu/sensor-7", "/c/hubb/sensor-7"):
        problem(keyd.curl(path), 404, "no-such-device")
    keyd.ok("/v1/devices/sensor-7/revoke", {})
    problem(keyd.curl("/c/hub/sensor-7"), 404, "no-such-device")
    keyd.stop()


@test(on=SOFTHSM)
def A04_A07_provisioning_says_all_that_a_device_needs(token):
    keyd = Bootstrap(token).set_up()
    owner = Owner("d")
    secret = keyd.enrol("d", relation="r")
    problem(keyd.curl("/provision"), 401, "enrolment")
    before = json.loads(owner.provision(keyd, secret)[2])  # does not use it up
    assert "certificate" not in before["device"], before
    owner.enroll(keyd, secret)
    status, _, body = owner.provision(keyd)
    p = json.loads(body)
    assert status == 200, body
    assert oracle.der_of(p["device"]["certificate"].encode()) == owner.certificate
    assert (p["device"]["id"], p["device"]["relation"], p["server"]["id"]) == ("d", "r", "hub"), p
    own = oracle.der_of(p["server"]["certificate"].encode())
    assert own == keyd.own_certificate
    assert p["server"]["hash"] == "sha-256/64"
    assert unb64(p["server"]["fingerprint"]) == hashlib.sha256(own).digest()[:8]
    assert verify(keyd, own) is not None
    with open(keyd.ca_file, encoding="ascii") as f:
        assert p["server"]["chain"] == [f.read()]
    assert (p["suites"], p["methods"], p["profiles"]) == ([3, 2], [0], ["resident"]), p
    root = keyd.get("/v1/keys/root").json
    assert p["channel_key"]["public_key"] == root["versions"][0]["jwk"], (p, root)
    assert p["channel_key"]["version"] == 1
    keyd.stop()


@test(on=SOFTHSM)
def cacerts_are_the_chain_of_the_ca(token):
    """A10: the CA's certificate comes from a CA above, for a request of keyd's."""
    keyd = Bootstrap(token).set_up()
    request = keyd.ok("/v1/ca/request", {"subject": "lower CA"})["request"].encode()
    assert oracle.openssl("req", "-verify", "-noout", data=request) is not None
    with oracle.Files(key=oracle.ec_private("ec-p384"), request=request,
                      extensions=b"basicConstraints=critical,CA:TRUE,pathlen:0\n"
                      b"keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n") as path:
        top = oracle.openssl("req", "-x509", "-key", path("key"), "-subj", "/CN=top", "-days", "9",
                             "-addext", "keyUsage=critical,keyCertSign")
        with open(path("top"), "wb") as f:
            f.write(top)
        lower = oracle.openssl("x509", "-req", "-in", path("request"), "-CA", path("top"), "-CAkey",
                               path("key"), "-CAcreateserial", "-days", "8", "-extfile",
                               path("extensions"))
    keyd.write_pem(keyd.ca_file, (lower + top).decode())
    keyd.hup()
    got = certificates(keyd.curl(EST + "cacerts"))
    assert sorted(got) == sorted([oracle.der_of(lower), oracle.der_of(top)])
    owner = Owner("d")
    assert owner.enroll(keyd, keyd.enrol("d"))[0] == 200
    with oracle.Files(top=top, lower=lower, cert=peer.pem(owner.certificate).encode()) as path:
        oracle.openssl("verify", "-x509_strict", "-CAfile", path("top"), "-untrusted",
                       path("lower"), path("cert"))
    assert "Not After" in text_of(owner.certificate)  # cut to the CA's
    assert keyd.get("/v1/devices/d").json["not_after"] == keyd.get("/v1/ca").json["not_after"]
    # What is no chain leaves the one before.
    keyd.write_pem(keyd.ca_file, top.decode() + lower.decode())
    keyd.hup()
    assert len(certificates(keyd.curl(EST + "cacerts"))) == 2
    keyd.stop()


# ---- renewal, revocation ---------------------------------------------------

@test(on=BOTH)
def A05_a_device_renews_with_its_certificate_even_when_that_has_expired(token):
    keyd = Bootstrap(token, {"ca.device-validity": 60, "ca.renew-grace": 3600}).set_up()
    owner = Owner("d")
    owner.enroll(keyd, keyd.enrol("d"))
    first, private = owner.certificate, owner.private
    owner.private = oracle.ec_private("ec-p256")  # a new key, too
    answer = owner.reenroll(keyd, certificate=first, private=private)
    assert answer[0] == 200, answer
    second = owner.certificate
    assert serial(first) != serial(second) and verify(keyd, second) is not None
    assert keyd.curl("/c/hub/d")[2] == second
    # The answer was lost: the old one is good for another.
    lost = Owner("d")
    lost.private = private
    assert lost.reenroll(keyd, certificate=first)[0] == 200
    # The one in between was never used to ask, and is not known any more.
    problem(owner.reenroll(keyd, certificate=second), 401, "enrolment")
    # Who has used the newest has done with the first.
    again = lost.certificate
    assert lost.reenroll(keyd)[0] == 200
    problem(lost.reenroll(keyd, certificate=first), 401, "enrolment")
    assert lost.reenroll(keyd, certificate=again)[0] == 200
    # It has expired, and then too long ago.
    for ago_sec, status in ((3000, 200), (4000, 401)):
        keyd.stop()
        with sqlite3.connect(os.path.join(keyd.directory, "state", "keyd.db")) as db:
            db.execute("UPDATE certificates SET from_ms = 0, upto_ms = ?",
                       (int((time.time() - ago_sec) * 1000),))
        db.close()
        keyd.start()
        assert lost.reenroll(keyd)[0] == status, ago_sec
    # A secret does not renew, and a certificate does not enrol.
    secret = keyd.ok("/v1/devices/d/secret", {})["secret"]
    problem(keyd.post_request("simplereenroll", lost.request(), "-u", "d:" + secret), 401,
            "enrolment")
    keyd.stop()


@test(on=SOFTHSM)
def another_devices_certificate_or_a_look_alike_renews_nothing(token):
    keyd = Bootstrap(token).set_up()
    a, b = Owner("a"), Owner("b")
    a.enroll(keyd, keyd.enrol("a"))
    b.enroll(keyd, keyd.enrol("b"))
    # b's certificate with a request for a.
    problem(b.reenroll(keyd, request=a.request()), 400, "bad-csr")
    # The same names, signed by itself.
    with oracle.Files(key=b.private) as path:
        alike = oracle.openssl("req", "-x509", "-key", path("key"), "-subj", "/CN=a", "-addext",
                               "subjectAltName=URI:urn:keyd:device:a", "-days", "9", "-outform",
                               "DER")
    b.id = "a"
    problem(b.reenroll(keyd, certificate=alike), 401, "enrolment")
    # A's certificate without its key does not get through TLS: the key must fit.
    problem(keyd.post_request("simplereenroll", a.request()), 401, "enrolment")
    keyd.stop()


@test(on=SOFTHSM)
def a_revoked_device_has_nothing_any_more_and_a_restart_knows(token):
    keyd = Bootstrap(token).set_up()
    owner = Owner("d")
    owner.enroll(keyd, keyd.enrol("d"))
    secret = keyd.ok("/v1/devices/d/secret", {})["secret"]
    with Issued(keyd, owner) as device:
        session = device.connect(keyd)["session"]
        ticket = keyd.get(f"/v1/sessions/{session}/ticket").json["ticket"]
        assert expect(keyd.open(device.seal(b"hello")), 200).json["peer"] == "d"
        assert keyd.ok("/v1/devices/d/revoke", {})["state"] == "revoked"
        expect(keyd.get("/v1/sessions/" + session), 404, "no-such-session")
        for _ in range(2):
            expect(keyd.post("/v1/sessions/resume", {"ticket": ticket,
                                                     "client_nonce": b64(bytes(16))}), 404,
                   "no-such-peer")
            first = keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
            third = device.read(unb64(first["message"]))
            expect(keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)}), 422,
                   "handshake-credential")
            problem(owner.reenroll(keyd), 401, "enrolment")
            problem(owner.enroll(keyd, secret), 401, "enrolment")
            problem(owner.provision(keyd), 401, "enrolment")
            expect(keyd.post("/v1/devices/d/secret", {}), 409, "device-revoked")
            expect(keyd.post("/v1/devices/d/revoke", {}), 409, "device-revoked")
            expect(keyd.post("/v1/devices", {"id": "d"}), 409, "device-exists")
            expect(keyd.get("/v1/peers/d"), 404, "no-such-peer")
            keyd.restart()
    keyd.stop()


@test(on=SOFTHSM)
def a_revoked_device_is_not_let_in_by_the_word_of_its_ca(token):
    """Nor is the old certificate of one that is not revoked."""
    keyd = Bootstrap(token).set_up()
    keyd.stop()
    keyd.set_config({**keyd.channel, "trust.anchors-file": keyd.ca_file,
                     "trust.accept-unregistered": True})
    keyd.start()
    owner = Owner("d")
    owner.enroll(keyd, keyd.enrol("d"))
    with Issued(keyd, owner) as device:
        device.connect(keyd)
        device.tell("own", device.files.directory.name + "/key",
                    device.files.directory.name + "/cert", "chain")
        device.connect(keyd)
        keyd.ok("/v1/devices/d/revoke", {})
        for _ in range(2):
            first = keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
            third = device.read(unb64(first["message"]))
            expect(keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)}), 422,
                   "handshake-credential")
            assert "detail=its device is revoked" in keyd.log()
            keyd.restart()
        # Nor is another device in the name of one that was deleted: the registry's end of the
        # certificate has come, and the certificate itself is good still.
        keyd.stop()
        keyd.end_certificates("d")
        keyd.start()
        expect(keyd.delete("/v1/devices/d"), 204)
        for _ in range(2):
            said = keyd.log().count("detail=its device is revoked, or was deleted")
            first = keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
            third = device.read(unb64(first["message"]))
            expect(keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)}), 422,
                   "handshake-credential")
            assert keyd.log().count("detail=its device is revoked, or was deleted") > said
            keyd.restart()
    keyd.stop()


# ---- the channel -----------------------------------------------------------

@test(on=BOTH)
def A01_A11_a_device_that_enrolled_makes_a_session_by_its_uri(token):
    keyd = Bootstrap(token).set_up()
    owner = Owner("sensor-7")
    owner.enroll(keyd, keyd.enrol("sensor-7"))
    with Issued(keyd, owner) as device:
        assert device.connect(keyd)["peer"] == "sensor-7"
        # Renewal goes on under a session that is open.
        assert owner.reenroll(keyd)[0] == 200
        r = expect(keyd.open(device.seal(b"hello")), 200).json
        assert (unb64(r["data"]), r["peer"]) == (b"hello", "sensor-7"), r
        # The one before is not good for handshakes: the URI names the new one.
        first = keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
        third = device.read(unb64(first["message"]))
        r = keyd.post("/v1/handshakes/" + first["handshake"], {"message": b64(third)})
        assert r.status == 422, r
    keyd.restart()
    with Issued(keyd, owner) as device:
        assert device.connect(keyd)["peer"] == "sensor-7"
        expect(keyd.delete("/v1/peers/sensor-7"), 409, "peer-is-device")
    keyd.stop()


@test(on=SOFTHSM)
def A05_the_certificate_itself_is_good_in_the_place_of_its_uri(token):
    keyd = Bootstrap(token).set_up()
    owner = Owner("d")
    owner.enroll(keyd, keyd.enrol("d"))
    for form in ("chain", "x5t"):
        with Issued(keyd, owner, form) as device:
            assert device.connect(keyd)["peer"] == "d"
    keyd.stop()


@test(on=SOFTHSM)
def static_diffie_hellman_has_its_own_usage(token):
    keyd = Bootstrap(token).set_up(usage="derive")
    owner = Owner("d")
    owner.enroll(keyd, keyd.enrol("d", usage="agree"))
    text = text_of(owner.certificate)
    assert "Key Agreement" in text and "Digital Signature" not in text, text
    assert "Key Agreement" in text_of(keyd.own_certificate)
    p = json.loads(owner.provision(keyd, keyd.ok("/v1/devices/d/secret", {})["secret"])[2])
    assert p["methods"] == [3], p
    with Issued(keyd, owner) as device:
        assert device.connect(keyd, method=3)["peer"] == "d"
    keyd.stop()


# ---- keys in a token -------------------------------------------------------


@test(on=SOFTHSM)
def a_device_whose_key_is_in_a_token_enrols_and_makes_a_session_by_its_own_keyd(token):
    """Its request is put together around a signature that its keyd makes; then its keyd takes
    the key as identity, which signs handshakes only."""
    keyd = Bootstrap(token).set_up()
    own = peer.Keyd(token).start()
    public = own.create("device-identity", "ec-p256", "sign")["versions"][0]["pem"].encode()
    own.create("device-root", "ec-p256", "derive")
    own.create("device-ticket", "aes-256", "encrypt", "decrypt")
    owner = Owner("d")
    request = request_of(public, "d", lambda data: unb64(
        own.ok("/v1/keys/device-identity/sign", {"data": b64(data)})["signature"]))
    secret = keyd.enrol("d")
    provision = json.loads(owner.provision(keyd, secret)[2])
    assert owner.enroll(keyd, secret, request)[0] == 200
    assert oracle.openssl("x509", "-inform", "DER", "-noout", "-pubkey",
                          data=owner.certificate) == oracle.openssl("pkey", "-pubin", data=public)
    own.stop()
    path = os.path.join(own.directory, "own.pem")
    keyd.write_pem(path, peer.pem(owner.certificate))
    own.set_config({"channel.identity": "device-identity", "channel.root": "device-root",
                    "channel.ticket": "device-ticket", "channel.certificate-file": path})
    own.start()
    expect(own.post("/v1/keys/device-identity/sign", {"data": ""}), 409, "key-reserved")
    own.ok("/v1/peers", {"name": "hub", "certificate": provision["server"]["certificate"]}, 201)
    first = own.ok("/v1/handshakes", {"initiate": True, "method": 0}, 201)
    second = keyd.ok("/v1/handshakes", {"message": first["message"]}, 201)
    third = own.ok("/v1/handshakes/" + first["handshake"], {"message": second["message"]})
    fourth = keyd.ok("/v1/handshakes/" + second["handshake"], {"message": third["message"]})
    last = own.ok("/v1/handshakes/" + first["handshake"], {"message": fourth["message"]})
    assert (fourth["session"]["peer"], last["session"]["peer"]) == ("d", "hub"), (fourth, last)
    own.stop()
    keyd.stop()


def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else b"\x81" + bytes([n]) if n < 256 else \
        b"\x82" + n.to_bytes(2, "big")
    return bytes([tag]) + size + body


def request_of(public, id_, sign):
    """PKCS #10 (RFC 2986 4) with a signature from elsewhere."""
    name = tlv(0x30, tlv(0x31, tlv(0x30, bytes.fromhex("0603550403"), tlv(0x0c, id_.encode()))))
    info = tlv(0x30, b"\x02\x01\x00", name, oracle.der_of(public), b"\xa0\x00")
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    request = tlv(0x30, info, algorithm, tlv(0x03, b"\0", oracle.der_signature(sign(info))))
    assert oracle.openssl("req", "-inform", "DER", "-verify", "-noout", data=request) is not None
    return request


if __name__ == "__main__":
    main()
