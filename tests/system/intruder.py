# SPDX-License-Identifier: Apache-2.0
"""What somebody tries around the channel: names that are read in two ways, others' keys and
secrets, the log and the audit log, places that others hold, descriptors and files."""
import os
import re
import subprocess

from harness import (SOFTHSM, Client, Keyd, b64, children, daemon, expect, main, open_socket,
                     oracle, raw, sha256_hex, status_of, test, tokens, wait_for)
from harness.boot import Bootstrap
from harness.daemon import KEYD
from harness.gateway import GATEWAY

KEYDCTL = os.path.join(tokens.BUILD, "client", "keydctl")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def one_principal(name, operations, keys):
    """Known by a bearer token, and nobody by his uid."""
    return (f'principal "{name}" {{ token = {{ "sha256:{sha256_hex(name + "-token")}" }} }}\n'
            f'allow "{name}" {{ operations = {operations} keys = {keys} }}\n')


# ---- keys of others ----

@test(on=SOFTHSM)
def a_name_that_could_be_read_in_two_ways_opens_nothing(token):
    """Who may sign with keys of one pattern writes names that a path, a decoder, a C string or a
    reader of patterns might take for another."""
    policy = daemon.POLICY + one_principal("s", '{ "sign" }', '{ "order-*" }')
    keyd = Keyd(token, policy=policy).start()
    for name in ("order-1", "secret", "Order-2"):
        keyd.create(name, "ec-p256", "sign")
    names = ("secret", "%73ecret", "Order-2", "ORDER-1", "order-1%2f..%2fsecret", "order-1%00",
             "order-1/../secret", "./secret", "order-1/secret", "order-1%2fsecret",
             "secret%00order-1", "order-%2a", "order-*", "*", "%2a", "order-1%20",
             "%20order-1", "order-1%0a",
             "order-1;secret", "order-1%3fx=", "order-1%23", "%6frder-1%2500", "order-1%", "", "%",
             "order%2d1%2e%2e", "..%2fkeys%2fsecret", "secret%2forder-1", "%c0%afsecret",
             "order-1%c2%ad", "%ef%bc%8fsecret")
    with keyd.client(bearer="s-token") as s:
        expect(s.post("/v1/keys/order-1/sign", {"data": ""}), 200)
        expect(s.post("/v1/keys/%6frder%2D1/sign", {"data": ""}), 200)  # decoded once
        for name in names:
            r = s.post(f"/v1/keys/{name}/sign", {"data": ""})
            assert r.status in (400, 403, 404, 405), (name, r)
        for path in ("/v1//keys/secret/sign", "/v1/keys/secret/sign/", "//v1/keys/secret/sign",
                     "/v1/keys/secret/sign?key=order-1", "/v1/keys/secret/sign%2f",
                     "/V1/keys/secret/sign", "http://order-1/v1/keys/secret/sign",
                     "/v1/./keys/secret/sign"):
            r = s.post(path, {"data": ""})
            assert r.status in (400, 403, 404, 405), (path, r)
        for body in ({"data": "", "key": "secret"}, {"data": "", "name": "secret"}):
            expect(s.post("/v1/keys/order-1/sign", body), 400, "field-unknown")
    keyd.stop()


