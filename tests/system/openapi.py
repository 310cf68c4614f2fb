# SPDX-License-Identifier: Apache-2.0
"""/openapi.json against reality: every documented route answers, every
documented status of it is reached, no other one is met on the way, and each
answer has the form and the headers that the document gives it."""
import json
import os
import signal

from harness import (SOFTHSM, Client, b64, expect, main, open_socket, raw, schema,
                     status_of, test, wait_for)
from harness.described import (CREATE, DEVICE, FORGED, HANDSHAKE, KEY, KEY_OPERATIONS, NONCE,
                               PAPERS, PEER, POINT, POLICY, SECRET, SECRET_OPERATIONS, SESSION,
                               VERSION, Api)
from harness.rest import unb64

TAKE_RESULTS = {"verify", "mac-verify", "decrypt", "rewrap"}
# Memory or a disk that fails: the unit tests let each allocation and each write
# fail in turn, which cannot be done to a whole daemon from outside.
ELSEWHERE = {500}
# A disk that is slow just then; a key that was exchanged in the token; ten deleted devices for each
# that there may be (certificates_kept.py).
ELSEWHERE_TOO = {(("DELETE", PEER), 409), (("POST", "/v1/handshakes"), 409),
                 (("POST", "/v1/envelopes/open"), 409), (("DELETE", DEVICE), 413)}


@test(on=SOFTHSM)
def every_documented_route_and_status_is_reached_and_no_other(token):
    api = Api(token)
    for part in (check_document, check_defaults, check_other_methods, reach_good_answers,
                 reach_refusals, reach_conflicts, reach_conflicts_of_devices, reach_refused_peers,
                 reach_ends_of_sessions, reach_token_errors, reach_absent_token, reach_full_server,
                 reach_deadlines):
        part(api)
    every = {s for documented in api.documented.values() for s in documented}
    left = sorted(api.missing(*(every - ELSEWHERE)) - ELSEWHERE_TOO)
    assert not left, "documented and not reached: " + "; ".join(f"{m} {p} {s}"
                                                               for (m, p), s in left)
    api.device.__exit__()
    api.keyd.stop()


def check_document(api):
    d = api.document
    assert d["openapi"].startswith("3.1."), d["openapi"]
    assert d["info"]["version"] and d["info"]["title"]
    ids = [o["operationId"] for item in d["paths"].values() for m, o in item.items()
           if m in ("get", "post", "put", "delete")]
    assert len(set(ids)) == len(ids) == len(api.documented)
    for where in references(d):
        node = d
        for word in where[2:].split("/"):
            node = node[word.replace("~1", "/").replace("~0", "~")]
    assert {r[:2] for r in api.requests()} == set(api.documented), \
        {r[:2] for r in api.requests()} ^ set(api.documented)


def properties_of(document, schema_, body):
    """Of the object that the body is."""
    schema_ = schema.resolved(document, schema_)
    for one in schema_.get("oneOf", []):
        one = schema.resolved(document, one)
        if set(body) <= set(one["properties"]) and set(one.get("required", [])) <= set(body):
            return one["properties"]
    return schema_.get("properties", {})


def check_defaults(api):
    """Who sends a default gets what he gets who leaves the member out."""
    n = 0
    for method, template, path, body, _ in list(api.requests()):
        bodies = [body] if body is not None else []
        if template.rsplit("/", 1)[1] in ("ecdh", "derive"):
            bodies.append({**body, "release": True})
        for said in bodies:
            operation = api.document["paths"][template][method.lower()]
            content = operation["requestBody"]["content"]["application/json"]
            members = properties_of(api.document, content["schema"], said)
            defaults = {k: v["default"] for k, v in members.items() if "default" in v}
            for k, v in defaults.items():
                if k not in said:
                    n += 1
                    one, other = (api.keyd.request(method, path, b) for b in (said, {**said, k: v}))
                    assert one.status < 300, (path, said, one)
                    assert (one.status, sorted(one.json), one.json.get("type")) == \
                        (other.status, sorted(other.json), other.json.get("type")), (path, k, other)
    assert n >= 6, n
    one, other = (api.keyd.get("/v1/keys" + q).json for q in ("", "?limit=100"))
    assert api.document["components"]["parameters"]["limit"]["schema"]["default"] == 100
    assert one == other and one["keys"]
    initiate = {"initiate": True}
    one, other = (expect(api.keyd.post("/v1/handshakes", {**initiate, **more}), 201).json
                  for more in ({}, {"method": 0}))
    assert unb64(one["message"])[0] == unb64(other["message"])[0] == 0, one
    for begun in (one, other):
        expect(api.keyd.delete("/v1/handshakes/" + begun["handshake"]), 204)


