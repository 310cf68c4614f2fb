# SPDX-License-Identifier: Apache-2.0
"""p11-kit server: a module on a Unix socket; programs load p11-kit-client.so (alt_module.c)."""
import os
import re
import subprocess
import tempfile

from alt_common import Missing, environment, installed, run_together
from harness import tokens

NAME = "p11-kit server"
OPERATIONS = ("mac", "sign")
NOTE = ""
CLIENT = ("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
          "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so")


def measure(token, _keyd, operation, clients, ms, _point):
    server, client = installed("/usr/bin/p11-kit"), installed(*CLIENT)
    if token.init_args:
        raise Missing("p11-kit server gives a module no initialisation arguments")
    with tempfile.TemporaryDirectory() as d:
        env = environment(token, XDG_RUNTIME_DIR=d)
        address = os.path.join(d, "socket")
        uri = "pkcs11:token=" + token.label.replace(" ", "%20")
        p = subprocess.Popen([server, "server", "--foreground", "--name", address, "--provider",
                              token.module, uri], env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = p.stdout.readline()
            found = re.search(r"P11_KIT_SERVER_ADDRESS=([^;\s]+)", line)
            if not found:
                raise Missing("does not work: " + (line + p.stderr.readline()).strip()[:200])
            program = os.path.join(tokens.BUILD, "tests", "bench", "alt_module")
            argv = [program, client, token.label, f"alt-{operation}.v1", operation, str(ms)]
            return run_together(argv, token, clients,
                                {**env, "P11_KIT_SERVER_ADDRESS": found.group(1)})
        finally:
            p.terminate()
            p.communicate()
