# SPDX-License-Identifier: Apache-2.0
"""A fleet: a thousand devices of libkeyd over TCP, UDP and HTTP, two gateways and two keyds on one
token, devices that move between them, and processes of each kind that are killed meanwhile."""
import collections
import os
import queue
import signal
import subprocess
import threading

from harness import BOTH, main, test, tokens, wait_for
from harness.daemon import SANITIZED
from harness.gateway import Backend, Gateway
from harness.peer import Server, pem

PROGRAM = os.path.join(tokens.BUILD, "tests", "system", "fleet")
THREADS = 48
STUCK_SEC = 240  # for a round; only where something is broken
BACKEND_SEC = 0.03  # so that whoever is killed has messages that are delivered and not answered


class Fleet:
    """The helper's process, and what it has told."""

    def __init__(self, folder, n, gateways):
        self.n, self.acknowledged, self.failed, self.stuck = n, [], {}, []
        self.done = queue.Queue()
        servers = [f"{k}://127.0.0.1:{g.ports[k]}" for g in gateways for k in ("tcp", "udp", "http")]
        self.process = subprocess.Popen(
            [PROGRAM, "run", folder, str(n), str(THREADS), str(STUCK_SEC), *servers],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "ack":
                self.acknowledged.append(rest)
            elif word == "no":
                text, _, error = rest.partition(" ")
                self.failed[text] = error
            elif word == "stuck":
                self.stuck.append(rest)
            else:
                self.done.put(word)
        self.done.put("ended")

    def begin(self, *words):
        self.process.stdin.write(" ".join(("round", *map(str, words))) + "\n")
        self.process.stdin.flush()

    def finish(self):
        assert self.done.get(timeout=2 * STUCK_SEC) == "done"
        assert not self.stuck, (self.stuck[:5], collections.Counter(self.failed.values()))

    def round(self, *words):
        self.begin(*words)
        self.finish()

    def failures_of(self, function, *arguments):
        """{text: error} of what fails meanwhile."""
        before = set(self.failed)
        function(*arguments)
        return {t: e for t, e in self.failed.items() if t not in before}

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.reader.join()
        self.process.stdout.close()


def transport_of(text):
    """As fleet.c gives them out."""
    return ("tcp", "udp", "http")[int(text[1:].split(".")[0]) // 2 % 3]


class World:
    """Two gateways, each with a keyd of its own on one token, and one backend."""

    def __init__(self, token, n):
        self.folder = os.path.join(token.directory, "fleet")
        os.mkdir(self.folder)
        subprocess.run([PROGRAM, "make", self.folder, str(n)], check=True, timeout=60)
        first = Server(token).set_up()
        self.keyds = [first, Server(token, like=first).adopt_from(first)]
        tokens.write(os.path.join(self.folder, "server.pem"), pem(first.own_certificate))
        self.backend = Backend()
        self.gateways = [Gateway(k, self.backend).start() for k in self.keyds]
        threads = [threading.Thread(target=self.register, args=(k, n)) for k in self.keyds]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.fleet = Fleet(self.folder, n, self.gateways)

    def register(self, keyd, n):
        with keyd.client() as c:
            for i in range(n):
                with open(os.path.join(self.folder, f"d{i}.pem"), encoding="utf-8") as f:
                    assert c.post("/v1/peers", {"name": f"d{i}", "certificate": f.read()}
                                  ).status == 201

    def delivered(self):
        with self.backend.lock:
            return len(self.backend.messages)

    def resumes(self):
        """How many each keyd has taken over by a ticket."""
        name = 'keyd_channel_resumes_total{result="ok"} '
        texts = [k.get("/metrics").body.decode() for k in self.keyds]
        return [int(t.split(name)[1].split("\n")[0]) if name in t else 0 for t in texts]

    def kill_worker(self, side):
        os.kill(self.keyds[side].workers()[0], signal.SIGKILL)

    def kill_keyd(self, side):
        self.keyds[side].kill()
        self.keyds[side].start()

    def kill_gateway(self, side):
        self.gateways[side].kill()
        self.gateways[side].start()

    def under_load(self, kills, *words):
        """A round, and the kills at even distances of what the backend gets meanwhile."""
        start, n = self.delivered(), self.fleet.n * words[0]
        self.backend.delay = BACKEND_SEC
        self.fleet.begin(*words)
        for i, (kill, side) in enumerate(kills):
            due = start + n * (i + 1) // (len(kills) + 1)
            wait_for(lambda d=due: self.delivered() >= d, STUCK_SEC, f"{due} messages")
            kill(side)
        self.fleet.finish()
        self.backend.delay = 0

    def check(self):
        """Each text is a message of its own, which a device never sends again by itself; libkeyd
        may, under the same number."""
        seen = collections.defaultdict(list)
        for headers, body in self.backend.messages:
            seen[body.decode()].append((headers["Keyd-Peer"], headers["Keyd-Message"]))
        assert all(peer == text.split(".")[0] for text, by in seen.items() for peer, _ in by)
        twice = {t: by for t, by in seen.items() if len(set(by)) > 1}
        assert not twice, f"delivered as two messages: {list(twice.items())[:5]}"
        acknowledged = set(self.fleet.acknowledged)
        assert len(acknowledged) == len(self.fleet.acknowledged)
        lost = acknowledged - set(seen)
        assert not lost, f"acknowledged and not delivered: {list(lost)[:5]}"
        unknown = set(seen) - acknowledged - set(self.fleet.failed)
        assert not unknown, f"delivered, and never sent: {list(unknown)[:5]}"
        numbers = collections.Counter(by[0] for by in seen.values())
        assert max(numbers.values()) == 1, "two messages have one number"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.fleet.end()
            for process in (*self.gateways, *self.keyds):
                process.stop()
        else:
            self.fleet.process.kill()
            for gateway in self.gateways:
                gateway.kill()
        self.backend.close()


@test(on=BOTH)
def each_message_of_a_fleet_is_delivered_once_whoever_dies(token):
    """J10, J13, J14, J16"""
    n = 60 if SANITIZED else 1000 if token.kind == "softhsm" else 200
    with World(token, n) as w:
        assert not w.fleet.failures_of(w.fleet.round, 1, "save")
        assert not w.fleet.failures_of(w.fleet.round, 1, "move", "save")
        assert w.resumes() == [n // 2, n // 2], w.resumes()
        assert len(w.fleet.acknowledged) == 2 * n == w.delivered()
        w.under_load([(w.kill_worker, 0), (w.kill_gateway, 0), (w.kill_keyd, 1), (w.kill_worker, 1),
                      (w.kill_gateway, 1), (w.kill_keyd, 0)], 3)
        w.under_load([(w.kill_gateway, 0), (w.kill_keyd, 1)], 1, "move")
        # A device whose connection ended meanwhile learns it from its next message, over TCP alone;
        # after that nothing fails.
        late = w.fleet.failures_of(w.fleet.round, 1)
        assert set(late.values()) <= {"transport"} and {transport_of(t) for t in late} <= {"tcp"}
        assert len({t.split(".")[0] for t in late}) == len(late)
        assert not w.fleet.failures_of(w.fleet.round, 1)
        assert len(w.fleet.acknowledged) == 8 * n
    w.check()


if __name__ == "__main__":
    main()
