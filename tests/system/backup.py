# SPDX-License-Identifier: Apache-2.0
"""A copy of the registry while keyd works, and a keyd that goes on from it."""
import os
import resource
import shutil
import sqlite3
import stat
import threading

from audit import events, set_up, verify
from harness import SOFTHSM, Keyd, b64, expect, main, sha256_hex, test, tokens, wait_for
from harness.ctl import objects_of
from keydctl import REFUSED, Ctl, installed

POLICY = f"""
principal "tests" {{ uid = {{ {os.getuid()} }} }}
principal "watcher" {{ token = {{ "sha256:{sha256_hex('watcher-token')}" }} }}
principal "keeper" {{ token = {{ "sha256:{sha256_hex('keeper-token')}" }} }}
allow "tests" {{ operations = {{ "*" }} keys = {{ "*" }} }}
allow "watcher" {{ operations = {{ status, metrics, show }} keys = {{ "*" }} }}
allow "keeper" {{ operations = {{ backup }} }}
"""
PUBLIC = {"kty": "EC", "crv": "P-256", "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
          "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}


def state_of(keyd, name=""):
    return os.path.join(keyd.directory, "state", name)


def copy_of(keyd):
    made = keyd.ok("/v1/backup", {})
    assert made["file"] == state_of(keyd, "backup.db"), made
    return made["file"]


def restored(copy, token):
    """A keyd that is not started yet, with this registry."""
    keyd = Keyd(token)
    os.mkdir(state_of(keyd), 0o700)
    shutil.copy(copy, state_of(keyd, "keyd.db"))
    return keyd


def token_like(token):
    """Another SoftHSM, with a copy of this one's files."""
    other = tokens.make("softhsm", init=False)
    shutil.rmtree(os.path.join(other.directory, "tokens"))
    shutil.copytree(os.path.join(token.directory, "tokens"),
                    os.path.join(other.directory, "tokens"))
    other.pin = token.pin
    tokens.write(other.pin_file, token.pin + "\n")
    return other


class Load:
    """Threads that make, rotate and delete keys and peers until they are told to end."""

    def __init__(self, keyd, n=4):
        self.keyd = keyd
        self.made, self.failed, self.done = [], [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(f"load{i}",)) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, name):
        try:
            with self.keyd.client() as c:
                for i in range(100_000):
                    if self.done.is_set():
                        return
                    self.change(c, f"{name}-{i}")
        except BaseException as e:  # pylint: disable=broad-except
            self.failed.append(repr(e))

    def change(self, c, name):
        c.create(name, "hmac-sha256", "sign", "verify")
        expect(c.post(f"/v1/keys/{name}/rotate", {}), 201)
        self.made.append(name)
        c.create(name + "-gone", "aes-256", "encrypt")
        expect(c.delete(f"/v1/keys/{name}-gone"), 204)
        expect(c.post("/v1/keys", {"name": name + "-public", "jwk": PUBLIC}), 201)
        expect(c.delete(f"/v1/keys/{name}-public"), 204)

    def wait(self, n):
        wanted = len(self.made) + n
        wait_for(lambda: len(self.made) >= wanted or self.failed, what="changes")
        assert not self.failed, self.failed

    def end(self):
        self.done.set()
        for t in self.threads:
            t.join()
        assert not self.failed, self.failed


def versions_of(keyd):
    keys, after = {}, "?limit=1000"
    while after:
        page = expect(keyd.get("/v1/keys" + after), 200).json
        keys.update({k["name"]: len(k["versions"]) for k in page["keys"]})
        after = page["next"] and "?limit=1000&after=" + page["next"]
    return keys


