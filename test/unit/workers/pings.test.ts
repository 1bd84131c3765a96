import { describe, expect, test } from "@jest/globals";
import { Pings } from "../../../src/engine/pings.ts";

/** Pings that are answered by hand, in the order in which they were sent. */
function byHand() {
  const sent: { answer: () => void; fail: () => void }[] = [];
  const pings = new Pings(
    () =>
      new Promise<void>((resolve, reject) => {
        sent.push({ answer: resolve, fail: () => reject(new Error("no answer")) });
      }),
  );
  return { pings, sent };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("pings", () => {
  test("are not shared with whoever asks while one is under way, but all those share the next", async () => {
    const { pings, sent } = byHand();
    const first = pings.answers("payments");
    const later = [pings.answers("payments"), pings.answers("payments")];
    expect(sent).toHaveLength(1);
    sent[0]?.answer();
    expect(await first).toBe(true);
    await settled();
    expect(sent).toHaveLength(2);
    sent[1]?.fail();
    expect(await Promise.all(later)).toEqual([false, false]);
    void pings.answers("payments");
    expect(sent).toHaveLength(3);
  });

  test("of one service do not wait for another's", async () => {
    const { pings, sent } = byHand();
    void pings.answers("payments");
    const other = pings.answers("carrier");
    sent[1]?.answer();
    expect(await other).toBe(true);
  });

  test("tell when a service was last away", async () => {
    const { pings, sent } = byHand();
    expect(pings.lastAwayAt("payments")).toBe(-Infinity);
    const before = performance.now();
    const answer = pings.answers("payments");
    sent[0]?.fail();
    await answer;
    expect(pings.lastAwayAt("payments")).toBeGreaterThanOrEqual(before);
    expect(pings.lastAwayAt("carrier")).toBe(-Infinity);
  });

  test("that get no answer in time find the service away at the second silence, and not at the first", async () => {
    let sent = 0;
    const silent = (times: number) => () =>
      ++sent > times ? Promise.resolve() : new Promise<void>(() => {});
    expect(await new Pings(silent(Infinity), 5).answers("carrier")).toBe(false);
    expect(sent).toBe(2);
    sent = 0;
    const pings = new Pings(silent(1), 5);
    const before = performance.now();
    expect(await pings.answers("carrier")).toBe(true);
    expect(pings.lastAwayAt("carrier")).toBe(-Infinity);
    // It may have hung for what was called before that.
    expect(pings.lastLateAt("carrier")).toBeGreaterThanOrEqual(before);
  });
});
