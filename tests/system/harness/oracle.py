# SPDX-License-Identifier: Apache-2.0
"""The right answers, from Python's hmac and hashlib and from the openssl
command, which share no code with the tokens."""
import base64
import hashlib
import hmac
import os
import subprocess
import tempfile

HASHES = {"hmac-sha256": "sha256", "hmac-sha384": "sha384", "hkdf-sha256": "sha256",
          "hkdf-sha384": "sha384", "ec-p256": "sha256", "ec-p384": "sha384"}
KEY_BYTES = {"aes-256": 32, "hmac-sha256": 32, "hmac-sha384": 48}
CURVES = {"ec-p256": "P-256", "ec-p384": "P-384"}
COORDINATE_BYTES = {"ec-p256": 32, "ec-p384": 48}
# SubjectPublicKeyInfo up to the uncompressed point (RFC 5480 2).
SPKI_HEADS = {
    "ec-p256": bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
    "ec-p384": bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"),
}


def openssl(*argv, data=b"", check=True):
    """What it prints; with check=False None where it fails."""
    r = subprocess.run(["openssl", *argv], input=data, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=300, check=False)
    if r.returncode != 0:
        assert not check, f"openssl {argv}: {r.stderr.decode()}"
        return None
    return r.stdout


class Files:
    """Bytes as files for openssl; gone at the end of the with block."""

    def __init__(self, **contents):
        self.contents = contents

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="keyd-oracle-")
        for name, content in self.contents.items():
            with open(os.path.join(self.directory.name, name), "wb") as f:
                f.write(content)
        return lambda name: os.path.join(self.directory.name, name)

    def __exit__(self, *_):
        self.directory.cleanup()


# ---- elliptic curves ----

def ec_private(type_):
    """A new private key, PEM."""
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                   "ec_paramgen_curve:" + CURVES[type_])


def ec_public(private):
    """Its public key, PEM."""
    return openssl("pkey", "-pubout", data=private)


def pem_of(der, label="PUBLIC KEY"):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def der_of(pem):
    lines = pem.decode().strip().split("\n")
    return base64.b64decode("".join(lines[1:-1]))


def point_of(pem):
    """The uncompressed point of a public key in PEM, as openssl reads it."""
    der = openssl("pkey", "-pubin", "-outform", "DER", data=pem)
    for head in SPKI_HEADS.values():
        if der.startswith(head):
            return der[len(head):]
    raise AssertionError("not an EC key of P-256 or P-384: " + der.hex())


def pem_of_point(type_, point):
    return pem_of(SPKI_HEADS[type_] + point)


def new_peer(type_):
    """A key pair of a caller: (private PEM, uncompressed point)."""
    private = ec_private(type_)
    return private, point_of(ec_public(private))


def ecdh(private, peer_pem):
    with Files(key=private, peer=peer_pem) as path:
        return openssl("pkeyutl", "-derive", "-inkey", path("key"), "-peerkey", path("peer"))


def _der_integer(n):
    b = n.to_bytes((n.bit_length() + 8) // 8, "big")
    return b"\x02" + bytes([len(b)]) + b


def der_signature(raw):
    """r then s (RFC 7518 3.4) to ECDSA-Sig-Value."""
    half = len(raw) // 2
    body = (_der_integer(int.from_bytes(raw[:half], "big")) +
            _der_integer(int.from_bytes(raw[half:], "big")))
    return b"\x30" + bytes([len(body)]) + body


def raw_signature(der, half):
    """ECDSA-Sig-Value, shorter than 128 bytes, to r then s."""
    n = der[3]
    r, s = der[4:4 + n], der[6 + n:]
    return int.from_bytes(r, "big").to_bytes(half, "big") + \
        int.from_bytes(s, "big").to_bytes(half, "big")


def ecdsa_verify(type_, public_pem, data, raw):
    with Files(key=public_pem, signature=der_signature(raw)) as path:
        return openssl("dgst", "-" + HASHES[type_], "-verify", path("key"), "-signature",
                       path("signature"), data=data, check=False) is not None


def ecdsa_sign(type_, private, data):
    with Files(key=private) as path:
        der = openssl("dgst", "-" + HASHES[type_], "-sign", path("key"), data=data)
    return raw_signature(der, COORDINATE_BYTES[type_])


# ---- symmetric ----

def mac(type_, key, data):
    return hmac.new(key, data, HASHES[type_]).digest()


def hkdf(kdf, salt, ikm, info, n):
    """RFC 5869."""
    name = HASHES[kdf]
    size = hashlib.new(name).digest_size
    prk = hmac.new(salt or bytes(size), ikm, name).digest()
    out = block = b""
    for i in range(1, -(-n // size) + 1):
        block = hmac.new(prk, block + info + bytes([i]), name).digest()
        out += block
    return out[:n]


def aes_cbc_data(key, type_, info):
    """The kdf aes-cbc-data of docs/api.md."""
    data = hashlib.sha256(type_.encode() + b"\0" + info).digest()
    return openssl("enc", "-aes-256-cbc", "-nopad", "-K", key.hex(), "-iv", bytes(16).hex(),
                   data=data)


def _gf_multiply(x, y):
    """In GF(2^128) with GCM's order of bits (SP 800-38D 6.3)."""
    z = 0
    for i in range(127, -1, -1):
        if y >> i & 1:
            z ^= x
        x = x >> 1 ^ (0xe1 << 120 if x & 1 else 0)
    return z


def gcm_encrypt(key, iv, plaintext, aad=b""):
    """AES-256-GCM with a 12-byte iv; the tag ends the result."""
    assert len(iv) == 12

    def stream(counter, data):
        return openssl("enc", "-aes-256-ctr", "-K", key.hex(), "-iv",
                       (iv + counter.to_bytes(4, "big")).hex(), data=data)

    h = int.from_bytes(openssl("enc", "-aes-256-ecb", "-nopad", "-K", key.hex(),
                               data=bytes(16)), "big")
    out = stream(2, plaintext) if plaintext else b""
    padded = (aad + bytes(-len(aad) % 16) + out + bytes(-len(out) % 16) +
              (8 * len(aad)).to_bytes(8, "big") + (8 * len(out)).to_bytes(8, "big"))
    y = 0
    for i in range(0, len(padded), 16):
        y = _gf_multiply(y ^ int.from_bytes(padded[i:i + 16], "big"), h)
    return out + stream(1, y.to_bytes(16, "big"))
