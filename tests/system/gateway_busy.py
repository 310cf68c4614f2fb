#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""keyd-gateway while keyd has much to do: who wants a handshake over UDP shows first that
it hears the answers (docs/protocol.md, "When many want a handshake at once")."""
from channel import begin_with_cookie
from gateway import Set, fails_with
from harness import SOFTHSM, cbor, main, promptly, test, wait_for
from harness.gateway import BUSY, FAILURE, HANDSHAKE, RETRY, Failed, head
from harness.peer import Server


def busy(token):
    """A keyd at half of its unfinished handshakes, behind a gateway."""
    s = Set(token, Server(token, {"channel.handshakes-max": 8,
                                  "channel.handshake-timeout-ms": 600_000}).set_up())
    with s.keyd.device("many") as d:
        begin(s, d, 4)
    return s


def begin(s, device, n):
    """So many handshakes that do not go on."""
    for _ in range(n):
        begin_with_cookie(s.keyd, device)


def handshakes(s):
    return s.keyd.get("/v1/status").json["channel"]["handshakes"]


def retries(s):
    return s.gateway.metric('keyd_gateway_failures_total{code="retry"}')


def cookie_in(answer, id_):
    """The cookie that a first message got."""
    assert answer[:5] == head(FAILURE, id_), answer
    code, cookie = cbor.decode_from(answer, 5)[0]
    assert code == RETRY and isinstance(cookie, bytes), answer
    return cookie


@test(on=SOFTHSM)
def cookies_of_others_open_no_handshake(token):
    with busy(token) as s, s.keyd.device("d") as d, s.keyd.device("e") as e:
        u, other = s.gateway.udp(), s.gateway.udp()
        first, another = b"\xf5" + d.begin(), b"\xf5" + e.begin()
        frame = head(HANDSHAKE, 1) + first
        answer = u.ask(frame)
        cookie = cookie_in(answer, 1)
        assert len(answer) < len(frame), (answer, frame)  # nothing is gained by a forged address
        assert u.ask(frame) == answer  # the same datagram, the same answer
        begun = handshakes(s)
        for n, (way, prefix, message) in enumerate((
                (other, cbor.encode(cookie), first),  # from another address
                (u, cbor.encode(cookie), another),    # with another message
                (u, cbor.encode(cookie[:-1] + bytes([cookie[-1] ^ 1])), first),
                (u, cbor.encode(b"x"), first), (u, cbor.encode(bytes(64)), first))):
            cookie_in(way.ask(head(HANDSHAKE, 10 + n) + prefix + message), 10 + n)
        for n, prefix in enumerate((b"\x40", cbor.encode(bytes(65)))):  # no cookies at all
            answer = u.ask(head(HANDSHAKE, 20 + n) + prefix + first)
            assert answer[0] == FAILURE and cbor.decode_from(answer, 5)[0] != [RETRY], answer
        assert handshakes(s) == begun == 4
        second = u.ask(head(HANDSHAKE, 30) + cbor.encode(cookie) + first)
        assert second[0] == HANDSHAKE | 0x80 and d.read(second[5:]), second
        assert retries(s) == 6, retries(s)


@test(on=SOFTHSM)
def over_tcp_and_http_the_gateway_brings_the_cookie_back(token):
    """There the address has been proven; a device never hears of it."""
    with busy(token) as s:
        for n, transport in enumerate(("tcp", "http")):
            assert s.device(f"d{n}", transport).connect().message(b"abc") == (0, b"cba")
        assert retries(s) == 0


@test(on=SOFTHSM)
def at_the_limit_a_cookie_does_not_help(token):
    s = Set(token, Server(token, {"channel.handshakes-max": 8}).set_up())
    with s, s.keyd.device("d") as d:
        devices = [s.device("e-" + transport, transport) for transport in ("udp", "tcp")]

        def take_all_places():
            """Who was silent for three seconds makes room for the next."""
            wait_for(lambda: handshakes(s) == 0, what="the end of those before")
            try:
                begin(s, d, 8)
                for t in devices:
                    assert fails_with(BUSY, t.ask, HANDSHAKE, b"\xf5" + t.device.begin())
            except (AssertionError, Failed) as e:
                raise AssertionError("there was room") from e

        promptly(take_all_places, 3)


if __name__ == "__main__":
    main()
