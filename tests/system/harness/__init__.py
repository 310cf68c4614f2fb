# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: tap.py runs them, tokens.py and daemon.py make
what they work on, rest.py talks to keyd, oracle.py knows the right answers,
schema.py the form of answers."""
from . import cbor, daemon, oracle
from . import peer, pki, rest, schema, tokens
from . import boot
from .daemon import Keyd, children, is_alive, kill, promptly, rss_kib, sha256_hex, wait_for
from .health import check_health
from .rest import Client, b64, expect, open_socket, raw, read_all, status_of, unb64
from .tap import BOTH, SOFTHSM, main, test
from .remote import Remote
from .tokens import Faulty, Skip, run
