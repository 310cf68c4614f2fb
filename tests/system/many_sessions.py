# SPDX-License-Identifier: Apache-2.0
"""Many more sessions than the token has room for.  By far the longest of these
programs (system.mk begins with it)."""
from harness import SOFTHSM, b64, daemon, main, test, unb64
from harness.peer import Server


@test(on=SOFTHSM)
def twenty_thousand_sessions_live_on_five_hundred_objects(token):
    """The budget of token objects: the oldest are as good as the newest."""
    n_sessions, n_objects = (2000, 50) if daemon.SANITIZED else (20_000, 500)
    keyd = Server(token, {"secrets.cached-in-token": n_objects,
                          "workers.processes": 1, "channel.sessions-per-peer": n_sessions,
                          "workers.deadline-ms": 60_000,
                          "channel.otp-step": 3600}).set_up()  # all are made first
    with keyd.device("d") as d:
        saved = []
        for _ in range(n_sessions):
            d.connect(keyd)
            saved.append((d.session, d.seal(b"first"), d.seal(b"second")))
        for n, text in ((1, b"first"), (2, b"second")):
            for start in range(0, len(saved), 500):
                items = [{"record": b64(s[n])} for s in saved[start:start + 500]]
                answers = keyd.ok("/v1/records/open", {"items": items})["items"]
                assert all("error" not in a and unb64(a["data"]) == text for a in answers)
                assert [a["session"] for a in answers] == [s[0] for s in saved[start:start + 500]]
    keyd.stop()


if __name__ == "__main__":
    main()