def check_other_methods(api):
    """HEAD where there is GET; each that is not described is 405."""
    responses = api.document["components"]["responses"]
    for template, item in api.document["paths"].items():
        path = template.format(name="mac", id="A" * 22 if "secrets" in template else "a" * 16,
                               version=1)
        described = {m.upper() for m in item} & {"GET", "POST", "DELETE"}
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - described:
            r = expect(api.keyd.request(method, path), 405, "method-not-allowed")
            allowed = set(r.headers["Allow"].split(", "))
            assert allowed == described | ({"HEAD"} if "GET" in described else set()), (path, r)
            schema.check(api.document, r.json, responses["MethodNotAllowed"]["content"][
                "application/problem+json"]["schema"], path)
        if "GET" in described:
            get, head = api.keyd.get(path), api.keyd.request("HEAD", path)
            assert (head.status, head.body) == (get.status, b""), (path, head)


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].startswith("#/"), node
            yield node["$ref"]
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        yield from references(child)


def reach_good_answers(api):
    for method, template, path, body, _ in api.requests():
        if body is not None:
            operation = api.document["paths"][template][method.lower()]
            schema.check(api.document, body, operation["requestBody"]["content"][
                "application/json"]["schema"], f"a good request: {method} {path}")
        r = api.call(method, template, path, body)
        forged = body == FORGED
        assert r.status in ((422,) if forged else (200, 201, 204)), (method, path, r)
        # An answer says what it is.
        wanted = {"/metrics": "text/plain; version=0.0.4; charset=utf-8"}.get(
            path, "application/problem+json" if forged else "application/json")
        assert r.status == 204 or r.headers["Content-Type"] == wanted, (path, r.headers.items())
        assert "X-Request-Id" in r.headers
    for name, template, secret in (("aes", KEY, False), (api.secrets["aes"], SECRET, True)):
        path = f"/v1/{'secrets' if secret else 'keys'}/{name}"
        sealed = api.keyd.ok(path + "/encrypt", {"plaintext": ""})
        opening = {k: sealed[k] for k in ("iv", "ciphertext")}
        api.call("POST", template + "/decrypt", path + "/decrypt", opening, 200)
        if not secret:
            api.call("POST", KEY + "/rewrap", path + "/rewrap", opening, 200)
    api.call("POST", KEY + "/ecdh", "/v1/keys/agree/ecdh", {"peer": b64(bytes(65))}, 422)


def reach_refusals(api):
    for method, template, path, body, _ in api.requests():
        documented = api.documented[method, template]
        api.call(method, template, path + "?unknown=1", body, 400)
        if 401 in documented:
            api.call(method, template, path, body, 401, bearer="wrong")
        if 403 in documented and not path.startswith("/v1/secrets/"):
            api.call(method, template, path, body, 403, bearer="nobody-token")
        if 404 in documented and "{" in template:
            other = template.format(name="none", id="A" * 22, version=1)
            api.call(method, template, other, body, 404)
        if 413 in documented and body is not None:
            # Where results come back they have their room beside.
            more = 0 if template.rsplit("/", 1)[1] not in TAKE_RESULTS else 192 * 1024
            api.call(method, template, path, b" " * (5001 + more), 413)
        if 415 in documented:
            api.call(method, template, path, b"{}", 415, headers={"Content-Type": "text/plain"})
    api.call("POST", "/v1/keys", "/v1/keys", {"name": "x", "uri": "pkcs11:object=none"}, 404)
    reach_denied_secrets(api)


