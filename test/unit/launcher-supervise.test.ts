import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { Failure } from "../../tools/shared/failure.ts";
import type { ExitStatus, GuardedProcess } from "../../tools/launcher/guard.ts";
import { LogFile } from "../../tools/launcher/log-file.ts";
import { keepServersRunning } from "../../tools/launcher/servers/keep-running.ts";
import { PortTaken } from "../../tools/launcher/servers/server.ts";
import type { Servers } from "../../tools/launcher/servers/start-servers.ts";
import { RecentExits } from "../../tools/launcher/supervise.ts";
import { waitFor } from "../support/wait-for.ts";

describe("what has ended is started again", () => {
  test("after a wait that grows, and not a fifth time within a minute", () => {
    const ends = new RecentExits();
    const times = [0, 1_000, 2_000, 3_000, 60_000, 60_500, 61_000];
    // From 60 s on the first end counts no more, and from 61 s on the second.
    expect(times.map((time) => ends.add(time))).toEqual([
      500,
      1_000,
      2_000,
      4_000,
      4_000,
      undefined,
      undefined,
    ]);
    expect(ends.add(200_000)).toBe(500);
  });
});

describe("servers", () => {
  let folder: string;
  let log: LogFile;
  let output: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-supervise-"));
    log = new LogFile(path.join(folder, "server.log"));
  });
  beforeEach(() => {
    output = "";
    jest.spyOn(process.stdout, "write").mockImplementation((text) => {
      output += String(text);
      return true;
    });
  });
  afterEach(() => void jest.restoreAllMocks());
  afterAll(() => {
    log.close();
    rmSync(folder, { recursive: true });
  });

  /** A process that ends when it is told to. */
  function fakeProcess() {
    let settle: ((status: ExitStatus) => void) | undefined;
    const exited = new Promise<ExitStatus>((resolve) => (settle = resolve));
    const child: GuardedProcess = { pid: 1, exited, running: true, kill: () => {}, stop: () => exited };
    return { child, end: () => settle?.({ code: 3, signal: null }) };
  }

  test("that share a process are started again together, and once", async () => {
    const children = { stopping: false };
    const processes = [fakeProcess(), fakeProcess()];
    let starts = 0;
    const restart = async () => processes[++starts]!.child;
    const common = { url: "", process: processes[0]!.child, log, restart };
    const servers: Servers = {
      mysql: { ...common, version: "MySQL 8.4.0" },
      redis: { ...common, version: "Redis 7.0.0" },
    };
    const kept = keepServersRunning(servers, children);
    processes[0]!.end();
    await waitFor("the second process", () => servers.redis.process === processes[1]!.child);
    expect(servers.mysql.process).toBe(processes[1]!.child);
    expect(output).toBe(
      "! MySQL 8.4.0 and Redis 7.0.0 exited unexpectedly (exit code 3); restarting in 0.5 s\n",
    );
    children.stopping = true;
    processes[1]!.end();
    await kept;
    expect(starts).toBe(1);
  });

  test("that can't be started at once are tried again, with the reason", async () => {
    const children = { stopping: false };
    const first = fakeProcess();
    const last = fakeProcess();
    const outcomes = [new PortTaken(), new Failure("Redis exited while starting"), last.child];
    const servers: Servers = {
      mysql: { url: "", version: "MySQL 8.4.0" },
      redis: {
        url: "",
        version: "Redis 7.0.0",
        process: first.child,
        log,
        async restart() {
          const outcome = outcomes.shift();
          if (outcome === undefined || outcome instanceof Error) throw outcome;
          return outcome;
        },
      },
    };
    const kept = keepServersRunning(servers, children);
    first.end();
    await waitFor("the last process", () => servers.redis.process === last.child);
    expect(output.split("\n")).toEqual([
      "! Redis 7.0.0 exited unexpectedly (exit code 3); restarting in 0.5 s",
      "! Redis 7.0.0 could not start (its port is in use); restarting in 1 s",
      "! Redis 7.0.0 could not start (Redis exited while starting); restarting in 2 s",
      "",
    ]);
    children.stopping = true;
    last.end();
    await kept;
  });

  test("of others are left alone", async () => {
    const theirs = { url: "", version: "somebody's" };
    await keepServersRunning({ mysql: theirs, redis: theirs }, { stopping: false });
  });
});
