import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { Fence } from "../../../db/fence.ts";

const TIMEOUT_MS = 10_000;
/** What a fence allows for COMMIT itself. */
const MARGIN_MS = 100;
/** Milliseconds from this process's clock to the server's. */
const AHEAD_MS = 1_700_000_000_000;

let now: number;
let ahead: number;
let asked: number;
let fence: Fence;
beforeEach(() => {
  now = 5_000;
  ahead = AHEAD_MS;
  asked = 0;
  fence = new Fence(TIMEOUT_MS);
  jest.spyOn(performance, "now").mockImplementation(() => now);
});
afterEach(() => void jest.restoreAllMocks());

/** Milliseconds since 1970, until which the server may commit. */
async function untilWhen(
  connection: object,
  { deadline = now + TIMEOUT_MS, wayMs = 0 }: { deadline?: number; wayMs?: number } = {},
): Promise<number> {
  const { values } = await fence.before(deadline, { connection }, async () => {
    asked++;
    const seconds = ((now + ahead) / 1_000).toFixed(6);
    now += wayMs;
    return [[{ seconds }], []];
  });
  return Number(values[0]) * 1_000;
}

describe("a fence", () => {
  test("is before the time at which COMMIT is given up, by the server's clock", async () => {
    expect(await untilWhen({}, { deadline: 6_000 })).toBeCloseTo(6_000 + AHEAD_MS - MARGIN_MS, 2);
  });

  test("is earlier, and never later, when the answer is slow", async () => {
    expect(await untilWhen({}, { deadline: 9_000, wayMs: 700 })).toBeCloseTo(
      9_000 + AHEAD_MS - 700 - MARGIN_MS,
      2,
    );
  });

  test("asks each connection, and not again for some seconds", async () => {
    const [one, other] = [{}, {}];
    await untilWhen(one);
    await untilWhen(one);
    expect(asked).toBe(1);
    await untilWhen(other);
    expect(asked).toBe(2);
  });

  test("follows a server's clock that was set back within seconds", async () => {
    const connection = {};
    await untilWhen(connection);
    ahead -= 3_600_000;
    now += 10_001;
    expect(await untilWhen(connection)).toBeCloseTo(now + TIMEOUT_MS + AHEAD_MS - 3_600_000 - MARGIN_MS, 2);
  });

  test("asks every connection again when the clocks are not trusted any more", async () => {
    const connection = {};
    await untilWhen(connection);
    now += 1;
    fence.distrustClocks();
    await untilWhen(connection);
    await untilWhen(connection);
    expect(asked).toBe(2);
  });
});
