# SPDX-License-Identifier: Apache-2.0
"""The PIN: one wrong answer is final until somebody changes the file."""
import os
import re
import signal
import subprocess
import time

from harness import SOFTHSM, Keyd, daemon, expect, main, test, tokens, wait_for
from harness.ctl import objects_of

WRONG = "this is not the pin"
FINAL = ("pin-refused", "pin-last-try")


def refused(token, **config):
    """A keyd that has been told by the token that its PIN is wrong."""
    tokens.write(token.pin_file, WRONG + "\n")
    keyd = Keyd(token, {"workers.restart-delay": 1, **config}).start(wait=False)
    wait_for_refusal(keyd)
    return keyd


def wait_for_refusal(keyd):
    keyd.wait_serving()
    wait_for(lambda: keyd.get("/readyz").type in FINAL, what="pin-refused")


def submissions(keyd):
    """How often workers gave a PIN to the token, by keyd's log."""
    return len(re.findall(r"error worker .*token refused the PIN in", keyd.log()))


def low(token):
    """Whether the token remembers a wrong try (SoftHSM does after one)."""
    return any("low" in flag for flag in token.flags())


@test
def a_wrong_pin_is_given_to_the_token_once_only(token):
    keyd = refused(token)
    for _ in range(5):
        r = keyd.post("/v1/random", {"length": 1})
        expect(r, 503, "pin-refused")
        assert "Retry-After" in r.headers
    detail = keyd.get("/v1/status").json["problem"]["detail"]
    assert token.pin_file in detail and WRONG not in detail, detail
    # Workers that are started again learn it from the front and do not try.
    for pid in daemon.children(keyd.pid):
        daemon.kill(pid)  # some end by themselves, refused
    wait_for_refusal(keyd)
    for _ in range(3):
        keyd.process.send_signal(signal.SIGHUP)  # the file has not changed
        expect(keyd.post("/v1/random", {"length": 1}), 503)
    for _ in range(3):
        keyd.stop()
        keyd.start(wait=False)
        wait_for_refusal(keyd)
    assert WRONG not in keyd.log(), "the PIN is in the log"
    # A second wrong try would show: the token locks after few of them.  The
    # right PIN is taken at once, so the token has not been locked.
    tokens.write(token.pin_file, token.pin + "\n")
    keyd.process.send_signal(signal.SIGHUP)
    keyd.wait_ready()
    keyd.ok("/v1/random", {"length": 1})
    keyd.stop()


@test(on=SOFTHSM)
def the_token_sees_one_login_over_workers_reloads_and_restarts(token):
    """SoftHSM's CKF_USER_PIN_COUNT_LOW, and the log says each refusal."""
    assert not low(token), token.flags()
    keyd = refused(token, **{"workers.processes": 4})
    assert low(token), token.flags()
    for _ in range(2):
        keyd.stop()
        keyd.start(wait=False)
        wait_for_refusal(keyd)
    assert submissions(keyd) == 1, keyd.log()
    tokens.write(token.pin_file, token.pin + "\n")
    keyd.process.send_signal(signal.SIGHUP)
    keyd.wait_ready()
    assert not low(token), token.flags()
    keyd.stop()


@test(on=SOFTHSM)
def another_wrong_pin_in_the_file_is_tried_once_too(token):
    keyd = refused(token)
    tokens.write(token.pin_file, WRONG + " either\n")
    keyd.process.send_signal(signal.SIGHUP)
    wait_for(lambda: submissions(keyd) == 2, what="the second try")
    for _ in range(3):
        keyd.stop()
        keyd.start(wait=False)
        wait_for_refusal(keyd)
    assert submissions(keyd) == 2, keyd.log()
    keyd.stop()


@test(on=SOFTHSM)
def a_pin_file_that_is_missing_or_open_to_others_is_said(token):
    os.rename(token.pin_file, token.pin_file + ".away")
    keyd = Keyd(token, {"workers.restart-delay": 1}).start(wait=False)
    keyd.wait_serving()
    wait_for(lambda: keyd.get("/readyz").type == "pin-missing", what="pin-missing")
    assert token.pin_file in keyd.get("/v1/status").json["problem"]["detail"]
    os.rename(token.pin_file + ".away", token.pin_file)
    keyd.process.send_signal(signal.SIGHUP)
    keyd.wait_ready()
    keyd.stop()
    os.chmod(token.pin_file, 0o644)
    keyd.start(wait=False)
    keyd.wait_serving()
    wait_for(lambda: keyd.get("/readyz").type == "pin-missing", what="pin-missing")
    assert "chmod" in keyd.get("/v1/status").json["problem"]["detail"] or \
        "read" in keyd.get("/v1/status").json["problem"]["detail"]
    keyd.stop()


@test
def the_pin_is_in_no_argument_and_no_environment(token):
    keyd = Keyd(token).start()
    for pid in [keyd.pid] + daemon.children(keyd.pid):
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as f:
                assert token.pin.encode() not in f.read(), (pid, name)
    keyd.stop()


@test(on=SOFTHSM)
def the_doctor_tries_no_pin_that_keyd_has_not_logged_in_with(token):
    """It logs in to list the objects: with the PIN of a worker, not with one put there since."""
    keyd = Keyd(token).start()
    assert objects_of(keyd)["finding"] == "ok", objects_of(keyd)
    time.sleep(1.1)  # the report has whole seconds
    tokens.write(token.pin_file, WRONG + "\n")
    for _ in range(2):
        assert objects_of(keyd)["finding"] == "skipped", objects_of(keyd)
    assert not low(token)
    keyd.stop()


@test(on=SOFTHSM)
def the_front_has_not_loaded_the_module(token):
    """DESIGN 2: what never holds what."""
    keyd = Keyd(token).start()
    with open(f"/proc/{keyd.pid}/maps", encoding="utf-8") as f:
        assert "softhsm" not in f.read()
    with open(f"/proc/{keyd.workers()[0]}/maps", encoding="utf-8") as f:
        assert "softhsm" in f.read()
    keyd.stop()


@test(on=SOFTHSM)
def a_pin_from_a_systemd_credential_is_taken(token):
    directory = os.path.join(token.directory, "credentials")
    os.mkdir(directory, 0o700)
    tokens.write(os.path.join(directory, "hsm-pin"), token.pin + "\n", 0o400)
    keyd = Keyd(token, {"token.pin-file": None, "token.pin-credential": "hsm-pin"})
    r = subprocess.run([daemon.KEYD, "--check-config", "--config", keyd.config_file],
                       capture_output=True, text=True, check=False)
    assert r.returncode == 0, r  # whoever checks has no manager to ask
    environment = {k: v for k, v in os.environ.items() if k != "CREDENTIALS_DIRECTORY"}
    r = subprocess.run([daemon.KEYD, "--config", keyd.config_file], capture_output=True, text=True,
                       env=environment, timeout=300, check=False)
    assert r.returncode != 0 and "CREDENTIALS_DIRECTORY" in r.stderr, r
    keyd.environment = {"CREDENTIALS_DIRECTORY": directory}
    keyd.start()
    keyd.ok("/v1/random", {"length": 1})
    keyd.stop()


if __name__ == "__main__":
    main()