def reach_denied_secrets(api):
    """A secret of one who may agree and nothing else: to others it is 404."""
    api.keyd.set_policy(POLICY + 'allow "nobody" { operations = { "ecdh" } keys = { "agree" } }\n')
    api.keyd.hup()
    with api.keyd.client(bearer="nobody-token") as c:
        own = c.ok("/v1/keys/agree/ecdh", {"peer": b64(POINT)})["secret"]
    for operation, (_, body, _) in SECRET_OPERATIONS.items():
        api.call("POST", f"{SECRET}/{operation}", f"/v1/secrets/{own}/{operation}", body, 403,
                 bearer="nobody-token")
    api.keyd.set_policy(POLICY)
    api.keyd.hup()


def reach_conflicts(api):
    wrong = {"sign": "mac", "verify": "mac", "mac": "sign", "mac-verify": "sign",
             "encrypt": "sign", "decrypt": "sign", "rewrap": "sign", "ecdh": "sign", "derive": "mac"}
    for operation, name in wrong.items():
        api.call("POST", f"{KEY}/{operation}", f"/v1/keys/{name}/{operation}",
                 KEY_OPERATIONS[operation][1], 409)
    for operation, (type_, body, _) in SECRET_OPERATIONS.items():
        other = api.secrets["mac" if type_ == "aes" else "aes"]
        api.call("POST", f"{SECRET}/{operation}", f"/v1/secrets/{other}/{operation}", body, 409)
    api.call("POST", "/v1/keys", "/v1/keys", {**CREATE, "name": "mac"}, 409)
    api.call("DELETE", VERSION, "/v1/keys/mac/versions/1", None, 409)
    api.call("POST", "/v1/envelopes/open", "/v1/envelopes/open", {"envelope": ""}, 422)
    expect(api.keyd.post("/v1/keys/mailbox/disable", {}), 200)
    api.call("GET", "/v1/envelopes/key", "/v1/envelopes/key", None, 409)
    expect(api.keyd.post("/v1/keys/mailbox/enable", {}), 200)
    # Two changes of a key at once: the first waits for a worker that stands still.
    api.keyd.create("slow", "aes-256", "encrypt")
    (pid,) = api.keyd.workers()
    os.kill(pid, signal.SIGSTOP)
    body = b"{}"
    with open_socket(api.keyd.socket) as s:
        s.sendall(b"POST /v1/keys/slow/rotate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                  b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: api.keyd.get("/v1/status").json["counts"]["in_flight"] > 0, what="work")
        for operation in ("rotate", "disable", "enable"):
            api.call("POST", f"{KEY}/{operation}", f"/v1/keys/slow/{operation}", {}, 409)
        api.call("DELETE", KEY, "/v1/keys/slow", None, 409)
        os.kill(pid, signal.SIGCONT)
        assert status_of(s.recv(65536)) == 201


def reach_conflicts_of_devices(api):
    expect(api.keyd.post("/v1/devices", {"id": "twice"}), 201)
    api.call("POST", "/v1/devices", "/v1/devices", {"id": "twice"}, 409)
    api.call("DELETE", DEVICE, "/v1/devices/twice", None, 409)
    api.call("POST", DEVICE + "/revoke", "/v1/devices/twice/revoke", {}, 200)
    api.call("POST", DEVICE + "/revoke", "/v1/devices/twice/revoke", {}, 409)
    api.call("POST", DEVICE + "/secret", "/v1/devices/twice/secret", {}, 409)
    expect(api.keyd.post("/v1/keys/ca/disable", {}), 200)
    for (paper, body), status in zip(PAPERS, (409, 409, 503)):  # its certificate is of no version
        api.call("POST", "/v1/ca/" + paper, "/v1/ca/" + paper, body, status)
    expect(api.keyd.post("/v1/keys/ca/enable", {}), 200)
    api.keyd.create("agrees", "ec-p256", "derive")
    restart(api, **{"ca.key": "agrees"})
    api.keyd.wait_ready()
    for paper, body in PAPERS:
        api.call("POST", "/v1/ca/" + paper, "/v1/ca/" + paper, body, 409)
    restart(api, **{"ca.key": "none"})
    api.keyd.wait_ready()
    for paper, body in PAPERS:
        api.call("POST", "/v1/ca/" + paper, "/v1/ca/" + paper, body, 404)
    restart(api)
    api.keyd.wait_ready()
    api.make_secrets()


def reach_token_errors(api):
    """502: CKR_FUNCTION_FAILED, 501: CKR_MECHANISM_INVALID."""
    for result, status in (("0x6", 502), ("0x70", 501)):
        for method, template, path, body, functions in api.requests():
            for function in functions:
                with api.faulty.fails(function, result):
                    if status in api.documented[method, template]:
                        if template == "/v1/keys":
                            body = {**body, "name": "other"}
                        api.call(method, template, path.replace("/new", "/slow"), body, status)
            wait_for(lambda: api.keyd.try_get("/readyz") == 200, what="readyz")
        # A delete that the token refused is done by asking again, or is done by itself meanwhile.
        assert api.keyd.delete("/v1/keys/slow").status in (204, 404)
        api.keyd.create("slow", "aes-256", "encrypt")


def reach_refused_peers(api):
    """404, 409 and 422 of the channel, by what the peer sends and what has gone."""
    device, garbage = api.device, {"message": b64(b"garbage")}
    api.call("POST", "/v1/handshakes", "/v1/handshakes", garbage, 422)
    path, _ = api.begin()
    api.call("POST", HANDSHAKE, path, garbage, 422)
    session = device.connect(api.keyd)["session"]
    path = "/v1/sessions/" + session
    resume = {"ticket": api.keyd.get(path + "/ticket").json["ticket"], "client_nonce": NONCE}
    record = b64(device.seal(b"x"))
    api.call("POST", "/v1/records/open", "/v1/records/open", {"record": b64(b"garbage")}, 422)
    api.call("POST", "/v1/sessions/resume", "/v1/sessions/resume",
             {**resume, "ticket": b64(b"garbage")}, 422)
    api.call("POST", SESSION + "/release", path + "/release", {}, 200)
    api.call("POST", SESSION + "/release", path + "/release", {}, 409)
    api.call("POST", SESSION + "/key-update", path + "/key-update", {}, 200)
    api.call("POST", SESSION + "/key-update", path + "/key-update", {}, 409)
    # Without the peer there is no session either.
    peer = expect(api.keyd.get("/v1/peers/device"), 200).json
    again = {k: v for k, v in peer.items() if k != "created"}
    api.call("POST", "/v1/peers", "/v1/peers", again, 409)
    api.call("DELETE", PEER, "/v1/peers/device", None, 204)
    api.call("POST", "/v1/sessions/resume", "/v1/sessions/resume", resume, 404)
    api.call("POST", "/v1/records/open", "/v1/records/open", {"record": record}, 404)
    api.call("POST", "/v1/records/seal", "/v1/records/seal", {"session": session, "data": ""}, 404)
    api.call("POST", "/v1/peers", "/v1/peers", again, 201)
    # Two messages at once: the first waits for a worker that stands still.
    path, body = api.begin()
    (pid,) = api.keyd.workers()
    os.kill(pid, signal.SIGSTOP)
    with open_socket(api.keyd.socket) as s:
        text = json.dumps(body).encode()
        s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % (path.encode(), len(text)) + text)
        wait_for(lambda: api.keyd.get("/v1/status").json["counts"]["in_flight"] > 0, what="work")
        api.call("POST", HANDSHAKE, path, body, 409)
        os.kill(pid, signal.SIGCONT)
        assert status_of(s.recv(65536)) == 200


