# SPDX-License-Identifier: Apache-2.0
"""The audit log: who asked for what, what became of it, and that nobody can change it unseen."""
import glob
import hashlib
import json
import os
import resource
import subprocess
import threading
import time

from harness import SOFTHSM, Keyd, b64, expect, main, oracle, sha256_hex, test, wait_for
from harness.boot import Bootstrap, Owner
from harness.mailbox import KEYDCTL
from harness.peer import Server

POLICY = f"""
principal "tests" {{ uid = {{ {os.getuid()} }} }}
principal "guest" {{ token = {{ "sha256:{sha256_hex('guest-token')}" }} }}
allow "tests" {{ operations = {{ "*" }} keys = {{ "*" }} }}
allow "guest" {{ operations = {{ show }} keys = {{ "orders" }} }}
"""

TRIED_UNNAMED = 16  # KD_HSM_KEYS_MAX


def set_up(token, make=Keyd, **config):
    keyd = make(token, {}, POLICY)
    keyd.audit_file = os.path.join(keyd.directory, "audit.log")
    channel = getattr(keyd, "channel", {})
    keyd.set_config({**channel, "audit.file": keyd.audit_file, "audit.key": "audit",
                     "audit.interval": 1, **config})
    return keyd


def files_of(keyd):
    return sorted(glob.glob(keyd.audit_file + ".*")) + [keyd.audit_file]


def lines_of(keyd):
    lines = []
    for path in files_of(keyd):
        with open(path, encoding="ascii") as f:
            lines += [json.loads(line) for line in f if line.endswith("\n")]  # else it is being written
    return lines


def events(keyd, name):
    return [line for line in lines_of(keyd) if line["event"] == name]


def verify(keyd, *argv, files=None, status=0, say=None):
    r = subprocess.run([KEYDCTL, "--config", keyd.config_file, "audit", "verify", *argv,
                        *(files or files_of(keyd))], capture_output=True, text=True, timeout=300,
                       check=False)
    assert r.returncode == status, (r.returncode, r.stdout, r.stderr)
    assert say is None or say in r.stdout + r.stderr, (say, r.stdout, r.stderr)
    return r.stdout


def answered(keyd, event):
    """The line that was there before the work, and the one that says what became of it."""
    def pair():
        both = events(keyd, event)
        return both if len(both) == 2 else None
    asked, answer = wait_for(pair, what=f"two lines of {event}")
    assert asked["phase"] == "asked" and answer["asked"] == asked["seq"], (asked, answer)
    assert asked["request"] == answer["request"], (asked, answer)
    return asked, answer


def wait_sealed(keyd, event, n=1):
    """Waits until so many lines of the event are there, and a seal of all lines is the last."""
    def is_sealed():
        lines = lines_of(keyd)
        last = lines[-1]
        return (sum(line["event"] == event for line in lines) >= n
                and last["event"] == "audit.seal" and last["covers"] == last["seq"] - 1
                and keyd.get("/v1/audit").json["sealed"] == last["covers"])
    wait_for(is_sealed, what="a seal of it all")


@test(on=SOFTHSM)
def each_change_is_written_down_before_it_is_done_and_what_became_of_it(token):
    keyd = set_up(token).start()
    keyd.create("orders", "ec-p256", "derive")
    asked, answer = answered(keyd, "key.create")
    assert asked["principal"] == "tests" and asked["input"] == {"name": "orders",
                                                               "type": "ec-p256"}, asked
    assert answer["result"] == "ok" and answer["made"] == "/v1/keys/orders", answer
    assert answer["version"] == 1 and answer["origin"] == "created", answer
    assert len(answer["cka_id"]) == 32 and "extractable" not in answer, answer
    _, point = oracle.new_peer("ec-p256")
    keyd.ok("/v1/keys/orders/ecdh", {"peer": b64(point), "type": "hmac-sha256"})
    assert not events(keyd, "secret.release"), "it stays in the token"
    keyd.ok("/v1/keys/orders/ecdh", {"items": [{"peer": b64(point), "release": True}]})
    for path, event, status in (("rotate", "key.rotate", 201), ("disable", "key.disable", 200),
                                ("enable", "key.enable", 200)):
        keyd.ok(f"/v1/keys/orders/{path}", {}, status)
        asked, answer = answered(keyd, event)
        assert asked["name"] == "orders" and answer["result"] == "ok", (asked, answer)
    expect(keyd.delete("/v1/keys/orders/versions/1"), 204)
    asked, answer = answered(keyd, "key.delete-version")
    assert asked["name"] == "orders" and asked["input"] == {"version": 1}, asked
    assert answer["result"] == "ok", answer
    expect(keyd.delete("/v1/keys/orders", headers={"X-Request-Id": "mine-7"}), 204)
    asked, _ = answered(keyd, "key.delete")
    assert asked["request"] == "mine-7", asked
    answered(keyd, "secret.release")
    expect(keyd.post("/v1/keys/orders/rotate"), 404, "no-such-key")
    refused = wait_for(lambda: [e for e in events(keyd, "key.rotate")
                                if e.get("result") == "no-such-key"], what="the refusal")
    assert refused[0]["status"] == 404
    keyd.stop()
    kinds = [line["event"] for line in lines_of(keyd)]
    assert kinds[:2] == ["keyd.start", "policy.read"] and kinds[-1] == "keyd.stop", kinds
    verify(keyd, "--offline")


