import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { markFailed } from "../../../db/failures.ts";
import { listActions, type OperatorAction } from "../../../db/operator-actions.ts";
import { listEvents } from "../../../db/order-events.ts";
import { listQueueSettings } from "../../../db/queue-settings.ts";
import { readControls } from "../../../queues/controls.ts";
import { jobId } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { reserve } from "../../../src/order/stages/reserve.ts";
import { useApi } from "../../support/api.ts";
import { startCommand } from "../../support/command.ts";
import { createOrder } from "../../support/orders.ts";
import { TEST_KEY } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

const api = useApi({ WEBHOOK_ALLOWED_NETWORKS: "127.0.0.0/8" });

const OPERATOR = "Grace Hopper";
const LOGIN = { authorization: `Basic ${btoa(`${OPERATOR}:${TEST_KEY}`)}` };
const CLIENT = expect.stringMatching(/^client-[0-9a-f]{8}$/);

let queues: Queues;
beforeAll(() => {
  queues = new Queues({
    connection: api.environment.redis,
    lifecycle,
    onError: (error) => {
      throw error;
    },
  });
});
afterAll(() => queues.close());

/** Everybody who can ask, with who is written down for it. */
const viaApi = (path: string, body: object) => async () => {
  expect((await api.client.post(path, body)).status).toBe(202);
};
const viaConsole =
  (path: string, fields: Record<string, string> = {}) =>
  async () => {
    const answer = await fetch(`${api.client.url}/console${path}`, {
      method: "POST",
      headers: { ...LOGIN, origin: api.client.url },
      body: new URLSearchParams(fields),
      redirect: "manual",
    });
    expect(answer.status).toBe(303);
  };
