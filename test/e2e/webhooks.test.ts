import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { waitFor } from "../support/wait-for.ts";
import { WebhookReceiver, type ReceivedWebhook } from "../support/webhook-receiver.ts";

/** WEBHOOK_ORDERS makes it longer; WEBHOOK_RATE orders a second at the most, instead of as many as the API takes. */
const ORDERS = Number(process.env["WEBHOOK_ORDERS"] ?? 60);
const RATE = Number(process.env["WEBHOOK_RATE"] ?? Infinity);
const AT_ONCE = 10;
const FEW = 100;
/** CREATED to DELIVERED. */
const EVENTS = 8;
const OUTAGE_MS = 8_000;

let line: TestLine;
beforeAll(async () => {
  line = await startLine({ workers: 2, env: { WEBHOOK_ALLOWED_NETWORKS: "127.0.0.0/8" } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 100_000 });
});
afterAll(() => line?.close());

test("an endpoint that fails for a while gets all in order, one that hangs nothing, and one that is fast at once", async () => {
  let recoversAt = Infinity;
  const failing = await WebhookReceiver.start((response) => {
    response.writeHead(Date.now() < recoversAt ? 500 : 204).end();
  });
  const hanging = await WebhookReceiver.start(() => undefined);
  const fast = await WebhookReceiver.start();
  for (const { url } of [failing, hanging, fast])
    expect((await line.client.post("/webhook-endpoints", { url })).status).toBe(201);
  try {
    await oneSends(fast);
    const startedAt = Date.now();
    recoversAt = startedAt + OUTAGE_MS;
    for (let made = 0; made < ORDERS; made += AT_ONCE) {
      await sleep(Math.max(0, startedAt + (made / RATE) * 1_000 - Date.now()));
      await Promise.all(Array.from({ length: AT_ONCE }, () => line.client.order(PLAIN_ORDER)));
    }
    await waitFor("the fast one to have all", () => fast.accepted.length >= ORDERS * EVENTS);
    // In the middle of it Redis forgets all it had, and the worker that sends may be the one that ends.
    await line.environment.redis.flushdb();
    await line.workers[0]?.stop();
    await waitFor("the failing one to have all", () => events(failing) >= ORDERS * EVENTS, {
      timeoutMs: 120_000,
    });
    process.stderr.write(`${report({ failing, hanging, fast }, startedAt, recoversAt)}\n`);
    for (const receiver of [failing, fast]) {
      expect(receiver.acceptedByOrder.size).toBe(ORDERS);
      for (const ids of receiver.acceptedByOrder.values()) {
        const once = [...new Set(ids)];
        expect(once).toHaveLength(EVENTS);
        expect(once).toEqual(once.toSorted((a, b) => a - b));
      }
    }
    expect(fast.received).toHaveLength(ORDERS * EVENTS);
    expect(hanging.accepted).toEqual([]);
    // Each of its requests takes ten seconds: a fast one that had to wait for them would be later. Longer runs are for their
    // figures, which are those of the machine.
    if (ORDERS <= FEW) expect(percentile(latenesses(fast), 1)).toBeLessThan(5_000);
  } finally {
    await Promise.all([failing, hanging, fast].map((receiver) => receiver.close()));
  }
}, 240_000);

test("a worker whose endpoint answers 101 Switching Protocols stops when it is told to, and exits with 0", async () => {
  const worker = await line.addWorker();
  const switching = await WebhookReceiver.start((response) => {
    response.socket?.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
  });
  try {
    expect((await line.client.post("/webhook-endpoints", { url: switching.url })).status).toBe(201);
    for (const other of line.workers) if (other !== worker) await other.stop();
    await line.client.order(PLAIN_ORDER);
    await waitFor("requests", () => switching.received.length > 0);
    expect(await worker.stop()).toBe(0);
  } finally {
    await switching.close();
  }
}, 120_000);

/** Waits until one of the workers has found the endpoints: before the first one, each looks for some once a second. */
async function oneSends(receiver: WebhookReceiver): Promise<void> {
  const { body } = await line.client.get<{ items: { id: string; url: string }[] }>("/webhook-endpoints");
  const endpoint = body.items.find(({ url }) => url === receiver.url);
  expect((await line.client.post(`/webhook-endpoints/${endpoint?.id}/test`, undefined)).status).toBe(202);
  await waitFor("the test message", () => receiver.accepted.length === 1);
  receiver.received.length = 0;
}

/** Events that it took, each counted once. */
function events(receiver: WebhookReceiver): number {
  return new Set(receiver.accepted.map(({ id }) => id)).size;
}

/** Milliseconds from each event to its arrival, the shortest first. */
function latenesses(receiver: WebhookReceiver): number[] {
  return receiver.accepted.map(lateness).toSorted((a, b) => a - b);
}

function lateness({ at, body }: ReceivedWebhook): number {
  const { time }: { time: string } = JSON.parse(body);
  return at - Date.parse(time);
}

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Infinity;
}

/** When the last event happened, as `Date.now()` has it. */
function lastEvent(receiver: WebhookReceiver): number {
  return Math.max(...receiver.accepted.map((received) => received.at - lateness(received)));
}

function report(
  receivers: Readonly<Record<"failing" | "hanging" | "fast", WebhookReceiver>>,
  startedAt: number,
  recoversAt: number,
): string {
  const lines = Object.entries(receivers).map(([name, receiver]) => {
    const { received, accepted, acceptedByOrder } = receiver;
    const repeated = accepted.length - events(receiver);
    const isInOrder = (ids: readonly number[]) => ids.every((id, index) => id >= (ids[index - 1] ?? 0));
    const inOrder = [...acceptedByOrder.values()].filter(isInOrder).length;
    const late = latenesses(receiver);
    const last = Math.max(...accepted.map(({ at }) => at));
    const times =
      late.length === 0
        ? ""
        : `late by ${percentile(late, 0.5)} ms in the middle, ${percentile(late, 0.95)} ms at 95 %, ${percentile(late, 1)} ms at most; the last one ${last - startedAt} ms after the start, ${last - recoversAt} ms after the recovery`;
    return `${name}: ${received.length} requests, ${accepted.length} taken, ${events(receiver)} events, ${repeated} repeated, ${inOrder} of ${acceptedByOrder.size} orders in order; ${times}`;
  });
  lines.push(`${ORDERS} orders, the last event ${lastEvent(receivers.fast) - startedAt} ms after the start`);
  return lines.join("\n");
}