def reach_ends_of_sessions(api):
    """409 session-expired, with what to answer the peer."""
    restart(api, **{"channel.session-records-max": 1, "channel.envelope": "missing"})
    api.keyd.wait_ready()
    api.call("GET", "/v1/envelopes/key", "/v1/envelopes/key", None, 404)
    session = api.device.connect(api.keyd)["session"]
    path = "/v1/sessions/" + session
    resume = {"ticket": api.keyd.get(path + "/ticket").json["ticket"], "client_nonce": NONCE}
    seal = {"session": session, "data": ""}
    api.call("POST", "/v1/records/seal", "/v1/records/seal", seal, 200)
    assert "answer" in api.call("POST", "/v1/records/seal", "/v1/records/seal", seal, 409).json
    record = {"record": b64(api.device.seal(b"x"))}
    assert "answer" in api.call("POST", "/v1/records/open", "/v1/records/open", record, 409).json
    api.call("GET", SESSION + "/ticket", path + "/ticket", None, 409)
    api.call("POST", "/v1/sessions/resume", "/v1/sessions/resume", resume, 409)
    restart(api)
    api.keyd.wait_ready()
    api.make_secrets()


def restart(api, **config):
    api.keyd.stop()
    api.keyd.set_config({**api.keyd.channel, "workers.processes": 1, "workers.threads": 1,
                         "workers.restart-delay": 1, **config})
    api.keyd.start(wait=False)
    api.keyd.wait_serving()


