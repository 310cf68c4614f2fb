# SPDX-License-Identifier: Apache-2.0
"""keydctl, run as who may do all."""
import json
import subprocess

from .mailbox import KEYDCTL


def ctl(keyd, *argv):
    return subprocess.run([KEYDCTL, "--config", keyd.config_file, *argv], capture_output=True,
                          text=True, timeout=300, check=False)


def objects_of(keyd):
    """What the doctor says of the token's objects.  He asks the token itself: while a worker logs
    in SoftHSM writes its file anew, and nobody else sees the token."""
    keyd.wait_all_ready()
    report = json.loads(ctl(keyd, "--json", "doctor").stdout)
    found = [f for f in report["findings"] if f["check"] == "objects"]
    assert len(found) == 1, report
    return found[0]
