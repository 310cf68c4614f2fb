# SPDX-License-Identifier: Apache-2.0
"""A small HTTP client: JSON over a Unix socket, TCP or TLS, with keep-alive,
and raw bytes for what no client library would send."""
import base64
import http.client
import json
import socket
import time

TIMEOUT = 60  # seconds; only a hang reaches it


def b64(data):
    """base64url without padding (RFC 4648 5), as the API wants it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    assert "=" not in text and "+" not in text and "/" not in text, f"not base64url: {text}"
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def type(self):
        """The last word of a problem's type."""
        return self.json["type"].rsplit(":", 1)[1]

    def __repr__(self):
        return f"{self.status} {self.body[:600]!r}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, address, tls):
        super().__init__("localhost", timeout=TIMEOUT)
        self.address = address
        self.tls = tls

    def connect(self):
        self.sock = open_socket(self.address, self.tls)


def connect(s, address, timeout):
    """A Unix socket whose backlog is full says so at once, and TCP waits: wait."""
    end = time.monotonic() + timeout
    while True:
        try:
            s.connect(address)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def open_socket(address, tls=None, timeout=TIMEOUT):
    """address: the path of a Unix socket, or (host, port)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(timeout)
    try:
        connect(s, address, timeout)
        if family == socket.AF_INET:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls.wrap_socket(s, server_hostname="localhost") if tls else s
    except BaseException:
        s.close()
        raise


class Client:
    """One keep-alive connection; opens it again when the server has closed it
    between two requests.  A request is sent once only."""

    kept_sec = None  # not used for so long, it is opened anew

    def __init__(self, address, bearer=None, tls=None):
        self.connection = _Connection(address, tls)
        self.bearer, self.used = bearer, 0

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, method, path, body, headers):
        try:
            self.connection.request(method, path, body=body, headers=headers)
        except BrokenPipeError as unsent:
            try:  # refused before all of the body was sent: the answer is there
                return self.connection.getresponse()
            except http.client.RemoteDisconnected:
                raise unsent from None  # the server had closed before
        return self.connection.getresponse()

    def request(self, method, path, body=None, headers=None, bearer=None):
        sent = dict(headers or {})
        bearer = bearer or self.bearer
        if bearer:
            sent.setdefault("Authorization", "Bearer " + bearer)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        if self.kept_sec is not None and time.monotonic() - self.used > self.kept_sec:
            self.connection.close()
        self.used = time.monotonic()
        try:
            r = self._send(method, path, body, sent)
            answer = Answer(r.status, r.headers, r.read())
        except Exception:
            self.connection.close()
            raise
        if answer.status >= 400 and answer.body and method != "HEAD":
            check_problem(answer)
        return answer

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body=body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def ok(self, path, body, status=200, **more):
        """Posts; the answer must have this status.  Gives its JSON."""
        return expect(self.post(path, body, **more), status).json

    def create(self, name, type_, *usages, **more):
        return self.ok("/v1/keys", {"name": name, "type": type_, "usages": list(usages)}, 201,
                       **more)


def check_problem(answer):
    """RFC 9457: every error of the API has this form."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.headers.items()
    p = answer.json
    assert p["type"].startswith("urn:keyd:problem:") and p["title"], p
    assert p["status"] == answer.status, (answer.status, p)
    assert p["request_id"] == answer.headers["X-Request-Id"], (p, answer.headers.items())


def expect(answer, status, type_=None, field=None):
    assert answer.status == status, f"expected {status} {type_ or ''}, got {answer}"
    if type_ is not None:
        assert answer.type == type_, f"expected {type_}, got {answer}"
    if field is not None:
        assert answer.json.get("field") == field, f"expected field {field}, got {answer}"
    return answer


def raw(address, data, timeout=TIMEOUT, tls=None, finish=False):
    """Sends bytes as they are and gives all that comes until the server closes."""
    with open_socket(address, tls, timeout) as s:
        try:
            s.sendall(data)
            if finish:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has closed; what it said before may still be read
        return read_all(s)


def read_all(s):
    """All that comes until the end; a reset counts as the end."""
    got = b""
    while True:
        try:
            part = s.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return got
        if not part:
            return got
        got += part


def status_of(answer):
    """The status in raw bytes of an answer; 0: there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0
