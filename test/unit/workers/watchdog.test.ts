import { afterEach, describe, expect, test } from "@jest/globals";
import { pino } from "pino";
import type { Backlog } from "../../../queues/backlog.ts";
import { Watchdog, type Watched } from "../../../workers/watchdog.ts";

const NOTHING: Backlog = { ready: 0, abandoned: 0 };
const WAITING: Backlog = { ready: 3, abandoned: 0 };
/** Looks in a row that prove it. */
const LOOKS = 6;

type Subject = { -readonly [Field in keyof Watched]: Watched[Field] };

const watchdogs: Watchdog[] = [];
afterEach(() => {
  for (const watchdog of watchdogs.splice(0)) watchdog.stop();
});

/** A watchdog over one worker or more; `backlog` is what each of them finds in its queue. */
function watch({ afterMs = 60_000, stages = ["pay"], timeout = 10_000 } = {}) {
  const workers = stages.map((name): Subject => ({
    name,
    settings: { timeout },
    isPaused: false,
    held: 0,
    progressAt: 1,
  }));
  const seen = { asked: [] as string[][], exits: 0, errors: [] as unknown[] };
  const state = {
    /** Undefined while Redis is away. */
    backlog: WAITING as Backlog | undefined,
    onAsk: () => {},
  };
  const watchdog = new Watchdog({
    workers,
    afterMs,
    log: pino({ level: "error" }, { write: (line) => void seen.errors.push(JSON.parse(line)) }),
    async readBacklogs(asked) {
      seen.asked.push(asked.map(({ name }) => name));
      state.onAsk();
      const { backlog } = state;
      if (backlog === undefined) throw new Error("Redis does not answer");
      return asked.map(() => backlog);
    },
    exit: () => void seen.exits++,
  });
  watchdogs.push(watchdog);
  const look = async (times = 1): Promise<void> => {
    for (let time = 0; time < times; time++) await watchdog.look();
  };
  return { worker: workers[0]!, workers, seen, state, look };
}

describe("a worker is stuck", () => {
  test.each([
    ["while jobs wait", WAITING, 0],
    ["while jobs lie about that nobody holds", { ready: 0, abandoned: 1 }, 0],
    ["with jobs that do not end", NOTHING, 2],
  ])("that gets nothing done %s, for long enough", async (_, backlog, held) => {
    const { worker, seen, state, look } = watch();
    state.backlog = backlog;
    worker.held = held;
    // The first look only learns where it stands.
    await look(LOOKS);
    expect(seen.exits).toBe(0);
    await look();
    expect(seen.exits).toBe(1);
    expect(seen.errors).toEqual([expect.objectContaining({ stage: "pay", held, ...backlog, seconds: 60 })]);
  });

  test("also beside others that get on, and only it is named", async () => {
    const { workers, seen, look } = watch({ stages: ["reserve", "pay"] });
    for (let time = 0; time <= LOOKS; time++) {
      workers[0]!.progressAt++;
      await look();
    }
    expect(seen.errors).toEqual([expect.objectContaining({ stage: "pay" })]);
    expect(new Set(seen.asked.flat())).toEqual(new Set(["pay"]));
  });

  test("beside abandoned jobs only after workers that are well had time to put them back", async () => {
    const { seen, state, look } = watch({ afterMs: 3_000, timeout: 1_000 });
    state.backlog = { ready: 0, abandoned: 1 };
    await look(60);
    expect(seen.exits).toBe(0);
    await look();
    expect(seen.errors).toEqual([expect.objectContaining({ abandoned: 1, seconds: 30 })]);
  });

  test("no sooner than after twice its stage's timeout", async () => {
    const { seen, look } = watch({ afterMs: 6_000, timeout: 10_000 });
    await look(20);
    expect(seen.exits).toBe(0);
    await look();
    expect(seen.exits).toBe(1);
  });
});

describe("a worker is not stuck", () => {
  test("that has nothing to do", async () => {
    const { seen, state, look } = watch();
    state.backlog = NOTHING;
    await look(3 * LOOKS);
    expect(seen.exits).toBe(0);
  });

  test("that gets on, and then Redis is not even asked", async () => {
    const { worker, seen, look } = watch();
    for (let time = 0; time < 3 * LOOKS; time++) {
      worker.progressAt++;
      await look();
    }
    expect(seen).toMatchObject({ exits: 0, asked: [] });
  });

  test.each([
    ["got on", (subject: Subject) => void subject.progressAt++],
    ["was made to stand still", (subject: Subject) => void (subject.isPaused = true)],
  ])("that %s just now, also while Redis was asked: the time begins anew", async (_, change) => {
    const { worker, seen, state, look } = watch();
    await look(LOOKS);
    state.onAsk = () => change(worker);
    await look();
    worker.isPaused = false;
    state.onAsk = () => {};
    await look(LOOKS - 1);
    expect(seen.exits).toBe(0);
    await look();
    expect(seen.exits).toBe(1);
  });

  test("that stands still on purpose", async () => {
    const { worker, seen, look } = watch();
    worker.isPaused = true;
    worker.held = 1;
    await look(3 * LOOKS);
    expect(seen).toMatchObject({ exits: 0, asked: [] });
  });

  test("while Redis answers nobody, nor at once after that", async () => {
    const { worker, seen, state, look } = watch();
    worker.held = 1;
    await look(LOOKS);
    state.backlog = undefined;
    await look(3 * LOOKS);
    state.backlog = WAITING;
    await look(LOOKS - 1);
    expect(seen.exits).toBe(0);
    await look();
    expect(seen.exits).toBe(1);
  });

  test("beside a queue that was seen empty in between", async () => {
    const { seen, state, look } = watch();
    for (let time = 0; time < 4; time++) {
      state.backlog = WAITING;
      await look(LOOKS - 1);
      state.backlog = NOTHING;
      await look();
    }
    expect(seen.exits).toBe(0);
  });
});