@test(on=SOFTHSM)
def what_left_the_token_and_which_object_is_taken_up_is_in_the_log(token):
    keyd = set_up(token).start()
    keyd.create("orders", "ec-p256", "derive")
    _, point = oracle.new_peer("ec-p256")
    made = keyd.ok("/v1/keys/orders/ecdh", {"peer": b64(point), "type": "hmac-sha256",
                                            "kdf": "hkdf-sha256"})
    release = {"kdf": "hkdf-sha256", "release": True, "length": 40}
    keyd.ok(f"/v1/secrets/{made['secret']}/derive", {"items": [
        release, {"kdf": "hkdf-sha256", "type": "aes-256"}, release]})
    asked, answer = answered(keyd, "secret.release")
    assert asked["name"] == made["secret"] and asked["input"] == {"items": 3}, asked
    assert answer["key"] == "orders" and answer["version"] == 1, answer
    assert answer["values"] == 2 and answer["bytes"] == 80, answer
    # A long URI is not left out, and its line says which object it led to.
    taken = keyd.get("/v1/keys/orders").json
    keyd.ok("/v1/keys/orders/rotate", {}, 201)
    uri = "pkcs11:object=" + "".join(f"%{c:02x}" for c in b"no-such-object-" * 4) + ";type=private"
    expect(keyd.post("/v1/keys", {"name": "adopted", "uri": uri}), 404, "no-such-object")
    asked = [e for e in events(keyd, "key.create") if e.get("phase") == "asked"][-1]
    assert asked["input"]["uri"] == uri[:128], asked
    assert asked["input"]["uri_sha256"] == sha256_hex(uri), asked
    assert taken["versions"][0]["version"] == 1
    keyd.stop()


@test(on=SOFTHSM)
def operations_that_are_named_have_a_line_before_their_answer(token):
    keyd = set_up(token, **{"audit.operations": ["sign", "mac-verify", "encrypt", "derive"]})
    keyd.start()
    keyd.create("orders", "ec-p256", "sign")
    keyd.create("d", "ec-p256", "derive")
    keyd.create("m", "hmac-sha256", "sign", "verify")
    keyd.ok("/v1/keys/orders/rotate", {}, 201)
    asked = keyd.post("/v1/keys/orders/sign", {"data": b64(b"x")}, headers={"X-Request-Id": "s-1"})
    line = events(keyd, "key.use")[-1]  # there when the answer is
    assert asked.status == 200 and line["request"] == "s-1" and line["result"] == "ok", line
    assert line["operation"] == "sign" and line["name"] == "orders", line
    assert line["items"] == 1 and line["version"] == 2 and "failed" not in line, line
    mac = keyd.ok("/v1/keys/m/mac", {"data": ""})["mac"]
    keyd.ok("/v1/keys/m/mac-verify", {"items": [{"data": "", "mac": mac}, {"data": "AA",
                                                                           "mac": mac}]})
    _, point = oracle.new_peer("ec-p256")
    secret = keyd.ok("/v1/keys/d/ecdh", {"peer": b64(point), "kdf": "hkdf-sha256",
                                              "type": "aes-256"})["secret"]
    keyd.ok(f"/v1/secrets/{secret}/encrypt", {"plaintext": ""})
    expect(keyd.post("/v1/keys/m/encrypt", {"plaintext": ""}), 409, "key-type")
    lines = [(e["operation"], e["name"], e["items"]) for e in events(keyd, "key.use")]
    assert lines == [("sign", "orders", 1), ("mac-verify", "m", 2), ("encrypt", secret, 1)], lines
    assert events(keyd, "key.use")[-1]["key"] == "d"
    wait_for(lambda: [e for e in events(keyd, "request.refused") if e["result"] == "key-type"],
             what="what failed")
    keyd.stop()
    verify(keyd, "--offline")