const viaBoard = (path: string, body?: object) => async () => {
  const answer = await fetch(`${api.client.url}/queues/api/queues${path}`, {
    method: "PUT",
    headers: { ...LOGIN, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
  expect(answer.status).toBe(200);
};

const viaCommand =
  (...args: string[]) =>
  async () => {
    expect(await command(...args, "--as", OPERATOR)).toMatchObject({ code: 0, stderr: "" });
  };
const command = (...args: string[]) => {
  const { databaseUrl, redisUrl } = api.environment;
  return startCommand("tools/cli/orders.ts", args, { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl }).ended;
};

async function newest(action: string): Promise<OperatorAction | undefined> {
  const { items } = await listActions(api.environment.database, { limit: 20 });
  return items.find((each) => each.action === action);
}

const eventsOf = (id: string) => listEvents(api.environment.database, id);

/** Orders that failed for a reason that names each: what operators see of them is one group. */
async function failedOrders(): Promise<string[]> {
  const { database } = api.environment;
  const ids = await Promise.all([createOrder(database), createOrder(database)]);
  for (const orderId of ids) {
    const failure = { orderId, whileIn: ["CREATED"], stage: "reserve", at: new Date() };
    await markFailed(database, { ...failure, reason: `order ${orderId} is not known` });
  }
  return ids;
}

describe("a group of failed orders", () => {
  const reason = "order … is not known";
  test.each([
    ["a client", viaApi("/orders/resume", { stage: "reserve", reason }), CLIENT],
    ["an operator in the console", viaConsole("/failures/resume", { stage: "reserve", reason }), OPERATOR],
    ["an operator in Bull Board", viaBoard("/reserve/retry/failed"), OPERATOR],
    [
      "an operator on the command line",
      viaCommand("resume", "--stage", "reserve", "--reason", reason),
      OPERATOR,
    ],
  ])("is resumed, queued at once and recorded when %s asks for it", async (_, ask, actor) => {
    const ids = await failedOrders();
    await ask();
    for (const id of ids) {
      // No worker runs here, and so no sweeper.
      const job = jobId(id, { from: "CREATED", to: "RESERVED" });
      await waitFor("the job", async () => (await queues.of(reserve).getJobState(job)) === "waiting");
      // Though Redis never had the job that failed.
      expect((await queues.of(reserve).getJob(job))?.data).toEqual({ orderId: id, suspect: true });
      expect((await api.client.get(`/orders/${id}`)).body).not.toHaveProperty("failed");
      expect(await eventsOf(id)).toContainEqual(expect.objectContaining({ type: "resumed", actor }));
    }
    const action = await waitFor("the action is done", async () => {
      const found = await newest("resume-group");
      return found?.state === "done" && found;
    });
    expect(action).toMatchObject({ actor, target: "reserve", done: ids.length });
  });
});

describe("an order", () => {
  test.each([
    ["a client", (id: string) => viaApi(`/orders/${id}/cancel`, { reason: "ordered twice" }), CLIENT],
    [
      "an operator in the console",
      (id: string) => viaConsole(`/orders/${id}/cancel`, { reason: "ordered twice" }),
      OPERATOR,
    ],
    [
      "an operator on the command line",
      (id: string) => viaCommand("cancel", id, "--reason", "ordered twice"),
      OPERATOR,
    ],
  ])("is cancelled and recorded once when %s asks for it", async (_, ask, actor) => {
    const id = await createOrder(api.environment.database);
    for (let times = 0; times < 2; times++) await ask(id)();
    expect((await eventsOf(id)).slice(1)).toMatchObject([
      { type: "cancel-requested", reason: "ordered twice", actor },
    ]);
    const { items } = await listActions(api.environment.database, { limit: 20 });
    const about = items.filter(({ target }) => target === id);
    expect(about).toMatchObject([
      { action: "cancel", actor, details: { reason: "ordered twice" }, state: "done" },
    ]);
  });
});

describe("the command line", () => {
  test("retries a failed order, and says what became of it", async () => {
    const [id = ""] = await failedOrders();
    expect(await command("retry", id)).toMatchObject({ code: 0, stdout: `order ${id} goes on\n` });
    expect((await api.client.get(`/orders/${id}`)).body).not.toHaveProperty("failed");
  });

  test("refuses what can't be done in one line, with exit code 1", async () => {
    const unknown = "01a20691-7a8e-777a-bbfa-0d625ad32c50";
    const refused = (line: string) => ({ code: 1, stdout: "", stderr: `${line}\n` });
    expect(
      await Promise.all([command("retry", unknown), command("resend", "123456"), command("pause", "pack")]),
    ).toEqual([
      refused(`there is no order ${unknown}`),
      refused("there is no such delivery 123456"),
      refused(`no stage is named "pack": there are ${lifecycle.steps.map(({ name }) => name).join(", ")}`),
    ]);
  });
});

describe("a queue", () => {
  const rateLimit = { max: 50, durationMs: 2_000 };
  test.each([
    [
      "the console",
      "pay",
      [
        viaConsole("/queues/pay/pause"),
        viaConsole("/queues/pay/concurrency", { concurrency: "7" }),
        viaConsole("/queues/pay/rate-limit", { max: "50", seconds: "2" }),
        viaConsole("/queues/pay/resume"),
      ],
    ],
    [
      "Bull Board",
      "ship",
      [
        viaBoard("/ship/pause"),
        viaBoard("/ship/concurrency", { concurrency: 7 }),
        viaBoard("/ship/rate-limit", { max: 50, duration: 2_000 }),
        viaBoard("/ship/resume"),
      ],
    ],
    [
      "the command line",
      "deliver",
      [
        viaCommand("pause", "deliver"),
        viaCommand("limit", "deliver", "--concurrency", "7", "--rate", "50/2"),
        viaCommand("unpause", "deliver"),
      ],
    ],
  ])("is paused and limited in MySQL and Redis from %s, and that is recorded", async (_, step, clicks) => {
    const [pause, ...others] = clicks;
    await pause?.();
    expect(await wanted(step)).toMatchObject({ paused: true });
    for (const click of others) await click();
    const now = { paused: false, concurrency: 7, rateLimit };
    expect(await wanted(step)).toMatchObject(now);
    const queue = queues.all.find(({ name }) => name === step);
    expect(queue && (await readControls(queue))).toEqual(now);
    const { items } = await listActions(api.environment.database, { limit: 4 });
    expect(items.map(({ action, actor, target, details }) => ({ action, actor, target, details }))).toEqual([
      { action: "resume", actor: OPERATOR, target: step, details: null },
      { action: "rate-limit", actor: OPERATOR, target: step, details: { max: 50, seconds: 2 } },
      { action: "concurrency", actor: OPERATOR, target: step, details: { concurrency: 7 } },
      { action: "pause", actor: OPERATOR, target: step, details: null },
    ]);
  });

  async function wanted(step: string) {
    return (await listQueueSettings(api.environment.database)).find((each) => each.step === step);
  }

  test("is emptied only in Bull Board, which is recorded too", async () => {
    await viaBoard("/deliver/empty")();
    expect(await newest("board")).toMatchObject({
      actor: OPERATOR,
      target: "deliver",
      details: { what: "Remove every job from one queue." },
    });
  });
});

describe("a delivery", () => {
  test.each([
    ["a client", (id: string) => viaApi(`/webhook-deliveries/${id}/resend`, {}), CLIENT],
    ["an operator in the console", (id: string) => viaConsole(`/webhooks/deliveries/${id}/resend`), OPERATOR],
    ["an operator on the command line", (id: string) => viaCommand("resend", id), OPERATOR],
  ])("is sent again and recorded when %s asks for it", async (_, ask, actor) => {
    const url = "http://127.0.0.1:9/hooks";
    const { body: endpoint } = await api.client.post<{ id: string }>("/webhook-endpoints", { url });
    const sent = await api.client.post<{ id: number }>(`/webhook-endpoints/${endpoint.id}/test`, {});
    await ask(String(sent.body.id))();
    expect(await newest("webhook-resend")).toMatchObject({
      actor,
      target: endpoint.id,
      details: { delivery: sent.body.id },
    });
  });
});
