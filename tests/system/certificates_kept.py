# SPDX-License-Identifier: Apache-2.0
"""The CA's books: who may write in them, how many devices they hold, and what many at once, a
worker that dies and kill -9 leave of them."""
import os
import shutil
import signal
import ssl
import threading

from certificates import problem
from kills import storm
from harness import BOTH, SOFTHSM, expect, main, oracle, peer, test, wait_for
from harness.boot import BASE, EST, Bootstrap, Issued, Owner


@test(on=BOTH)
def kill_9_loses_no_certificate_that_was_given_out(token):
    keyd = Bootstrap(token).set_up()
    given, n = {}, 0
    for round_ in range(4):
        ids = [f"d{n + i}" for i in range(12)]
        n += len(ids)
        owners = [Owner(i) for i in ids]
        work = [(o, o.request(), keyd.enrol(o.id)) for o in owners]

        def enrol_all(part):
            for owner, request, secret in part:
                try:
                    answer = owner.enroll(keyd, secret, request)
                except AssertionError:  # keyd has gone
                    return
                if answer[0] == 200:
                    given[owner.id] = owner

        threads = [threading.Thread(target=enrol_all, args=(work[i::3],)) for i in range(3)]
        already = len(given)
        for t in threads:
            t.start()
        wait_for(lambda: len(given) >= already + 2 * round_ + 1, what="some certificates")
        keyd.kill()
        for t in threads:
            t.join()
        keyd.start()
        for id_, owner in given.items():
            device = keyd.get("/v1/devices/" + id_).json
            assert device["state"] == "active", device
            assert oracle.der_of(device["certificate"].encode()) == owner.certificate, device
            assert oracle.der_of(keyd.get("/v1/peers/" + id_).json["certificate"].encode()) \
                == owner.certificate
    states = {d["id"]: d["state"] for d in keyd.get("/v1/devices?limit=1000").json["devices"]}
    peers = {p["name"] for p in keyd.get("/v1/peers?limit=1000").json["peers"]}
    assert len(states) == n and len(given) >= 4, (len(states), len(given))
    # All or nothing: who is active is a peer, and nobody else.
    assert {i for i, s in states.items() if s == "active"} == peers, (states, peers)
    # Who has no certificate may still enrol with what he has got.
    owner = Owner("late")
    assert owner.enroll(keyd, keyd.enrol("late"))[0] == 200
    with Issued(keyd, next(iter(given.values()))) as device:
        device.connect(keyd)
    keyd.stop()


@test(on=SOFTHSM)
def a_device_is_deleted_when_it_is_revoked_and_its_certificates_have_ended(token):
    keyd = Bootstrap(token).set_up()
    for id_ in ("d", "e"):
        owner = Owner(id_)
        owner.enroll(keyd, keyd.enrol(id_))
    expect(keyd.delete("/v1/devices/none"), 404, "no-such-device")
    expect(keyd.delete("/v1/devices/d"), 409, "device-not-revoked")
    ends = keyd.ok("/v1/devices/d/revoke", {})["not_after"]
    for _ in range(2):
        detail = expect(keyd.delete("/v1/devices/d"), 409, "device-certified").json["detail"]
        assert detail == f"One is good until {ends}.", detail
        assert keyd.get("/v1/devices/d").json["state"] == "revoked"
        keyd.restart()
    keyd.stop()
    for id_ in ("d", "e"):
        keyd.end_certificates(id_)
    keyd.start()
    expect(keyd.delete("/v1/devices/e"), 409, "device-not-revoked")
    expect(keyd.delete("/v1/devices/d"), 204)
    for _ in range(2):
        expect(keyd.get("/v1/devices/d"), 404, "no-such-device")
        expect(keyd.delete("/v1/devices/d"), 404, "no-such-device")
        expect(keyd.post("/v1/devices/d/revoke", {}), 404, "no-such-device")
        expect(keyd.post("/v1/devices", {"id": "d"}), 409, "device-deleted")
        assert [d["id"] for d in keyd.get("/v1/devices").json["devices"]] == ["e"]
        assert "keyd_devices 1\nkeyd_devices_deleted 1\n" in "\n".join(
            line for line in keyd.get("/metrics").body.decode().split("\n") if line[:1] != "#")
        keyd.restart()
    keyd.stop()


@test(on=SOFTHSM)
def deleted_devices_make_room_and_their_ids_are_bounded(token):
    keyd = Bootstrap(token, {"ca.devices-max": 1}).set_up()
    for i in range(10):  # ten ids for each device that there may be
        keyd.enrol(f"d{i}")
        expect(keyd.post("/v1/devices", {"id": "more"}), 413, "too-many")
        keyd.ok(f"/v1/devices/d{i}/revoke", {})
        expect(keyd.post("/v1/devices", {"id": "more"}), 413, "too-many")
        expect(keyd.delete(f"/v1/devices/d{i}"), 204)
    keyd.enrol("last")
    keyd.ok("/v1/devices/last/revoke", {})
    r = expect(keyd.delete("/v1/devices/last"), 413, "too-many")
    assert "deleted devices" in r.json["detail"], r
    keyd.restart()
    expect(keyd.delete("/v1/devices/last"), 413, "too-many")
    assert keyd.get("/v1/devices/last").json["state"] == "revoked"
    keyd.stop()


