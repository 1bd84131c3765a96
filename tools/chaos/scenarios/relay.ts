import { setTimeout as delay } from "node:timers/promises";
import { grouped } from "../../shared/text.ts";
import type { Check } from "../audit.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders } from "../orders.ts";
import type { Finding, Scene, Script } from "../run.ts";
import { number, text, type Sql } from "../sql.ts";
import { StreamReader, type ReadEntry } from "../stream-reader.ts";

/** The relay's lease: its worker's host and process id, and the fencing token. */
const HOLDER = "SELECT holder, token FROM leases WHERE name = 'stream' AND expires_at > NOW(3)";
const PLAN = ["kill", "kill", "flush", "kill", "freeze", "kill", "kill"] as const;
/** Longer than the lease, so that another worker has taken over when it resumes. */
const FREEZE_MS = 8_000;
const POLL_MS = 20;
/** Milliseconds for the reader to catch up, with everything settled. */
const CATCH_UP_MS = 30_000;
const PAGE = 20_000;
const SHOWN = 10;

/** Kills the relay's worker several times, freezes it once, and flushes Redis once. */
export function relay(options: ChaosOptions): Script {
  const goods = makeGoods(options.orders);
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods });
  let reader: StreamReader | undefined;
  let log: readonly ReadEntry[] = [];
  return {
    goods,
    async play(scene) {
      const { deployment, customers, signal } = scene;
      reader = new StreamReader(deployment.observerRedis.duplicate());
      const takeovers: number[] = [];
      await Promise.all([
        steadyLoad(customers, orders, options.lengthMs, signal),
        breakRelay(scene, options.lengthMs, takeovers),
      ]);
      return async () => {
        log = await readLog(deployment.sql);
        await caughtUp(reader, log);
        await reader?.close();
        return findings(reader, log, takeovers);
      };
    },
    checks: () => [
      noneMissing(reader?.entries ?? [], log),
      orderKept(reader?.entries ?? []),
      noneInvented(reader?.entries ?? [], log),
    ],
  };
}

/** Injects the faults at regular intervals. */
async function breakRelay(scene: Scene, lengthMs: number, takeovers: number[]): Promise<void> {
  const { saboteur, signal } = scene;
  const beganAt = Date.now();
  for (const [index, step] of PLAN.entries()) {
    const due = beganAt + ((index + 1) * lengthMs) / (PLAN.length + 1);
    await delay(Math.max(0, due - Date.now()), undefined, { signal });
    const fault = { number: index + 1, at: due - beganAt, lasts: 0 };
    if (step === "flush") {
      await saboteur.inject({ ...fault, name: "redis-flushed", targets: ["redis"] });
      continue;
    }
    const { token, name } = await holder(scene);
    const brokenAt = Date.now();
    const injected = saboteur.inject(
      step === "freeze"
        ? { ...fault, name: "worker-frozen", targets: [name], lasts: FREEZE_MS }
        : { ...fault, name: "worker-killed", targets: [name] },
    );
    await until(signal, async () => {
      const [next] = await scene.deployment.sql.rows(HOLDER);
      return next !== undefined && number(next["token"]) !== token;
    });
    takeovers.push(Date.now() - brokenAt);
    await injected;
  }
}

/** Waits for a worker to hold the relay's lease, and returns it. */
async function holder({ deployment, signal }: Scene): Promise<{ token: number; name: string }> {
  let found: { token: number; name: string } | undefined;
  await until(signal, async () => {
    const [row] = await deployment.sql.rows(HOLDER);
    const worker =
      row && deployment.workers.find(({ pid }) => pid === Number(text(row["holder"]).split(" ").at(-1)));
    if (row && worker) found = { token: number(row["token"]), name: worker.name };
    return found !== undefined;
  });
  if (found === undefined) throw new Error("no worker holds the lease");
  return found;
}

async function until(signal: AbortSignal, ask: () => Promise<boolean>): Promise<void> {
  while (!(await ask())) await delay(POLL_MS, undefined, { signal });
}

async function readLog(sql: Sql): Promise<ReadEntry[]> {
  const log: ReadEntry[] = [];
  for (;;) {
    const rows = await sql.rows("SELECT id, order_id FROM order_events WHERE id > ? ORDER BY id LIMIT ?", [
      log.at(-1)?.id ?? 0,
      PAGE,
    ]);
    for (const row of rows) log.push({ id: number(row["id"]), orderId: text(row["order_id"]) });
    if (rows.length < PAGE) return log;
  }
}

async function caughtUp(reader: StreamReader | undefined, log: readonly ReadEntry[]): Promise<void> {
  const deadline = Date.now() + CATCH_UP_MS;
  while ((reader?.entries.at(-1)?.id ?? 0) < (log.at(-1)?.id ?? 0) && Date.now() < deadline)
    await delay(POLL_MS);
}

function findings(
  reader: StreamReader | undefined,
  log: readonly ReadEntry[],
  takeovers: readonly number[],
): Finding[] {
  const entries = reader?.entries ?? [];
  const distinct = new Set(entries.map(({ id }) => id)).size;
  return [
    ["events in the log", grouped(log.length)],
    ["events read from the stream", grouped(entries.length)],
    ["of which duplicates", grouped(entries.length - distinct)],
    ["times the reader created its group", grouped(reader?.groups ?? 0)],
    ["takeovers", takeovers.map((ms) => `${(ms / 1_000).toFixed(1)} s`).join(", ")],
  ];
}

function noneMissing(entries: readonly ReadEntry[], log: readonly ReadEntry[]): Check {
  const read = new Set(entries.map(({ id }) => id));
  const missing = log.filter(({ id }) => !read.has(id));
  return {
    promise: "every event of the log was read from the stream",
    checked: log.length,
    of: "events",
    breaches: missing.slice(0, SHOWN).map(({ id, orderId }) => `${orderId}: event ${id} was never read`),
  };
}

/** Ignores duplicates: only the first read of an event counts. */
function orderKept(entries: readonly ReadEntry[]): Check {
  const seen = new Set<number>();
  const last = new Map<string, number>();
  const breaches: string[] = [];
  for (const { id, orderId } of entries) {
    if (seen.has(id)) continue;
    seen.add(id);
    const before = last.get(orderId) ?? 0;
    if (id < before) breaches.push(`${orderId}: event ${id} was read after ${before}`);
    last.set(orderId, id);
  }
  return { promise: "each order's events were read in order", checked: last.size, of: "orders", breaches };
}

function noneInvented(entries: readonly ReadEntry[], log: readonly ReadEntry[]): Check {
  const known = new Map(log.map(({ id, orderId }) => [id, orderId]));
  const strange = entries.filter(({ id, orderId }) => known.get(id) !== orderId);
  return {
    promise: "nothing was read that is not in the log",
    checked: entries.length,
    of: "entries",
    breaches: strange.slice(0, SHOWN).map(({ id, orderId }) => `${orderId}: event ${id} is not in the log`),
  };
}
