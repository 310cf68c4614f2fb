# SPDX-License-Identifier: Apache-2.0
"""The configuration file: each wrong value is refused with its place."""
import os
import re
import socket
import subprocess

from harness import SOFTHSM, Keyd, daemon, main, test, tokens

BAD = [
    # (line, section, what the complaint must hold)
    ("colour = 1", "", "colour"),
    ("threads = 1", "", "threads"),
    ("treads = 1", "workers", "treads"),
    ("threads = 257", "workers", "threads"),
    ("threads = -1", "workers", "threads"),
    ("threads = many", "workers", "threads"),
    ("threads = 1\n    threads = 2", "workers", "threads"),
    ("processes = 65", "workers", "processes"),
    ("deadline-ms = 99", "workers", "deadline-ms"),
    ("deadline-ms = 600001", "workers", "deadline-ms"),
    ("queue-max = 0", "workers", "queue-max"),
    ("restart-delay = 99999999999999999999", "workers", "restart-delay"),
    ("unix-mode = 01000", "http", "unix-mode"),
    ("tcp-port = 65536", "http", "tcp-port"),
    ("body-max-bytes = 10", "http", "body-max-bytes"),
    ("connections-max = 0", "http", "connections-max"),
    ("log-level = \"loud\"", "", "log-level"),
    ("state-directory = \"relative/path\"", "", "state-directory"),
    ("state-directory = \"\"", "", "state-directory"),
    ("uri = \"token=x\"", "token", "uri"),
    ("uri = \"pkcs11:token=x?pin-value=1234\"", "token", "uri"),
    ("uri = \"pkcs11:token=x?pin-source=/etc/pin\"", "token", "uri"),
    ("environment = { \"NOVALUE\" }", "token", "environment"),
    ("pin = \"1234\"", "token", "pin"),
    ("allow-extractable = maybe", "secrets", "allow-extractable"),
    ("lifetime-max = 0", "secrets", "lifetime-max"),
]
TOGETHER = [
    ({"token.pin-file": None}, "pin-file"),
    ({"token.pin-credential": "x"}, "pin-credential"),
    ({"http.unix-path": "", "http.tcp-address": ""}, "nobody could call"),
    ({"http.tls-certificate": "/x"}, "tls-key"),
    ({"http.tls-client-ca": "/x"}, "tls-client-ca"),
    ({"secrets.lifetime-max": 5, "secrets.lifetime-default": 6}, "lifetime-default"),
]


def check(keyd):
    return subprocess.run([daemon.KEYD, "--check-config", "--config", keyd.config_file],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          check=False)


def start_fails(keyd):
    r = subprocess.run([daemon.KEYD, "--config", keyd.config_file], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=300, check=False)
    assert r.returncode not in (0, 99) and r.returncode > 0, r
    assert not daemon.REPORT.search(r.stderr), r.stderr
    return r.stderr


@test(on=SOFTHSM)
def check_config_accepts_what_keyd_starts_with(token):
    keyd = Keyd(token)
    r = check(keyd)
    assert r.returncode == 0, r
    assert not os.path.exists(keyd.socket) and not os.path.exists(keyd.directory + "/state")


@test(on=SOFTHSM)
def wrong_keys_and_values_are_refused_with_file_and_line(token):
    keyd = Keyd(token)
    for line, section, word in BAD:
        text = "# a comment\n\n" + (f"{section} {{\n    {line}\n}}\n" if section else line + "\n")
        number = text[:text.index(line)].count("\n") + 1 + line.count("\n")
        tokens.write(keyd.config_file, text)
        r = check(keyd)
        assert r.returncode != 0, line
        complaint = r.stderr + r.stdout
        assert f"{keyd.config_file}:{number}:" in complaint and word in complaint, (line, complaint)
        assert "1234" not in complaint, "a PIN in the complaint"
        assert f"{keyd.config_file}:{number}:" in start_fails(keyd), line


@test(on=SOFTHSM)
def values_that_do_not_go_together_are_refused(token):
    for change, word in TOGETHER:
        keyd = Keyd(token, change)
        r = check(keyd)
        assert r.returncode != 0 and word in r.stderr and keyd.config_file in r.stderr, (change, r)
        assert word in start_fails(keyd)


@test(on=SOFTHSM)
def a_policy_that_is_broken_or_missing_stops_the_start(token):
    keyd = Keyd(token, policy='allow "x" { operations = { "fly" } keys = { "*" } }\n')
    assert f"{keyd.policy_file}:1" in start_fails(keyd)
    r = check(keyd)
    assert r.returncode != 0 and f"{keyd.policy_file}:1" in r.stderr, r
    os.unlink(keyd.policy_file)
    assert keyd.policy_file in start_fails(keyd)


@test(on=SOFTHSM)
def a_missing_config_and_wrong_arguments_are_refused(token):
    keyd = Keyd(token)
    os.unlink(keyd.config_file)
    assert keyd.config_file in start_fails(keyd)
    for argv in (["--nothing"], ["extra"], ["--config"]):
        r = subprocess.run([daemon.KEYD, *argv], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=300, check=False)
        assert r.returncode > 0 and r.stderr, (argv, r)
    for argv, word in ((["--help"], "--check-config"), (["--version"], "0.")):
        r = subprocess.run([daemon.KEYD, *argv], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=300, check=False)
        assert r.returncode == 0 and word in r.stdout and not r.stderr, (argv, r)


@test(on=SOFTHSM)
def a_second_keyd_takes_neither_state_nor_socket_of_the_first(token):
    first = Keyd(token).start()
    second = Keyd(token, {"state-directory": first.directory + "/state"})
    start_fails(second)
    second.set_config({"http.unix-path": first.socket})
    start_fails(second)
    first.ok("/v1/random", {"length": 1})
    first.stop()


@test(on=SOFTHSM)
def a_stale_socket_is_replaced_and_ours_has_the_mode_asked_for(token):
    keyd = Keyd(token, {"http.unix-mode": "0620"})
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(keyd.socket)
    keyd.start()
    assert os.stat(keyd.socket).st_mode & 0o777 == 0o620
    assert os.stat(keyd.directory + "/state").st_mode & 0o777 == 0o700
    keyd.stop()
    assert not os.path.exists(keyd.socket), "the socket is left behind"


@test(on=SOFTHSM)
def the_sample_configuration_names_every_key_and_is_valid(token):
    r = subprocess.run([daemon.KEYD, "--print-config"], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=300, check=False)
    assert r.returncode == 0 and r.stdout, r
    keyd = Keyd(token)
    # Every default that stands in a comment can be put in force.
    text = re.sub(r"^(\s*)# ([a-z0-9-]+ = )", r"\1\2", r.stdout, flags=re.M)
    text = text.replace('pin-file = ""', f'pin-file = "{token.pin_file}"')
    text = re.sub(r'policy-file = ".*"', f'policy-file = "{keyd.policy_file}"', text)
    tokens.write(keyd.config_file, text)
    assert check(keyd).returncode == 0, (check(keyd), text)


@test(on=SOFTHSM)
def without_a_module_those_that_p11_kit_has_configured_are_used(token):
    # Debian's softhsm2 comes with a file that names it to p11-kit.
    keyd = Keyd(token, {"token.module": None}).start()
    assert "(p11-kit)" in keyd.get("/v1/status").json["token"]["module"]
    keyd.create("k", "ec-p256", "sign")
    assert keyd.ok("/v1/keys/k/sign", {"data": ""})["signature"]
    keyd.stop()


if __name__ == "__main__":
    main()