@test(on=SOFTHSM)
def keys_of_the_server_itself_do_nothing_for_anybody(token):
    """Every operation, alone and in batches, with each key that the configuration names."""
    keyd = Bootstrap(token)
    audit = os.path.join(keyd.directory, "audit.log")
    keyd.set_config({**keyd.channel, "channel.envelope": "mailbox", "audit.file": audit,
                     "audit.key": "audit"})
    keyd.set_up()
    keyd.create("mailbox", "ec-p256", "derive")
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    _, point = oracle.new_peer("ec-p256")
    one = {"sign": {"data": ""}, "verify": {"data": "", "signature": b64(bytes(64))},
           "mac": {"data": ""}, "mac-verify": {"data": "", "mac": b64(bytes(32))},
           "encrypt": {"plaintext": ""},
           "decrypt": {"iv": b64(bytes(12)), "ciphertext": b64(bytes(16))},
           "rewrap": {"iv": b64(bytes(12)), "ciphertext": b64(bytes(16))}}
    derivations = [("ecdh", {"peer": b64(point), **more})
                   for more in ({}, {"release": True}, {"release": True, "kdf": "hkdf-sha256"})]
    derivations += [("derive", {"kdf": kdf, **more}) for kdf in ("hkdf-sha256", "aes-cbc-data")
                    for more in ({}, {"release": True})]
    for name in ("identity", "root", "ticket", "mailbox", "ca", "audit"):
        path = f"/v1/keys/{name}/"
        for verb, item in one.items():
            if (name, verb) == ("audit", "mac-verify"):
                continue  # everybody may look at a seal
            for body in (item, {"items": [item, item]}, {**item, "version": 1}):
                expect(keyd.post(path + verb, body), 409, "key-reserved")
        for verb, item in derivations:
            expect(keyd.post(path + verb, item), 409, "key-reserved")
            both = keyd.ok(path + verb, {"items": [item, item]})["items"]
            assert all(i["error"]["type"].endswith(":key-reserved") for i in both), both
        expect(keyd.delete(path[:-1]), 409, "key-reserved")
        expect(keyd.post("/v1/keys", {"name": name, "type": "aes-256", "usages": ["derive"]}), 409,
               "key-exists")
        for kind in ("private", "secret-key"):
            uri = f"pkcs11:object={name}.v1;type={kind}"
            r = keyd.post("/v1/keys", {"name": "alias", "uri": uri})
            assert (r.status, r.type) in ((409, "key-exists"), (404, "no-such-object")), (name, r)
        expect(keyd.get("/v1/keys/alias"), 404, "no-such-key")
    assert keyd.get("/v1/secrets").json["secrets"] == []
    keyd.stop()


@test(on=SOFTHSM)
def a_token_counts_in_its_own_header_alone(token):
    """Not in the URL, a cookie, a body or behind it, and not beside another one."""
    keyd = Keyd(token, policy=one_principal("r", '{ "*" }', '{ "*" }')).start()
    body = b'{"length":1}'
    head = b"POST /v1/random%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" \
           b"Content-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    chunked = b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n" \
              b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    good = b"Authorization: Bearer r-token\r\n"
    assert status_of(raw(keyd.socket, head % b"" + length + good + b"\r\n" + body)) == 200
    for what, data in (
            ("url", head % b"?access_token=r-token" + length + b"\r\n" + body),
            ("user", head % b"" + length.replace(b"Content", b"Host: r-token@x\r\nContent") +
             b"\r\n" + body),
            ("cookie", head % b"" + length + b"Cookie: Authorization=r-token\r\n\r\n" + body),
            ("proxy", head % b"" + length + b"Proxy-" + good + b"\r\n" + body),
            ("trailer", head % b"" + chunked + good + b"\r\n"),
            ("two", head % b"" + length + good + good + b"\r\n" + body),
            ("second", head % b"" + length + b"Authorization: x\r\n" + good + b"\r\n" + body),
            ("folded", head % b"" + length + b"X-Other: 1\r\n " + good + b"\r\n" + body),
            ("list", head % b"" + length + good.replace(b"Bearer ", b"Bearer x, Bearer ") +
             b"\r\n" + body)):
        assert status_of(raw(keyd.socket, data)) in (0, 400, 401), what
    # The token behind a body is the beginning of another request, which does not count either.
    smuggled = raw(keyd.socket, head.replace(b"close", b"keep-alive") % b"" + good + length +
                   b"\r\n" + body + head % b"" + length + b"\r\n" + body)
    assert smuggled.count(b"HTTP/1.1 200") == 1 and smuggled.count(b"HTTP/1.1 401") == 1, smuggled
    assert "r-token" not in keyd.log()
    keyd.stop()


# ---- places that others hold ----

@test(on=SOFTHSM)
def what_stands_in_the_place_of_the_socket_is_left_alone(token):
    """A link to a file, to a socket that is served, and to nothing: not followed, not removed."""
    keyd = Keyd(token).start()
    other = Keyd(token)
    precious = os.path.join(token.directory, "precious")
    tokens.write(precious, "precious\n")
    for target in (precious, keyd.socket, os.path.join(token.directory, "nothing")):
        os.symlink(target, other.socket)
        with open(other.log_file, "ab") as log:
            r = subprocess.run([KEYD, "--config", other.config_file], stdout=log, stderr=log,
                               stdin=subprocess.DEVNULL, timeout=300, check=False)
        assert r.returncode == 1, other.log()
        assert os.readlink(other.socket) == target
        os.unlink(other.socket)
    assert read(precious) == b"precious\n"
    assert not os.path.exists(os.path.join(token.directory, "nothing"))
    expect(keyd.get("/v1/status"), 200)
    keyd.stop()


