# SPDX-License-Identifier: Apache-2.0
"""Workers that run as a user of their own (workers.user).  Needs root, to become two other
users; without it there is only what keyd says then."""
import os
import pwd
import re
import shutil
import signal
import subprocess

from harness import SOFTHSM, children, expect, is_alive, main, test, tokens, wait_for
from harness.daemon import KEYD, Keyd
from harness.mailbox import KEYDCTL

FRONT, WORKERS = pwd.getpwnam("daemon"), pwd.getpwnam("nobody")
RIGHTS = "+setuid,+setgid"


def copy_programs(folder):
    """Copies of both programs, as the build tree may be closed to other users."""
    programs = os.path.join(folder, "bin")
    os.mkdir(programs)
    for path in (KEYD, tokens.WORKER):
        shutil.copy(path, programs)
    os.chmod(programs, 0o755)
    return programs


def become(programs, *options):
    """A command that runs keyd as the user of the front."""
    keyd = os.path.join(programs, os.path.basename(KEYD))
    return ["setpriv", f"--reuid={FRONT.pw_uid}", f"--regid={FRONT.pw_gid}", "--clear-groups",
            *options, "--", "sh", "-c", f'shift; exec {keyd} "$@"', "sh"]


class Separated(Keyd):
    """A keyd that runs as one user and its workers as another."""

    def __init__(self, token, config=None, rights=RIGHTS):
        super().__init__(token, {"workers.user": WORKERS.pw_name, **(config or {})})
        os.chmod(token.directory, 0o711)
        programs = copy_programs(self.directory)
        self.set_config({"workers.user": WORKERS.pw_name,
                         "workers.program": os.path.join(programs, os.path.basename(tokens.WORKER)),
                         **(config or {})})
        give(self.directory, FRONT)
        give(os.path.join(token.directory, "tokens"), WORKERS)
        for path in (token.pin_file, os.path.join(token.directory, "softhsm2.conf")):
            os.chown(path, WORKERS.pw_uid, WORKERS.pw_gid)
        os.chmod(self.directory, 0o711)
        self.wrapper = become(programs, f"--inh-caps={rights}", f"--ambient-caps={rights}")

    def starter(self):
        return wait_for(lambda: [p for p in children(self.pid) if children(p)] or None)[0]


def give(path, user):
    for folder, _, names in os.walk(path):
        for name in ("", *names):
            os.chown(os.path.join(folder, name), user.pw_uid, user.pw_gid)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def check_is(pid, user):
    status = status_of(pid)
    assert set(status["Uid"].split()) == {str(user.pw_uid)}, status
    assert set(status["Gid"].split()) == {str(user.pw_gid)}, status
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, (name, status)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status


def can_read(user, path):
    return subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}",
                           "--clear-groups", "cat", path], capture_output=True,
                          check=False).returncode == 0


def try_to_start(keyd):
    with open(keyd.log_file, "wb") as log:
        return subprocess.run([*keyd.wrapper, KEYD, "--config", keyd.config_file], stdout=log,
                              stderr=log, timeout=300, check=False).returncode


def separated(test_function):
    """A test that needs root: the others see that keyd says so."""
    def run(token):
        if tokens.may_all():
            test_function(token)
            return
        keyd = Keyd(token, {"workers.user": WORKERS.pw_name})
        assert try_to_start(keyd) == 1 and "CAP_SETUID" in keyd.log(), keyd.log()
    run.__name__, run.__doc__ = test_function.__name__, test_function.__doc__
    return run


@test(on=SOFTHSM)
@separated
def the_front_is_another_user_than_the_workers_and_both_have_no_rights_left(token):
    keyd = Separated(token).start()
    keyd.create("k", "ec-p256", "sign")
    expect(keyd.post("/v1/keys/k/sign", {"data": "aGVsbG8"}), 200)
    starter = keyd.starter()
    assert set(keyd.workers()) <= set(children(starter))
    check_is(keyd.pid, FRONT)
    for pid in (starter, *keyd.workers()):
        check_is(pid, WORKERS)
    assert can_read(WORKERS, token.pin_file) and not can_read(FRONT, token.pin_file)
    assert not can_read(FRONT, os.path.join(token.directory, "softhsm2.conf"))
    keyd.stop()
    assert not is_alive(starter)


