# SPDX-License-Identifier: Apache-2.0
"""Makes tokens in private directories, and looks into them past keyd.

SoftHSM tokens are made by keyd-hsm --init-token as a user makes them; NSS
databases by certutil.  Objects are listed by keyd-hsm --objects.
"""
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import time

SOFTHSM_MODULE = "/usr/lib/softhsm/libsofthsm2.so"
NSS_MODULES = ("/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
               "/usr/lib/x86_64-linux-gnu/nss/libsoftokn3.so",
               "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
               "/usr/lib/aarch64-linux-gnu/nss/libsoftokn3.so")
BUILD = os.environ.get("KD_BUILDDIR", os.getcwd())
WORKER = os.path.join(BUILD, "keyd-hsm")

_all = []


class Skip(Exception):
    """What the test needs is not on this machine."""


def may_all():
    """Whether the test runs as root.  Elsewhere it shows what it can; in CI that is no more than
    a skip, so that nothing goes untested unseen."""
    if os.geteuid() != 0 and "KD_REQUIRE" in os.environ:
        raise Skip("without root only a part of it is tested")
    return os.geteuid() == 0


def run(*argv, check=True, timeout=300, **more):
    """Runs a program and gives its result; a failure shows what it printed."""
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=timeout, check=False, **more)
    if check and r.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: status {r.returncode}\n{r.stdout}{r.stderr}")
    return r


def write(path, text, mode=0o600):
    """Replaces a file at once, so that nobody reads half of it."""
    with open(path + ".new", "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as f:
        f.write(text)
    os.rename(path + ".new", path)


class Token:
    """A token; `directory` also holds the states of keyds that use it."""

    kind = ""
    module = ""
    init_args = ""
    label = ""
    environment = ()

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="keyd-test-")
        self.pin = secrets.token_hex(12)
        self.pin_file = os.path.join(self.directory, "pin")
        write(self.pin_file, self.pin + "\n")
        _all.append(self)

    @property
    def uri(self):
        return "pkcs11:token=" + self.label.replace(" ", "%20")

    def process_environment(self, **more):
        """For programs that load the module themselves."""
        return {**os.environ, **dict(e.split("=", 1) for e in self.environment), **more}

    def worker_args(self):
        argv = ["--module", self.module]
        if self.init_args:
            argv += ["--init-args", self.init_args]
        for entry in self.environment:
            argv += ["--env", entry]
        return argv

    def objects(self):
        """The key objects in the token, as keyd-hsm lists them."""
        return self._ask("--objects", "--uri", self.uri, "--pin-file", self.pin_file)["objects"]

    def flags(self):
        """The token's flags, as keyd-hsm --list gives them without a login."""
        return self._ask("--list")["flags"]

    def _ask(self, command, *argv):
        """SoftHSM rewrites the token's file at each login: who reads it at that
        moment sees no token, and asks again."""
        for _ in range(50):
            r = run(WORKER, command, *self.worker_args(), *argv, check=False)
            found = json.loads(r.stdout) if r.returncode == 0 else {}
            for token in (t for m in found.get("modules", []) for t in m["tokens"]):
                if token.get("label") == self.label:
                    return token
            if "objects" in found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"keyd-hsm {command}: status {r.returncode}\n{r.stdout}{r.stderr}")

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        if self in _all:
            _all.remove(self)


class SoftHsm(Token):
    kind = "softhsm"
    module = SOFTHSM_MODULE
    label = "keyd test"

    def __init__(self, init=True):
        super().__init__()
        if not os.path.exists(self.module):
            raise Skip("softhsm2 is not installed")
        os.mkdir(os.path.join(self.directory, "tokens"), 0o700)
        conf = os.path.join(self.directory, "softhsm2.conf")
        write(conf, f"directories.tokendir = {self.directory}/tokens\n"
                    "objectstore.backend = file\nlog.level = ERROR\n")
        self.environment = (f"SOFTHSM2_CONF={conf}",)
        if init:
            self.init()

    def init(self):
        so_pin = os.path.join(self.directory, "so-pin")
        write(so_pin, secrets.token_hex(12) + "\n")
        run(WORKER, "--init-token", *self.worker_args(), "--label", self.label,
            "--pin-file", self.pin_file, "--so-pin-file", so_pin)


class Nss(Token):
    kind = "nss"
    label = "NSS Certificate DB"

    def __init__(self, init=True):
        super().__init__()
        self.module = next((m for m in NSS_MODULES if os.path.exists(m)), "")
        if not self.module or not shutil.which("certutil"):
            raise Skip("libnss3 or libnss3-tools is not installed")
        self.database = os.path.join(self.directory, "nssdb")
        self.init_args = (f"configdir='sql:{self.database}' certPrefix='' keyPrefix='' "
                          "secmod='secmod.db' flags=")
        if init:
            self.init()

    def init(self):
        os.mkdir(self.database, 0o700)
        run("certutil", "-N", "-d", "sql:" + self.database, "-f", self.pin_file)


class Faulty:
    """Puts faulty.c before the token's module."""

    def __init__(self, token):
        self.directory = os.path.join(token.directory, "faulty")
        os.mkdir(self.directory, 0o700)
        self.token = token
        token.environment += (f"FAULTY_MODULE={token.module}", f"FAULTY_DIR={self.directory}")
        token.module = os.path.join(BUILD, "tests/system/faulty.so")

    def set(self, function, result, after=0):
        """From its next call on, or after so many good ones."""
        write(os.path.join(self.directory, function), f"{result} {after}\n")

    def set_once(self, function, result):
        """The next call alone."""
        write(os.path.join(self.directory, function), f"{result} 0 once\n")

    def has_happened(self, function):
        return not os.path.exists(os.path.join(self.directory, function))

    def clear(self, function):
        os.unlink(os.path.join(self.directory, function))

    @contextlib.contextmanager
    def fails(self, function, result):
        self.set(function, result)
        try:
            yield
        finally:
            self.clear(function)

    def calls(self):
        try:
            with open(os.path.join(self.directory, "calls"), encoding="utf-8") as f:
                return f.read().split()
        except FileNotFoundError:
            return []


def make(kind, **more):
    return {"softhsm": SoftHsm, "nss": Nss}[kind](**more)


def remove_all():
    for token in list(_all):
        token.remove()
