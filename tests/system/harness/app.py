# SPDX-License-Identifier: Apache-2.0
"""A program that uses libkeyd-service: one process of service.c."""
import os
import subprocess

from .tokens import BUILD

PROGRAM = os.path.join(BUILD, "tests", "system", "service")
AES, HMAC_256, HMAC_384, P256, P384 = range(5)
SIGNS, VERIFIES, ENCRYPTS, DECRYPTS, DERIVES = (1 << i for i in range(5))
NO_KDF, AES_CBC, HKDF_256, HKDF_384 = range(4)


class App:
    """A program that uses the library."""

    def __init__(self, keyd=None, **config):
        config = {**({"socket": keyd.socket} if keyd else {}), **config}
        self.process = subprocess.Popen([PROGRAM, *(f"{k}={v}" for k, v in config.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(120) == 0
        self.process.stdout.close()

    def send(self, *words):
        self.process.stdin.write(" ".join(w.hex() or "-" if isinstance(w, bytes) else str(w)
                                          for w in words) + "\n")
        self.process.stdin.flush()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, *words):
        self.send(*words)
        return self.line().split(" ")

    def ok(self, *words):
        answer = self.ask(*words)
        assert answer[:2] == ["ok", "-"], (words[:3], answer, self.detail())
        return answer[3:]

    def fails(self, error, problem, status, *words):
        answer = self.ask(*words)
        assert answer[:3] == [error, problem, str(status)], (words[:3], answer, self.detail())
        return answer[3:]

    def wrong(self, *words):
        """Is not even sent."""
        self.fails("argument", "-", 0, *words)

    def detail(self):
        self.send("detail")
        return self.line()


def make(app, name, type_, usages):
    if app.ask("show", name)[0] != "ok":
        app.ok("create", name, type_, usages)
    return name
