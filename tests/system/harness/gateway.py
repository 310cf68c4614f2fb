# SPDX-License-Identifier: Apache-2.0
"""keyd-gateway of the build tree between devices and a backend, and devices that talk to
it in frames (docs/protocol.md, Frames) over each transport."""
import http.client
import http.server
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

from . import cbor, daemon
from .tokens import BUILD, write

GATEWAY = os.path.join(BUILD, "gateway", "keyd-gateway")
HANDSHAKE, MESSAGE, RESUME, ENVELOPE, TICKET, PUSH, UPDATE, CLOSE = range(1, 9)
ANSWER, FAILURE = 0x80, 0xff
REFUSED, UNKNOWN_SESSION, BUSY, MALFORMED, TOO_LARGE, RETRY = range(1, 7)
MEDIA = "application/vnd.keyd.frame"


def head(kind, id_):
    return bytes([kind]) + id_.to_bytes(4, "big")


leases = []  # a port is this process's until its end


def free_port(kind=socket.SOCK_STREAM):
    """One that the system gives to nobody who connects (its range begins at 32768), and that no
    other test is given before it is bound: its number is the name of an abstract socket, which as
    the port belongs to the network namespace and goes with the process."""
    while True:
        port, lease = random.randrange(16384, 32768), socket.socket(socket.AF_UNIX)
        try:
            lease.bind(f"\0keyd-test-port-{port}")
            with socket.socket(socket.AF_INET, kind) as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            lease.close()
            continue
        leases.append(lease)
        return port


