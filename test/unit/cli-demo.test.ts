import { describe, expect, it } from "@jest/globals";
import * as fc from "fast-check";
import type { OrderState } from "../../tools/cli/client.ts";
import { drawBoard } from "../../tools/cli/demo/board.ts";
import { readDemoOptions } from "../../tools/cli/demo/options.ts";
import { makeOrders, type DemoOrder, type DemoPlan } from "../../tools/cli/demo/orders.ts";
import { Watch } from "../../tools/cli/demo/watch.ts";
import { orderRequest } from "../../src/api/schemas.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";

const PLAN: DemoPlan = {
  count: 60,
  seed: 1,
  goods: [
    { sku: "MUG-BLUE", onHand: 500 },
    { sku: "PEN-BLACK", onHand: 5_000 },
  ],
  soldOut: { sku: "LAMP-RETIRED", quantity: 1 },
  run: "demo-1",
};

function kinds(orders: readonly DemoOrder[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of orders) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

describe("makeOrders", () => {
  it("makes mostly fine orders, and some of every other kind, in no order", () => {
    const orders = makeOrders(PLAN);
    expect(kinds(orders)).toEqual({ fine: 47, "sold out": 5, declined: 4, stumbling: 4 });
    expect(orders.slice(0, 47).some(({ kind }) => kind !== "fine")).toBe(true);
  });

  it("makes one of every kind of a handful, and only fine ones of fewer", () => {
    expect(kinds(makeOrders({ ...PLAN, count: 5 }))).toEqual({
      fine: 2,
      "sold out": 1,
      declined: 1,
      stumbling: 1,
    });
    expect(kinds(makeOrders({ ...PLAN, count: 3 }))).toEqual({ fine: 3 });
  });

  it("makes the same orders of the same seed, and others of another", () => {
    expect(makeOrders(PLAN)).toEqual(makeOrders(PLAN));
    expect(makeOrders(PLAN)).not.toEqual(makeOrders({ ...PLAN, seed: 2 }));
  });

  it("gives every kind what makes it that", () => {
    for (const { kind, request } of makeOrders({ ...PLAN, count: 500 })) {
      expect(request.lines.some(({ sku }) => sku === "LAMP-RETIRED")).toBe(kind === "sold out");
      expect(request.paymentToken === "tok_declined").toBe(kind === "declined");
      expect(request.paymentToken?.startsWith("tok_stumbles_") === true).toBe(kind === "stumbling");
    }
  });

  it("makes orders that the API takes, under references of their own", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        (count, seed) => {
          const orders = makeOrders({ ...PLAN, count, seed });
          expect(orders).toHaveLength(count);
          expect(new Set(orders.map(({ request }) => request.reference)).size).toBe(count);
          for (const { request } of orders) expect(orderRequest.parse(request)).toEqual(request);
        },
      ),
      { numRuns: 30 },
    );
  });
});

const DEMO: DemoOrder = {
  kind: "stumbling",
  request: {
    customerId: "cust-1",
    currency: "EUR",
    reference: "demo-1-001",
    lines: [
      { sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 },
      { sku: "PEN-BLACK", quantity: 1, unitPrice: 100 },
    ],
  },
};

function state(id: string, status: string, changes: Partial<OrderState> = {}): OrderState {
  return {
    id,
    status,
    reference: `demo-1-${id}`,
    customerId: "cust-1",
    currency: "EUR",
    total: 2600,
    createdAt: "2026-01-01T00:00:00.000Z",
    updatedAt: "2026-01-01T00:00:00.000Z",
    ...changes,
  };
}

function watching(...states: OrderState[]): Watch {
  const watch = new Watch();
  for (const one of states) {
    const request = { ...DEMO.request, reference: one.reference ?? "" };
    watch.add({ ...DEMO, request }, state(one.id, "CREATED"));
    watch.see(one);
  }
  return watch;
}

const FAILED = { failed: { stage: "pay", reason: "the provider is down", at: "2026-01-01T00:00:01.000Z" } };

describe("Watch", () => {
  it("gives what is news, and nothing of what is not or belongs to others", () => {
    const watch = watching(state("001", "CREATED"));
    expect(watch.see(state("001", "CREATED"))).toEqual([]);
    expect(watch.see(state("001", "PAID"))).toMatchObject([{ reached: "PAID" }]);
    expect(watch.see(state("001", "PAID", FAILED))).toMatchObject([{ state: FAILED }]);
    expect(watch.see(state("001", "PAID", FAILED))).toEqual([]);
    expect(watch.see(state("999", "PAID"))).toEqual([]);
  });

  it("remembers where an order was when it was cancelled", () => {
    const watch = watching(state("001", "PAID"));
    expect(watch.see(state("001", "CANCELLED"))).toMatchObject([{ reached: "PAID" }]);
  });

  it("rests when all orders ended or failed", () => {
    expect(watching(state("001", "DELIVERED"), state("002", "CANCELLED")).isSettled).toBe(true);
    expect(watching(state("001", "DELIVERED"), state("002", "RESERVED", FAILED)).isSettled).toBe(true);
    expect(watching(state("001", "DELIVERED"), state("002", "RESERVED")).isSettled).toBe(false);
  });

  it("knows the oldest id", () => {
    expect(watching().oldest).toBeUndefined();
    expect(watching(state("002", "PAID"), state("001", "PAID")).oldest).toBe("001");
  });
});

