import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { LogFile } from "../../tools/launcher/log-file.ts";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-log-"));
  file = path.join(folder, "logs", "api.log");
});
afterEach(() => rmSync(folder, { recursive: true }));

test("lines are heard whole, also when they are written in pieces that cut a character", () => {
  const heard: string[] = [];
  const log = new LogFile(file, (line) => heard.push(line));
  const bytes = Buffer.from("first\nsecónd\nthird");
  const cut = bytes.indexOf(0xc3) + 1;
  writeSync(log.fd, bytes.subarray(0, cut));
  log.poll();
  expect(heard).toEqual(["first"]);
  writeSync(log.fd, bytes.subarray(cut));
  log.poll();
  expect(heard).toEqual(["first", "secónd"]);
  writeSync(log.fd, "\n");
  log.close();
  expect(heard).toEqual(["first", "secónd", "third"]);
});

test("the log of the run before is kept once", () => {
  for (const run of ["one", "two", "three"]) {
    const log = new LogFile(file);
    writeSync(log.fd, `${run}\n`);
    log.close();
  }
  expect(readFileSync(file, "utf8")).toBe("three\n");
  expect(readFileSync(`${file}.1`, "utf8")).toBe("two\n");
});

test("a log that grows too big starts over, and keeps what it had beside it", () => {
  let count = 0;
  const log = new LogFile(file, () => count++);
  const line = `${"x".repeat(1023)}\n`;
  writeSync(log.fd, line.repeat(10 * 1024));
  log.poll();
  writeSync(log.fd, line);
  log.poll();
  expect(readFileSync(`${file}.1`, "utf8")).toHaveLength(10 * 1024 * 1024 + 1024);
  // The child writes on through the same descriptor.
  writeSync(log.fd, "after\n");
  log.close();
  expect(readFileSync(file, "utf8")).toBe("after\n");
  expect(count).toBe(10 * 1024 + 2);
});

test("its end can be shown", () => {
  const log = new LogFile(file);
  appendFileSync(file, "one\n\ntwo\nthree\n");
  expect(log.tail(2)).toEqual(["two", "three"]);
  log.close();
});
