# SPDX-License-Identifier: Apache-2.0
"""Certificates that are fetched by their URIs, and the process that does it."""
import concurrent.futures
import os
import re
import signal
import socket
import time

from harness import BOTH, SOFTHSM, b64, children, expect, is_alive, main, test, unb64, wait_for
from harness.pki import Ca, Web, chain_bytes
from harness.tokens import BUILD, write
from references import REFUSED, World


@test(on=BOTH)
def a_certificate_is_fetched_by_its_uri(token):
    """A11: x5u alone, and with the fingerprint; one certificate, and a chain."""
    with World(token) as w:
        with w.on_web("one") as one, w.on_web("two") as two:
            assert one.connect(w.keyd)["peer"] == "one"
            one.connect_reverse(w.keyd)
            two.be("x5t+" + two.named_by)
            assert two.connect(w.keyd)["peer"] == "two"
            found = {p["name"]: p["uri"] for p in w.peers()}
            assert found == {"one": one.named_by, "two": two.named_by}, found
            asked = dict(w.web.asked)
            two.connect(w.keyd)  # with the fingerprint it is known while it has sessions
            assert w.web.asked == asked, w.web.asked
            one.connect(w.keyd)  # by the URI alone it is asked for each time
            assert w.web.asked["c/one"] == asked["c/one"] + 1
        middle = Ca("middle", w.ca)
        issued = middle.issue("three")
        uri = w.web.serve("c/three", chain_bytes([issued[1], middle.der]),
                          "application/cose-x509; usage=chain")
        with w.device("three", issued, uri) as three:
            assert three.connect(w.keyd)["peer"] == "three"


@test(on=SOFTHSM)
def what_a_uri_leads_to_is_refused_and_the_log_says_why(token):
    """A11, J11: the same for certificates that are fetched."""
    with World(token) as w:
        own, other = w.ca.issue("d"), w.ca.issue("other")
        allowed, late = "its URI is not allowed", "the answer from its URI took too long"
        size = "the answer from its URI is empty or too large"
        cases = {
            w.web.base + "redirect": "its URI redirects, which is not followed",
            w.web.base + "endless": size,
            w.web.base + "huge": size,
            w.web.serve("empty", b""): size,
            w.web.base + "nothing-here": "its URI does not answer with 200",
            w.web.serve("html", own[1], "text/html"):
                "the answer from its URI is not of a certificate's type",
            w.web.serve("bag", own[1], "application/cose-x509"):
                "the answer from its URI is not of a certificate's type",
            w.web.serve("no-chain", own[1], "application/cose-x509; usage=chains; x-usage=chain"):
                "the answer from its URI is not of a certificate's type",
            w.web.serve("rubbish", b"rubbish"): "a certificate of its chain cannot be read",
            w.web.serve("chain", b"\x85\x41\x00", "application/cose-x509;usage=chain"):
                "what its URI leads to is no chain of certificates",
            w.web.base.replace("https://", "https://user:secret@"): allowed,
            w.web.base.replace("https://", "http://") + "x": allowed,
            w.web.base + "../x": allowed, w.web.base + "%2e%2e/x": allowed,
            w.web.base + "x?y": allowed, "file:///etc/passwd": allowed,
            "https://127.0.0.1:1/x": allowed, "https://10.0.0.1/x": allowed,
        }
        with w.device("d", own, "x5t") as d:
            for uri, why in cases.items():
                d.be(uri)
                w.refuses(d, why)
            # Another device's certificate: its fingerprint shows it, or else the proof does.
            uri = w.web.serve("swapped", other[1])
            d.be("x5t+" + uri)
            w.refuses(d, "the certificate at its URI does not have the fingerprint that it names")
            set_timeout(w, 1500)
            for uri in (w.web.base + "never/1", w.web.serve("slow/1", own[1])):
                d.be(uri)
                w.refuses(d, late)
            set_timeout(w, 30_000)
        assert w.peers() == [] and "good" not in w.web.asked, w.web.asked
        with w.device("d", own, w.web.serve("swapped-2", other[1])) as d:
            expect(w.step(d), 422)
        assert w.peers() == []
        with w.on_web("fine") as fine:
            fine.connect(w.keyd)


def set_timeout(w, ms):
    """A short one is of use for what takes longer alone: any answer may be late on a busy machine."""
    w.keyd.stop()
    w.keyd.set_config({**w.keyd.channel, "fetch.timeout-ms": ms})
    w.keyd.start()


@test(on=SOFTHSM)
def an_address_that_is_not_public_is_not_connected_to(token):
    """Also where a name leads to it, and only an explicit list allows it."""
    with World(token) as w:
        port = w.web.base.rsplit(":", 1)[1]
        bases = [f"https://127.0.0.1:{port}", f"https://localhost:{port}",
                 f"https://[::ffff:127.0.0.1]:{port}", f"https://[::1]:{port}",
                 "https://10.0.0.1/", "https://192.168.1.1/", "https://169.254.169.254/",
                 "https://[fe80::1]/", "https://0.0.0.0/", "https://2130706433/"]
        w.keyd.stop()
        w.keyd.set_config({**w.keyd.channel, "fetch.allow-private": None,
                           "fetch.allow": bases})
        w.keyd.start()
        issued = w.ca.issue("d")
        w.web.serve("c/d", issued[1])
        with w.device("d", issued, "x5t") as d:
            for base in bases:
                d.be(base + "c/d")
                w.refuses(d, "the host of its URI is at an address that is not public")
        assert w.web.asked == {}, w.web.asked
        metrics = w.keyd.get("/metrics").body.decode()
        assert f'keyd_channel_fetches_total{{result="address"}} {len(bases)}' in metrics, metrics