@test(on=SOFTHSM)
@separated
def a_worker_that_dies_or_hangs_is_replaced_by_one_of_the_same_user(token):
    keyd = Separated(token, {"workers.processes": 1, "workers.deadline-ms": 6000,
                             "workers.ping-ms": 100}).start()
    for stop_it in (signal.SIGKILL, signal.SIGSTOP):
        worker = keyd.workers()[0]
        os.kill(worker, stop_it)
        wait_for(lambda: keyd.workers() not in ([], [worker]), what="another worker")
        wait_for(lambda: not is_alive(worker), what="its end")
        check_is(keyd.workers()[0], WORKERS)
        assert re.search(f"a worker has ended;.* pid={worker} signal=9$", keyd.log(), re.M), worker
    keyd.stop()


@test(on=SOFTHSM)
@separated
def workers_end_with_keyd_and_keyd_with_what_starts_them(token):
    keyd = Separated(token).start()
    starter, workers = keyd.starter(), keyd.workers()
    keyd.kill()
    wait_for(lambda: not any(is_alive(p) for p in (starter, *workers)), what="their end")
    keyd.start()
    starter, workers = keyd.starter(), keyd.workers()
    os.kill(starter, signal.SIGKILL)
    assert keyd.process.wait(60) == 1, keyd.log()
    wait_for(lambda: not any(is_alive(p) for p in workers), what="the end of the workers")
    assert "the process that starts workers is gone" in keyd.log()
    keyd.start().stop()


@test(on=SOFTHSM)
@separated
def without_the_right_to_take_on_the_user_or_without_him_keyd_does_not_start(token):
    keyd = Separated(token, rights="-all")
    assert try_to_start(keyd) == 1 and "CAP_SETUID" in keyd.log(), keyd.log()
    keyd = Separated(token, {"workers.user": "nobody-of-this-name"})
    assert try_to_start(keyd) == 1 and "there is no such user" in keyd.log(), keyd.log()


@test(on=SOFTHSM)
def init_for_a_service_gives_its_user_all_but_the_pin(token):
    home = os.path.join(token.directory, "home")
    state = os.path.join(home, "state")
    os.chmod(token.directory, 0o711)
    programs = copy_programs(token.directory)

    def init(user, status):
        r = subprocess.run([KEYDCTL, "init", "--dir", home, "--programs", programs, "--user", user],
                           capture_output=True, text=True, check=False, timeout=120,
                           stdin=subprocess.DEVNULL)
        assert r.returncode == status, r
        return r.stdout + r.stderr

    if not tokens.may_all():
        assert "takes root" in init(FRONT.pw_name, 2)
        return
    assert "There is no user" in init("nobody-of-this-name", 2)
    # Made by a unit that was started too early: empty it is in nobody's way.
    os.makedirs(state)
    tokens.write(os.path.join(state, "file"), "")
    give(state, FRONT)
    assert "with files in it" in init(FRONT.pw_name, 2) and os.listdir(home) == ["state"]
    os.remove(os.path.join(state, "file"))
    assert "systemctl enable --now keyd" in init(FRONT.pw_name, 0)
    for folder in (state, os.path.join(home, "tokens")):
        for path, _, names in os.walk(folder):
            assert all(os.stat(os.path.join(path, name)).st_uid == FRONT.pw_uid
                       for name in ("", *names)), (path, names)
    pin = os.path.join(home, "pin")
    assert not can_read(FRONT, pin) and not can_read(FRONT, os.path.join(home, "so-pin"))

    # What the unit does: the PIN as a credential of the service.
    credentials = os.path.join(token.directory, "credentials")
    os.mkdir(credentials)
    shutil.copy(pin, credentials)
    give(credentials, FRONT)
    keyd = Keyd(token)
    keyd.config_file = os.path.join(home, "keyd.conf")
    keyd.socket = keyd.connection.address = os.path.join(home, "run", "keyd.sock")
    keyd.environment = {"CREDENTIALS_DIRECTORY": credentials}
    keyd.wrapper = become(programs)
    keyd.start()
    keyd.create("k", "ec-p256", "sign")
    expect(keyd.post("/v1/keys/k/sign", {"data": "aGVsbG8"}), 200)
    keyd.stop()


if __name__ == "__main__":
    main()