@test(on=SOFTHSM)
def a_policy_that_everybody_may_write_is_not_taken(token):
    keyd = Keyd(token)
    for file in (keyd.policy_file, keyd.config_file):
        os.chmod(file, 0o666)
        r = subprocess.run([KEYD, "--config", keyd.config_file], capture_output=True, timeout=300,
                           check=False)
        assert r.returncode == 1 and b"everybody may write it" in r.stderr, r
        os.chmod(file, 0o644)
    keyd.start()
    keyd.set_policy(one_principal("evil", '{ "*" }', '{ "*" }') + daemon.POLICY)
    os.chmod(keyd.policy_file, 0o602)
    keyd.hup()
    assert "everybody may write it" in keyd.get("/v1/status").json["policy"]["error"]
    expect(keyd.get("/v1/status", bearer="evil-token"), 401, "unauthenticated")
    os.chmod(keyd.policy_file, 0o600)
    keyd.hup()
    expect(keyd.get("/v1/status", bearer="evil-token"), 200)
    keyd.stop()


# ---- the log ----

@test(on=SOFTHSM)
def a_stranger_writes_no_values_and_no_codes_into_the_log(token):
    """What is open to all is asked with a parameter whose name looks like other values of the
    line, and has what a terminal takes for a command (U+009B)."""
    keyd = Keyd(token, policy="").start()

    def is_noted(name, n):
        expect(keyd.get(f"/healthz?{name}=1"), 400, "field-unknown")
        return keyd.log().count("problem=field-unknown") > n

    # Strangers cause a few lines a second and no more: a slow start may have taken them.
    for name in ("a%20principal=root%20status=200", "a%C2%9B31m", "a%E2%80%AEb", "a%0Aroot"):
        n = keyd.log().count("problem=field-unknown")
        wait_for(lambda name=name, n=n: is_noted(name, n), what="the refusal")
    log = read(keyd.log_file)
    assert log.isascii(), log
    assert b"principal=root" not in log and b"aroot" not in log, log
    keyd.stop()


# ---- the audit log ----

@test(on=SOFTHSM)
def a_pin_in_a_uri_is_in_no_log(token):
    """Somebody adopts a key by a URI that has the PIN in it: what was asked is written down before
    it is refused."""
    keyd = Keyd(token)
    audit = os.path.join(keyd.directory, "audit.log")
    keyd.set_config({"audit.file": audit})
    keyd.start()
    for uri in (f"pkcs11:object=a?pin-value={token.pin}", f"pkcs11:object=a;pin-value={token.pin}",
                f"pkcs11:object=a?PIN-VALUE={token.pin}"):
        expect(keyd.post("/v1/keys", {"name": "a", "uri": uri}), 400, "bad-uri")
    expect(keyd.post("/v1/keys", {"name": "a", "uri": "pkcs11:object=a"}), 404, "no-such-object")
    keyd.stop()  # looks for the PIN in the log, too
    assert token.pin.encode() not in read(audit), read(audit)
    assert read(audit).count(b'"event":"key.create"') == 8, read(audit)
    assert b'"uri":"pkcs11:object=a"' in read(audit), read(audit)


@test(on=SOFTHSM)
def with_its_audit_log_removed_or_cut_keyd_changes_nothing(token):
    """Who can write the folder takes the log away, to have something done that stands nowhere."""
    keyd = Keyd(token)
    audit = os.path.join(keyd.directory, "audit.log")
    keyd.set_config({"audit.file": audit})
    keyd.start()
    keyd.create("a", "hmac-sha256", "sign")
    for harm, why in ((lambda: os.unlink(audit), "removed"),
                      (lambda: os.truncate(audit, 10), "shorter")):
        harm()
        r = expect(keyd.post("/v1/keys/a/rotate"), 503, "audit")
        r = expect(keyd.post("/v1/keys/a/rotate"), 503, "audit")
        assert why in r.json["detail"], r
        keyd.ok("/v1/keys/a/mac", {"data": ""})  # what is not written down goes on
        if os.path.exists(audit):
            os.unlink(audit)
        keyd.hup()
        wait_for(lambda: keyd.post("/v1/keys/a/rotate").status == 201, what="another file")
    assert b'"event":"audit.continue"' in read(audit), read(audit)
    keyd.stop()


