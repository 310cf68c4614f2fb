# SPDX-License-Identifier: Apache-2.0
"""A keyd that opens envelopes, and keydctl that seals them."""
import os
import subprocess

from . import peer
from .rest import b64, expect
from .tokens import BUILD

KEYDCTL = os.path.join(BUILD, "client", "keydctl")


class Mailbox(peer.Server):
    """A keyd with a key for envelopes, and its public part in a file."""

    def __init__(self, token, config=None, policy=None):
        super().__init__(token, {"channel.envelope": "mailbox", **(config or {})}, policy)
        self.key, self.file = None, None

    def set_up(self, type_="ec-p256", usage="sign"):
        super().set_up(type_, usage)
        self.create("mailbox", "ec-p256", "derive")
        self.read_key()
        return self

    def read_key(self):
        self.key = expect(self.get("/v1/envelopes/key"), 200).json
        self.file = os.path.join(self.token.directory, f"mailbox{self.key['version']}.pem")
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(self.key["pem"])

    def ctl(self, *argv, data=b"", status=0):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYD_")}
        r = subprocess.run([KEYDCTL, "--config", self.config_file, "envelope", *argv], input=data,
                           capture_output=True, timeout=300, check=False, env=environment)
        assert r.returncode == status, (r.returncode, r.stderr)
        return r.stdout

    def make(self, text, *options):
        return self.ctl("seal", "--to", self.file, *options, data=text)

    def open_it(self, envelope, status=200, problem=None):
        return expect(self.post("/v1/envelopes/open", {"envelope": b64(envelope)}), status, problem)
