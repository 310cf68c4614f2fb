# SPDX-License-Identifier: Apache-2.0
"""keydctl: each command once for real, with what it prints and its exit status."""
import json
import os
import re
import subprocess

from harness import (BOTH, SOFTHSM, Keyd, b64, boot, daemon, expect, main, oracle, peer, test, tokens,
                     unb64, wait_for)

KEYDCTL = os.path.join(tokens.BUILD, "client", "keydctl")
OK, NO, USAGE, REFUSED, UNREACHABLE = range(5)


class Ctl:
    def __init__(self, keyd, *options):
        self.options = ["--config", keyd.config_file, *options]
        self.directory = keyd.token.directory

    def __call__(self, *argv, data=b"", status=OK):
        """Runs it with the data on standard input; gives standard output."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYD_")}
        r = subprocess.run([KEYDCTL, *self.options, *argv], input=data, capture_output=True,
                           timeout=3000, check=False, env=environment)
        text = r.stderr.decode(errors="replace")
        assert r.returncode == status, f"{argv}: status {r.returncode}, not {status}\n" \
            f"{r.stdout.decode(errors='replace')}{text}"
        assert "Sanitizer" not in text and "runtime error" not in text, text
        # Who fails says why, and on standard error.
        assert status in (OK, NO) or text, f"{argv} fails in silence"
        self.errors = text
        return r.stdout

    def json(self, *argv, **more):
        return json.loads(self(*argv, "--json", **more))

    def file(self, name, content=None):
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content)
        return path


def installed(token):
    """A directory with both programs, as an installation has them."""
    path = os.path.join(token.directory, "programs")
    if not os.path.exists(path):
        os.mkdir(path)
        os.symlink(tokens.WORKER, os.path.join(path, "keyd-hsm"))
        os.symlink(daemon.KEYD, os.path.join(path, "keyd"))
    return path


def start(token, **config):
    keyd = Keyd(token, config).start()
    return keyd, Ctl(keyd)


@test(on=SOFTHSM)
def demo_plays_all_of_it_and_leaves_no_process(token):
    """A02, J01, J08, J13"""
    folder = os.path.join(token.directory, "demo")
    argv = [KEYDCTL, "demo", folder]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KEYD_", "SOFTHSM2"))}
    r = subprocess.run(argv, capture_output=True, timeout=3000, check=False, env=environment)
    text = r.stdout.decode()
    assert r.returncode == OK and not r.stderr, text + r.stderr.decode()
    for line in (r"^> handshake +3\d bytes f5", r"^Connected: 4\d\d bytes in 4 messages",
                 r"^   backend: Keyd-Peer: sensor-7  .*body: 21.5 C", r"^< failure: refused",
                 r"^   backend: .*body: 21.7 C", r"^state: revoked", r"^== Done"):
        assert re.search(line, text, re.M), (line, text)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
                assert folder not in f.read(), pid
            # The gateway and the workers are known by where they work.
            assert os.readlink(f"/proc/{pid}/cwd") != folder, pid
        except OSError:
            pass
    r = subprocess.run(argv, capture_output=True, timeout=3000, check=False, env=environment)
    assert r.returncode == USAGE and b"already" in r.stderr, r
    empty = os.path.join(token.directory, "empty")
    r = subprocess.run([KEYDCTL, "demo", empty, "--programs", token.directory],
                       capture_output=True, timeout=3000, check=False, env=environment)
    assert r.returncode == USAGE and b"keyd-hsm" in r.stdout, r


@test(on=SOFTHSM)
def key_commands_make_show_change_and_delete_keys(token):
    keyd, ctl = start(token)
    assert b"orders" in ctl("key", "create", "orders", "--type", "ec-p256", "--usage", "sign")
    assert "exists" in (ctl("key", "create", "orders", "--type", "aes-256", "--usage", "encrypt",
                            status=REFUSED), ctl.errors)[1] or "already" in ctl.errors
    ctl("key", "create", "sealing", "--type", "aes-256", "--usage", "encrypt,decrypt")
    listed = ctl("key", "list").decode()
    assert "orders" in listed and "sealing" in listed
    assert [k["name"] for k in ctl.json("key", "list")["keys"]] == ["orders", "sealing"]
    assert b"ec-p256" in ctl("key", "show", "orders")
    pem = ctl("key", "show", "orders", "--pem")
    oracle.point_of(pem)
    ctl("key", "rotate", "orders")
    assert ctl("key", "show", "orders", "--pem") != pem
    assert ctl("key", "show", "orders", "--pem", "--version", "1") == pem
    ctl("key", "disable", "orders", "--version", "1")
    assert ctl.json("key", "show", "orders")["versions"][0]["state"] == "disabled"
    ctl("key", "enable", "orders")
    assert ctl.json("key", "show", "orders")["versions"][0]["state"] == "enabled"
    ctl("key", "delete", "orders", "--version", "1", status=USAGE)
    ctl("key", "delete", "orders", "--version", "2", "--yes", status=REFUSED)
    assert "rotate" in ctl.errors, ctl.errors
    ctl("key", "delete", "orders", "--version", "1", "--yes")
    assert [v["version"] for v in ctl.json("key", "show", "orders")["versions"]] == [2]
    ctl("key", "delete", "orders", status=USAGE)  # nobody there who could say yes
    expect(keyd.get("/v1/keys/orders"), 200)
    ctl("key", "delete", "orders", "--yes")
    expect(keyd.get("/v1/keys/orders"), 404)
    ctl("key", "show", "orders", status=REFUSED)
    keyd.stop()


@test(on=SOFTHSM)
def key_adopt_and_import_take_what_is_there_and_no_private_key(token):
    keyd, ctl = start(token)
    other = Keyd(token).start()
    other.create("theirs", "hmac-sha256", "sign")
    ctl("key", "adopt", "ours", "--uri", "pkcs11:object=theirs.v1", status=REFUSED)
    assert "theirs.v1" in ctl.errors, ctl.errors
    ctl("key", "adopt", "theirs", "--uri", "pkcs11:object=theirs.v1")
    assert ctl.json("key", "show", "theirs")["origin"] == "adopted"
    ctl("key", "adopt", "none", "--uri", "pkcs11:object=none", status=REFUSED)
    other.ok("/v1/keys/theirs/rotate", {}, 201)
    ctl("key", "rotate", "theirs", "--uri", "theirs.v2", status=USAGE)
    ctl("key", "rotate", "theirs", "--uri", "pkcs11:object=theirs.v2?pin-value=1", status=USAGE)
    ctl("key", "rotate", "theirs", "--uri", "pkcs11:object=none", status=REFUSED)
    ctl("key", "rotate", "theirs", "--uri", "pkcs11:object=theirs.v2")
    assert ctl.json("key", "show", "theirs")["primary"] == 2
    private = oracle.ec_private("ec-p256")
    public = ctl.file("public.pem", oracle.ec_public(private))
    ctl("key", "import", "device", "--pem", public)
    assert ctl("key", "show", "device", "--pem") == oracle.ec_public(private)
    ctl("key", "import", "bad", "--pem", ctl.file("private.pem", private), status=USAGE)
    assert "private" in ctl.errors.lower(), ctl.errors
    ctl("key", "import", "bad", "--pem", "/nowhere", status=USAGE)
    signature = oracle.ecdsa_sign("ec-p256", private, b"text")
    assert ctl("verify", "device", "--signature", b64(signature), data=b"text") is not None
    other.stop()
    keyd.stop()


@test(on=SOFTHSM)
def sign_and_verify_go_with_openssl(token):
    keyd, ctl = start(token)
    keyd.create("s", "ec-p384", "sign")
    pem = ctl("key", "show", "s", "--pem")
    text = ctl.file("text", b"a message")
    raw = unb64(ctl("sign", "s", "--in", text).decode().strip())
    assert oracle.ecdsa_verify("ec-p384", pem, b"a message", raw)
    assert oracle.ecdsa_verify("ec-p384", pem, b"other", unb64(
        ctl("sign", "s", data=b"other").decode().strip()))
    der = ctl.file("text.sig")
    ctl("sign", "s", "--in", text, "--format", "der", "--out", der)
    with oracle.Files(key=pem) as path:
        assert oracle.openssl("dgst", "-sha384", "-verify", path("key"), "-signature", der, text)
    ctl("verify", "s", "--in", text, "--signature-file", der, "--format", "der")
    digest = oracle.hashlib.sha384(b"a message").digest()
    made = ctl("sign", "s", "--digest", data=digest).decode().strip()
    ctl("verify", "s", "--in", text, "--signature", made)
    ctl("verify", "s", "--digest", "--signature", made, data=digest)
    ctl("verify", "s", "--signature", made, data=b"another", status=NO)
    ctl("verify", "s", data=b"another", status=USAGE)
    ctl("sign", "none", data=b"", status=REFUSED)
    ctl("mac", "s", data=b"", status=REFUSED)
    ctl("sign", "s", "--in", "/nowhere", status=USAGE)
    keyd.stop()


@test(on=SOFTHSM)
def agreement_derivation_and_secrets_go_with_the_oracle(token):
    keyd, ctl = start(token)
    keyd.create("a", "ec-p256", "derive")
    private = oracle.ec_private("ec-p256")
    peer = ctl.file("peer.pem", oracle.ec_public(private))
    shared = oracle.ecdh(private, ctl("key", "show", "a", "--pem"))
    assert ctl("ecdh", "a", "--peer", peer, "--release", "--format", "hex").decode().strip() == \
        shared.hex()
    info = ["--kdf", "hkdf-sha256", "--info", "session", "--salt", "pepper"]
    key = oracle.hkdf("hkdf-sha256", b"pepper", shared, b"session", 32)
    secret = ctl.json("ecdh", "a", "--peer", peer, *info, "--type", "hmac-sha256")["secret"]
    got = ctl("mac", "--secret", secret, "--format", "raw", data=b"data")
    assert got == oracle.mac("hmac-sha256", key, b"data")
    ctl("mac-verify", "--secret", secret, "--mac", b64(got), data=b"data")
    ctl("mac-verify", "--secret", secret, "--mac", b64(got), data=b"date", status=NO)
    next_key = oracle.hkdf("hkdf-sha384", b"", key, b"next", 32)
    derived = ctl("derive", "--secret", secret, "--kdf", "hkdf-sha384", "--info",
                  "next").decode().split()
    sealed = ctl.file("sealed")
    ctl("encrypt", "--secret", derived[0], "--out", sealed, "--aad", "head", data=b"plain text")
    assert ctl("decrypt", "--secret", derived[0], "--in", sealed, "--aad", "head") == b"plain text"
    ctl("decrypt", "--secret", derived[0], "--in", sealed, "--aad", "tail", status=REFUSED)
    released = ctl("derive", "--secret", secret, "--kdf", "hkdf-sha384", "--info", "next",
                   "--release", "--format", "raw")
    assert released == next_key, (released, next_key)
    assert secret in ctl("secret", "list").decode()
    assert "hmac-sha256" in ctl("secret", "show", secret).decode()
    ctl("secret", "delete", secret)
    ctl("secret", "show", secret, status=REFUSED)
    ctl("ecdh", "a", "--peer", "/nowhere", status=USAGE)
    keyd.stop()


@test(on=SOFTHSM)
def macs_encryption_and_random_with_keys(token):
    keyd, ctl = start(token)
    keyd.create("m", "hmac-sha384", "sign", "verify")
    keyd.create("e", "aes-256", "encrypt", "decrypt")
    made = ctl("mac", "m", "--format", "hex", data=b"x").decode().strip()
    assert len(made) == 96
    ctl("mac-verify", "m", "--mac", made, "--format", "hex", data=b"x")
    ctl("mac-verify", "m", "--mac", made[:-2] + "00", "--format", "hex", data=b"y", status=NO)
    big = os.urandom(300_000)
    sealed = ctl("encrypt", "e", data=big)
    assert big[:1000] not in sealed and ctl("decrypt", data=sealed) == big
    ctl("key", "rotate", "e")
    assert ctl("decrypt", "e", data=sealed) == big
    anew = ctl("rewrap", data=sealed)
    assert b'"version":2' in anew and b'"version":1' in sealed
    ctl("key", "delete", "e", "--version", "1", "--yes")
    ctl("decrypt", data=sealed, status=REFUSED)
    ctl("rewrap", data=sealed, status=REFUSED)
    assert ctl("decrypt", data=anew) == big
    ctl("decrypt", "e", data=b"no such thing", status=USAGE)
    assert len(ctl("random", "33", "--format", "raw")) == 33
    assert len(unb64(ctl("random", "16").decode().strip())) == 16
    ctl("random", "many", status=USAGE)
    keyd.stop()


@test(on=SOFTHSM)
def status_and_doctor_say_what_is_well_and_what_is_not(token):
    keyd, ctl = start(token)
    assert b"ready" in ctl("status") and ctl.json("status")["ready"] is True
    keyd.wait_all_ready()
    report = ctl("doctor", "--programs", installed(token))
    assert report
    keyd.stop()
    ctl("status", status=UNREACHABLE)
    assert "keyd" in ctl.errors
    ctl("doctor", "--programs", installed(token), status=NO)
    tokens.write(token.pin_file, "wrong pin\n")
    keyd.start(wait=False)
    keyd.wait_serving()
    wait_for(lambda: keyd.get("/readyz").type == "pin-refused", what="pin-refused")
    assert token.pin_file.encode() in ctl("status", status=NO), "the reason with its file"
    out = ctl("doctor", "--programs", installed(token), status=NO).decode()
    assert f"The token refused the PIN in {token.pin_file}" in out, out
    assert "PIN" in out + ctl.errors and "wrong pin" not in out + ctl.errors, out
    assert token.flags().count("user-pin-final-try") == 0
    keyd.stop()


@test(on=BOTH)
def tokens_of_a_module_are_listed_without_keyd_and_without_a_pin(token):
    keyd = Keyd(token)  # which is not started
    ctl = Ctl(keyd)
    os.rename(token.pin_file, token.pin_file + ".away")
    rows = [line.split("\t") for line in ctl("token", "list").decode().splitlines()]
    ((_, _, serial, model, *states, uri),) = [r for r in rows if r[1] == token.label]
    assert states[:2] == ["yes", "yes"] and uri.startswith("pkcs11:"), rows
    free = [r for r in rows if r[4] == "no"]
    assert all(r[5:] == ["-", "-", "-"] for r in free) and (free or token.kind != "softhsm"), rows
    there = [t for m in ctl.json("token", "list")["modules"] for t in m["tokens"]]
    (told,) = [t for t in there if t.get("label") == token.label]
    assert (told["serial"], told["model"], told["uri"]) == (serial, model, uri), told
    named = subprocess.run([KEYDCTL, "token", "list", "--module", token.module,
                            *(["--init-args", token.init_args] if token.init_args else [])],
                           capture_output=True, text=True, timeout=60, check=False,
                           env=token.process_environment(KEYD_CONFIG="/nonexistent"))
    assert uri in named.stdout, named
    ctl("token", "list", "--module", "/nonexistent.so", status=UNREACHABLE)
    os.rename(token.pin_file + ".away", token.pin_file)
    # keyd points to the command, and takes the URI that it prints.
    keyd.set_config({"token.uri": "pkcs11:token=none"})
    keyd.start(wait=False)
    keyd.wait_serving()
    wait_for(lambda: b"keydctl token list" in keyd.get("/v1/status").body, what="the advice")
    keyd.stop()
    keyd.set_config({"token.uri": uri})
    keyd.start()
    keyd.stop()


@test(on=SOFTHSM)
def tokens_of_token_new_open_the_door(token):
    keyd, ctl = start(token)
    path = ctl.file("bearer")
    lines = ctl("token", "new", "robot", "--out", path).decode()
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path, encoding="utf-8") as f:
        value = f.read().strip()
    assert len(value) >= 32 and value not in lines, lines
    block = "\n".join(line for line in lines.split("\n") if not line.startswith("#"))
    keyd.set_policy(daemon.POLICY + block[block.index("principal"):block.rindex("}") + 1] +
                    '\nallow "robot" { operations = { "random" } }\n')
    keyd.hup()
    assert keyd.get("/v1/status").json["policy"]["error"] == ""
    robot = Ctl(keyd, "--token-file", path)
    assert robot("random", "4")
    robot("key", "show", "none", status=REFUSED)
    robot("status", status=REFUSED)
    keyd.stop()


@test(on=SOFTHSM)
def a_handshake_is_made_by_hand(token):
    keyd = peer.Server(token).set_up()
    ctl = Ctl(keyd)
    with keyd.device("d") as d:
        first = ctl.json("handshake", "begin", data=d.begin())
        third = d.read(unb64(first["message"]))
        path = ctl.file("third", third)
        ctl("handshake", "step", "no-id", "--in", path, status=USAGE)
        ctl("handshake", "step", "0" * 16, "--in", path, status=REFUSED)
        d.read(ctl("handshake", "step", first["handshake"], "--in", path))
        assert len(keyd.get("/v1/sessions").json["sessions"]) == 1
        ctl("handshake", "step", first["handshake"], "--in", path, status=REFUSED)
        second = ctl.json("handshake", "begin", data=d.begin())
        ctl("handshake", "delete", second["handshake"])
        ctl("handshake", "delete", second["handshake"], status=REFUSED)
        ctl("handshake", "begin", data=b"no message", status=REFUSED)
    keyd.stop()


@test(on=SOFTHSM)
def peers_are_registered_and_their_sessions_shown_and_ended(token):
    keyd = peer.Server(token).set_up()
    ctl = Ctl(keyd)
    with keyd.device("d", register=False) as d:
        path = ctl.file("d.pem", peer.pem(d.certificate).encode())
        ctl("peer", "add", "d", "--pem", path, "--uri", d.named_by)
        ctl("peer", "add", "again", "--pem", path, status=REFUSED)
        session = d.connect(keyd)["session"]
        assert ctl("session", "list").decode().startswith(f"{session}\td\tresident\t0\t0\t0\t")
        expect(keyd.open(d.seal(b"four")), 200)
        assert ctl.json("session", "show", session)["bytes"] == 4
        assert b"received: 1\n" in ctl("session", "show", session)
        record = ctl("session", "seal", session, data=b"from a person")
        assert d.open(record)[2] == b"from a person"
        record = d.seal(b"to one")
        assert ctl("session", "open", data=record) == b"to one"
        ctl("session", "open", data=record, status=REFUSED)
        ctl("session", "open", data=b"no record", status=REFUSED)
        lines = ctl("session", "seal", session, "--lines", data=b"one\n\nthree\n").splitlines()
        assert [d.open(unb64(x.decode()))[2] for x in lines] == [b"one", b"", b"three"]
        records = [b64(d.seal(text)).encode() for text in (b"first", b"second")]
        batch = b"\n".join([records[0], b"AA", records[1], records[0]])
        opened = ctl("session", "open", "--lines", data=batch, status=REFUSED)
        assert opened == b"first\n-\nsecond\n-\n", opened
        for verb in (("seal", session), ("open",)):
            ctl("session", *verb, "--lines", data=b"", status=USAGE)
            ctl("session", *verb, "--lines", data=b"A\n" * 1025, status=USAGE)
        assert len(ctl("session", "ticket", session)) > 100
        assert d.open(ctl("session", "update", session))[0] == 2
        for verb in ("ticket", "update"):
            ctl("session", verb, "no-id", status=USAGE)
        ctl("session", "delete", session)
        ctl("session", "show", session, status=REFUSED)
        assert ctl("session", "list") == b""
        expect(keyd.open(d.seal(b"more")), 404, "no-such-session")
        d.connect(keyd)
        ctl("peer", "delete", "d")
        assert ctl.json("session", "list") == {"sessions": [], "next": None}
    public = oracle.ec_public(oracle.ec_private("ec-p256"))
    ctl("peer", "add", "raw", "--kid", "2b", "--pem", "-", data=public)
    ctl("peer", "add", "nameless", "--pem", "-", data=public, status=REFUSED)
    ctl("peer", "add", "bad", "--pem", "-", data=oracle.ec_private("ec-p256"), status=USAGE)
    ctl("peer", "add", "named", "--pem", path)
    assert ctl("peer", "show", "named", "--pem") == peer.pem(d.certificate).encode()
    ctl("peer", "show", "raw", "--pem", status=USAGE)
    assert b"kid: 2b\n" in ctl("peer", "show", "raw")
    assert [line.split("\t")[:3] for line in ctl("peer", "list").decode().splitlines()] == \
        [["named", "certificate", "-"], ["raw", "public key", "2b"]]
    assert [p["name"] for p in ctl.json("peer", "list")["peers"]] == ["named", "raw"]
    ctl("peer", "delete", "d", status=REFUSED)
    keyd.stop()


@test(on=SOFTHSM)
def a_bootstrap_server_is_set_up_and_devices_enrol(token):
    keyd = boot.Bootstrap(token).start()
    for name, type_, use in (("identity", "ec-p256", "sign"), ("root", "ec-p256", "derive"),
                             ("ticket", "aes-256", "encrypt,decrypt")):
        keyd.create(name, type_, *use.split(","))
    ctl = Ctl(keyd)
    ctl("server-cert", status=REFUSED)  # the CA has no certificate
    request = ctl("ca", "init", "--request", "--subject", "lower")
    assert oracle.openssl("req", "-verify", "-noout", data=request) is not None
    ctl("ca", "init", "--subject", "unit CA", "--out", keyd.ca_file)
    keyd.hup()
    ctl("ca", "init", status=USAGE)
    ctl("server-cert", "--out", keyd.certificate_file)
    keyd.hup()
    assert b"certificates: 1\n" in ctl("ca", "show")
    with open(keyd.ca_file, "rb") as f:
        assert ctl("ca", "show", "--pem") == f.read()
    secret_file = ctl.file("secret", b"")
    os.unlink(secret_file)
    said = ctl("device", "enroll", "d", "--relation", "r", "--lifetime", "600", "--out",
               secret_file)
    assert b"secret:" not in said and b"state: enrolled\n" in said, said
    assert os.stat(secret_file).st_mode & 0o777 == 0o600
    with open(secret_file, encoding="ascii") as f:
        first = f.read()
    again = ctl.json("device", "renew", "d")["secret"]
    owner = boot.Owner("d")
    assert owner.enroll(keyd, first)[0] == 401
    assert owner.enroll(keyd, again)[0] == 200
    assert oracle.der_of(ctl("device", "show", "d", "--pem")) == owner.certificate
    assert ctl("device", "list").decode().split("\t")[:4] == ["d", "r", "sign", "active"]
    assert ctl.json("device", "list")["devices"][0]["certificate"].startswith("-----BEGIN")
    assert ctl("device", "list", "--state", "revoked") == b""
    assert ctl("device", "list", "--state", "active").split(b"\t")[0] == b"d"
    ctl("device", "list", "--state", "gone", status=REFUSED)
    ctl("device", "list", "--state", "a&b", status=USAGE)
    ctl("device", "enroll", "e", "--usage", "agree")
    ctl("device", "show", "e", "--pem", status=USAGE)
    ctl("device", "enroll", "e", status=REFUSED)
    ctl("device", "enroll", "../e", status=REFUSED)
    ctl("device", "enroll", "f", "--usage", "both", status=REFUSED)
    ctl("device", "enroll", "f", "--lifetime", "0", status=USAGE)
    ctl("device", "show", "../e", status=USAGE)
    ctl("device", "revoke", "d", status=USAGE)
    assert b"state: revoked\n" in ctl("device", "revoke", "d", "--yes")
    ctl("device", "revoke", "d", "--yes", status=REFUSED)
    ctl("device", "renew", "d", status=REFUSED)
    ctl("device", "delete", "d", status=USAGE)
    ends = ctl.json("device", "show", "d")["not_after"]
    ctl("device", "delete", "d", "--yes", status=REFUSED)
    assert f"One is good until {ends}." in ctl.errors, ctl.errors
    ctl("device", "delete", "e", "--yes", status=REFUSED)
    ctl("device", "revoke", "e", "--yes")
    ctl("device", "delete", "e", "--yes")
    ctl("device", "show", "e", status=REFUSED)
    keyd.stop()


@test
def usage_errors_are_2_and_help_is_0():
    for argv in (["--nothing"], ["fly"], ["key"], ["key", "create"], ["sign"], ["sign", "a", "b"],
                 ["random", "1", "--format"], ["key", "list", "--type", "x"]):
        r = subprocess.run([KEYDCTL, *argv], capture_output=True, text=True, check=False,
                           stdin=subprocess.DEVNULL, timeout=300)
        assert r.returncode == USAGE and r.stderr and not r.stdout, (argv, r)
    for argv in (["--help"], ["sign", "--help"], ["key", "create", "--help"]):
        r = subprocess.run([KEYDCTL, *argv], capture_output=True, text=True, check=False,
                           stdin=subprocess.DEVNULL, timeout=300)
        assert r.returncode == OK and "usage" in r.stdout.lower() and not r.stderr, (argv, r)


@test(on=SOFTHSM)
def bench_measures_and_ends(token):
    keyd, ctl = start(token)
    out = ctl("bench", "--seconds", "1", "--connections", "2", "--programs",
              installed(token))
    assert out
    assert keyd.get("/v1/keys").json["keys"] == [], "bench leaves keys behind"
    keyd.stop()


@test(on=SOFTHSM)
def init_makes_a_set_up_that_keyd_starts_with(token):
    home = os.path.join(token.directory, "home")
    programs = installed(token)

    def init(*argv, status=OK):
        r = subprocess.run([KEYDCTL, "init", "--dir", home, "--programs", programs, *argv],
                           capture_output=True, text=True, check=False, timeout=3000,
                           stdin=subprocess.DEVNULL)
        assert r.returncode == status, r
        return r.stdout + r.stderr

    init()
    files = {os.path.join(d, f) for d, _, names in os.walk(home) for f in names}
    config = next(f for f in files if f.endswith("keyd.conf"))
    pins = [f for f in files if "pin" in os.path.basename(f)]
    assert pins and all(os.stat(f).st_mode & 0o077 == 0 for f in pins), pins
    before = {f: open(f, "rb").read() for f in files}
    init(status=USAGE)  # nothing that is there is overwritten
    assert before == {f: open(f, "rb").read() for f in files}
    keyd = Keyd(token)
    keyd.config_file = config
    keyd.socket = keyd.connection.address = socket_of(before[config].decode())
    with open(next(f for f in pins if "so" not in os.path.basename(f)), encoding="utf-8") as f:
        token.pin = f.read().strip()
    # At once, as after systemctl enable --now: it waits for the login.
    keyd.start(wait=False)
    keyd.wait_serving()
    ctl = Ctl(keyd)
    ctl("init", "--keys")
    assert len(ctl.json("key", "list")["keys"]) >= 2
    keyd.wait_all_ready()
    ctl("doctor", "--programs", programs)
    keyd.stop()


@test(on=SOFTHSM)
def init_sets_up_a_channel_that_devices_talk_over(token):
    keyd, ctl = start(token)
    text = open(keyd.config_file, encoding="utf-8").read()
    certificate = os.path.join(os.path.dirname(keyd.config_file), "channel.pem")
    assert b"channel-root" in ctl("init", "--channel")
    expect(keyd.post("/v1/handshakes", {"message": "AA"}), 400, "config")  # not yet
    after = open(keyd.config_file, encoding="utf-8").read()
    assert after.startswith(text) and "channel {" in after[len(text):]
    # Once and no more; what is there stays as it is.
    ctl("init", "--channel", status=USAGE)
    assert "section channel already" in ctl.errors
    keyd.restart()
    daemon.tokens.write(keyd.config_file, text)
    ctl("init", "--channel", status=USAGE)
    assert "on already" in ctl.errors
    assert open(keyd.config_file, encoding="utf-8").read() == text
    daemon.tokens.write(keyd.config_file, after)
    expect(keyd.post("/v1/keys/channel-identity/sign", {"data": ""}), 409, "key-reserved")
    # The certificate is the identity's, and is what devices expect.
    pem = open(certificate, "rb").read()
    oracle.openssl("verify", "-CAfile", certificate, certificate)
    shown = oracle.openssl("x509", "-in", certificate, "-noout", "-text").decode()
    assert "CA:FALSE" in shown and "Digital Signature" in shown and "CN = keyd" in shown, shown
    keyd.own_certificate = oracle.der_of(pem)
    keyd.own_point = oracle.point_of(oracle.openssl("x509", "-in", certificate, "-noout",
                                                    "-pubkey"))
    with peer.Device(keyd, "d", "x5t", True, "ec-p256") as d:
        d.connect(keyd)
        r = keyd.ok("/v1/records/open", {"record": b64(d.seal(b"hello"))})
        assert unb64(r["data"]) == b"hello" and r["peer"] == "d"
    keyd.wait_all_ready()
    ctl("doctor", "--programs", installed(token))
    keyd.stop()


def socket_of(config):
    (line,) = [line for line in config.split("\n") if line.strip().startswith("unix-path")]
    return line.split('"')[1]


if __name__ == "__main__":
    main()
