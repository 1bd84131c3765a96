import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { identify, isAlive, tryLock, withLock } from "../../tools/launcher/lock.js";
import { waitFor } from "../support/wait-for.ts";

const LOCK_MODULE = path.resolve(import.meta.dirname, "../../tools/launcher/lock.js");
let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-lock-"));
  file = path.join(folder, "deep", "lock");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A process that runs some JavaScript with the lock module at hand. */
function evaluate(code: string): { child: ChildProcess; lines: () => string[] } {
  const source = `
    import { existsSync } from "node:fs";
    import * as lock from ${JSON.stringify(LOCK_MODULE)};
    const file = ${JSON.stringify(file)};
    ${code}`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", source]);
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  return { child, lines: () => output.split("\n").slice(0, -1) };
}

/** What it prints in the end. */
async function runElsewhere(code: string): Promise<string> {
  const { child, lines } = evaluate(code);
  await once(child, "close");
  return lines().join("\n");
}

/** The identity of a process that has ended. */
async function deadOwner(): Promise<string> {
  return runElsewhere("console.log(JSON.stringify(lock.identify(process.pid)))");
}

describe("identity", () => {
  test("this process is alive, and the same whenever it is asked", () => {
    const identity = identify(process.pid);
    expect(identity).toEqual({ pid: process.pid, startedAt: expect.any(String) });
    expect(identify(process.pid)).toEqual(identity);
    expect(isAlive(identity!)).toBe(true);
  });

  test("a process with the same pid that started at another time is another process", () => {
    expect(isAlive({ pid: process.pid, startedAt: "some other time" })).toBe(false);
  });

  test("a process that has ended, but was not waited for by its parent, is not alive", async () => {
    // The shell becomes a program that never waits for the child that it had.
    const parent = spawn("/bin/sh", ["-c", "true & echo $!; exec sleep 60"]);
    try {
      const pid = await new Promise<number>((resolve) => {
        parent.stdout.once("data", (chunk) => resolve(Number(chunk)));
      });
      await waitFor("the child to end", () => identify(pid) === undefined);
    } finally {
      parent.kill("SIGKILL");
    }
  });
});

describe("lock", () => {
  test("is held by one at a time, who is named to others, and can be taken once released", async () => {
    const lock = tryLock(file);
    expect(lock).not.toHaveProperty("owner");
    expect(JSON.parse(await runElsewhere("console.log(JSON.stringify(lock.tryLock(file)))"))).toEqual({
      owner: identify(process.pid),
    });
    if ("release" in lock) lock.release();
    expect(tryLock(file)).toHaveProperty("release");
  });

  test("is taken over from an owner that died", async () => {
    await runElsewhere("lock.tryLock(file)");
    expect(readFileSync(file, "utf8")).toContain("pid");
    expect(tryLock(file)).toHaveProperty("release");
  });

  test("is taken over when the owner's pid belongs to another process now", () => {
    expect(tryLock(file)).toHaveProperty("release");
    writeFileSync(file, JSON.stringify({ pid: process.pid, startedAt: "before" }));
    expect(tryLock(file)).toHaveProperty("release");
  });

  test("of a dead owner goes to exactly one of many who want it at once", async () => {
    expect(tryLock(file)).toHaveProperty("release");
    writeFileSync(file, await deadOwner());
    const go = path.join(folder, "go");
    // Each keeps what it got until it is killed: nobody may get it after another let go.
    const contenders = Array.from({ length: 6 }, () =>
      evaluate(`console.log("ready"); while (!existsSync(${JSON.stringify(go)}));
        console.log("release" in lock.tryLock(file)); setInterval(() => {}, 1000)`),
    );
    await waitFor("all to be ready", () => contenders.every(({ lines }) => lines().length === 1));
    writeFileSync(go, "");
    await waitFor("all to have tried", () => contenders.every(({ lines }) => lines().length === 2));
    for (const { child } of contenders) child.kill("SIGKILL");
    expect(contenders.filter(({ lines }) => lines()[1] === "true")).toHaveLength(1);
  });

  test("is not taken from one who took it over in the meantime", async () => {
    const dead = await deadOwner();
    const lock = tryLock(file);
    writeFileSync(file, dead);
    // Released by an owner that lost it: no effect on whoever holds it now.
    if ("release" in lock) lock.release();
    expect(readFileSync(file, "utf8")).toBe(dead);
  });

  test("makes those who wait for it work one after the other", async () => {
    const events: string[] = [];
    const first = withLock(file, async () => {
      events.push("first begins");
      await waitFor("the second to wait", () => events.includes("second waits"));
      events.push("first ends");
    });
    const second = withLock(
      file,
      async () => void events.push("second begins"),
      ({ pid }) => {
        expect(pid).toBe(process.pid);
        events.push("second waits");
      },
    );
    await Promise.all([first, second]);
    expect(events).toEqual(["first begins", "second waits", "first ends", "second begins"]);
  });

  test("is released when the work under it fails", async () => {
    await expect(withLock(file, () => Promise.reject(new Error("no luck")))).rejects.toThrow("no luck");
    expect(tryLock(file)).toHaveProperty("release");
  });
});