@test(on=SOFTHSM)
def a_host_that_takes_the_connection_and_says_nothing_costs_the_timeout(token):
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))  # and does not listen
        bases = [f"https://127.0.0.1:{s.getsockname()[1]}/" for s in (mute, shut)]
        with World(token, {"fetch.allow-private": bases}) as w:
            with w.device("d", named_by=bases[1] + "c/d") as d:
                w.refuses(d, "nobody answers at its URI")
                set_timeout(w, 700)
                d.be(bases[0] + "c/d")
                before = time.monotonic()
                w.refuses(d, "the answer from its URI took too long")
                assert time.monotonic() - before >= 0.6


@test(on=SOFTHSM)
def a_web_server_that_is_not_trusted_gives_nothing(token):
    with World(token) as w, Web(Ca("other")) as other:
        w.keyd.stop()
        w.keyd.set_config({**w.keyd.channel, "fetch.allow-private": [other.base]})
        w.keyd.start()
        issued = w.ca.issue("d")
        with w.device("d", issued, other.serve("c/d", issued[1])) as d:
            w.refuses(d, "the server at its URI is not trusted")
        assert other.asked == {}


@test(on=SOFTHSM)
def the_environment_has_no_say_in_a_fetch(token):
    """A proxy, a key log or another resolver's options would be an intruder's joy."""
    with World(token) as w:
        w.keyd.stop()
        keys = os.path.join(token.directory, "tls-keys")
        w.keyd.environment = {"https_proxy": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1",
                              "SSLKEYLOGFILE": keys, "SSL_CERT_FILE": "/dev/null"}
        w.keyd.start()
        with w.on_web("d") as d:
            d.connect(w.keyd)
        assert not os.path.exists(keys)


@test(on=SOFTHSM)
def a_failure_is_remembered_for_a_while(token):
    with World(token, {"fetch.failed-for": 3600, "fetch.failed-max": 2}) as w:
        with w.device("d", named_by="x5t") as d:
            for path in ("no/1", "no/1", "no/2", "no/2"):
                d.be(w.web.base + path)
                expect(w.step(d), 422, "handshake-credential")
            assert w.web.asked == {"no/1": 1, "no/2": 1}, w.web.asked
            d.be(w.web.base + "no/3")  # takes the place of the first
            expect(w.step(d), 422, "handshake-credential")
            d.be(w.web.base + "no/1")
            expect(w.step(d), 422, "handshake-credential")
            assert w.web.asked == {"no/1": 2, "no/2": 1, "no/3": 1}, w.web.asked


def prepare(w, device, uris):
    """(path, message_3) for a handshake of each URI."""
    steps = []
    for uri in uris:
        device.be(uri)
        first = w.keyd.ok("/v1/handshakes", {"message": b64(device.begin())}, 201)
        third = device.read(unb64(first["message"]))
        steps.append(("/v1/handshakes/" + first["handshake"], {"message": b64(third)}))
    return steps


@test(on=SOFTHSM)
def a_thousand_unknown_uris_at_once_hold_up_nobody_else(token):
    # All are begun first, which may take longer than a handshake may otherwise.
    with World(token, {"channel.handshakes-max": 2000, "channel.handshakes-retry": 1100,
                       "channel.handshake-timeout-ms": 300_000, "fetch.timeout-ms": 30_000,
                       "workers.processes": 3}) as w:
        n, pending = 1000, 64
        w.keyd.hup()
        with w.device("flood", named_by="x5t") as flood, w.device("known") as known:
            known.connect(w.keyd)
            steps = prepare(w, flood, [f"{w.web.base}never/{i}" for i in range(n)])

            def send(step):
                with w.keyd.client() as c:
                    return c.post(*step)

            with concurrent.futures.ThreadPoolExecutor(100) as pool:
                answers = [pool.submit(send, s) for s in steps]
                wait_for(lambda: len(w.web.asked) >= pending, what="the first fetches")
                # Others go on meanwhile.
                session = known.connect(w.keyd)
                assert session["peer"] == "known"
                record = unb64(w.keyd.seal(known, b"still here").json["record"])
                assert known.open(record)[2] == b"still here"
                report = w.keyd.get("/v1/status").json["channel"]["fetch"]
                assert report["pending"] == pending, report
                w.web.end.set()  # they are answered, and not with certificates
                kinds = {}
                for a in answers:
                    r = a.result()
                    assert unb64(r.json["message"]) == REFUSED, r
                    name = r.json["type"].rsplit("/", 1)[-1].rsplit(":", 1)[-1]
                    kinds[name] = kinds.get(name, 0) + 1
            assert sum(kinds.values()) == n, kinds
            assert set(kinds) <= {"handshake-credential", "busy"}, kinds
            status = w.keyd.get("/v1/status").json["channel"]
            assert status["handshakes"] == 0 and status["fetch"]["pending"] == 0, status
            assert w.keyd.get("/v1/peers").json["peers"][0]["name"] == "known"


