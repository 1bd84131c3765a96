import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect } from "@jest/globals";
import { newSecret, signedHeaders } from "../../../src/events/webhooks/signature.ts";
import { withPython } from "../../support/python.ts";
import { waitFor } from "../../support/wait-for.ts";

const EXAMPLE = path.resolve(import.meta.dirname, "../../../examples/webhook.py");

let folder: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-webhook-"));
});
afterEach(async () => {
  if (child?.exitCode === null && child.kill("SIGKILL")) await once(child, "exit");
  child = undefined;
  rmSync(folder, { recursive: true });
});

/** Starts the example. @returns its address, and what it says. */
async function start(...secrets: string[]): Promise<{ url: string; lines: string[] }> {
  child = spawn("python3", [EXAMPLE, "--port=0", `--state=${path.join(folder, "state.sqlite3")}`], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, WEBHOOK_SECRET: secrets.join(" ") },
  });
  const lines: string[] = [];
  if (child.stdout) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  const [first] = await waitFor("it to listen", () => lines.length > 0 && lines);
  lines.length = 0;
  return { url: first?.split(" ").at(-1) ?? "", lines };
}

const ORDER = "01a20691-7a8e-777a-bbfa-0d625ad32c50";

function message(id: number, to: string): { id: string; body: string } {
  const event = { id: String(id), type: "conveyor.order.status.v1", subject: ORDER, data: { to } };
  return { id: String(id), body: JSON.stringify(event) };
}

async function post(url: string, headers: Readonly<Record<string, string>>, body: string): Promise<number> {
  return (await fetch(url, { method: "POST", headers, body })).status;
}

const signing = (secret: string) => ({ secret, previousSecret: null, previousSecretUntil: null });

withPython("the example takes what is signed with its secret, each event once", async () => {
  const secret = newSecret();
  const { url, lines } = await start(secret);
  const send = (id: number, to: string) => {
    const sent = message(id, to);
    return post(url, signedHeaders(signing(secret), { ...sent, at: new Date() }), sent.body);
  };
  expect(await send(5, "CREATED")).toBe(204);
  expect(await send(7, "RESERVED")).toBe(204);
  expect(await send(7, "RESERVED")).toBe(204);
  // Was given up, and is sent again by hand.
  expect(await send(6, "CREATED")).toBe(204);
  await waitFor("all to be said", () => lines.length === 4);
  expect(lines.map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
    "new 5",
    "new 7",
    "again 7",
    "new 6",
  ]);
});

withPython(
  "the example refuses what is not signed, forged or old, and takes both secrets of a change",
  async () => {
    const [secret, next] = [newSecret(), newSecret()];
    const { url } = await start(secret, next);
    const sent = message(5, "CREATED");
    const at = new Date();
    const headers = signedHeaders(signing(secret), { ...sent, at });
    expect(await post(url, {}, sent.body)).toBe(400);
    expect(await post(url, headers, sent.body.replace("CREATED", "DELIVERED"))).toBe(400);
    expect(await post(url, { ...headers, "webhook-id": "6" }, sent.body)).toBe(400);
    expect(await post(url, signedHeaders(signing(newSecret()), { ...sent, at }), sent.body)).toBe(400);
    const old = new Date(at.getTime() - 3_600_000);
    expect(await post(url, signedHeaders(signing(secret), { ...sent, at: old }), sent.body)).toBe(400);
    expect(await post(url, headers, sent.body)).toBe(204);
    expect(await post(url, signedHeaders(signing(next), { ...sent, at }), sent.body)).toBe(204);
  },
);
