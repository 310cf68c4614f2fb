# SPDX-License-Identifier: Apache-2.0
"""For the alt_*.py: programs that measure themselves, and what is missing."""
import os
import subprocess


class Missing(Exception):
    """It is not installed, or does not work with this token; the text says which."""


def installed(*paths):
    """The first of these files that is there."""
    for path in paths:
        if os.path.exists(path):
            return path
    raise Missing("not installed")


def start(argv, token, env, tries=10):
    """A program that has the PIN and is ready.  SoftHSM rewrites the token's file at each
    login: who looks at that moment sees no token, and is started again."""
    for left in reversed(range(tries)):
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=env)
        try:
            p.stdin.write(token.pin + "\n")
            p.stdin.flush()
            if p.stdout.readline() == "ready\n":
                return p
        except BrokenPipeError:
            pass
        p.kill()
        why = p.stderr.read().strip()[:200]
        p.wait()
        if left == 0:
            raise Missing("does not work: " + why)


def run_together(argv, token, n, env):
    """Starts n programs that get the PIN on stdin, say "ready", wait for a line, measure, and
    print a rate; the sum of the rates."""
    programs = []
    try:
        for _ in range(n):
            programs.append(start(argv, token, env))
        for p in programs:
            p.stdin.write("\n")
            p.stdin.flush()
        return sum(float(p.stdout.readline() or 0) for p in programs)
    finally:
        for p in programs:
            p.kill()
            p.communicate()