@test(on=SOFTHSM)
def one_uri_is_fetched_once_for_all_who_wait(token):
    with World(token, {"fetch.timeout-ms": 6000}) as w:
        with w.device("d", named_by="x5t") as d:
            steps = prepare(w, d, [w.web.base + "never/one"] * 20)

            def send(step):
                with w.keyd.client() as c:
                    return c.post(*step)

            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                for r in pool.map(send, steps):
                    expect(r, 422, "handshake-credential")
        assert w.web.asked == {"never/one": 1}, w.web.asked


@test(on=SOFTHSM)
def a_handshake_ends_in_its_time_while_its_certificate_is_fetched(token):
    with World(token, {"channel.handshake-timeout-ms": 6000}) as w:
        with w.device("d", named_by=w.web.base + "never/late") as d:
            before = time.monotonic()
            r = expect(w.step(d), 504, "deadline")
            assert time.monotonic() - before < 25  # the fetch has thirty seconds
            assert unb64(r.json["message"]) == REFUSED, r


@test(on=SOFTHSM)
def who_waits_for_a_certificate_is_answered_when_keyd_must_stop(token):
    with World(token, {"fetch.timeout-ms": 30000}) as w:
        with w.device("d", named_by=w.web.base + "never/stop") as d, \
                concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(w.step, d)
            wait_for(lambda: w.web.asked, what="the fetch")
            before = time.monotonic()
            w.keyd.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "info main stopping" in w.keyd.log(), what="the log")
            w.keyd.stop()  # asked twice: at once
            assert time.monotonic() - before < 20
            r = answer.result()
            assert r.status == 503 and unb64(r.json["message"]) == REFUSED, r
        w.keyd.start()


def fetcher(keyd):
    for pid in children(keyd.pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(os.path.join(BUILD, "keyd-fetch").encode()):
                    return pid
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended in between
    return None


@test(on=SOFTHSM)
def the_process_that_fetches_can_do_little_else(token):
    with World(token) as w:
        pid = wait_for(lambda: fetcher(w.keyd), what="keyd-fetch")
        with w.on_web("d") as d:
            d.connect(w.keyd)
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            status = dict(re.findall(r"^(\w+):\s+(.*)$", f.read(), re.M))
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert b"SOFTHSM" not in f.read()
        links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        assert not [x for x in links if "sqlite" in x or "softhsm" in x or "keyd.db" in x], links
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            maps = f.read()
        for library in ("libsofthsm", "libsqlite3"):
            assert library not in maps, library


@test(on=SOFTHSM)
def a_process_that_says_what_it_should_not_is_replaced(token):
    """What comes from keyd-fetch is not believed either."""
    program = os.path.join(token.directory, "liar")
    for said in (r"\377\377\377\377x", r"\0\0\0\0", r"\0\0\0\6\0\0\0\1\1\0",
                 r"\0\0\0\11\0\0\0\1\143\0\0\0\0"):
        write(program, f"#!/bin/sh\nprintf '{said}' >&3\nexec sleep 600\n", 0o700)
        with World(token, {"fetch.program": program}) as w:
            wait_for(lambda: w.keyd.get("/v1/status").json["channel"]["fetch"]["restarts"] >= 2,
                     what="restarts")
            assert "it said what is no answer" in w.keyd.log()
            with w.on_web("far") as far, w.device("near") as near:
                r = w.step(far)
                assert r.status in (422, 503) and unb64(r.json["message"]) == REFUSED, r
                near.connect(w.keyd)


@test(on=SOFTHSM)
def the_process_that_fetches_is_started_again(token):
    with World(token, {"fetch.timeout-ms": 6000}) as w:
        for kind in (signal.SIGKILL, signal.SIGABRT):
            pid = wait_for(lambda: fetcher(w.keyd), what="keyd-fetch")
            os.kill(pid, kind)
            wait_for(lambda: not is_alive(pid), what="its end")
            wait_for(lambda: fetcher(w.keyd) not in (None, pid), what="another")
        with w.on_web("d") as d:
            d.connect(w.keyd)
        # One that hangs is noticed by those who wait for it.
        pid = fetcher(w.keyd)
        os.kill(pid, signal.SIGSTOP)
        with w.on_web("e") as e:
            r = w.step(e)
            assert r.status == 503 and unb64(r.json["message"]) == REFUSED, r
            wait_for(lambda: not is_alive(pid), what="its end")
            wait_for(lambda: fetcher(w.keyd), what="another")
            wait_for(lambda: w.keyd.get("/v1/status").json["channel"]["fetch"]["running"],
                     what="its start")
            e.connect(w.keyd)
        assert w.keyd.get("/v1/status").json["channel"]["fetch"]["restarts"] >= 3


if __name__ == "__main__":
    main()
