import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Failure } from "../../tools/shared/failure.ts";
import { identify } from "../../tools/launcher/lock.js";
import { readRunning, StateFile, type Run } from "../../tools/launcher/state.ts";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-state-"));
  file = path.join(folder, "local", "state.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

const RUNNING = {
  apiKey: "ck_1",
  conveyorUrl: "http://127.0.0.1:3000",
  simulators: { payments: "http://127.0.0.1:4101" },
  databaseUrl: "mysql://u:p@127.0.0.1:1/conveyor",
  redisUrl: "redis://:p@127.0.0.1:2",
};

function run(owner = identify(process.pid)!): Run {
  return { ...RUNNING, owner, startedAt: "2026-01-01T00:00:00.000Z", versions: { mysql: "M", redis: "R" } };
}

test("keys and passwords are random, stay the same, and are for this user's eyes only", () => {
  const first = new StateFile(file);
  expect(first.state.apiKey).toMatch(/^ck_[0-9a-f]{32}$/);
  first.update((state) => (state.mysqlPort = 4000));

  const second = new StateFile(file);
  expect(second.state).toEqual(first.state);
  expect(new StateFile(path.join(folder, "other.json")).state.apiKey).not.toBe(first.state.apiKey);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("a change leaves one whole file and nothing else", () => {
  const state = new StateFile(file);
  for (let port = 1; port <= 20; port++) state.update((remembered) => (remembered.redisPort = port));
  expect(readdirSync(path.dirname(file))).toEqual(["state.json"]);
  expect(new StateFile(file).state.redisPort).toBe(20);
});

test("clients are told what runs, and nothing more", () => {
  new StateFile(file).update((state) => (state.run = run()));
  expect(readRunning(file)).toEqual(RUNNING);
});

test("nothing runs before the first start, while starting, and after the starter was killed", () => {
  expect(readRunning(file)).toBeUndefined();
  const state = new StateFile(file);
  state.update(() => {});
  expect(readRunning(file)).toBeUndefined();
  state.update((remembered) => (remembered.run = run({ pid: process.pid, startedAt: "long ago" })));
  expect(readRunning(file)).toBeUndefined();
});

test("a file that can't be read is named, and what to do about it", () => {
  writeFileSync(path.join(folder, "broken.json"), "{");
  expect(() => readRunning(path.join(folder, "broken.json"))).toThrow(Failure);
  expect(() => new StateFile(path.join(folder, "broken.json"))).toThrow(
    /broken\.json can't be read; remove it/,
  );
});