const STATUS_WIDTH = Math.max(...lifecycle.statuses.map((status) => status.length), "needs a retry".length);

/** The way of an order that reached this status, with `step` behind it. */
function way(reached: string, step = "───"): string {
  const statuses = lifecycle.statuses.filter((status) => status !== "CANCELLED");
  const at = statuses.indexOf(reached);
  return statuses
    .map((_, index) => (index <= at ? "●" : "○") + (index < at ? "━━━" : index === at ? step : "───"))
    .join("")
    .slice(0, -3);
}

describe("drawBoard", () => {
  const size = { columns: 100, rows: 24, hasColors: false };
  const heading = { title: "Conveyor demo", total: 60, frame: 0 };

  it("draws a row an order, and counts", () => {
    const cancellation = { reason: "payment declined: no", requestedAt: "2026-01-01T00:00:00.000Z" };
    const watch = watching(
      state("001", "DELIVERED"),
      state("002", "PAID"),
      state("003", "RESERVED", FAILED),
      state("004", "CANCELLED", { cancellation }),
    );
    const goods = "2 x MUG-BLUE and 1 more  (stumbling)";
    expect(drawBoard(watch, heading, size)).toEqual([
      "Conveyor demo",
      "",
      `demo-1-001  ${way("DELIVERED")}  ${"DELIVERED".padEnd(STATUS_WIDTH)}  ${goods}`,
      `demo-1-002  ${way("PAID", "▸──")}  ${"PAID".padEnd(STATUS_WIDTH)}  ${goods}`,
      `demo-1-003  ${way("RESERVED")}  ${"needs a retry".padEnd(STATUS_WIDTH)}  the provider is down`,
      `demo-1-004  ${way("CREATED")}  ${"CANCELLED".padEnd(STATUS_WIDTH)}  payment declined: no`,
      "",
      "4 of 60 accepted · 1 PAID · 1 DELIVERED · 1 CANCELLED · 1 needs a retry",
    ]);
  });

  it("moves what is under way from frame to frame", () => {
    const watch = watching(state("001", "PAID"));
    const rows = [0, 1, 2, 3].map((frame) => drawBoard(watch, { ...heading, frame }, size)[2]);
    const ways = ["▸──", "━▸─", "━━▸", "▸──"].map((step) => expect.stringContaining(way("PAID", step)));
    expect(rows).toEqual(ways);
  });

  it("fits the terminal: the latest rows, and no line that wraps", () => {
    const states = Array.from({ length: 30 }, (_, index) => state(String(index).padStart(3, "0"), "PAID"));
    const lines = drawBoard(watching(...states), heading, { columns: 40, rows: 10, hasColors: false });
    expect(lines).toHaveLength(9);
    expect(lines[2]).toContain("demo-1-025");
    expect(lines[6]).toContain("demo-1-029");
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(40);
  });

  it("has colours where they are wanted", () => {
    const [, , row] = drawBoard(watching(state("001", "DELIVERED")), heading, { ...size, hasColors: true });
    expect(row).toContain("\u001B[32m");
  });
});

describe("readDemoOptions", () => {
  it("has defaults for everything", () => {
    expect(readDemoOptions([])).toEqual({ orders: 60, rate: 5, seed: 1 });
    expect(readDemoOptions(["--orders", "9", "--rate=0.5", "--seed", "7"])).toEqual({
      orders: 9,
      rate: 0.5,
      seed: 7,
    });
    expect(readDemoOptions(["--help"])).toBeUndefined();
  });

  it.each([
    ["--orders must be a whole number from 1 to 10000", ["--orders", "0"]],
    ["--rate must be a number from 0.1 to 1000", ["--rate", "fast"]],
    ["--seed must be", ["--seed=-1"]],
    ['"60" is not an option', ["60"]],
    ["Unknown option '--count'", ["--count", "60"]],
  ])("says in one line what is wrong: %s", (message, args) => {
    expect(() => readDemoOptions(args)).toThrow(message);
    expect(() => readDemoOptions(args)).toThrow(/^[^\n]*$/);
  });
});