@test(on=SOFTHSM)
def kill_9_leaves_a_device_or_its_id_and_nothing_between(token):
    keyd = Bootstrap(token).set_up()
    asked, deleted = set(), set()
    for round_ in range(3):
        before = len(deleted)

        def step(c, n, i, round_=round_):
            id_ = f"d{round_}-{n}-{i}"
            asked.add(id_)
            expect(c.post("/v1/devices", {"id": id_}), 201)
            expect(c.post(f"/v1/devices/{id_}/revoke", {}), 200)
            expect(c.delete("/v1/devices/" + id_), 204)
            deleted.add(id_)

        storm(keyd, step, lambda before=before: len(deleted) > before + 4)
        keyd.start()
        there = {d["id"] for d in keyd.get("/v1/devices?limit=1000").json["devices"]}
        assert not there & deleted, there & deleted
        for id_ in asked:
            answer = keyd.post("/v1/devices", {"id": id_})
            assert answer.status == 201 and id_ not in there | deleted or \
                answer.type == ("device-exists" if id_ in there else "device-deleted"), (id_, answer)
            if answer.status == 201:  # of its first request nothing was written
                there.add(id_)
        for id_ in there:
            keyd.post(f"/v1/devices/{id_}/revoke", {})
            expect(keyd.delete("/v1/devices/" + id_), 204)
            deleted.add(id_)
    keyd.stop()


@test(on=SOFTHSM)
def operators_need_permissions_of_their_own(token):
    uid = os.getuid()
    policy = (f'principal "tests" {{ uid = {{ {uid} }} }}\n'
              'allow "tests" { operations = { "create", "status", "ca" } keys = { "*" } }\n')
    full = policy.replace('"ca"', '"ca", "device", "show"')
    keyd = Bootstrap(token, policy=full).set_up()
    keyd.enrol("d")
    keyd.set_policy(policy)
    keyd.hup()
    for method, path, body in (("GET", "/v1/devices/d", None), ("GET", "/v1/ca", None),
                               ("POST", "/v1/devices", {"id": "e"}),
                               ("POST", "/v1/devices/d/secret", {}),
                               ("POST", "/v1/devices/d/revoke", {}),
                               ("DELETE", "/v1/devices/d", None)):
        expect(keyd.request(method, path, body), 403, "denied")
    keyd.set_policy(policy.replace('"ca"', '"device", "show"'))
    keyd.hup()
    for path in ("root", "request"):
        expect(keyd.post("/v1/ca/" + path, {"subject": "x"}), 403, "denied")
    expect(keyd.post("/v1/ca/server-certificate", {}), 403, "denied")
    keyd.ok("/v1/devices/d/revoke", {})
    keyd.stop()


@test(on=SOFTHSM)
def devices_are_listed_by_pages_and_bounded_in_number(token):
    keyd = Bootstrap(token, {"ca.devices-max": 5, "ca.secret-lifetime": 1000,
                             "ca.secret-lifetime-max": 2000}).set_up()
    for i in range(5):
        keyd.enrol(f"d{i}")
    r = expect(keyd.post("/v1/devices", {"id": "d5"}), 413, "too-many")
    assert "ca.devices-max" in r.json["detail"], r
    r = expect(keyd.post("/v1/devices/d0/secret", {"secret_lifetime": 2001}), 400, "field-invalid",
               "secret_lifetime")
    assert "2000 seconds" in r.json["detail"] and "ca.secret-lifetime-max" in r.json["detail"], r
    expect(keyd.post("/v1/devices", {"id": "d1"}), 409, "device-exists")
    page = keyd.get("/v1/devices?limit=3").json
    assert [d["id"] for d in page["devices"]] == ["d0", "d1", "d2"] and page["next"] == "d2", page
    page = keyd.get("/v1/devices?after=d2").json
    assert [d["id"] for d in page["devices"]] == ["d3", "d4"] and page["next"] is None, page
    for bad in ("state=", "state=deleted", "state=Revoked", "state=revoked&state=active"):
        expect(keyd.get("/v1/devices?" + bad), 400, "field-invalid", "state")
    expect(keyd.get("/v1/peers?state=active"), 400, "field-unknown", "state")
    for id_ in ("d0", "d2", "d3"):
        keyd.ok(f"/v1/devices/{id_}/revoke", {})
    for query, ids, next_ in (("state=revoked", ["d0", "d2", "d3"], None),
                              ("state=revoked&limit=2", ["d0", "d2"], "d2"),
                              ("state=revoked&limit=2&after=d2", ["d3"], None),
                              ("state=enrolled", ["d1", "d4"], None), ("state=active", [], None)):
        page = keyd.get("/v1/devices?" + query).json
        assert ([d["id"] for d in page["devices"]], page["next"]) == (ids, next_), (query, page)
    for body, type_, field in (({}, "field-missing", "id"), ({"id": "../a"}, "bad-name", "id"),
                               ({"id": "a" * 65}, "bad-name", "id"),
                               ({"id": "a", "relation": "b c"}, "bad-name", "relation"),
                               ({"id": "a", "usage": "both"}, "field-invalid", "usage"),
                               ({"id": "a", "secret_lifetime": 0}, "field-invalid",
                                "secret_lifetime"),
                               ({"id": "a", "secret": "x"}, "field-unknown", "secret")):
        expect(keyd.post("/v1/devices", body), 400, type_, field)
    expect(keyd.get("/v1/devices/none"), 404, "no-such-device")
    expect(keyd.post("/v1/devices/none/revoke", {}), 404, "no-such-device")
    expect(keyd.delete("/v1/devices/../a"), 404)
    keyd.stop()


