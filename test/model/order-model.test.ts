import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { Auditor, type Books } from "./books.ts";
import { LOADED, stories, type Story } from "./commands.ts";
import type { Sabotage } from "./processes.ts";
import { SABOTAGES } from "./sabotages.ts";
import { World } from "./world.ts";

/**
 * The promises of the service under stories made by chance: orders, repeats and cancellations come in, jobs come late,
 * twice and not at all, calls fail with and without effect, processes die between any two calls.
 *
 *     MODEL_RUNS=5000 MODEL_SEED=$RANDOM npm test -- test/model
 *
 * A failure tells its shortest story, and the seed, path and replayPath that tell it again: MODEL_SEED, MODEL_PATH and
 * MODEL_REPLAY.
 */
const {
  MODEL_RUNS: RUNS = "100",
  MODEL_SEED: SEED = "3",
  MODEL_PATH: PATH,
  MODEL_REPLAY: REPLAY,
} = process.env;
/** Stories in which a fault of the service must be found; most are found in far fewer. */
const RUNS_TO_FIND = 100;
const TIME_LIMIT_MS = Math.max(600_000, Number(RUNS) * 2_000);

let environment: TestEnvironment;
let auditor: Auditor;
beforeAll(async () => {
  environment = await createTestEnvironment();
  auditor = await Auditor.of(environment.databaseUrl, environment.ledger);
});
afterAll(async () => {
  await auditor.close();
  await environment.close();
});

/** Plays a story to its end. @returns the books after it. @throws what went wrong, and how it came to it. */
async function play({ commands, cancelling }: Story, sabotage: Sabotage = {}): Promise<Books> {
  const world = await World.begin(environment, auditor, LOADED, sabotage);
  try {
    await fc.asyncModelRun(() => ({ model: { world }, real: world }), commands);
    return await world.heal({ cancelling });
  } catch (error) {
    throw new Error(world.tell(error), { cause: error });
  }
}

test(
  "whatever happens, in whatever order, the service keeps its promises",
  async () => {
    const ends = new Set<string>();
    const property = fc.asyncProperty(stories(REPLAY), async (story) => {
      for (const order of (await play(story)).orders) ends.add(endOf(order));
    });
    await fc.assert(property, {
      numRuns: Number(RUNS),
      seed: Number(SEED),
      ...(PATH === undefined ? {} : { path: PATH }),
      interruptAfterTimeLimit: TIME_LIMIT_MS * 0.8,
      markInterruptAsFailure: true,
    });
    // The stories are about something.
    if (PATH === undefined)
      expect([...ends].toSorted()).toEqual([
        "CANCELLED: changed my mind",
        "CANCELLED: not paid",
        "CANCELLED: payment declined",
        "CANCELLED: second thoughts",
        "CANCELLED: sold out",
        "DELIVERED",
      ]);
  },
  TIME_LIMIT_MS,
);

describe("a broken service is noticed:", () => {
  test.each(SABOTAGES)(
    "$fault",
    async ({ sabotage, noticed }) => {
      const property = fc.asyncProperty(
        stories(undefined),
        async (story) => void (await play(story, sabotage)),
      );
      const found = await fc.check(property, {
        numRuns: RUNS_TO_FIND,
        seed: Number(SEED),
        endOnFailure: true,
      });
      expect(String(found.errorInstance)).toMatch(noticed);
    },
    TIME_LIMIT_MS,
  );
});

/** How an order ended, and why. */
function endOf({ status, cancelReason }: Books["orders"][number]): string {
  return [status, cancelReason?.split(/:| within/)[0]].filter((part) => part !== undefined).join(": ");
}
