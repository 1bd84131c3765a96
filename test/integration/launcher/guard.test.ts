import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { spawnGuarded } from "../../../tools/launcher/guard.ts";
import { identify } from "../../../tools/launcher/lock.js";
import { waitFor } from "../../support/wait-for.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../../..");
/** Prints that it runs, and only ends when it is killed. */
const STUBBORN = `trap "" TERM; echo "ready $$"; while :; do sleep 0.1; done`;

let folder: string;
const starters: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor guard-"));
});
afterEach(() => {
  for (const starter of starters.splice(0)) starter.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

/** A process that starts guarded shell scripts, each of which needs those before it, and the pids that they print. */
async function startStarter(
  scripts: string[],
  graceSeconds = 10,
): Promise<{ starter: ChildProcess; pids: number[] }> {
  const source = `
    import { spawnGuarded } from "./tools/launcher/guard.ts";
    const needs = [];
    for (const script of ${JSON.stringify(scripts)}) {
      const options = { graceSeconds: ${graceSeconds}, needs: [...needs], onLine: (line) => console.log(line) };
      needs.push(spawnGuarded("sh", ["-c", script], options));
    }`;
  const starter = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", source], {
    cwd: REPOSITORY,
  });
  starters.push(starter);
  let output = "";
  starter.stdout.on("data", (chunk) => (output += chunk));
  const found = await waitFor("the children to run", () => {
    const matches = [...output.matchAll(/ready (\d+)/g)];
    return matches.length === scripts.length && matches;
  });
  return { starter, pids: found.map((match) => Number(match[1])) };
}

/** The processes of the group that a guarded process leads, itself included. Linux only. */
function groupOf(leader: number): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
        const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return state !== "Z" && Number(group) === leader;
      } catch {
        return false;
      }
    });
}

function isGone(pid: number): boolean {
  return identify(pid) === undefined;
}

describe("when the starter is killed with SIGKILL", () => {
  test("its children are told to end, and may clean up", async () => {
    const file = path.join(folder, "cleaned up");
    const polite = `trap "echo done > '${file}'; exit 0" TERM; echo "ready $$"; while :; do sleep 0.1; done`;
    const { starter, pids } = await startStarter([polite, polite]);
    starter.kill("SIGKILL");
    await waitFor("the children to end", () => pids.every(isGone));
    expect(readFileSync(file, "utf8")).toBe("done\n");
  });

  test("a child that does not listen is killed after its grace period, and all that it started", async () => {
    const { starter, pids } = await startStarter([`sleep 1000 & ${STUBBORN}`], 1);
    const leader = pids[0]!;
    starter.kill("SIGKILL");
    await waitFor("the whole group to be gone", () => isGone(leader) && groupOf(leader).length === 0);
  });
});

test("a child ends before those it needs, also when the starter is killed", async () => {
  const file = path.join(folder, "order");
  const server = `trap "echo server >> '${file}'; exit" TERM; echo "ready $$"; while :; do sleep 0.1; done`;
  // Slower than the server would be, were it told at the same time.
  const client = `trap "sleep 0.5; echo client >> '${file}'; exit" TERM; echo "ready $$"; while :; do sleep 0.1; done`;
  const { starter, pids } = await startStarter([server, client]);
  starter.kill("SIGKILL");
  await waitFor("both to end", () => pids.every(isGone));
  expect(readFileSync(file, "utf8")).toBe("client\nserver\n");
});

describe("while the starter lives", () => {
  test.each([
    ["exit 0", { code: 0, signal: null }],
    ["exit 7", { code: 7, signal: null }],
    ["kill -KILL $$", { code: null, signal: "SIGKILL" }],
  ])("the outcome of %s is the child's own", async (script, status) => {
    expect(await spawnGuarded("sh", ["-c", script]).exited).toEqual(status);
  });

  test("a command that does not exist ends with 127", async () => {
    expect(await spawnGuarded("/no/such/command", []).exited).toEqual({ code: 127, signal: null });
  });

  test("arguments, environment, folder and output go through as they are", async () => {
    const lines: string[] = [];
    const script = `printf '%s\\n' "$1" "$2" "$NAME" "$(pwd -P)"; echo oops >&2; printf end`;
    await spawnGuarded("sh", ["-c", script, "sh", "a  b", "$HOME '\""], {
      cwd: folder,
      env: { ...process.env, NAME: "some value" },
      onLine: (line) => lines.push(line),
    }).exited;
    expect(lines.toSorted((a, b) => a.localeCompare(b))).toEqual(
      ["a  b", "$HOME '\"", "some value", folder, "oops", "end"].toSorted((a, b) => a.localeCompare(b)),
    );
  });

  test("the child is the process that was asked for, not a shell around it, and can't see the guard's pipe", async () => {
    const lines: string[] = [];
    const child = spawnGuarded("sh", ["-c", `echo $$; echo pipe >&3 || echo closed`], {
      onLine: (line) => lines.push(line),
    });
    await child.exited;
    expect(lines[0]).toBe(String(child.pid));
    expect(lines).toContain("closed");
  });

  test("nothing is left of a child that has ended, nor of what it started", async () => {
    const child = spawnGuarded("sh", ["-c", "sleep 1000 & exit 0"]);
    await child.exited;
    expect(child.running).toBe(false);
    await waitFor("the guard to end", () => groupOf(child.pid).length === 0);
  });

  test("nor while another child, which needs it, goes on", async () => {
    const child = spawnGuarded("sh", ["-c", "sleep 1000 & wait"]);
    const other = spawnGuarded("sleep", ["1000"], { needs: [child] });
    process.kill(child.pid, "SIGKILL");
    await child.exited;
    await waitFor("the guard to end", () => groupOf(child.pid).length === 0);
    expect(other.running).toBe(true);
    other.kill("SIGKILL");
    await other.exited;
  });

  test("stop() waits for a child that cleans up", async () => {
    const lines: string[] = [];
    const child = spawnGuarded("sh", ["-c", `trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done`], {
      onLine: (line) => lines.push(line),
    });
    await waitFor("the child to run", () => lines.includes("ready"));
    expect(await child.stop(30_000)).toEqual({ code: 5, signal: null });
  });

  test("stop() kills a child that does not end in time", async () => {
    const lines: string[] = [];
    const child = spawnGuarded("sh", ["-c", STUBBORN], { onLine: (line) => lines.push(line) });
    await waitFor("the child to run", () => lines.length > 0);
    expect(await child.stop(100)).toEqual({ code: null, signal: "SIGKILL" });
    await waitFor("its group to be gone", () => groupOf(child.pid).length === 0);
  });

  test("signals to a child that is gone do no harm", async () => {
    const child = spawnGuarded("sh", ["-c", "exit 0"]);
    await child.exited;
    child.kill("SIGTERM");
    child.kill("SIGKILL");
    expect(await child.stop(1)).toEqual({ code: 0, signal: null });
  });

  test("a Ctrl-C in the terminal does not reach the child: it has a session of its own", async () => {
    const lines: string[] = [];
    const child = spawnGuarded("sh", ["-c", "ps -o sid= -p $$"], { onLine: (line) => lines.push(line) });
    await child.exited;
    expect(Number(lines[0])).toBe(child.pid);
  });
});