def in_time(work, what):
    """What work gives.  Some of it may be late for a short deadline, and is done again."""
    failures = []

    def attempt():
        try:
            return [work()]
        except (AssertionError, KeyError) as e:
            failures.append(e)
            return None
    return wait_for(attempt, what=lambda: f"{what}, for {failures[-1]!r}")[0]


def reach_absent_token(api):
    """503 of everything that needs the token; little time to wait for it is left."""
    restart(api, **{"workers.deadline-ms": 300})
    api.keyd.wait_ready()
    in_time(api.make_secrets, "secrets")
    requests = in_time(lambda: list(api.requests()), "requests")
    with api.faulty.fails("C_GetSlotList", "0x32"):
        for pid in api.keyd.workers():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: api.keyd.try_get("/readyz") == 503, what="readyz 503")
        for method, template, path, body, _ in requests:
            r = api.keyd.request(method, path.replace("/new", "/slow"), body)
            if r.status == 503:
                api.note(method, template, 503)


def reach_full_server(api):
    """503 of everything else: one connection too many."""
    restart(api, **{"http.connections-max": 1})
    wait_for(lambda: api.keyd.try_get("/readyz") == 200, what="readyz")
    api.keyd.close()

    def connect():  # the server may not yet have seen the other one close
        client = Client(api.keyd.socket)
        if client.get("/healthz").status == 200:
            return client
        client.close()
        return None

    with wait_for(connect, what="the only connection"):
        for (method, template), status in api.missing(503):
            path = template.format(name="mac", id="A" * 22, version=1)
            answer = raw(api.keyd.socket, f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
                         "Content-Length: 0\r\n\r\n".encode())
            assert status_of(answer) == status, (method, path, answer)
            assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["status"] == 503
            api.note(method, template, 503)


def reach_deadlines(api):
    left = []
    for n, (method, template) in enumerate(sorted(r for r, _ in api.missing(504))):
        if n % 8 == 0:  # before the delay of restarts, which doubles, grows long
            restart(api, **{"workers.deadline-ms": 300})
            api.keyd.wait_ready()
            in_time(api.make_secrets, "secrets")
            in_time(lambda: api.keyd.get("/v1/keys/new").status == 200 or
                    api.keyd.create("new", "aes-256", "encrypt"), "a key")
        _, _, path, body, _ = in_time(lambda route=(method, template): next(
            r for r in api.requests() if r[:2] == route), f"a request: {method} {template}")
        if template == "/v1/keys":
            body = {**body, "name": "late"}
        (pid,) = wait_for(api.keyd.workers, what="a worker")
        os.kill(pid, signal.SIGSTOP)
        r = api.call(method, template, path, body)
        if r.status != 504:
            left.append((method, path, r))
            os.kill(pid, signal.SIGCONT)
            continue
        wait_for(lambda p=pid: api.keyd.workers() not in ([], [p]), what="another worker")
        # A change that was cut off is taken up again.
        wait_for(lambda: api.keyd.post("/v1/keys/new/enable", {}).status in (200, 404),
                 what="the end of the change")
    assert not left, left


if __name__ == "__main__":
    main()
