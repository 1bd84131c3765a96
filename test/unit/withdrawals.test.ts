import { describe, expect, test } from "@jest/globals";
import { createLogger } from "../../src/platform/log.ts";
import { Withdrawals, type WithdrawalOptions } from "../../src/engine/withdrawals.ts";
import { waitFor } from "../support/wait-for.ts";

const log = createLogger({ name: "test", level: "silent" });
const AFTER_MS = 50;

/** Withdrawals of orders that are all there, with the time at which each was looked for. */
function withdrawalsOf(given: Partial<WithdrawalOptions> = {}) {
  const asked: { orderId: string; at: number }[] = [];
  const withdrawals = new Withdrawals({
    afterMs: AFTER_MS,
    log,
    ...given,
    cancel: async (orderId, reason) => {
      asked.push({ orderId, at: performance.now() });
      return given.cancel ? given.cancel(orderId, reason) : { accepted: true };
    },
  });
  const ids = () => asked.map(({ orderId }) => orderId);
  return { withdrawals, asked, ids };
}

describe("orders to be withdrawn", () => {
  test("do not wait for one that can't be at the moment, and that one is tried again", async () => {
    let isLocked = true;
    const { withdrawals, ids } = withdrawalsOf({
      cancel: (orderId) =>
        isLocked && orderId === "locked"
          ? Promise.reject(new Error("lock wait"))
          : Promise.resolve({ accepted: true }),
    });
    for (const id of ["locked", "b", "c"]) withdrawals.add(id);
    await waitFor("the others", () => ids().includes("c"));
    expect(ids().slice(0, 3)).toEqual(["locked", "b", "c"]);
    isLocked = false;
    const before = ids().length;
    await waitFor("another try", () => ids().length > before);
    await withdrawals.stop();
    expect(new Set(ids().slice(3))).toEqual(new Set(["locked"]));
  });

  test("are looked for when each one's own time has passed, also those that come while others wait", async () => {
    const { withdrawals, asked, ids } = withdrawalsOf();
    withdrawals.add("early");
    const added = await waitFor("the first to be looked for", () => {
      if (!ids().includes("early")) return undefined;
      return performance.now();
    });
    withdrawals.add("middle");
    await waitFor("some time to pass", () => performance.now() > added + AFTER_MS / 2);
    const lateAt = performance.now();
    withdrawals.add("late");
    await waitFor("all", () => ids().includes("late"));
    expect(ids()).toEqual(["early", "middle", "late"]);
    // A timer may be early by a fraction of a millisecond.
    expect(asked[2]!.at - lateAt).toBeGreaterThan(AFTER_MS - 2);
    await withdrawals.stop();
  });

  test("are looked for also when they come as the last of the others is done", async () => {
    for (let turns = 0; turns < 20; turns++) {
      const { withdrawals, ids } = withdrawalsOf({
        afterMs: 1,
        cancel: async (orderId) => {
          if (orderId === "first") void addAfter();
          return { accepted: true };
        },
      });
      const addAfter = async () => {
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        withdrawals.add("second");
      };
      withdrawals.add("first");
      await waitFor(`both, after ${turns} turns`, () => ids().length === 2);
    }
  });
});

describe("stopping", () => {
  test("tries each once more", async () => {
    const { withdrawals, ids } = withdrawalsOf({
      afterMs: 1,
      cancel: () => Promise.reject(new Error("away")),
    });
    withdrawals.add("a");
    withdrawals.add("b");
    await withdrawals.stop();
    expect(ids()).toEqual(["a", "b"]);
  });

  test("does not take longer than it may, however long a transaction may take", async () => {
    const { withdrawals, ids } = withdrawalsOf({ afterMs: 600_000, stopWithinMs: 20 });
    withdrawals.add("a");
    await withdrawals.stop();
    expect(ids()).toEqual([]);
  });
});