# ---- connections ----

@test(on=SOFTHSM)
def strangers_over_tcp_take_no_place_from_those_who_are_known(token):
    """Ten times as many connections as may be, silent and with half a header, and kept."""
    keyd = Keyd(token, {"http.connections-max": 8, "http.tcp-address": "127.0.0.1"})
    keyd.start()
    keyd.create("a", "hmac-sha256", "sign")
    port = int(re.search(r"serving; address=127.0.0.1 port=(\d+)", keyd.log()).group(1))
    with Client(("127.0.0.1", port), bearer="other-token") as known:
        expect(known.post("/v1/keys/a/mac", {"data": ""}), 200)
        kept = []
        for i in range(80):
            kept.append(open_socket(("127.0.0.1", port)))
            if i % 2:
                kept[-1].sendall(b"GET /v1/keys HTTP/1.1\r\nAuthorization: Bearer x")
            if i % 10 == 9:
                with keyd.client() as local:
                    expect(local.post("/v1/keys/a/mac", {"data": ""}), 200)
                expect(known.post("/v1/keys/a/mac", {"data": ""}), 200)
        text = keyd.get("/metrics").body.decode()
        assert int(re.search(r"^keyd_http_connections_displaced_total (\d+)$", text, re.M)
                   .group(1)) >= 70, text
        for s in kept:
            s.close()
    keyd.stop()


# ---- processes ----

def descriptors_of(pid):
    found = []
    for n in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{n}"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


@test(on=SOFTHSM)
def workers_get_no_descriptor_but_their_own(token):
    """Neither one of keyd's nor one that who started keyd has left open."""
    secret = os.path.join(token.directory, "left-open")
    tokens.write(secret, "of somebody else\n")
    keyd = Keyd(token)
    keyd.wrapper = ["sh", "-c", f'exec 9<{secret}; exec "$@"', "sh"]
    keyd.start()
    assert secret in descriptors_of(keyd.pid), "the test has left it open"
    workers = children(keyd.pid)
    assert workers
    wanted = ["/dev/null", keyd.log_file, keyd.log_file, "socket"]
    for pid in workers:  # the module opens files of the token now and then
        wait_for(lambda p=pid: sorted(d.split(":")[0] for d in descriptors_of(p)) == sorted(wanted),
                 what=lambda p=pid: descriptors_of(p))
    keyd.stop()


# ---- files ----

@test(on=SOFTHSM)
def nobody_else_reads_secrets_or_writes_files_of_a_set_up_with_any_umask(token):
    """All that init, device enroll and device provision write, and keyd and the gateway while
    they run: keydctl demo, with a umask that keeps nothing from anybody."""
    folder = os.path.join(token.directory, "demo")
    programs = os.path.join(token.directory, "programs")
    os.mkdir(programs)
    for program in (tokens.WORKER, KEYD, GATEWAY):
        os.symlink(program, os.path.join(programs, os.path.basename(program)))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KEYD_", "SOFTHSM2"))}
    r = subprocess.run([KEYDCTL, "demo", folder, "--programs", programs], capture_output=True,
                       stdin=subprocess.DEVNULL, timeout=3000, check=False, umask=0,
                       env=environment)
    assert r.returncode == 0, r
    found = {}
    for directory, _, names in os.walk(folder):
        assert not os.stat(directory).st_mode & 0o077, directory
        for name in names:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, folder)] = os.lstat(path).st_mode & 0o777
    shut = [f for f in found if re.search(r"pin$|secret|key|audit|keyd\.db|\.log$|token", f)
            and not re.fullmatch(r"keyd(-gateway)?\.conf", f)]
    for known in ("pin", "so-pin", "secret", "bootstrap.key", "state/keyd.db", "state/audit.log",
                  "sensor-7/key.pem"):
        assert known in shut, (known, found)
    for name in shut:
        assert not found[name] & 0o077, (name, oct(found[name]))
    # The folder is shut, too; but it could be opened, or copied.
    assert not {f: oct(m) for f, m in found.items() if m & 0o022}, found


if __name__ == "__main__":
    main()