@test(on=SOFTHSM)
def who_may_do_nothing_is_written_down_and_cannot_fill_the_disk(token):
    keyd = set_up(token).start()
    started = time.monotonic()
    for bearer, status, problem in (("nobodys", 401, "unauthenticated"),
                                    ("guest-token", 403, "denied")):
        expect(keyd.post("/v1/keys/orders/mac", {"data": ""}, bearer=bearer), status, problem)
    for _ in range(300):
        expect(keyd.get("/v1/keys/other", bearer="guest-token"), 403, "denied")
    n = 302

    def all_told():
        nonlocal n
        lines = events(keyd, "request.refused")
        if len(lines) + sum(line.get("left_out", 0) for line in lines) == n:
            return lines
        expect(keyd.get("/v1/keys/other", bearer="guest-token"), 403, "denied")
        n += 1
        return None

    # What is left out stands in a line of a later second, or of the next minute.
    lines = wait_for(all_told, seconds=90, what="what was left out")
    assert lines[0]["result"] == "unauthenticated" and "principal" not in lines[0], lines[0]
    assert lines[1]["principal"] == "guest", lines[1]
    assert lines[1]["route"] == "/v1/keys/{name}/mac", lines[1]
    assert any("left_out" in line for line in lines), "nothing was left out"
    seconds = time.monotonic() - started
    assert len(lines) <= 10 * (seconds + 2), (len(lines), seconds)
    verify(keyd)
    keyd.stop()


@test
def seals_are_keyds_alone_and_anybody_may_check_them(token):
    keyd = set_up(token).start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    seal = wait_for(lambda: events(keyd, "audit.seal"), what="a seal")[-1]
    covered = [line for line in lines_of(keyd) if line["seq"] == seal["covers"]]
    assert len(covered) == 1
    expect(keyd.post("/v1/keys/audit/mac", {"data": ""}), 409, "key-reserved")
    expect(keyd.post("/v1/keys/audit/derive", {"type": "aes-256", "kdf": "hkdf-sha256"}), 409,
           "key-reserved")
    expect(keyd.delete("/v1/keys/audit"), 409, "key-reserved")
    data = (b"keyd audit seal\0" + seal["covers"].to_bytes(8, "big") + bytes.fromhex(seal["head"]))
    assert keyd.ok("/v1/keys/audit/mac-verify", {"data": b64(data), "mac": seal["mac"]})["valid"]
    assert not keyd.ok("/v1/keys/audit/mac-verify", {"data": b64(data[:-1] + bytes([data[-1] ^ 1])),
                                                     "mac": seal["mac"]})["valid"]
    report = keyd.get("/v1/audit").json
    assert report["key"] == "audit" and report["sealed"] >= seal["covers"], report
    expect(keyd.get("/v1/audit", bearer="guest-token"), 403, "denied")
    # What was refused is written down a moment later, in its order: the last is there, and all sealed.
    wait_for(lambda: [e for e in events(keyd, "request.refused") if e["route"] == "/v1/audit"],
             what="the last refusal")
    wait_sealed(keyd, "request.refused")
    n = len(events(keyd, "audit.seal"))
    time.sleep(2.2)
    assert len(events(keyd, "audit.seal")) == n, "nothing happens, so nothing is sealed"
    keyd.restart()
    verify(keyd, say="are keyd's")
    keyd.stop()


