# SPDX-License-Identifier: Apache-2.0
"""As much of deterministic CBOR as the API's bodies have: numbers, byte strings,
texts, arrays; and bools, as they are read."""


def head(major, n):
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << 8 * size:
            return bytes([major << 5 | code]) + n.to_bytes(size, "big")
    raise OverflowError(n)


def encode(v):
    if isinstance(v, int):
        return head(0, v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    return head(4, len(v)) + b"".join(encode(i) for i in v)


def decode_from(b, at):
    """(value, where it ends)"""
    major, n = b[at] >> 5, b[at] & 31
    at += 1
    if n >= 24:
        size = 1 << n - 24
        n, at = int.from_bytes(b[at:at + size], "big"), at + size
    if major == 0:
        return n, at
    if major == 7:
        return {20: False, 21: True}[n], at
    if major in (2, 3):
        part = bytes(b[at:at + n])
        assert len(part) == n
        return (part if major == 2 else part.decode()), at + n
    assert major == 4, major
    items = []
    for _ in range(n):
        item, at = decode_from(b, at)
        items.append(item)
    return items, at


def sequence(items):
    return b"".join(encode(i) for i in items)


def read_sequence(b):
    items, at = [], 0
    while at < len(b):
        item, at = decode_from(b, at)
        items.append(item)
    return items
