"""Metrics and notifications: what leaves the machine's own files."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from equilens.pipeline.nightly.config import Notify
from equilens.pipeline.nightly.metrics import metrics_text, write_metrics
from equilens.pipeline.nightly.notify import notify

SUMMARY = {
    "night": "2026-11-20",
    "survey": 'a "quoted" \\ survey',
    "accepted": True,
    "n_found": 10,
    "n_scored": 8,
    "n_merged": 1,
    "n_out_of_domain": 0,
    "by_rule": {"truncated": 1},
    "crossmatch": {"n_new": 3},
    "inspect": {"n": 2},
    "drift": {"alarms": []},
    "instalments": [{"n_shards": 1}, {"n_shards": 2}],
    "seconds": {"ingest": 1.5, "score": 0.5},
    "n_read": 10,
    "provenance": {"created_utc": "2026-11-21T05:00:00+00:00"},
}
# https://prometheus.io/docs/instrumenting/exposition_formats, text format
SAMPLE = re.compile(
    r'equilens_night_[a-z_]+\{([a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)+\} -?[0-9.e+]+'
)


def test_metrics_are_well_formed():
    text = metrics_text(SUMMARY)
    assert text.endswith("\n")
    lines = text.splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    for line in lines:
        if not line.startswith("#"):
            assert SAMPLE.fullmatch(line), line
            assert line.split("{")[0] in names
    assert r'{survey="a \"quoted\" \\ survey"}' in text


def test_metrics_say_what_the_summary_says(tmp_path):
    path = tmp_path / "equilens.prom"
    write_metrics(path, SUMMARY)
    values = {line.split("{")[0]: line.split()[-1] for line in path.read_text().splitlines()}
    assert values["equilens_night_shards"] == "3"
    assert values["equilens_night_objects_per_second"] == "5"
    assert values["equilens_night_date_timestamp_seconds"] == "1795132800"
    assert list(tmp_path.iterdir()) == [path]


def test_a_command_gets_one_line_of_json_and_no_shell_sees_it(tmp_path):
    out = tmp_path / "out"
    code = f"import sys; open({str(out)!r}, 'w').write(sys.argv[1] + sys.stdin.read())"
    facts = {"night": "2026-11-20", "error": "$(touch x); `id`"}
    assert notify(Notify(command=(sys.executable, "-c", code, "$HOME; ")), facts) == []
    assert out.read_text() == "$HOME; " + json.dumps(facts) + "\n"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Notify(command=("/no/such/program",)), "could not be run"),
        (Notify(command=(sys.executable, "-c", "raise SystemExit('full')")), "ended with 1: full"),
        (
            Notify((sys.executable, "-c", "import time; time.sleep(9)"), timeout_s=0.2),
            "could not be run",
        ),
        (Notify(webhook="http://127.0.0.1:9/x", timeout_s=2), "can not be reached"),
    ],
)
def test_what_goes_wrong_in_telling_is_told_and_raises_nothing(rule, message):
    (problem,) = notify(rule, {})
    assert message in problem


def test_a_webhook_gets_a_post_and_is_not_followed_elsewhere():
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, json.loads(body)))
            self.send_response(302 if self.path == "/moved" else 204)
            self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert notify(Notify(webhook=f"{address}/night?x=1"), {"n": 1}) == []
        (problem,) = notify(Notify(webhook=f"{address}/moved"), {"n": 2})
    finally:
        server.shutdown()
        server.server_close()
    assert "answered 302" in problem
    assert got == [("/night?x=1", {"n": 1}), ("/moved", {"n": 2})]
