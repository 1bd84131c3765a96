#!/usr/bin/env python3
"""A stage of Conveyor in Python, with nothing but the standard library. It refuses large orders.

    SIGNING_SECRET=whsec_... PORT=8080 STATE=stage.sqlite3 python3 examples/stage.py

docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.
"""
import base64, hmac, json, os, sqlite3, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = [base64.b64decode(each.removeprefix("whsec_")) for each in os.environ["SIGNING_SECRET"].split()]
STATE = os.environ.get("STATE", "stage.sqlite3")


def check(order):
    """The business."""
    return {"reject": "too large"} if order["total"] > 500_000 else {"done": {"owed": order["total"]}}


def answer(state, key, request):
    """The same key gets the same answer, and an undo wins over its run, whichever comes first."""
    known = lambda id: state.execute("SELECT answer FROM answers WHERE id = ?", [id]).fetchone()
    if request["operation"] == "run" and known(key + ":undo"):
        return 410, "{}"
    if not known(key):
        made = {"done": {}} if request["operation"] == "undo" else check(request["order"])
        # What the stage does goes here, in the same transaction.
        state.execute("INSERT INTO answers VALUES (?, ?)", [key, json.dumps(made)])
    return 200, known(key)[0]


def is_signed(headers, body):
    """By Standard Webhooks, over the bytes as they came, within the last five minutes."""
    time_sent = headers.get("webhook-timestamp", "")
    if not time_sent.isdecimal() or abs(time.time() - int(time_sent)) > 300:
        return False
    signed = f"{headers['webhook-id']}.{time_sent}.".encode() + body
    right = [b"v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")) for secret in SECRETS]
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(one, other) for one in given for other in right)


class Stage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            request = json.loads(body) if is_signed(self.headers, body) else None
        except ValueError:
            return self.reply(400, "{}")
        if request is None:
            return self.reply(401, "{}")
        state = sqlite3.connect(STATE, isolation_level=None, timeout=30)
        try:
            state.execute("BEGIN IMMEDIATE")
            made = answer(state, self.headers["webhook-id"], request)
            state.execute("COMMIT")
        finally:
            state.close()
        self.reply(*made)

    def do_GET(self):
        self.reply(200, "{}")

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    with sqlite3.connect(STATE) as created:
        created.execute("CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, answer TEXT NOT NULL)")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8080))), Stage).serve_forever()
