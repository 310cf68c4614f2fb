# SPDX-License-Identifier: Apache-2.0
"""A token in another process, as an HSM is: `p11-kit server` loads its module and serves it on a
Unix socket, and whoever uses the token loads p11-kit-client.so, which has no keys."""
import os
import re
import signal
import subprocess

from .tokens import Skip

SERVER = "/usr/bin/p11-kit"
CLIENTS = ("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
           "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so")


class Remote:
    """Puts it before the token's module, until the end of the `with`."""

    def __init__(self, token):
        client = next((c for c in CLIENTS if os.path.exists(c)), None)
        if client is None or not os.path.exists(SERVER):
            raise Skip("p11-kit or p11-kit-modules is not installed")
        if token.init_args:
            raise Skip("p11-kit server gives a module no initialisation arguments")
        self.token, self.local = token, (token.module, token.environment)
        argv = [SERVER, "server", "--foreground", "--name", os.path.join(token.directory, "remote"),
                "--provider", token.module, token.uri]
        # A session of its own: the server makes a process for each that connects.
        self.process = subprocess.Popen(
            argv, env=token.process_environment(XDG_RUNTIME_DIR=token.directory),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        address = re.search(r"P11_KIT_SERVER_ADDRESS=[^;\s]+", line)
        if not address:
            self.__exit__()
            raise AssertionError("p11-kit server does not start: " + line)
        token.module = client
        token.environment += (address.group(0),)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.token.module, self.token.environment = self.local
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