@test(on=SOFTHSM)
def seals_of_all_versions_are_found_and_of_none_that_there_is_not(token):
    keyd = set_up(token).start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    seal = wait_for(lambda: events(keyd, "audit.seal"), what="a seal")[0]
    assert seal["version"] == 1, seal
    for _ in range(TRIED_UNNAMED):  # as many as keyd tries, all of them newer
        keyd.ok("/v1/keys/audit/rotate", {}, 201)
    data = (b"keyd audit seal\0" + seal["covers"].to_bytes(8, "big") + bytes.fromhex(seal["head"]))
    body = {"data": b64(data), "mac": seal["mac"]}
    assert not keyd.ok("/v1/keys/audit/mac-verify", body)["valid"], "it is tried by its name alone"
    assert keyd.ok("/v1/keys/audit/mac-verify", {**body, "version": 1})["valid"]
    keyd.restart()
    verify(keyd, say="are keyd's")
    keyd.stop()
    keyd.start()
    with open(keyd.audit_file, encoding="ascii") as f:
        text = f.read()
    forged = os.path.join(keyd.directory, "forged")
    with open(forged, "w", encoding="ascii") as f:
        f.write(text.replace('"key":"audit","version":1,', '"key":"audit","version":9999,', 1))
    verify(keyd, files=[forged], status=1, say="did not make")
    expect(keyd.post("/v1/keys/audit/disable", {"version": 1}), 200)
    verify(keyd, status=3, say="disabled")
    expect(keyd.delete("/v1/keys/audit/versions/1"), 204)
    verify(keyd, status=1, say="did not make")
    verify(keyd, "--offline")
    keyd.stop()


def chained(lines):
    """The lines with numbers and hashes made anew, as one who can write the file would."""
    out, prev = [], lines[0]["prev"]
    for i, line in enumerate(lines):
        line = {**line, "seq": lines[0]["seq"] + i, "prev": prev}
        text = json.dumps(line, separators=(",", ":"))
        prev = hashlib.sha256(text.encode()).hexdigest()
        out.append(text)
    return out


@test(on=SOFTHSM)
def a_changed_removed_inserted_moved_or_cut_line_is_found_and_named(token):
    keyd = set_up(token).start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    keyd.create("mine", "hmac-sha256", "sign", "verify")
    for i in range(4):
        keyd.create(f"k{i}", "aes-256", "encrypt")
    wait_sealed(keyd, "key.create", 12)
    with open(keyd.audit_file, encoding="ascii") as f:
        good = f.read().splitlines()
    parsed = [json.loads(line) for line in good]
    assert [line["seq"] for line in parsed] == list(range(1, len(good) + 1))
    at = [(line["event"], line.get("input")) for line in parsed].index(
        ("key.create", {"name": "mine", "type": "hmac-sha256"}))
    other = os.path.join(keyd.directory, "other.log")

    def check(lines, say, *argv):
        with open(other, "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        return verify(keyd, *argv, files=[other], status=1, say=say)

    before, line, after = good[:at], good[at], good[at + 1:]
    assert '"tests"' in line
    n = at + 1  # its number
    check([*before, line.replace("tests", "guest"), *after],
          f"other.log:{n + 1}: line {n + 1}: the line")
    check([*before, *after],
          f"other.log:{n}: line {n + 1}: 1 lines before it are missing, from {n} on")
    check([*before, line, line, *after],
          f"other.log:{n + 1}: line {n}: its number comes after {n}")
    check([*before, "hello", line, *after], f"other.log:{n}: it is no line of an audit log")
    check([*before, after[0], line, *after[1:]],
          f"other.log:{n}: line {n + 1}: 1 lines before it")
    check(good[:8], "other.log:8: line 8: keyd has written lines up to")
    # One who makes all hashes anew has no key, or one that is not keyd's.
    forged = [dict(line) for line in parsed]
    forged[at]["principal"] = "guest"
    check(chained(forged), "is not the line that keyd wrote last")
    check(chained(forged), "a seal of another line", "--offline")
    made = chained(forged)
    for i, line in enumerate(forged):
        if line["event"] == "audit.seal":
            made = chained(forged)
            head = hashlib.sha256(made[line["covers"] - 1].encode()).digest()
            data = b"keyd audit seal\0" + line["covers"].to_bytes(8, "big") + head
            mac = keyd.ok("/v1/keys/mine/mac", {"data": b64(data)})
            forged[i] = {**line, "head": head.hex(), "mac": mac["mac"], "key": "mine"}
    check(chained(forged), 'a seal that the key "mine" did not make')
    forged = [{**line, "key": "audit"} if line["event"] == "audit.seal" else line
              for line in forged]
    check(chained(forged), 'a seal that the key "audit" did not make')
    with open(other, "w", encoding="ascii") as f:
        f.write("\n".join(good) + "\n" + good[-1][:30])
    verify(keyd, files=[other], status=1, say="half a line at the end")
    verify(keyd)
    keyd.stop()
    # keyd sees at its start what was cut off, or is not its own.
    with open(keyd.audit_file, "w", encoding="ascii") as f:
        f.write("\n".join(good[:6]) + "\n")
    keyd.start()
    assert "others than they were" in keyd.log()
    assert "later line" in events(keyd, "keyd.start")[-1]["found"]
    keyd.stop()


@test(on=SOFTHSM)
def a_full_disk_refuses_what_must_be_written_down_and_heals(token):
    keyd = set_up(token)
    keyd.wrapper = ["env", "--ignore-signal=XFSZ"]  # a full disk sends no signal
    keyd.start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    keyd.create("k", "hmac-sha256", "sign")
    wait_sealed(keyd, "key.create", 4)  # no seal is half noted in the registry
    limits = resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    for _ in range(3):
        r = expect(keyd.post("/v1/keys", {"name": "new", "type": "aes-256",
                                          "usages": ["encrypt"]}), 503, "audit")
        assert "Retry-After" in r.headers and r.json["detail"], r
        expect(keyd.delete("/v1/keys/k"), 503, "audit")
        keyd.ok("/v1/keys/k/mac", {"data": ""})
    expect(keyd.get("/v1/keys/new"), 404, "no-such-key")
    report = keyd.get("/v1/audit").json
    assert report["failing"] and report["reason"] == "File too large", report
    assert report["refused"] >= 5, report
    assert "keyd_audit_failing 1" in keyd.get("/metrics").body.decode()
    resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE, limits)
    wait_for(lambda: not keyd.get("/v1/audit").json["failing"], what="the end of the failure")
    keyd.create("new", "aes-256", "encrypt")
    assert events(keyd, "audit.failed")[0]["why"] == "File too large"
    assert events(keyd, "audit.resumed")[0]["refused"] >= 5
    verify(keyd)
    keyd.stop()


