# SPDX-License-Identifier: Apache-2.0
"""Runs a keyd of the build tree on a token, and checks how it ends."""
import hashlib
import os
import re
import signal
import subprocess
import tempfile
import time

from . import rest, tokens

KEYD = os.path.join(tokens.BUILD, "keyd")
if os.path.exists(os.path.join(tokens.BUILD, "keyd", "keyd")):  # the folder has the name
    KEYD = os.path.join(tokens.BUILD, "keyd", "keyd")
# A build with sanitizers: larger by shadow memory and quarantines.
SANITIZED = os.path.exists(KEYD) and any(
    name in open(KEYD, "rb").read() for name in (b"__asan_init", b"__tsan_init"))
READY_SEC = 120  # never waited for in full but when something is broken
STOP_SEC = 120
REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer|SUMMARY: ")

_alive = []


def sha256_hex(text):
    return hashlib.sha256(text.encode()).hexdigest()


# The caller by its uid may do everything; the others by their bearer tokens.
POLICY = f"""
principal "tests" {{ uid = {{ {os.getuid()} }} }}
principal "other" {{ token = {{ "sha256:{sha256_hex('other-token')}" }} }}
principal "stranger" {{ token = {{ "sha256:{sha256_hex('stranger-token')}" }} }}
allow "tests" {{ operations = {{ "*" }} keys = {{ "*" }} }}
allow "other" {{ operations = {{ "*" }} keys = {{ "*" }} }}
"""


def wait_for(condition, seconds=READY_SEC, what="the condition"):
    """Polls until the condition gives something true, and gives that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise AssertionError(f"{text}: not within {seconds} s")
        time.sleep(0.02)


def promptly(work, seconds):
    """What work gives.  A failure of it counts where it took less than these seconds, in which what
    it is about has not ended by itself; else the machine stood still meanwhile, and it is tried
    again."""
    last = None
    for _ in range(20):
        begun = time.monotonic()
        try:
            return work()
        except AssertionError as e:
            last = e
            if time.monotonic() - begun < seconds:
                raise
    raise AssertionError(f"it took longer than {seconds} s each time") from last


def begun(pid):
    """When the process that runs began, in the kernel's ticks: a later one may have its number, as
    the kernel has only some 30,000 of these.  None: it does not run, or is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            return None if fields[0] in ("Z", "X") else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid):
    """Whether the process runs; a zombie does not."""
    return begun(pid) is not None


def kill(pid):
    """Kills the process, if it has not ended by itself in the meantime."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
            return [int(p) for p in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_sec(pid):
    """Of all threads that the process has now."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


def rss_kib(pid):
    """What it has made itself: pages of files come and go as the machine has room for them."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))


PAGES_MAX_BYTES = 1 << 28


def pages_of(pid):
    """The process's memory, where the kernel lets us: keyd shows it to nobody but root.
    Not what sanitizers reserve for themselves."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            ranges = [line.split()[0].split("-") for line in f if line.split()[1].startswith("rw")]
        with open(f"/proc/{pid}/mem", "rb") as f:
            for low, high in ((int(low, 16), int(high, 16)) for low, high in ranges):
                if high - low >= PAGES_MAX_BYTES:
                    continue
                try:
                    f.seek(low)
                    yield f.read(high - low)
                except (OSError, ValueError):
                    continue
    except PermissionError:
        return


def is_in(pid, *values):
    """Those of the values that are in the process's memory."""
    return [v for v in values for page in pages_of(pid) if v in page]


def find_in_memory(pid, known):
    """What says that something is not in a memory must have found there what is."""
    try:
        with open(f"/proc/{pid}/mem", "rb"):
            pass
    except PermissionError as e:
        raise tokens.Skip("the kernel shows the memory of processes to root alone") from e
    assert is_in(pid, known), "the search does not find what is there"


