#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# make.py: a second writing of docs/protocol.md, from the page alone, with
# python3-cryptography.  Its output, channel.json, is what the C code must agree with.
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")


def uint(n):
    return head(0, n)


def bstr(b):
    return head(2, len(b)) + b


def tstr(t):
    return head(3, len(t)) + t.encode()


def expand(md, prk, info, n):
    out, t, i = b"", b"", 1
    while len(out) < n:
        t = hmac.new(prk, t + info + bytes([i]), md).digest()
        out, i = out + t, i + 1
    return out[:n]


def cbc(key, data):
    e = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    return e.update(data) + e.finalize()


def totp(key, step, digits=8):
    mac = hmac.new(key, step.to_bytes(8, "big"), "sha256").digest()
    at = mac[-1] & 15
    return str((int.from_bytes(mac[at:at + 4], "big") & 0x7FFFFFFF) % 10**digits).zfill(digits)


def session(name, md, share, client_nonce, node_nonce, records):
    s = hashlib.new(md, b"S " + name.encode()).digest()

    def d(label, n):
        return expand(md, s, b"\x83" + tstr(label) + bstr(client_nonce) + bstr(node_nonce), n)

    keys = {k: d(k + " key", 32) for k in ("c2s", "s2c", "otp")}
    out = {"name": name, "md": md, "S": s.hex(), "share": share.hex(), "client_nonce": client_nonce.hex(),
           "node_nonce": node_nonce.hex()}
    out.update({"D_" + k: v.hex() for k, v in keys.items()})
    if share:
        keys = {k: cbc(share, v) for k, v in keys.items()}
    ivs = {k: d(k + " iv", 12) for k in ("c2s", "s2c")}
    out.update({"key_" + k: v.hex() for k, v in keys.items()})
    out.update({"iv_" + k: v.hex() for k, v in ivs.items()})
    sid = bytes.fromhex("a1b2c3d4e5f60718")
    out["id"] = sid.hex()
    out["records"] = []
    for way, seq, now_ms, aad, kind, body in records:
        step = now_ms // 1000 // 30
        text = uint(kind) + uint(step) + tstr(totp(keys["otp"], step)) + bstr(body)
        protected = bytes.fromhex("a10103")
        piv = seq.to_bytes(max(1, (seq.bit_length() + 7) // 8), "big")
        nonce = (int.from_bytes(ivs[way], "big") ^ seq).to_bytes(12, "big")
        structure = b"\x83" + tstr("Encrypt0") + bstr(protected) + bstr(aad)
        sealed = AESGCM(keys[way]).encrypt(nonce, text, structure)
        record = b"\x83" + bstr(protected) + b"\xa2" + uint(4) + bstr(sid) + uint(6) + bstr(piv) + bstr(sealed)
        out["records"].append({"way": way, "sequence": seq, "now_ms": now_ms, "aad": aad.hex(), "type": kind,
                               "body": body.hex(), "record": record.hex()})
    return out


SOME = [
    ("c2s", 0, 1767225600000, b"", 0, b"hello"),
    ("s2c", 0, 1767225600000, b"", 0, b"hello back"),
    ("c2s", 1, 1767225629999, b"POST /orders", 0, b""),
    ("c2s", 255, 1767225630000, b"", 0, bytes(range(256))),
    ("s2c", 256, 1767225630000, b"", 1, uint(1)),
    ("s2c", 65536, 1767225630000, b"", 2, uint(7)),
    ("c2s", (1 << 40) - 1, 1767225630000, b"", 3, b""),
    ("s2c", 1 << 32, 59000, b"", 4, uint(400)),
]
R = bytes(range(100, 132))
json.dump([
    session("resident, fresh", "sha256", R, b"", b"", SOME),
    session("released, fresh", "sha256", b"", b"", b"", SOME[:2]),
    session("resident, attached", "sha256", R, bytes(range(16)), bytes(range(16, 32)), SOME[:2]),
    session("resident, P-384", "sha384", R, b"", b"", SOME[:2]),
], open("channel.json", "w"), indent=1)
