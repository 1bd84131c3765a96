import { describe, expect, it } from "@jest/globals";
import * as fc from "fast-check";
import type { OrderState } from "../../tools/cli/client.ts";
import { randomNumbers } from "../../tools/shared/random.ts";
import { countMoving, oldestOf } from "../../tools/cli/replay/settle.ts";
import { CANCELLED, lifecycle } from "../../src/order/lifecycle.ts";

/** Orders that move while they are listed, two a page. */
class MovingWorld {
  readonly #states: { id: string; at: number }[];
  readonly #move: () => boolean;

  constructor(places: readonly number[], seed: number) {
    const random = randomNumbers(seed);
    this.#states = places.map((at, index) => ({ id: String(index).padStart(3, "0"), at }));
    this.#move = () => random.below(3) === 0;
  }

  get live(): number {
    return this.#states.filter(({ at }) => !lifecycle.hasEnded(this.#statusAt(at))).length;
  }

  async *orders(oldest: string, status?: string): AsyncGenerator<OrderState[]> {
    let before = "999";
    for (;;) {
      const page = this.#states
        .filter(({ id, at }) => id < before && id >= oldest && this.#statusAt(at) === status)
        .toReversed()
        .slice(0, 2);
      yield page.map(({ id, at }) => this.#stateOf(id, this.#statusAt(at)));
      before = page.at(-1)?.id ?? "";
      for (const state of this.#states) if (this.#move()) state.at += 1;
      if (page.length < 2) return;
    }
  }

  #statusAt(at: number): string {
    const way = lifecycle.statuses.filter((status) => status !== CANCELLED);
    return way[Math.min(at, way.length - 1)] ?? CANCELLED;
  }

  #stateOf(id: string, status: string): OrderState {
    const at = "2026-01-01T00:00:00.000Z";
    const common = { customerId: "1", currency: "GBP", total: 1, createdAt: at, updatedAt: at };
    return { id, status, reference: null, ...common };
  }
}

describe("countMoving", () => {
  it("overlooks no order that is still on its way, however they move meanwhile", async () => {
    const places = fc.array(fc.nat(lifecycle.statuses.length - 1), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(places, fc.nat(), async (start, seed) => {
        const world = new MovingWorld(start, seed);
        const moving = await countMoving(world, "", () => true);
        const seen = moving.reduce((sum, { orders }) => sum + orders, 0);
        if (seen === 0) expect(world.live).toBe(0);
        expect(seen).toBeGreaterThanOrEqual(world.live);
      }),
      { numRuns: 500 },
    );
  });

  it("counts those that are wanted, and not below the oldest", async () => {
    const world = new MovingWorld([0, 0, 0, 0], 1);
    const moving = await countMoving(world, "001", ({ id }) => id !== "002");
    expect(moving.reduce((sum, { orders }) => sum + orders, 0)).toBeGreaterThan(0);
    expect(Math.max(...moving.map(({ orders }) => orders))).toBeLessThanOrEqual(2);
  });
});

describe("oldestOf", () => {
  it("is the lowest id", () => {
    expect(oldestOf(["b", "a", "c"])).toBe("a");
    expect(oldestOf([])).toBe("");
  });
});
