#!/usr/bin/env python3
"""Reads Conveyor's events from the Redis Stream, in any language: here Python, without any package.

    export $(npm run --silent services -- env)
    python3 examples/reader.py --group billing --consumer reader-1 --state billing.sqlite3

Several readers of one group share the work. Each event is worked on once, although it may come twice: its id is written
down in the same transaction as what the work does. When a reader dies, another one takes over what it had. When Redis
has lost its data, or the reader was away for longer than the stream reaches back, what is missing comes from the API.

docs/events.md describes the messages.
"""

import argparse
import json
import os
import signal
import socket
import sqlite3
import sys
import time
import urllib.parse
import urllib.request

STREAM = os.environ.get("REDIS_PREFIX", "conveyor") + ":events"
BATCH = 100
BLOCK_MS = 2_000
PAUSE_S = 1


class RedisError(Exception):
    """What Redis answers when it refuses."""


class Redis:
    """As much of a client as a reader needs: it speaks RESP2 and has no cleverness. Use a real one."""

    def __init__(self, url):
        address = urllib.parse.urlparse(url)
        self.socket = socket.create_connection((address.hostname, address.port or 6379), timeout=30)
        self.file = self.socket.makefile("rb")
        if address.password:
            user = [address.username] if address.username else []
            self.call("AUTH", *user, urllib.parse.unquote(address.password))
        self.call("SELECT", address.path.strip("/") or "0")

    def call(self, *arguments):
        parts = [str(each).encode() for each in arguments]
        self.socket.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in parts)
        )
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        return None if rest == b"-1" else [self.answer() for _ in range(int(rest))]


class Reader:
    def __init__(self, options):
        self.options = options
        self.state = sqlite3.connect(options.state, isolation_level=None, timeout=30)
        self.state.execute("CREATE TABLE IF NOT EXISTS handled (id INTEGER PRIMARY KEY)")
        self.state.execute("CREATE TABLE IF NOT EXISTS deliveries (order_id TEXT PRIMARY KEY, at TEXT NOT NULL)")

    def run(self):
        while True:
            try:
                self.read(Redis(self.options.redis))
            except (OSError, RedisError) as error:
                # Whatever it is, nothing is lost by waiting: what was not acknowledged comes again.
                print(f"Redis: {error}", file=sys.stderr)
                time.sleep(PAUSE_S)

    def read(self, redis):
        group, consumer = self.options.group, self.options.consumer
        self.begin(redis)
        # First what it had when it was ended, then what is new.
        place, claimed_at = "0", 0.0
        while True:
            if time.monotonic() - claimed_at > self.options.claim_after:
                claimed_at = time.monotonic()
                self.claim(redis)
            answer = redis.call(
                "XREADGROUP", "GROUP", group, consumer, "COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS", STREAM, place
            )
            entries = answer[0][1] if answer else []
            if place == "0" and not entries:
                place = ">"
            self.handle(redis, entries)

    def begin(self, redis):
        """Has the group, from the last event on that was worked on; and works on what the stream no longer has."""
        last = self.last()
        try:
            redis.call("XGROUP", "CREATE", STREAM, self.options.group, f"{last}-0", "MKSTREAM")
        except RedisError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return
        following = redis.call("XRANGE", STREAM, f"({last}-0", "+", "COUNT", 1)
        if last > 0 and following:
            self.replay(last, int(fields_of(following[0])["previous"]))

    def replay(self, after, up_to):
        while after < up_to:
            request = urllib.request.Request(
                f"{self.options.api}/events?after={after}&limit=1000",
                headers={"Authorization": f"Bearer {os.environ['CONVEYOR_API_KEY']}"},
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                page = json.load(response)
            self.work_on(page["items"])
            if page["next"] == after:
                time.sleep(PAUSE_S)
            after = page["next"]

    def claim(self, redis):
        """Takes over what readers had that have been silent for a while."""
        start = "0-0"
        while True:
            claimed = redis.call(
                "XAUTOCLAIM",
                STREAM,
                self.options.group,
                self.options.consumer,
                int(self.options.claim_after * 1000),
                start,
                "COUNT",
                BATCH,
            )
            # Redis before 7 tells of entries that have been trimmed meanwhile, without their fields.
            self.handle(redis, [entry for entry in claimed[1] if entry and entry[1]])
            start = claimed[0]
            if start == "0-0":
                return

    def handle(self, redis, entries):
        # One of its own that has been trimmed meanwhile has no fields any more.
        self.work_on([json.loads(fields_of(entry)["event"]) for entry in entries if entry[1]])
        if entries:
            redis.call("XACK", STREAM, self.options.group, *[entry[0] for entry in entries])

    def work_on(self, events):
        """The work, once for each event: the ids are written down together with what is done."""
        if not events:
            return
        self.state.execute("BEGIN IMMEDIATE")
        try:
            new = [event for event in events if self.is_new(event)]
            for event in new:
                self.work(event)
            self.state.execute("COMMIT")
        except BaseException:
            self.state.execute("ROLLBACK")
            raise
        for event in new:
            print(event["id"], event["type"], event["subject"], event["data"]["to"], flush=True)

    def is_new(self, event):
        note = self.state.execute("INSERT OR IGNORE INTO handled VALUES (?)", (int(event["id"]),))
        return note.rowcount == 1

    def work(self, event):
        # Types that are not known are left alone: there may be more of them one day.
        if event["type"] == "conveyor.order.status.v1" and event["data"]["to"] == "DELIVERED":
            self.state.execute("INSERT INTO deliveries VALUES (?, ?)", (event["subject"], event["time"]))

    def last(self):
        return self.state.execute("SELECT COALESCE(MAX(id), 0) FROM handled").fetchone()[0]


def fields_of(entry):
    names_and_values = entry[1]
    return dict(zip(names_and_values[::2], names_and_values[1::2]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", default=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
    parser.add_argument(
        "--api",
        default=os.environ.get("CONVEYOR_URL", "http://127.0.0.1:3000"),
        help="by default CONVEYOR_URL; its key is in CONVEYOR_API_KEY",
    )
    parser.add_argument("--group", required=True)
    parser.add_argument("--consumer", required=True, help="its own name within the group")
    parser.add_argument("--state", required=True, help="file of what was worked on, for all readers of the group")
    parser.add_argument("--claim-after", type=float, default=30, help="seconds after which a silent reader is dead")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Reader(parser.parse_args()).run()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
