# SPDX-License-Identifier: Apache-2.0
"""/metrics: Prometheus text format 0.0.4, and numbers that are right."""
import re

from harness import SOFTHSM, Keyd, expect, main, test, wait_for

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*\}'
SAMPLE = re.compile(rf"({NAME})({LABELS})? (\S+)")


def parse(text):
    """{(name, labels): value}; asserts what promtool would."""
    assert text.endswith("\n")
    samples, types, helped, done, current = {}, {}, set(), set(), None
    for line in text.rstrip("\n").split("\n"):
        comment = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
        if comment:
            kind, family, rest = comment.groups()
            if family != current:
                assert family not in done, f"{family} comes in two places"
                done.add(family)
                current = family
            if kind == "TYPE":
                assert family not in types, family
                assert rest in ("counter", "gauge", "histogram"), line
                types[family] = rest
            else:
                helped.add(family)
            continue
        m = SAMPLE.fullmatch(line)
        assert m, f"not a sample: {line}"
        name, labels, value = m.group(1), m.group(2) or "", float(m.group(3))
        family = re.sub("_(bucket|sum|count)$", "", name) if name not in types else name
        assert family == current and family in types and family in helped, line
        if types[family] == "counter":
            assert name.endswith("_total"), name
        pairs = tuple(sorted(re.findall(r'([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"', labels)))
        assert (name, pairs) not in samples, f"twice: {line}"
        samples[name, pairs] = value
    check_histograms(samples, types)
    return samples


def check_histograms(samples, types):
    for family in (f for f, t in types.items() if t == "histogram"):
        series = {}
        for (name, pairs), value in samples.items():
            if name == family + "_bucket":
                rest = tuple(p for p in pairs if p[0] != "le")
                series.setdefault(rest, []).append((float(dict(pairs)["le"]), value))
        for rest, buckets in series.items():
            values = [v for _, v in sorted(buckets)]
            assert values == sorted(values), f"{family}{rest} is not cumulative"
            assert max(buckets)[0] == float("inf"), f"{family}{rest} has no +Inf"
            assert samples[family + "_count", rest] == values[-1], (family, rest)
            assert (family + "_sum", rest) in samples, (family, rest)


def read(keyd):
    r = expect(keyd.get("/metrics"), 200)
    assert r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return parse(r.body.decode())


def of(samples, name, **labels):
    return sum(v for (n, pairs), v in samples.items()
               if n == name and set(labels.items()) <= set(pairs))


@test(on=SOFTHSM)
def metrics_parse_from_the_first_request_on(token):
    keyd = Keyd(token).start()
    assert read(keyd)
    keyd.stop()


@test
def metrics_count_what_happened(token):
    keyd = Keyd(token).start()
    wait_for(lambda: len(keyd.workers()) == 2, what="the second worker")
    keyd.create("k", "hmac-sha256", "sign", "verify")
    before = read(keyd)
    n = 25
    for _ in range(n):
        keyd.ok("/v1/keys/k/mac", {"data": ""})
    keyd.ok("/v1/keys/k/mac", {"items": [{"data": ""}] * 10})
    for _ in range(3):
        expect(keyd.post("/v1/keys/none/mac", {"data": ""}), 404)
    expect(keyd.get("/nothing/here"), 404)
    after = read(keyd)

    def grown(name, **labels):
        return of(after, name, **labels) - of(before, name, **labels)

    route = {"route": "/v1/keys/{name}/mac", "method": "POST"}
    assert grown("keyd_http_requests_total", status="200", **route) == n + 1
    assert grown("keyd_http_requests_total", status="404", **route) == 3
    assert grown("keyd_http_requests_total", route="none") == 1
    assert grown("keyd_http_request_seconds_count", **route) == n + 4
    assert grown("keyd_http_request_seconds_sum", **route) > 0
    assert grown("keyd_token_operations_total", operation="mac") == n + 1
    assert grown("keyd_token_operation_seconds_count", operation="mac") == n + 1
    assert of(after, "keyd_keys") == 1 and of(after, "keyd_secrets") == 0
    assert of(after, "keyd_worker_ready") == 2 and of(after, "keyd_worker_restarts_total") == 0
    assert of(after, "keyd_queue_length") == 0
    assert of(after, "keyd_http_connections") >= 1
    # No name of a key, no id and no principal is in there: they have no bound.
    text = keyd.get("/metrics").body.decode()
    assert "none/mac" not in text and '"k"' not in text and "tests" not in text
    keyd.stop()


if __name__ == "__main__":
    main()