@test(on=SOFTHSM)
def the_log_goes_on_in_other_files_and_a_missing_one_is_found(token):
    keyd = set_up(token, **{"audit.file-max-bytes": 65536}).start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    keyd.create("k", "aes-256", "encrypt", "decrypt")
    while len(files_of(keyd)) < 3:  # each is some 700 bytes
        keyd.ok("/v1/keys/k/disable", {})
        keyd.ok("/v1/keys/k/enable", {})
    verify(keyd)
    os.rename(keyd.audit_file, keyd.audit_file + ".9")  # as logrotate does
    keyd.hup()
    keyd.ok("/v1/keys/k/rotate", {}, 201)
    wait_for(lambda: os.path.exists(keyd.audit_file) and events(keyd, "key.rotate"),
             what="another file")
    files = files_of(keyd)
    assert len(files) >= 4, files
    verify(keyd, files=list(reversed(files)))
    verify(keyd, files=[files[0], *files[2:]], status=1, say="lines before it are missing")
    verify(keyd, files=files[:-1], status=1, say="keyd has written lines up to")
    keyd.stop()


def change_keys(keyd, round_, n, answered_, stop):
    """Makes keys, rotates each second one and deletes each third, until keyd is gone."""
    with keyd.client() as c:
        for i in range(1000):
            name = f"r{round_}t{n}i{i}"
            steps = [("POST", "/v1/keys", {"name": name, "type": "aes-256",
                                           "usages": ["encrypt"]}, "create")]
            if i % 2:
                steps.append(("POST", f"/v1/keys/{name}/rotate", {}, "rotate"))
            if i % 3 == 0:
                steps.append(("DELETE", f"/v1/keys/{name}", None, "delete"))
            for method, path, body, what in steps:
                try:
                    if stop.is_set() or c.request(method, path, body).status >= 300:
                        return
                    answered_.add((what, name))
                except OSError:
                    return


def versions(keyd):
    """{name: number of versions}, when nothing is half done any more."""
    keys = keyd.get("/v1/keys?limit=1000").json["keys"]
    return {k["name"]: len(k["versions"]) for k in keys}