@test(on=SOFTHSM)
def copy_under_load_has_each_key_that_was_there(token):
    keyd = Keyd(token).start()
    load = Load(keyd)
    for _ in range(10):
        load.wait(4)
        copy_of(keyd)
    before = list(load.made)
    file = copy_of(keyd)
    load.wait(8)  # which are not in it
    load.end()
    at_end = versions_of(keyd)
    keyd.stop()
    other = restored(file, token).start()
    found = versions_of(other)
    assert before and all(found.get(name) == 2 for name in before), set(before) - set(found)
    assert len(found) < len(at_end), "it is an older one"
    for name in before:
        made = other.ok(f"/v1/keys/{name}/mac", {"data": b64(b"x")})["mac"]
        assert other.ok(f"/v1/keys/{name}/mac-verify", {"data": b64(b"x"), "mac": made})["valid"]
    for name in set(found) - set(at_end):  # deleted after the copy: their objects are gone
        wait_for(lambda n=name: other.delete("/v1/keys/" + n).status in (204, 404), what=name)
    other.create("next", "aes-256", "encrypt")
    other.stop()


@test(on=SOFTHSM)
def registry_then_token_is_a_set_up_that_the_doctor_finds_well(token):
    keyd = Keyd(token).start()
    load = Load(keyd)
    for _ in range(3):
        load.wait(4)
        copy_of(keyd)
    load.end()
    file = copy_of(keyd)
    before = versions_of(keyd)
    assert not [n for n in before if n.endswith(("-gone", "-public"))]
    keyd.wait_all_ready()  # a login writes the token's file
    other_token = token_like(token)  # keyd runs, and makes no keys
    other = restored(file, other_token).start()
    assert versions_of(other) == before
    for name in before:
        mac = other.ok(f"/v1/keys/{name}/mac", {"data": b64(b"x")})["mac"]
        expect(keyd.post(f"/v1/keys/{name}/mac-verify", {"data": b64(b"x"), "mac": mac}), 200)
    other.wait_all_ready()
    Ctl(other)("doctor", "--programs", installed(other_token))
    other.stop()
    keyd.stop()
    other_token.remove()


@test(on=SOFTHSM)
def key_made_after_the_copy_is_adopted_from_the_token(token):
    keyd = Keyd(token).start()
    file = copy_of(keyd)
    keyd.create("later", "hmac-sha256", "sign", "verify")
    data = b64(b"data")
    mac = keyd.ok("/v1/keys/later/mac", {"data": data})["mac"]
    keyd.stop()
    other = restored(file, token).start()
    expect(other.post("/v1/keys/later/mac", {"data": data}), 404, "no-such-key")
    found = objects_of(other)
    assert found["finding"] == "note" and found["what"].endswith(": later.v1"), found
    other.ok("/v1/keys", {"name": "later", "uri": "pkcs11:object=later.v1;type=secret-key"}, 201)
    assert other.ok("/v1/keys/later/mac", {"data": data})["mac"] == mac
    assert objects_of(other)["finding"] == "ok", objects_of(other)
    other.stop()


@test(on=SOFTHSM)
def copy_is_for_keyds_user_alone_and_needs_its_permission(token):
    keyd = Keyd(token, policy=POLICY).start()
    expect(keyd.post("/v1/backup", {}, bearer="watcher-token"), 403, "denied")
    expect(keyd.post("/v1/backup", {}, bearer="nobody"), 401, "unauthenticated")
    expect(keyd.post("/v1/backup", {"file": "/tmp/x"}, bearer="keeper-token"), 400,
           "field-unknown")
    assert not os.path.exists(state_of(keyd, "backup.db"))
    made = keyd.ok("/v1/backup", {}, bearer="keeper-token")
    st = os.stat(made["file"])
    assert stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == os.getuid(), oct(st.st_mode)
    assert st.st_size == made["bytes"]
    assert sorted(made) == ["bytes", "file"]
    expect(keyd.get("/v1/keys", bearer="keeper-token"), 200)  # and sees none of them
    assert keyd.get("/v1/keys", bearer="keeper-token").json["keys"] == []
    keyd.stop()


