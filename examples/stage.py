#!/usr/bin/env python3
# A stage of Conveyor in Python, with its standard library alone. It refuses large orders.
#     SIGNING_SECRET=whsec_... PORT=8080 STATE=stage.sqlite3 python3 examples/stage.py
# docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.
import base64, hmac, json, os, sqlite3, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = [base64.b64decode(each.removeprefix("whsec_")) for each in os.environ["SIGNING_SECRET"].split()]
STATE = os.environ.get("STATE", "stage.sqlite3")
sqlite3.connect(STATE).execute("CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, answer TEXT NOT NULL)")


def check(order):
    return {"reject": "too large"} if order["total"] > 500_000 else {"done": {"owed": order["total"]}}


# The same id gets the same answer, and an undo wins over its run, whichever comes first.
def answer(state, id, request):
    known = dict(state.execute("SELECT id, answer FROM answers WHERE id IN (?, ?)", [id, id + ":undo"]))
    if id + ":undo" in known:
        return 410, "{}"
    if id not in known:
        known[id] = json.dumps({"done": {}} if request["operation"] == "undo" else check(request["order"]))
        # What the stage does goes here, in the same transaction.
        state.execute("INSERT INTO answers VALUES (?, ?)", [id, known[id]])
    return 200, known[id]


# By Standard Webhooks, over the bytes as they came, within the last five minutes.
def is_signed(headers, body):
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    right = [b"v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")) for secret in SECRETS]
    given = headers.get("webhook-signature", "").encode().split()
    is_right = any(hmac.compare_digest(one, other) for one in given for other in right)
    return is_right and abs(time.time() - int(headers["webhook-timestamp"])) < 300


class Stage(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_signed(self.headers, body):
            return self.reply(401, "{}")
        try:
            request = json.loads(body)
        except ValueError:
            return self.reply(400, "{}")
        with sqlite3.connect(STATE, timeout=30, isolation_level=None) as state:
            state.execute("BEGIN IMMEDIATE")
            made = answer(state, self.headers["webhook-id"], request)
        self.reply(*made)

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8080))), Stage).serve_forever()
