#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# make_envelope.py: a second writing of the section Envelope of docs/protocol.md and of what it
# needs of RFC 9180, from the pages alone, with python3-cryptography.  Its output is envelope.json.
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEM = b"KEM" + (0x10).to_bytes(2, "big")
HPKE = b"HPKE" + (0x10).to_bytes(2, "big") + (1).to_bytes(2, "big") + (2).to_bytes(2, "big")
INFO = b"keyd envelope v1"


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")


def extract(suite, salt, label, ikm):
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256").digest()


def expand(suite, prk, label, info, n):  # n <= 32: one block
    text = n.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01"
    return hmac.new(prk, text, "sha256").digest()[:n]


def scalar(name):
    return hashlib.sha256(name.encode()).digest()  # below the order of P-256 for those used here


def key_of(secret):
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def point_of(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def seal(recipient, ephemeral, info, aad, body):
    enc, point = point_of(ephemeral), point_of(recipient)
    dh = ephemeral.exchange(ec.ECDH(), recipient.public_key())
    shared = expand(KEM, extract(KEM, b"", b"eae_prk", dh), b"shared_secret", enc + point, 32)
    context = b"\x00" + extract(HPKE, b"", b"psk_id_hash", b"") + extract(HPKE, b"", b"info_hash", info)
    secret = extract(HPKE, shared, b"secret", b"")
    key = expand(HPKE, secret, b"key", context, 32)
    nonce = expand(HPKE, secret, b"base_nonce", context, 12)
    return enc, AESGCM(key).encrypt(nonce, body, aad)


def envelope(name, time, expires, sender, body, info=INFO):
    recipient, ephemeral = scalar("recipient"), scalar("ephemeral of " + name)
    point = point_of(key_of(recipient))
    message_id = hashlib.sha256(name.encode()).digest()[:16]
    text = sender.encode()
    aad = (head(0, 1) + head(2, 8) + hashlib.sha256(point).digest()[:8] + head(2, 16) + message_id +
           head(0, time) + head(0, expires) + head(3, len(text)) + text)
    enc, sealed = seal(key_of(recipient), key_of(ephemeral), info, aad, body)
    whole = head(4, 8) + aad + head(2, len(enc)) + enc + head(2, len(sealed)) + sealed
    return {"name": name, "recipient": recipient.hex(), "ephemeral": ephemeral.hex(),
            "point": point.hex(), "info": info.hex(), "id": message_id.hex(), "time": time,
            "expires": expires, "sender": text.hex(), "body": body.hex(), "aad": aad.hex(),
            "envelope": whole.hex()}


json.dump([
    envelope("short", 1767225600, 1767229200, "sensor-7", b"hello"),
    envelope("empty", 1767225600, 1767225601, "", b""),
    envelope("late and longest sender", (1 << 32) - 1, 1 << 32, "\u00e9" * 32, bytes(range(256))),
    envelope("other info", 1767225600, 1767229200, "sensor-7", b"hello", b"keyd envelope v2"),
], open("envelope.json", "w"), indent=1)