@test(on=SOFTHSM)
def without_a_ca_there_is_no_bootstrap_server(token):
    keyd = peer.Keyd(token).start()
    for method, path, body in (("GET", "/v1/devices", None), ("GET", "/v1/ca", None),
                               ("POST", "/v1/devices", {"id": "a"}),
                               ("POST", "/v1/ca/root", {"subject": "x"})):
        expect(keyd.request(method, path, body), 400, "config")
    keyd.stop()


@test(on=SOFTHSM)
def a_secret_used_by_many_at_once_gives_one_certificate(token):
    keyd = Bootstrap(token).set_up()
    secret = keyd.enrol("d")
    owners = [Owner("d") for _ in range(8)]
    requests = [o.request() for o in owners]
    answers = []
    threads = [threading.Thread(target=lambda o=o, r=r: answers.append(o.enroll(keyd, secret, r)))
               for o, r in zip(owners, requests)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    good = [a for a in answers if a[0] == 200]
    assert len(answers) == 8 and len(good) == 1, answers
    assert all(a[0] in (200, 401, 409) for a in answers), answers
    winner, = [o for o in owners if o.certificate]
    assert keyd.curl("/c/hub/d")[2] == winner.certificate
    keyd.stop()


@test(on=SOFTHSM)
def what_is_another_peers_is_not_taken_and_the_secret_stays_good(token):
    keyd = Bootstrap(token).set_up()
    with keyd.device("squatter", named_by=f"{BASE}/c/hub/", register=False) as other:
        keyd.ok("/v1/peers", {"name": "squatter", "uri": f"{BASE}/c/hub/d",
                              "certificate": peer.pem(other.certificate)}, 201)
        secret, owner = keyd.enrol("d"), Owner("d")
        expect(keyd.post("/v1/devices", {"id": "squatter"}), 409, "peer-exists")
        expect(keyd.post("/v1/peers", {"name": "d", "certificate": peer.pem(other.certificate)}),
               409, "peer-exists")
        problem(owner.enroll(keyd, secret), 409, "peer-exists")
        expect(keyd.delete("/v1/peers/squatter"), 204)
        assert owner.enroll(keyd, secret)[0] == 200
    keyd.stop()


@test(on=SOFTHSM)
def a_worker_that_dies_while_it_signs_costs_no_secret(token):
    keyd = Bootstrap(token).set_up()
    for i in range(3):
        secret, owner = keyd.enrol(f"d{i}"), Owner(f"d{i}")
        workers = keyd.workers()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda o=owner, s=secret: o.enroll(keyd, s)[0] == 200, what="a certificate")
        keyd.wait_replaced(*workers)
    assert len(keyd.get("/v1/peers").json["peers"]) == 3
    keyd.stop()


@test(on=SOFTHSM)
def devices_are_shown_the_new_tls_certificate_after_sighup(token):
    keyd = Bootstrap(token).set_up()

    def shown():
        return ssl.get_server_certificate(keyd.devices_address)

    def said():
        return keyd.get("/v1/status").json["tls"]["error"]
    first = shown()
    other = Bootstrap(token)  # never started: another certificate and key
    shutil.copy(other.tls_file, keyd.tls_file)
    keyd.hup()
    assert said().startswith(keyd.tls_file) and shown() == first, said()
    shutil.copy(other.tls_key, keyd.tls_key)
    keyd.hup()
    assert said() == "" and shown() != first
    assert oracle.der_of(shown().encode()) == oracle.der_of(open(other.tls_file, "rb").read())
    assert keyd.curl(EST + "cacerts")[0] == 200
    ca = open(keyd.ca_file, "rb").read()
    keyd.write_pem(keyd.ca_file, "nonsense")
    keyd.hup()
    assert said().startswith(keyd.ca_file), said()
    keyd.write_pem(keyd.ca_file, ca.decode())
    keyd.hup()
    assert said() == ""
    keyd.stop()


if __name__ == "__main__":
    main()