class Keyd(rest.Client):
    """A keyd and a keep-alive connection to it."""

    kept_sec = 30  # keyd keeps an idle one for a minute, which a test may use for something else

    def __init__(self, token, config=None, policy=None):
        self.token = token
        self.directory = tempfile.mkdtemp(prefix="k", dir=token.directory)
        self.socket = os.path.join(self.directory, "keyd.sock")
        self.config_file = os.path.join(self.directory, "keyd.conf")
        self.policy_file = os.path.join(self.directory, "policy.conf")
        self.log_file = os.path.join(self.directory, "log")
        self.process = None
        self.environment = {}
        self.wrapper = []  # a command that runs keyd in its own place
        self.seen = {}  # pids of workers, ever, and when they began
        super().__init__(self.socket)
        self.set_policy(policy or POLICY)
        self.set_config(config or {})

    # ---- files ----

    def set_policy(self, text):
        tokens.write(self.policy_file, text)

    def set_config(self, changes):
        """changes: {"section.key": value}; None leaves the key out."""
        values = {
            "state-directory": os.path.join(self.directory, "state"),
            "policy-file": self.policy_file, "log-level": "debug",
            "token.module": self.token.module, "token.init-args": self.token.init_args or None,
            "token.environment": list(self.token.environment) or None,
            "token.uri": self.token.uri, "token.pin-file": self.token.pin_file,
            "workers.program": tokens.WORKER, "workers.processes": 2,
            "http.unix-path": self.socket, "http.unix-mode": "0600",
        }
        values.update(changes)
        sections = {"": []}
        for key, value in values.items():
            section, _, name = key.rpartition(".")
            if value is not None:
                sections.setdefault(section, []).append(f"{name} = {conf_value(value)}")
        text = "\n".join(sections.pop("")) + "\n"
        for section, lines in sections.items():
            text += section + " {\n    " + "\n    ".join(lines) + "\n}\n"
        tokens.write(self.config_file, text)

    def log(self):
        try:
            with open(self.log_file, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, n):
        return self.log().rstrip().split("\n")[-n:]

    # ---- the process ----

    @property
    def pid(self):
        return self.process.pid

    def start(self, wait=True):
        """wait: until readyz says 200."""
        environment = dict(os.environ)
        # Little quarantine: what is freed shall be free, for those who look at sizes.
        environment.setdefault("ASAN_OPTIONS", "abort_on_error=0:exitcode=99:"
                               "quarantine_size_mb=1:thread_local_quarantine_size_kb=64")
        environment.pop("CREDENTIALS_DIRECTORY", None)
        environment.update(self.environment)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.wrapper, KEYD, "--config", self.config_file],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment)
        _alive.append(self)
        if wait:
            self.wait_ready()
        return self

    def wait_serving(self):
        wait_for(lambda: self.try_get("/healthz"), what="healthz")

    def wait_ready(self):
        wait_for(lambda: self.try_get("/readyz") == 200, what="readyz 200")
        self._see(children(self.pid))

    def wait_all_ready(self):
        """Nobody may be killed in his login: SoftHSM would lose its token."""
        self.wait_replaced()

    def wait_replaced(self, *pids):
        """Others are ready in the places of these workers, whose end keyd may not have seen yet."""
        wait_for(lambda: all(w["state"] == "ready" and w["pid"] not in pids
                             for w in self.get("/v1/status").json["workers"]),
                 what=f"others than {pids}")

    def try_get(self, path):
        """The status, or 0 where nobody answers."""
        code = self.process.poll()
        assert code is None, f"keyd ended with {code}:\n" + "\n".join(self.log_tail(20))
        try:
            with rest.Client(self.socket) as c:
                return c.get(path).status
        except OSError:
            return 0

    def workers(self):
        """The pids of the workers that are ready."""
        status = rest.expect(self.get("/v1/status"), 200).json
        pids = [w["pid"] for w in status["workers"] if w["state"] == "ready"]
        self._see(pids)
        return pids

    def restarts(self):
        return sum(w["restarts"] for w in self.get("/v1/status").json["workers"])

    def hup(self):
        """SIGHUP, and waits until the policy has been read again or refused."""
        before = self.reloads()
        time.sleep(0.002)  # so that the next is read at another millisecond
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.reloads() != before, what="the reload")

    def reloads(self):
        policy = self.get("/v1/status", bearer=None).json["policy"]
        return policy["read"], policy["error"]

    def client(self, bearer=None):
        """Another connection."""
        return rest.Client(self.socket, bearer=bearer)

    def kill(self):
        """kill -9, as a power cut would end it; workers must follow by themselves."""
        self._see(children(self.pid))
        self.process.kill()
        self.process.wait()
        self._forget()
        wait_for(lambda: not self._left(), what="the end of the workers")

    def stop(self, status=0):
        """SIGTERM; checks the exit status, the children and the log."""
        self._see(children(self.pid))
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SEC)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = f"none within {STOP_SEC} s"
        self._forget()
        left = self._left()
        assert code == status, f"exit status {code}:\n" + "\n".join(self.log_tail(20))
        assert not left, f"workers left behind: {left}"
        self.check_log()

    def restart(self):
        self.stop()
        return self.start()

    def check_log(self):
        log = self.log()
        report = REPORT.search(log)
        assert not report, "a sanitizer report:\n" + log[max(0, report.start() - 500):][:6000]
        assert self.token.pin not in log, "the PIN is in the log"

    def _see(self, pids):
        self.seen.update((p, when) for p in pids if (when := begun(p)) is not None)

    def _left(self):
        return [p for p, when in self.seen.items() if begun(p) == when]

    def _forget(self):
        self.close()
        if self in _alive:
            _alive.remove(self)


def conf_value(value):
    """As libconfuse reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(conf_value(v) for v in value) + " }"
    if isinstance(value, int) or re.fullmatch(r"0[0-7]+", str(value)):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def alive():
    return list(_alive)


def stop_all_on(token):
    """Ends the keyds that a test left running; they must end well."""
    for d in alive():
        if d.token is token:
            d.stop()


def kill_all_on(token):
    for d in alive():
        if d.token is not token and token is not None:
            continue
        workers = children(d.pid)
        d.process.kill()
        d.process.wait()
        for pid in workers:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        d._forget()


def kill_all():
    kill_all_on(None)
