import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "@jest/globals";

const ROOT = path.resolve(import.meta.dirname, "../..");

test("drizzle-kit finds no change of the schema since the last migration", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-migrations-"));
  try {
    const copy = path.join(folder, "migrations");
    await cp(path.join(ROOT, "db/migrations"), copy, { recursive: true });
    const before = await readdir(copy, { recursive: true });
    const options = ["--dialect", "mysql", "--schema", "db/schema.ts", "--out", path.relative(ROOT, copy)];
    const drizzleKit = path.join(ROOT, "node_modules/.bin/drizzle-kit");
    await promisify(execFile)(drizzleKit, ["generate", ...options], { cwd: ROOT });
    expect(await readdir(copy, { recursive: true })).toEqual(before);
  } finally {
    await rm(folder, { recursive: true });
  }
});
