#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes ecdsa_der.json: ECDSA signatures in both forms, and bytes that are not DER of any."""

import json
import pathlib

HALF = {"p256": 32, "p384": 48}


def integer(value: int) -> bytes:
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(body)]) + body


def sequence(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([0x30, len(body)]) + body


def good(curve: str, r: int, s: int, why: str) -> dict:
    half = HALF[curve]
    raw = r.to_bytes(half, "big") + s.to_bytes(half, "big")
    return {"why": why, "raw": raw.hex(), "der": sequence(integer(r), integer(s)).hex()}


def signatures() -> list:
    rows = []
    for curve, half in HALF.items():
        top = 1 << (8 * half)
        rows += [
            good(curve, top - 1, top - 2, "all bits set: a zero before each, the longest"),
            good(curve, top // 2, top // 2 - 1, "the first bit set, and not"),
            good(curve, 0x80, 0x7F, "one byte each, with a zero before it and without"),
            good(curve, 1 << (8 * half - 9), 0x0100, "leading zeros in the raw form alone"),
            good(curve, 0, 0, "zero is one byte"),
        ]
    return rows


def refused() -> list:
    one, two = integer(1), integer(2)
    big = (1 << 255) + 5
    rows = [
        (b"", "nothing"),
        (b"\x30", "no length"),
        (b"\x30\x00", "no numbers"),
        (sequence(one), "one number"),
        (sequence(one, two, one), "three numbers"),
        (sequence(one, two) + b"\x00", "a byte behind it"),
        (sequence(one, two)[:-1], "a byte less"),
        (b"\x31\x06" + one + two, "a set"),
        (b"\x70\x06" + one + two, "the tag without its constructed bit's place"),
        (b"\x30\x06\x04\x01\x01" + two, "r is an octet string"),
        (b"\x30\x06" + one + b"\x03\x01\x02", "s is a bit string"),
        (b"\x30\x81\x06" + one + two, "a length of the long form where the short one does (X.690 10.1)"),
        (b"\x30\x82\x00\x06" + one + two, "the same in two bytes"),
        (b"\x30\x80" + one + two + b"\x00\x00", "an indefinite length (BER)"),
        (b"\x30\x07\x02\x81\x01\x01" + two, "r's length of the long form"),
        (b"\x30\x07" + one + b"\x02\x81\x01\x02", "s's length of the long form"),
        (b"\x30\x07" + one + two, "the length says more than there is"),
        (b"\x30\x05" + one + two, "the length says less"),
        (b"\x30\x05\x02\x00" + two, "r of no byte"),
        (b"\x30\x05" + one + b"\x02\x00", "s of no byte"),
        (b"\x30\x06\x02\x04\x01\x02\x01\x02", "r reaches over the end"),
        (b"\x30\x06\x02\x01\xff" + two, "r is -1"),
        (b"\x30\x06" + one + b"\x02\x01\x80", "s is -128"),
        (sequence(bytes([2, 32]) + big.to_bytes(32, "big"), two), "r without its zero is negative"),
        (b"\x30\x07\x02\x02\x00\x01" + two, "r with a zero that it does not need (X.690 8.3.2)"),
        (b"\x30\x07" + one + b"\x02\x02\x00\x7f", "s with a zero that it does not need"),
        (b"\x30\x07\x02\x02\x00\x00" + two, "zero in two bytes"),
        (sequence(b"\x02\x03\x00\x00\x80", two), "two zeros"),
        (sequence(integer(1 << 384), two), "r of 49 bytes"),
        (sequence(one, integer((1 << 392) - 1)), "s of 49 bytes and a zero"),
        (bytes(64), "the raw form of P-256"),
        (b"\x30\x3e" + bytes(62), "a raw form that begins like DER"),
    ]
    return [{"why": why, "der": der.hex()} for der, why in rows]


def too_long() -> list:
    rows = [(1 << 256, 2, "r of 33 bytes"), (1, (1 << 264) - 1, "s of 33 bytes and a zero")]
    return [{"why": why, "der": sequence(integer(r), integer(s)).hex()} for r, s, why in rows]


if __name__ == "__main__":
    out = {"signatures": signatures(), "refused": refused(), "refused_of_p256": too_long()}
    path = pathlib.Path(__file__).parent / "ecdsa_der.json"
    path.write_text(json.dumps(out, indent=1) + "\n")
