import { describe, expect, test } from "@jest/globals";
import type { Heartbeat } from "../../../queues/telemetry/heartbeats.ts";
import type { Status, StepStatus } from "../../../src/api/console/status.ts";
import { verdictOf } from "../../../src/api/console/verdict.ts";

const WORKER: Heartbeat = {
  id: "w",
  host: "h",
  pid: 1,
  startedAt: "2026-11-23T09:00:00.000Z",
  steps: [{ name: "pay", held: 0, concurrency: 50, standsStill: false }],
  open: [],
};

function step(given: Partial<StepStatus> = {}): StepStatus {
  return {
    name: "pay",
    queue: { waiting: 0, delayed: 0, paused: false },
    active: 0,
    failed: { count: 0, more: false },
    waiting: { count: 0, more: false },
    oldest: undefined,
    pace: { perMinute: 0, p95Ms: undefined },
    ...given,
  };
}

function status(given: Partial<Status> = {}): Status {
  const ready = { ready: true, detail: "8" };
  return { at: new Date(), mysql: ready, redis: ready, workers: [WORKER], steps: [step()], ...given };
}

describe("a stranger is told", () => {
  test.each<[string, Status, string, RegExp]>([
    ["that all is well", status(), "good", /^All is well: 1 worker running/],
    [
      "the same where there are no workers to be",
      { at: new Date(), mysql: { ready: true, detail: "8" }, steps: [step()] },
      "good",
      /^All is well: the servers answer/,
    ],
    [
      "that MySQL is away, before all else",
      status({ mysql: { ready: false, detail: "gone" }, workers: [] }),
      "bad",
      /^MySQL is not ready/,
    ],
    ["that Redis is away", status({ redis: { ready: false, detail: "gone" } }), "bad", /^Redis is not ready/],
    ["that no worker is alive", status({ workers: [] }), "bad", /^No worker is running/],
    [
      "that nobody works on a stage",
      status({ workers: [{ ...WORKER, steps: [] }] }),
      "bad",
      /^No worker processes pay/,
    ],
    [
      "that a worker's clock is wrong",
      status({ workers: [{ ...WORKER, clockSkewMs: -3 * 3_600_000 }] }),
      "attention",
      /^The clock of worker h:1 is 3 hours behind MySQL's/,
    ],
    [
      "that the API's own clock is wrong",
      status({ clockSkewMs: 1_500 }),
      "attention",
      /^The clock of this API is 2 seconds ahead of MySQL's/,
    ],
    [
      "that orders stand still without a job, before what only needs attention",
      status({ steps: [step({ failed: { count: 1, more: false }, stranded: { count: 100, more: true } })] }),
      "bad",
      /^100\+ orders have not moved for minutes before pay, without a job that will/,
    ],
    [
      "nothing of clocks that are a second apart",
      status({ clockSkewMs: 900, workers: [{ ...WORKER, clockSkewMs: -900 }] }),
      "good",
      /^All is well/,
    ],
    [
      "what could not be read",
      status({ unread: ["failed orders", "orders that stand still"] }),
      "attention",
      /^Could not read failed orders, orders that stand still: what is wrong there is not shown\.$/,
    ],
    [
      "of an order that has not moved for hours where there is no queue",
      {
        at: new Date(),
        mysql: { ready: true, detail: "8" },
        steps: [step({ oldest: { id: "x", since: new Date(Date.now() - 10 * 3_600_000) } })],
      },
      "attention",
      /^An order has not moved for 10 h before pay\. See the API's logs\.$/,
    ],
    [
      "that Conveyor has disabled a webhook endpoint",
      status({
        disabledEndpoints: [
          {
            id: "e",
            url: "https://shop.example/hooks",
            description: null,
            disabledAt: new Date(Date.now() - 2 * 3_600_000),
            disabledReason: "it answered 410 Gone",
          },
        ],
      }),
      "attention",
      /^Webhook endpoint https:\/\/shop\.example\/hooks was disabled 2 h ago: it answered 410 Gone\. Enable or delete it\.$/,
    ],
    [
      "that a service is away",
      status({ workers: [{ ...WORKER, open: [{ stage: "pay", service: "payments" }] }] }),
      "attention",
      /^pay is on hold because payments does not answer/,
    ],
    [
      "that a service is not set up right, and what it answers",
      status({
        workers: [
          {
            ...WORKER,
            open: [
              {
                stage: "pay",
                service: "payments",
                trouble: "misconfigured",
                reason: "payments answered 404",
              },
            ],
          },
        ],
      }),
      "attention",
      /^pay is on hold because payments is not set up right: payments answered 404/,
    ],
    [
      "that a service fails everybody though it answers, and not that it does not answer",
      status({
        workers: [{ ...WORKER, open: [{ stage: "pay", service: "payments", trouble: "failing" }] }],
      }),
      "attention",
      /^payments answers its health check but fails order after order in pay/,
    ],
    [
      "that a service is tried that has come back",
      status({
        workers: [{ ...WORKER, open: [{ stage: "pay", service: "payments", trouble: "half open" }] }],
      }),
      "attention",
      /^payments answers again: pay tries some orders before it takes all/,
    ],
    [
      "that a stage is paused",
      status({ steps: [step({ queue: { waiting: 0, delayed: 0, paused: true } })] }),
      "attention",
      /^pay is paused/,
    ],
    [
      "that one order has failed",
      status({ steps: [step({ failed: { count: 1, more: false } })] }),
      "attention",
      /^1 order failed in pay\.$/,
    ],
    [
      "that more orders have failed than were counted",
      status({ steps: [step({ failed: { count: 1_000, more: true } })] }),
      "attention",
      /^1,000\+ orders failed in pay\.$/,
    ],
    [
      "that a stage does nothing though orders wait",
      status({
        steps: [
          step({
            queue: { waiting: 3, delayed: 0, paused: false },
            oldest: { id: "x", since: new Date(Date.now() - 300_000) },
          }),
        ],
      }),
      "attention",
      /^pay has 3 orders waiting/,
    ],
    [
      "nothing of one that has only just begun",
      status({
        steps: [
          step({
            queue: { waiting: 3, delayed: 0, paused: false },
            oldest: { id: "x", since: new Date() },
          }),
        ],
      }),
      "good",
      /^All is well/,
    ],
  ])("%s", (_, given, level, text) => {
    const verdict = verdictOf(given);
    expect(verdict.level).toBe(level);
    expect(verdict.text).toMatch(text);
  });

  test("the worst first, and the rest after it", () => {
    const verdict = verdictOf(
      status({ steps: [step({ failed: { count: 2, more: false } })], redis: { ready: false, detail: "x" } }),
    );
    expect(verdict.text).toMatch(/^Redis/);
    expect(verdict.others.map(({ text }) => text)).toEqual([expect.stringMatching(/^2 orders failed/)]);
  });
});