@test(on=SOFTHSM)
def copy_that_cannot_be_written_is_told_and_leaves_the_one_before(token):
    keyd = Keyd(token).start()
    file = copy_of(keyd)
    with open(file, "rb") as f:
        before = f.read()
    keyd.create("k", "aes-256", "encrypt")
    os.mkdir(file + ".new")
    problem = expect(keyd.post("/v1/backup", {}), 500, "store").json
    assert "log" in problem["detail"] and "the copy of the registry cannot" in keyd.log()
    Ctl(keyd)("backup", status=REFUSED)
    with open(file, "rb") as f:
        assert f.read() == before
    os.rmdir(file + ".new")
    assert b"backup.db" in Ctl(keyd)("backup") and Ctl(keyd).json("backup")["file"] == file
    with open(file, "rb") as f:
        assert f.read() != before
    assert os.listdir(state_of(keyd)).count("backup.db.new") == 0
    keyd.stop()


@test(on=SOFTHSM)
def copy_that_fails_in_the_middle_leaves_the_one_before_and_the_registry(token):
    keyd = Keyd(token)
    keyd.wrapper = ["env", "--ignore-signal=XFSZ"]  # a full disk sends no signal
    keyd.start()
    for i in range(300):
        keyd.ok("/v1/keys", {"name": f"k{i}", "jwk": PUBLIC}, 201)
    file = copy_of(keyd)
    with open(file, "rb") as f:
        before = f.read()
    limits = resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    for _ in range(3):
        expect(keyd.post("/v1/backup", {}), 500, "store")
    resource.prlimit(keyd.pid, resource.RLIMIT_FSIZE, limits)
    with open(file, "rb") as f:
        assert f.read() == before
    assert "backup.db.new" not in os.listdir(state_of(keyd))
    keyd.create("later", "aes-256", "encrypt")
    copy_of(keyd)
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM keys").fetchall() == [(301,)]
    keyd.stop()


@test(on=SOFTHSM)
def copy_of_a_killed_keyd_is_gone_after_the_next_start(token):
    keyd = Keyd(token).start()
    file = copy_of(keyd)
    keyd.kill()
    left = file + ".new"
    shutil.copy(file, left)  # as if the kill had come before the end of another copy
    keyd.start()
    assert not os.path.exists(left) and os.path.exists(file)
    keyd.kill()
    os.mkdir(left)  # what cannot be removed stops no start
    keyd.start()
    assert "cannot be removed" in keyd.log(), keyd.log()
    os.rmdir(left)
    copy_of(keyd)
    keyd.stop()


@test(on=SOFTHSM)
def copies_that_are_asked_for_at_once_are_made_or_told_busy(token):
    keyd = Keyd(token).start()
    answers = []

    def ask():
        with keyd.client() as c:
            answers.append(c.post("/v1/backup", {}))
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {a.status for a in answers} <= {200, 503}, answers
    assert any(a.status == 200 for a in answers)
    assert all(a.type == "busy" for a in answers if a.status == 503), answers
    with sqlite3.connect(state_of(keyd, "backup.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    keyd.stop()


@test(on=SOFTHSM)
def older_registry_beside_the_audit_log_is_told_as_that_alone(token):
    keyd = set_up(token).start()
    keyd.create("audit", "hmac-sha256", "sign", "verify")
    wait_for(lambda: events(keyd, "audit.seal"), what="a seal")
    file = copy_of(keyd)
    (asked,) = [e for e in events(keyd, "registry.copy") if e.get("phase") == "asked"]
    assert asked["principal"] == "tests"
    for i in range(3):  # seals that the copy does not know
        n = len(events(keyd, "audit.seal"))
        keyd.create(f"later-{i}", "aes-256", "encrypt")
        wait_for(lambda known=n: len(events(keyd, "audit.seal")) > known, what="a seal")
    keyd.stop()
    for name in ("keyd.db", "keyd.db-wal"):
        if os.path.exists(state_of(keyd, name)):
            os.unlink(state_of(keyd, name))
    shutil.copy(file, state_of(keyd, "keyd.db"))
    keyd.start()
    starts = events(keyd, "keyd.start")
    assert len(starts) == 2, starts
    assert starts[1]["found"] == "The registry does not know the last seals: it may be an old one.", starts
    assert "the registry knows nothing of the last seals of the audit log" in keyd.log()
    assert "lines of the audit log are gone" not in keyd.log()
    verify(keyd)
    keyd.stop()


if __name__ == "__main__":
    main()
