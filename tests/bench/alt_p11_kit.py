# SPDX-License-Identifier: Apache-2.0
"""p11-kit server: a module on a Unix socket; programs load p11-kit-client.so (alt_module.c)."""
import os

from alt_common import Missing, run_together
from harness import Remote, Skip, tokens

NAME = "p11-kit server"
OPERATIONS = ("mac", "sign")
NOTE = ""


def measure(token, _keyd, operation, clients, ms, _point):
    try:
        with Remote(token):
            program = os.path.join(tokens.BUILD, "tests", "bench", "alt_module")
            argv = [program, token.module, token.label, f"alt-{operation}.v1", operation, str(ms)]
            return run_together(argv, token, clients, token.process_environment())
    except Skip as why:
        raise Missing(str(why)) from why
