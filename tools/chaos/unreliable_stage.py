"""examples/stage.py, as a service that decides some orders later and calls back twice, and that keeps books for the audit.

Its answers and its books lie in one SQLite file, so that a kill loses neither, or both.
"""
import json, os, sqlite3, sys, threading, urllib.error, urllib.request, zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples"))
import stage

ASK_AGAIN_S = 5
answer_once = stage.answer


def answer(state, key, request):
    """The example's answer; what is answered for the first time has its effect, in the same transaction."""
    before = state.total_changes
    status, text = answer_once(state, key, request)
    order, operation = request["order"], request["operation"]
    is_new = state.total_changes > before
    if is_new or status == 410:
        what = operation if is_new else "refused"
        state.execute("INSERT INTO effects (order_id, what) VALUES (?, ?)", [order["id"], what])
    if is_new and operation == "run" and zlib.crc32(order["reference"].encode()) % 4 == 0:
        threading.Timer(0.3, call_back, [request["callback"], text]).start()
        return 202, "{}"
    return status, text


def call_back(url, text):
    for _ in range(2):
        call = urllib.request.Request(url, text.encode(), {"content-type": "application/json"})
        try:
            status = urllib.request.urlopen(call, timeout=5).status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        with sqlite3.connect(stage.STATE, timeout=30) as state:
            state.execute("INSERT INTO callbacks VALUES (?)", [status])


class UnreliableStage(stage.Stage):
    log_message = lambda *_: None

    def do_GET(self):
        if self.path != "/books":
            return self.reply(200, "{}")
        with sqlite3.connect(stage.STATE, timeout=30) as state:
            effects = state.execute("SELECT order_id, what FROM effects ORDER BY id").fetchall()
            callbacks = [status for (status,) in state.execute("SELECT status FROM callbacks")]
        self.reply(200, json.dumps({"effects": effects, "callbacks": callbacks}))

    def send_response(self, code, message=None):
        super().send_response(code, message)
        if code == 202:
            self.send_header("retry-after", str(ASK_AGAIN_S))


if __name__ == "__main__":
    stage.answer = answer
    with sqlite3.connect(stage.STATE, timeout=30) as created:
        created.execute("CREATE TABLE IF NOT EXISTS effects (id INTEGER PRIMARY KEY, order_id TEXT, what TEXT)")
        created.execute("CREATE TABLE IF NOT EXISTS callbacks (status INTEGER)")
    server = stage.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), UnreliableStage)
    print('{"msg":"listening"}', flush=True)
    server.serve_forever()
