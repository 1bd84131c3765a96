#!/usr/bin/env python3
"""Takes Conveyor's webhooks, in any language: here Python, without any package.

    WEBHOOK_SECRET=whsec_... python3 examples/webhook.py --port 8090 --state orders.sqlite3

Each message's signature is verified, against the body as it came; the libraries of Standard Webhooks do the same. Each
event is worked on once, although it may come twice: its id is written down in the same transaction as what the work does.
Only then is it answered, so that one whose work fails comes again.

docs/webhooks.md describes the messages. WEBHOOK_SECRET may be several secrets, separated by spaces, while one is replaced.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Seconds by which a message's time may differ: whoever has recorded an old one can't send it again.
TOLERANCE_S = 300
# Bytes of a body at most: Conveyor's have some hundred.
LONGEST = 100_000


class Refused(Exception):
    """Not from Conveyor, or not fit to be read."""


def verify(secrets, headers, body):
    """Refuses what was not signed with one of these secrets, or not lately."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        raise Refused("the time is too far from now")
    signed = f"{message_id}.{timestamp}.".encode() + body
    given = headers.get("webhook-signature", "").split(" ")
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        # In constant time. There are two signatures while a secret is replaced.
        if any(hmac.compare_digest(expected.encode(), each.encode()) for each in given):
            return
    raise Refused("the signature does not fit")


class Orders:
    """Where each order stands, and which events were worked on."""

    def __init__(self, file):
        self.file = file
        with self.open() as state:
            state.execute("CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY)")
            state.execute(
                "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, status TEXT NOT NULL, event_id INTEGER NOT NULL)"
            )

    def open(self):
        return sqlite3.connect(self.file, timeout=30)

    def take(self, event):
        """Works on an event, unless it was worked on before. Both are written, or neither."""
        state = self.open()
        try:
            with state:
                note = state.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["id"],))
                if note.rowcount == 0:
                    return False
                self.work(state, event)
                return True
        finally:
            state.close()

    def work(self, state, event):
        # Types that are not known are left alone: there may be more of them one day.
        if event["type"] != "conveyor.order.status.v1":
            return
        # One that was given up, and is sent again by hand, comes after later ones.
        state.execute(
            """INSERT INTO orders VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE
                SET status = excluded.status, event_id = excluded.event_id WHERE excluded.event_id > event_id""",
            (event["subject"], event["data"]["to"], int(event["id"])),
        )


class Handler(BaseHTTPRequestHandler):
    # Connections are used again.
    protocol_version = "HTTP/1.1"
    # Seconds without a byte after which one is closed.
    timeout = 30

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LONGEST:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(int(length))
        try:
            verify(self.server.secrets, self.headers, body)
            event = json.loads(body)
        except (Refused, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(400)
        is_new = self.server.orders.take(event)
        self.answer(204)
        word = "new" if is_new else "again"
        print(word, event["id"], event["type"], event.get("subject", "-"), event["data"].get("to", "-"), flush=True)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 for any that is free")
    parser.add_argument("--state", required=True, help="file of what was worked on")
    options = parser.parse_args()
    secrets = os.environ.get("WEBHOOK_SECRET", "").split()
    if not secrets:
        parser.error("WEBHOOK_SECRET has the endpoint's secret")
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    server.secrets = secrets
    server.orders = Orders(options.state)
    print(f"listening on http://{options.host}:{server.server_port}/", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