class Backend:
    """An HTTP server that answers with what it got, reversed; and keeps it all."""

    def __init__(self, port=None):
        self.messages, self.lock, self.delay, self.status = [], threading.Lock(), 0, 200
        self.garbles = False  # what it answers is no HTTP
        self.answers = threading.Event()  # nobody gets one while it is not set
        self.answers.set()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with backend.lock:
                    backend.messages.append((dict(self.headers), body))
                time.sleep(backend.delay)
                backend.answers.wait()
                answer = body[::-1]
                if backend.garbles:
                    self.wfile.write(b"this is no answer\r\n\r\n")
                    self.close_connection = True
                    return
                self.send_response(backend.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_):  # who asked has gone
                pass

        # One that nobody else is given meanwhile, where it is closed and made anew.
        self.server = Server(("127.0.0.1", port or free_port()), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/messages"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def bodies(self):
        with self.lock:
            return [b for _, b in self.messages]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Chain:
    """What a message of a device passes: a gateway, a keyd, a backend.  Made by its heirs; at the
    end stopped, and looked at; after a failure of the test killed."""

    keyd = gateway = backend = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.gateway.stop()
            self.keyd.stop()
        else:
            self.gateway.kill()
        self.backend.close()


class Gateway:
    def __init__(self, keyd, backend, **config):
        self.directory = tempfile.mkdtemp(prefix="g", dir=keyd.token.directory)
        self.ports = {k: free_port(socket.SOCK_DGRAM if k == "udp" else socket.SOCK_STREAM)
                      for k in ("tcp", "udp", "http", "admin", "push")}
        self.file, self.log_file = (os.path.join(self.directory, n) for n in ("conf", "log"))
        values = {"keyd-socket": keyd.socket, "backend-url": backend.url, "log-level": "debug",
                  **{k: [f"127.0.0.1:{self.ports[k]}"] for k in ("tcp", "udp", "http")},
                  **{k: f"127.0.0.1:{self.ports[k]}" for k in ("admin", "push")},
                  **{k.replace("_", "-"): v for k, v in config.items()}}
        self.values, self.process = values, None
        self.write()

    def write(self):
        write(self.file, "".join(f"{k} = {daemon.conf_value(v)}\n"
                                 for k, v in self.values.items()))

    def reload(self, taken=True, **config):
        """Another configuration; waits until the log says what came of it."""
        said = ("main the configuration was taken", "main the configuration is not taken")[not taken]
        before = self.log().count(said)
        self.values.update({k.replace("_", "-"): v for k, v in config.items()})
        self.write()
        self.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: self.log().count(said) > before, what=self.log)

    def start(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([GATEWAY, "--config", self.file], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        daemon.wait_for(self.is_serving, what=self.log)
        return self

    def is_serving(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=60)
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body.decode()

    def push(self, peer, body, method="POST", path="/push/", **headers):
        """The status of the backend's message to a device."""
        c = http.client.HTTPConnection("127.0.0.1", self.ports["push"], timeout=60)
        c.request(method, path + peer, body, headers)
        r = c.getresponse()
        r.read()
        c.close()
        return r.status

    def metric(self, name):
        text = self.get("/metrics")[1]
        return int(re.search("^" + re.escape(name) + r" (\d+)$", text, re.M).group(1))

    def log(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self, status=0):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == status, f"exit status {code}:\n" + self.log()[-3000:]
        report = daemon.REPORT.search(self.log())
        assert not report, self.log()[max(0, report.start() - 500):][:6000]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def tcp(self):
        return Tcp(self.ports["tcp"])

    def udp(self):
        return Udp(self.ports["udp"])

    def http(self):
        return Http(self.ports["http"])


class Tcp:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, frame):
        self.socket.sendall(len(frame).to_bytes(4, "big") + frame)

    def read_bytes(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise EOFError(f"closed after {len(data)} of {n} bytes")
            data += more
        return data

    def receive(self):
        return self.read_bytes(int.from_bytes(self.read_bytes(4), "big"))

    def ask(self, frame):
        self.send(frame)
        return self.receive()

    def close(self):
        self.socket.close()


class Udp:
    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        return self.socket.recv(65536)

    def ask(self, frame):
        self.send(frame)
        return self.receive()

    def close(self):
        self.socket.close()


class Http:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, frame):
        self.connection.request("POST", "/", frame, {"Content-Type": MEDIA})
        r = self.connection.getresponse()
        body = r.read()
        assert r.status == 200 and r.headers["Content-Type"] == MEDIA, (r.status, body)
        return body

    def close(self):
        self.connection.close()


class Failed(Exception):
    """args[0] is the code."""


class Talker:
    """A device (peer.Device) on a transport."""

    def __init__(self, device, transport):
        self.device, self.transport, self.id = device, transport, 0
        self.pushes = set()  # frames that were taken: over UDP they may come again

    def next_id(self):
        self.id += 1
        return self.id

    def check(self, kind, id_, answer):
        assert answer[1:5] == id_.to_bytes(4, "big"), answer
        if answer[0] == FAILURE:
            raise Failed(*cbor.decode_from(answer, 5)[0])
        assert answer[0] == kind | ANSWER, answer
        return answer[5:]

    def ask(self, kind, body):
        id_ = self.next_id()
        return self.check(kind, id_, self.transport.ask(head(kind, id_) + body))

    def connect(self):
        second = self.ask(HANDSHAKE, b"\xf5" + self.device.begin())
        third = self.device.read(second)
        connection = bytes.fromhex(self.device.tell("connection")[0])
        last = self.ask(HANDSHAKE, cbor.encode(connection) + third)
        assert self.device.read(last) == b"" and self.device.session
        return self

    def seal(self, kind, data=b"", type_=0):
        """(id, frame)"""
        id_ = self.next_id()
        return id_, head(kind, id_) + self.device.seal(data, aad=head(kind, id_), type_=type_)

    def open(self, kind, id_, answer):
        """(type, body) of the record in the answer."""
        record = self.check(kind, id_, answer)
        type_, _, body = self.device.open(record, aad=head(kind | ANSWER, id_))
        return type_, body

    def message(self, data):
        id_, frame = self.seal(MESSAGE, data)
        return self.open(MESSAGE, id_, self.transport.ask(frame))

    def take_push(self, acknowledge=True):
        """The body of a push; then its acknowledgement, or the frame of it."""
        while (frame := self.transport.receive()) in self.pushes:
            pass
        self.pushes.add(frame)
        id_ = int.from_bytes(frame[1:5], "big")
        assert frame[0] == PUSH, frame
        type_, _, body = self.device.open(frame[5:], aad=head(PUSH, id_))
        assert type_ == 0
        about = head(PUSH | ANSWER, id_)
        answer = about + self.device.seal(b"", aad=about)
        if acknowledge:
            self.transport.send(answer)
        return body, answer

    def ticket(self):
        id_, frame = self.seal(TICKET)
        type_, body = self.open(TICKET, id_, self.transport.ask(frame))
        assert type_ == 0
        return body

    def resume(self, ticket, nonce):
        answer = self.ask(RESUME, cbor.encode([ticket, nonce]))
        (session, node_nonce, record), _ = cbor.decode_from(answer, 0)
        assert session.hex() == self.device.session
        self.device.attach(nonce, node_nonce)
        assert self.device.open(record)[0] == 0
        return self
