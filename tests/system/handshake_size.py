# SPDX-License-Identifier: Apache-2.0
"""Bytes of a handshake with the keys and certificates of `make bench-bytes`: by references, with
whole certificates, and of TLS, both ends of which are here."""
import contextlib
import os
import ssl
import sys
import tempfile

from harness import main, test

sys.path.append(os.path.join(os.environ["KD_SRCDIR"], "tests", "bench"))
import handshake_bytes  # noqa: E402

BYTES_MAX = 290  # as the README says


def context(purpose, name, other):
    """The other's certificate is trusted itself: with an issuer at hand OpenSSL would send it."""
    c = ssl.SSLContext(purpose)
    c.minimum_version = ssl.TLSVersion.TLSv1_3
    c.check_hostname = False
    c.verify_mode = ssl.CERT_REQUIRED
    c.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    c.load_verify_locations(other + ".pem")
    c.load_cert_chain(name + ".pem", name + ".key")
    return c


def tls():
    """Mutual, without tickets, and each side sends its own certificate alone."""
    server = context(ssl.PROTOCOL_TLS_SERVER, "server", "device")
    server.num_tickets = 0
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    client = context(ssl.PROTOCOL_TLS_CLIENT, "device", "server")
    client = client.wrap_bio(client_in, client_out)
    server = server.wrap_bio(server_in, server_out, server_side=True)
    n = 0
    for _ in range(2):
        for end, out, to in ((client, client_out, server_in), (server, server_out, client_in)):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
            data = out.read()
            to.write(data)
            n += len(data)
    for end in (client, server):
        assert end.version() == "TLSv1.3" and end.getpeercert(), "the handshake did not end"
    return n


@test()
def a_handshake_by_references_is_smaller_than_with_certificates_and_that_than_tls():
    """A12"""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        handshake_bytes.make_certificates()
        by_references = sum(handshake_bytes.edhoc(0, 3, "refs"))
        whole = sum(handshake_bytes.edhoc(0, 3, "whole"))
        assert by_references <= BYTES_MAX, by_references
        of_tls = tls()
        assert 2 * by_references < whole < of_tls, (by_references, whole, of_tls)


if __name__ == "__main__":
    main()
