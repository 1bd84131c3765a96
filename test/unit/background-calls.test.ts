import { expect, test } from "@jest/globals";
import { BackgroundCalls } from "../../src/engine/background-calls.ts";
import { DispatcherUnavailableError } from "../../src/engine/ports.ts";
import { pino } from "pino";
import { waitFor } from "../support/wait-for.ts";

/** Calls to a dispatcher that may be away, also only for some. */
function callsTo(options: { mostKept?: number } = {}) {
  const lines: { msg: string; calls?: number }[] = [];
  const log = pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const calls = new BackgroundCalls({ log, ...options });
  const made: string[] = [];
  const failures = new Map<string, Error>();
  return {
    calls,
    made,
    failures,
    said: (msg: string) => lines.filter((line) => line.msg === msg),
    make: (name: string) =>
      calls.make({
        make: async () => {
          const failure = failures.get(name) ?? failures.get("all");
          if (failure) throw failure;
          made.push(name);
        },
        missed: "missed",
        about: { name },
      }),
  };
}

const AWAY = new DispatcherUnavailableError(new Error("Connection is closed."));
const names = (count: number) => Array.from({ length: count }, (_, index) => `call ${index}`);

test("calls that fail because the dispatcher is away are made once it is back, each once, in their order", async () => {
  const { calls, make, made, failures, said } = callsTo();
  failures.set("all", AWAY);
  for (const name of names(250)) await make(name);
  expect(made).toEqual([]);
  failures.delete("all");
  await waitFor("all calls", () => made.length >= 250);
  await make("another");
  expect(made).toEqual([...names(250), "another"]);
  await waitFor("the log line", () => said("queued what could not be queued before").length > 0);
  expect(said("missed")).toHaveLength(250);
  expect(said("queued what could not be queued before")).toMatchObject([{ calls: 250 }]);
  await calls.stop();
});

test("calls that can't be made yet hold up no others", async () => {
  const { calls, make, made, failures } = callsTo();
  failures.set("all", AWAY);
  for (const name of names(300)) await make(name);
  for (const name of names(150)) failures.set(name, AWAY);
  failures.delete("all");
  await waitFor("the others", () => made.length >= 150);
  expect(made).toEqual(names(300).slice(150));
  for (const name of names(150)) failures.delete(name);
  await waitFor("the rest", () => made.length >= 300);
  await calls.stop();
});

test("a call that fails for another reason is not made again, also if it does so later", async () => {
  const { calls, make, made, failures, said } = callsTo();
  failures.set("refused", new Error("wrong kind of value"));
  await make("refused");
  failures.set("later", AWAY);
  await make("later");
  failures.set("later", new Error("wrong kind of value"));
  await waitFor("the second try", () => said("missed").length >= 3);
  failures.clear();
  await make("another");
  failures.set("away", AWAY);
  await make("away");
  failures.clear();
  await waitFor("a further try", () => made.includes("away"));
  expect(made).toEqual(["another", "away"]);
  await calls.stop();
});

test("no more calls are kept than fit, and stopping leaves them to the sweeper", async () => {
  const { calls, make, made, failures, said } = callsTo({ mostKept: 10 });
  failures.set("all", AWAY);
  for (const name of names(30)) await make(name);
  failures.delete("all");
  await waitFor("those kept", () => made.length >= 10);
  failures.set("all", AWAY);
  await make("at the end");
  await calls.stop();
  expect(made).toEqual(names(10));
  expect(said("left to the sweeper: not queued yet")).toMatchObject([{ calls: 1 }]);
});

test("stopping waits for the calls under way", async () => {
  const { calls } = callsTo();
  let answer = (): void => undefined;
  void calls.make({
    make: () => new Promise<void>((resolve) => (answer = resolve)),
    missed: "missed",
    about: {},
  });
  let hasStopped = false;
  const stopped = calls.stop().then(() => (hasStopped = true));
  await Promise.resolve();
  expect(hasStopped).toBe(false);
  answer();
  await stopped;
});
