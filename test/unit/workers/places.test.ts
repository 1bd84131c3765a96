import { expect, test } from "@jest/globals";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { Places } from "../../../workers/places.ts";

/** A worker with two places, which counts its jobs as BullMQ does: until it has fetched the next one, or has not. */
function busyWorker() {
  const jobs = new Set<Promise<unknown>>();
  let wakes = 0;
  const mainLoopQueue = { numTotal: () => jobs.size, add: () => void wakes++ };
  const worker = { concurrency: 2, mainLoopQueue };
  const places = new Places(worker);
  /** A job that leaves its place when told to, and ends when told to. */
  const start = () => {
    let leave: () => void = () => undefined;
    let finish: () => void = () => undefined;
    const left = new Promise<void>((resolve) => (leave = resolve));
    const finished = new Promise<void>((resolve) => (finish = resolve));
    let fetchesNext: boolean | undefined;
    const ended = places
      .withJob(async () => {
        await places.run(() => left);
        await finished;
      })
      .then(() => (fetchesNext = jobs.size <= worker.concurrency));
    jobs.add(ended);
    return { leave, finish, fetchesNext: () => fetchesNext, gone: () => void jobs.delete(ended) };
  };
  return { start, wakes: () => wakes };
}

test("a job whose order is done elsewhere ends when a place becomes free, so that it fetches the job for that place", async () => {
  const { start, wakes } = busyWorker();
  const first = start();
  first.leave();
  await turn();
  const wakesBefore = wakes();
  const [second, third] = [start(), start()];
  await turn();
  first.finish();
  await turn();
  expect(first.fetchesNext()).toBeUndefined();
  second.leave();
  await turn();
  expect(first.fetchesNext()).toBe(true);
  expect(wakes()).toBe(wakesBefore);
  // While the job for that place is fetched, there is none for another.
  second.finish();
  await turn();
  expect(second.fetchesNext()).toBeUndefined();
  third.leave();
  await turn();
  expect(second.fetchesNext()).toBe(true);
});

test("and does not wait for long", async () => {
  const { start } = busyWorker();
  const first = start();
  first.leave();
  await turn();
  start();
  start();
  first.finish();
  const startedAt = performance.now();
  while (first.fetchesNext() === undefined && performance.now() - startedAt < 5_000) await sleep(5);
  expect(first.fetchesNext()).toBe(false);
});