@test(on=SOFTHSM)
def after_a_kill_log_registry_and_token_agree(token):
    keyd = set_up(token).start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    for round_ in range(3):
        done, stop = set(), threading.Event()
        threads = [threading.Thread(target=change_keys, args=(keyd, round_, n, done, stop))
                   for n in range(4)]
        for t in threads:
            t.start()
        wait_for(lambda done=done: len(done) > 12, what="some changes")
        keyd.kill()
        stop.set()
        for t in threads:
            t.join()
        keyd.start()
        wait_for(lambda: {f"{name}.v{v}" for name, n in versions(keyd).items()
                          for v in range(1, n + 1)} == {o["label"] for o in token.objects()},
                 what="registry and token to agree")
        verify(keyd)
        there = versions(keyd)
        asked = {(e["event"][4:], e.get("name") or e["input"]["name"])
                 for e in lines_of(keyd) if e.get("phase") == "asked"}
        assert done <= asked, "what was answered was written down before"
        assert {("create", name) for name in there} <= asked
        assert {("rotate", name) for name, n in there.items() if n == 2} <= asked
        for what, name in done:
            assert (name in there) or ("delete", name) in asked, (what, name)
            assert what != "delete" or name not in there, name
    unanswered = [e["unanswered"] for e in events(keyd, "keyd.start")]
    answers = {e["asked"] for e in lines_of(keyd) if "asked" in e}
    asked = {e["seq"] for e in lines_of(keyd) if e.get("phase") == "asked"}
    assert asked - answers == {n for some in unanswered for n in some}, (asked, answers)
    keyd.stop()


@test(on=SOFTHSM)
def sessions_and_certificates_are_written_down_before_the_answer(token):
    """A09, J10: who was let in, and by which certificate."""
    keyd = set_up(token, make=Server)
    keyd.set_up()
    with keyd.device("pump-3") as device:
        device.connect(keyd)
        opened = events(keyd, "session.open")
        assert [o["peer"] for o in opened] == ["pump-3"], opened
        assert opened[0]["result"] == "ok" and opened[0]["principal"] == "tests", opened
        session = opened[0]["session"]
        expect(keyd.delete(f"/v1/sessions/{session}"), 204)
        assert events(keyd, "session.delete")[0]["session"] == session
    keyd.stop()


@test(on=SOFTHSM)
def a_certificate_is_issued_with_a_line_that_names_it(token):
    keyd = set_up(token, make=Bootstrap)
    keyd.set_up()
    owner = Owner("pump-4")
    secret = keyd.enrol("pump-4")
    owner.enroll(keyd, "wrong" + secret[5:])
    owner.take(owner.enroll(keyd, secret))
    issued = events(keyd, "certificate.issue")
    assert len(issued) == 1 and issued[0]["device"] == "pump-4", issued
    der = oracle.der_of(keyd.get("/v1/devices/pump-4").json["certificate"].encode())
    assert issued[0]["certificate"] == hashlib.sha256(der).hexdigest(), issued
    refused = [e for e in events(keyd, "request.refused") if e.get("device") == "pump-4"]
    assert refused and refused[0]["result"] == "enrolment", refused
    asked = [e for e in events(keyd, "device.create") if e.get("phase") == "asked"]
    assert asked[0]["input"] == {"id": "pump-4"}, asked
    assert owner.reenroll(keyd, also=("-u", "pump-5:x"))[0] == 200
    renewed = events(keyd, "certificate.renew")
    assert len(renewed) == 1 and "device" not in renewed[0], ("named by nobody's word", renewed)
    assert renewed[0]["with"] == hashlib.sha256(der).hexdigest(), renewed
    expect(keyd.delete("/v1/devices/pump-4"), 409, "device-not-revoked")
    keyd.enrol("pump-6")
    keyd.ok("/v1/devices/pump-6/revoke", {})
    expect(keyd.delete("/v1/devices/pump-6"), 204)
    told = [(e["name"], e.get("result")) for e in events(keyd, "device.delete")
            if e.get("phase") == "asked" or e["result"] == "ok"]
    assert told == [("pump-4", None), ("pump-6", None), ("pump-6", "ok")], told
    with open(keyd.audit_file, encoding="ascii") as f:
        assert secret not in f.read(), "a secret in the log"
    keyd.stop()


if __name__ == "__main__":
    main()
