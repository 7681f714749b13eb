"""Tell somebody that a night has ended: a program, or an address of this machine or its network."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from equilens.pipeline.nightly.config import Notify


def notify(rule: Notify, facts: Mapping[str, Any]) -> list[str]:
    """Tell, and return what went wrong in telling: that makes no night fail.

    The program is run as it stands, without a shell; the facts, one line of JSON, are its standard
    input. No redirect is followed, and no proxy is asked.
    """
    text = json.dumps(facts, default=str) + "\n"
    problems = []
    if rule.command:
        problems += _run(rule, text)
    if rule.webhook:
        problems += _post(rule, text)
    return problems


def _run(rule: Notify, text: str) -> list[str]:
    try:
        done = subprocess.run(
            list(rule.command),
            input=text,
            text=True,
            capture_output=True,
            timeout=rule.timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"notify.command {rule.command[0]} could not be run: {error}"]
    if done.returncode:
        said = " ".join(done.stderr.split())[:200]
        return [f"notify.command {rule.command[0]} ended with {done.returncode}: {said}"]
    return []


def _post(rule: Notify, text: str) -> list[str]:
    parts = urlsplit(rule.webhook)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=rule.timeout_s
    )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, text, {"Content-Type": "application/json"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return [f"notify.webhook {rule.webhook} can not be reached: {error}"]
    finally:
        connection.close()
    if not 200 <= status < 300:
        return [f"notify.webhook {rule.webhook} answered {status}, not 2xx"]
    return []
