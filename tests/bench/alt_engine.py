# SPDX-License-Identifier: Apache-2.0
"""OpenSSL with the engine pkcs11 (libp11): each program loads the module itself and has the
PIN (alt_engine.c)."""
import os

from alt_common import Missing, installed, run_together
from harness import tokens

NAME = "OpenSSL engine pkcs11"
OPERATIONS = ("sign",)
NOTE = "in process: each program has the PIN"
ENGINE = ("/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so",
          "/usr/lib/aarch64-linux-gnu/engines-3/pkcs11.so")


def measure(token, _keyd, _operation, clients, ms, _point):
    engine = installed(*ENGINE)
    if token.init_args:
        raise Missing("needs initialisation arguments of the module")
    program = os.path.join(tokens.BUILD, "tests", "bench", "alt_engine")
    uri = f"pkcs11:token={token.label.replace(' ', '%20')};object=alt-sign.v1;type=private"
    return run_together([program, engine, token.module, uri, str(ms)], token, clients,
                        token.process_environment())
