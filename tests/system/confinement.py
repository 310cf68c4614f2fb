# SPDX-License-Identifier: Apache-2.0
"""What each process has given up, and what is in the memory of those that talk to the world."""
import concurrent.futures
import contextlib
import json
import os
import re
import subprocess
import threading

from harness import SOFTHSM, Remote, children, expect, main, oracle, test, tokens, wait_for
from harness.daemon import KEYD, Keyd, is_in
from harness.gateway import Backend, Gateway
from harness.peer import Server

UNITS = (("keyd.service",), ("keyd.service", "keyd-workers-user.conf"), ("keyd-gateway.service",))
EXPOSURE_MAX = 2.0
CLIENTS, SEARCHES = 3, 20


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as f:
        return f.read().strip()


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def is_confined(pid):
    with open(f"/proc/{pid}/limits", encoding="utf-8") as f:
        core = re.search(r"^Max core file size +(\S+) +(\S+)", f.read(), re.M).groups()
    status = status_of(pid)
    return core == ("0", "0") and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


@test(on=SOFTHSM)
def each_process_has_given_up_what_it_does_not_need(token):
    """No core dump, no new privileges, a filter of system calls."""
    keyd = Server(token, {"trust.accept-unregistered": True, "fetch.allow": ["https://pki.example/"],
                          "fetch.program": os.path.join(tokens.BUILD, "keyd-fetch"),
                          "trust.anchors-file": certificate_file(token)}).set_up()
    backend = Backend()
    gateway = Gateway(keyd, backend).start()
    kinds = wait_for(lambda: (k := {name_of(p): p for p in children(keyd.process.pid)}) and
                     {"keyd-hsm", "keyd-fetch"} <= set(k) and k)
    # keyd-fetch has its own filter when it has read its configuration.
    wait_for(lambda: status_of(kinds["keyd-fetch"])["Seccomp_filters"] == "2",
             what=lambda: status_of(kinds["keyd-fetch"]))
    keyd.wait_all_ready()
    for pid in (keyd.process.pid, gateway.process.pid, *children(keyd.process.pid)):
        assert is_confined(pid), (name_of(pid), status_of(pid))
    gateway.stop()
    backend.close()
    keyd.stop()


def certificate_file(token):
    path = os.path.join(token.directory, "anchors.pem")
    oracle.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                   "-keyout", os.devnull, "-out", path, "-days", "2", "-subj", "/CN=root")
    return path


def scalar_of(private):
    """The private key itself, 32 bytes."""
    text = oracle.openssl("ec", "-text", "-noout", data=private).decode()
    return bytes.fromhex(re.search(r"priv:\s+((?:[0-9a-f]{2}[:\s]*)+)pub", text).group(1)
                         .replace(":", "").replace("\n", "").replace(" ", "")[-64:])


def import_known_key(token):
    """A key is brought into the token by its maker's tool.  All forms of its bytes."""
    private = oracle.ec_private("ec-p256")
    with oracle.Files(key=oracle.openssl("pkcs8", "-topk8", "-nocrypt", data=private)) as path:
        r = subprocess.run(["softhsm2-util", "--import", path("key"), "--token", token.label,
                            "--label", "known", "--id", "4b", "--pin", token.pin],
                           capture_output=True, check=False, env=token.process_environment())
        assert r.returncode == 0, r
    scalar = scalar_of(private)
    return [scalar, scalar[::-1], scalar.hex().encode()]


def sign_by_known_key(keyd):
    expect(keyd.post("/v1/keys", {"name": "known", "uri": "pkcs11:object=known;type=private"}), 201)
    for _ in range(20):
        keyd.ok("/v1/keys/known/sign", {"data": "aGVsbG8"})


@test(on=SOFTHSM)
def front_and_gateway_hold_neither_pin_nor_private_key(token):
    secrets = [token.pin.encode(), *import_known_key(token)]
    keyd = Server(token, {"workers.processes": 1}).set_up()
    sign_by_known_key(keyd)
    backend = Backend()
    gateway = Gateway(keyd, backend).start()
    for pid in (keyd.process.pid, gateway.process.pid):
        if tokens.may_all():
            # The search finds what is there.
            assert is_in(pid, keyd.socket.encode()), name_of(pid)
            assert not is_in(pid, *secrets), name_of(pid)
        else:
            assert is_shut(pid), name_of(pid)
    gateway.stop()
    backend.close()
    keyd.stop()


@test(on=SOFTHSM)
def a_worker_holds_no_private_key_where_its_module_does_not(token):
    """The token is in another process, as with an HSM.  While keyd signs, the key's bytes come and
    go in that process; they never are in the worker."""
    known = import_known_key(token)
    with Remote(token) as remote:
        keyd = Keyd(token, {"workers.processes": 1}).start()
        sign_by_known_key(keyd)
        worker = keyd.workers()[0]
        with busy(keyd):
            if tokens.may_all():
                assert is_in(worker, token.module.encode()), "the search does not find what is there"
                wait_for(lambda: any(is_in(p, *known) for p in children(remote.process.pid)),
                         what="the key where it is used")
                for _ in range(SEARCHES):
                    assert not is_in(worker, *known)
            else:
                assert is_shut(worker), name_of(worker)
        keyd.stop()


@contextlib.contextmanager
def busy(keyd):
    """Some clients sign all the time."""
    ended = threading.Event()

    def sign():
        with keyd.client() as client:
            while not ended.is_set():
                client.ok("/v1/keys/known/sign", {"data": "aGVsbG8"})

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(sign) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            ended.set()
            for c in clients:
                c.result()


def is_shut(pid):
    """Whether a process of the same user cannot look into it."""
    try:
        with open(f"/proc/{pid}/mem", "rb"):
            return False
    except PermissionError:
        return True


@test(on=SOFTHSM)
def a_front_that_cannot_confine_itself_does_not_start(token):
    """Here its parent forbids it to make filters."""
    keyd = Keyd(token)
    program = os.path.join(tokens.BUILD, "tests", "system", "unconfined")
    r = subprocess.run([program, KEYD, "--config", keyd.config_file],
                       capture_output=True, timeout=300, check=False)
    assert r.returncode == 1 and b"could not be closed" in r.stderr, r


@test()
def units_expose_little():
    """systemd-analyze security finds less than 2.0 of 10 exposed, with its drop-in, too."""
    for parts in UNITS:
        texts = []
        for part in parts:
            with open(os.path.join(os.environ["KD_SRCDIR"], "docs", part), encoding="utf-8") as f:
                texts.append(f.read())
        with oracle.Files(**{"keyd.service": "\n".join(texts).encode()}) as whole:
            path = whole("keyd.service")
            r = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--json=short",
                                "--no-pager", path], capture_output=True, text=True, check=False)
            table = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager",
                                    path], capture_output=True, text=True, check=False).stdout
        assert json.loads(r.stdout), r
        exposure = float(re.search(r"exposure level.*?: ([0-9.]+) ", table).group(1))
        assert exposure < EXPOSURE_MAX, table


if __name__ == "__main__":
    main()
