import { describe, expect, test } from "@jest/globals";
import type { OrderEvent } from "../../../db/order-events.ts";
import { timelineOf } from "../../../src/api/console/timeline.ts";

const BEGIN = Date.UTC(2026, 10, 23, 9);

/** An event so many milliseconds after the order's creation. */
function event(ms: number, given: Partial<OrderEvent>): OrderEvent {
  return {
    id: ms,
    type: "status",
    from: "CREATED",
    to: "CREATED",
    stage: null,
    reason: null,
    record: null,
    at: new Date(BEGIN + ms),
    actor: null,
    attempt: null,
    startedAt: null,
    ...given,
  };
}

const CREATED = event(0, { from: null });
const NOT_FAILED = { status: "CREATED", failed: null };
const at = (ms: number) => new Date(BEGIN + ms);

/** What an entry says of time, in milliseconds since the order's creation. */
function times(entries: ReturnType<typeof timelineOf>) {
  return entries.map(({ kind, from, workFrom, to }) => [kind, from - BEGIN, workFrom - BEGIN, to - BEGIN]);
}

describe("the timeline of an order", () => {
  test("tells of each stage how long it waited, and how long it took", () => {
    const events = [
      CREATED,
      event(100, { to: "RESERVED", stage: "reserve", attempt: 1, startedAt: at(40) }),
      event(500, { from: "RESERVED", to: "PAID", stage: "pay", attempt: 1, startedAt: at(450) }),
    ];
    const entries = timelineOf(NOT_FAILED, events, undefined);
    expect(times(entries)).toEqual([
      ["created", 0, 0, 0],
      ["done", 0, 40, 100],
      ["done", 100, 450, 500],
    ]);
    expect(entries.map(({ title }) => title)).toEqual([
      "Created",
      "reserve: CREATED → RESERVED",
      "pay: RESERVED → PAID",
    ]);
  });

  test("has failed attempts, the rest, and who had it go on", () => {
    const events = [
      CREATED,
      event(100, { type: "attempt-failed", stage: "reserve", reason: "no", attempt: 1, startedAt: at(50) }),
      event(200, { type: "failed", stage: "reserve", reason: "no", attempt: 2, startedAt: at(180) }),
      event(9_000, { type: "resumed", stage: "reserve", actor: "ada" }),
      event(9_100, { type: "cancel-requested", reason: "why not", actor: "bob" }),
      event(9_500, { to: "CANCELLED", reason: "why not" }),
    ];
    const entries = timelineOf(NOT_FAILED, events, undefined);
    expect(times(entries)).toEqual([
      ["created", 0, 0, 0],
      ["attempt", 0, 50, 100],
      ["failed", 100, 180, 200],
      ["resumed", 200, 9_000, 9_000],
      ["cancelling", 9_000, 9_100, 9_100],
      ["cancelled", 9_100, 9_500, 9_500],
    ]);
    expect(entries.map(({ actor }) => actor)).toEqual([null, null, null, "ada", "bob", null]);
  });

  test.each([
    ["waits", undefined, ["now", 100, 1_000, 1_000]],
    ["is worked on", at(700), ["now", 100, 700, 1_000]],
    ["was taken before the last event was written", at(50), ["now", 100, 100, 1_000]],
  ])("ends with what goes on now, for an order that %s", (_, workingSince, last) => {
    const events = [CREATED, event(100, { to: "RESERVED", stage: "reserve", startedAt: at(90) })];
    const entries = timelineOf(NOT_FAILED, events, { title: "pay", workingSince }, BEGIN + 1_000);
    expect(times(entries).at(-1)).toEqual(last);
  });

  test("ends with the failure, for an order that rests", () => {
    const failed = { status: "CREATED", failed: { stage: "reserve", reason: "no", at: at(200) } };
    const events = [CREATED, event(200, { type: "failed", stage: "reserve" })];
    expect(timelineOf(failed, events, { title: "reserve", workingSince: undefined }).at(-1)?.kind).toBe(
      "failed",
    );
  });

  test("never goes back, whatever the clocks of several machines say", () => {
    const events = [
      CREATED,
      event(-20, { to: "RESERVED", stage: "reserve", startedAt: at(-60) }),
      event(50, { from: "RESERVED", to: "PAID", stage: "pay", startedAt: at(-10) }),
    ];
    for (const { from, workFrom, to } of timelineOf(NOT_FAILED, events, undefined, BEGIN)) {
      expect(from).toBeLessThanOrEqual(workFrom);
      expect(workFrom).toBeLessThanOrEqual(to);
    }
  });
});
