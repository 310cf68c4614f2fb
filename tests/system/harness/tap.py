# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of one program and prints TAP (testanything.org, version 12).

A test is a function that says by its name what must hold, marked with @test.
Its parameters say what it needs:
    token   a token of its own, empty
    keyd    a running keyd, shared by the tests of this program on this token
Tests that need one of them run once for each kind of token in `on`.
Requirement ids (J.., A.. of docs/requirements.md, or the report of docs/field.md) stand in the
docstring.
"""
import inspect
import os
import sys
import time
import traceback

from . import daemon, tokens
from .tokens import Skip

BOTH = ("softhsm", "nss")
SOFTHSM = ("softhsm",)

_tests = []


def test(function=None, *, on=BOTH):
    """Marks a test; on: the tokens that it runs on.  Those of a program that is imported, for what
    it has beside them, are that program's."""
    if function is None:
        return lambda f: test(f, on=on)
    if function.__module__ == "__main__":
        _tests.append((function, on))
    return function


class Program:
    """The state of one test program."""

    def __init__(self, config, policy):
        self.config = config
        self.policy = policy
        self.shared = {}
        self.n = 0

    def keyd(self, kind):
        if kind not in self.shared:
            self.shared[kind] = daemon.Keyd(tokens.make(kind), config=self.config,
                                            policy=self.policy)
            self.shared[kind].start()
        return self.shared[kind]

    def run(self, name, function):
        self.n += 1
        started = time.monotonic()
        try:
            function()
        except Skip as why:
            # In CI a skip is a failure: nothing may go untested unseen.
            required = "KD_REQUIRE" in os.environ
            print(f"not ok {self.n} {name}: {why}" if required
                  else f"ok {self.n} {name} # SKIP {why}", flush=True)
            return
        except Exception:  # the next test runs all the same
            print(f"not ok {self.n} {name}", flush=True)
            for line in traceback.format_exc().rstrip().split("\n")[-7:]:
                print(f"#   {line[:800]}")
            sys.stdout.flush()
            return
        print(f"ok {self.n} {name}  # {time.monotonic() - started:.1f} s", flush=True)


def _planned(only_tokens, only_words):
    for kind in BOTH + ("",):
        for function, on in _tests:
            needs = inspect.signature(function).parameters
            kinds = on if "token" in needs or "keyd" in needs else ("",)
            if kind not in kinds or (kind and kind not in only_tokens):
                continue
            if only_words and not any(w in function.__name__ for w in only_words):
                continue
            yield kind, function, set(needs)


def _call(program, kind, function, needs):
    arguments = {}
    made = None
    if "token" in needs:
        made = arguments["token"] = tokens.make(kind)
    if "keyd" in needs:
        arguments["keyd"] = program.keyd(kind)
    try:
        function(**arguments)
        if made is not None:
            daemon.stop_all_on(made)
    except Exception:
        show_logs(made)
        raise
    finally:
        if made is not None:
            daemon.kill_all_on(made)
            made.remove()


def show_logs(made):
    """The last lines of the daemons on the token of a failed test."""
    for d in daemon.alive():
        if d.token is made:
            for line in d.log_tail(6):
                print(f"#   keyd: {line[:240]}")


def main(config=None, policy=None):
    """Runs the tests of the calling program.  Words on the command line choose
    tests by a part of their name; KD_TOKENS chooses tokens."""
    only_tokens = os.environ.get("KD_TOKENS", ",".join(BOTH)).split(",")
    planned = list(_planned(only_tokens, sys.argv[1:]))
    with_shared = {kind for kind, _, needs in planned if "keyd" in needs}
    print(f"1..{len(planned) + len(with_shared)}", flush=True)
    program = Program(config or {}, policy)
    try:
        for kind, function, needs in planned:
            name = (f"{kind}: " if kind else "") + function.__name__.replace("_", " ")
            program.run(name, lambda k=kind, f=function, n=needs: _call(program, k, f, n))
        for kind in sorted(with_shared):
            program.run(f"{kind}: keyd ends with status 0, no child, no report, no PIN in the log",
                        lambda k=kind: program.keyd(k).stop())
    finally:
        daemon.kill_all()
        tokens.remove_all()
    # The lines have said what failed; a status would count it a second time.
