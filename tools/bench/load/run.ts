import { setTimeout as delay } from "node:timers/promises";
import { percentile } from "../../shared/percentile.ts";
import { Connection } from "./connection.ts";
import type { ClosedLoad, Load, LoadResult, Sample, SteadyLoad } from "./messages.ts";
import { Requests } from "./requests.ts";

const TICK_MS = 2;

/** Applies a load to its target and returns the result. */
export function run(load: Load): Promise<LoadResult> {
  return load.kind === "closed" ? runClosed(load) : runSteady(load);
}

async function runClosed(load: ClosedLoad): Promise<LoadResult> {
  const requests = new Requests(load);
  const connections = Array.from({ length: load.connections }, () => new Connection(load.port));
  await Promise.all(connections.map((connection) => connection.open()));
  const answers = new Answers();
  const cpu = process.cpuUsage();
  const began = performance.now();
  const ends = "ms" in load.until ? began + load.until.ms : Infinity;
  let left = "orders" in load.until ? load.until.orders : Infinity;
  await Promise.all(
    connections.map(
      (connection) =>
        new Promise<void>((resolve) => {
          const sendNext = (): void => {
            const sentAt = performance.now();
            if (sentAt >= ends || left <= 0) return resolve();
            left--;
            connection.exchange(requests.next(), (status) => {
              const now = performance.now();
              answers.note(status, now - sentAt, now <= ends);
              sendNext();
            });
          };
          sendNext();
        }),
    ),
  );
  const lasted = Math.min(performance.now(), ends) - began;
  for (const connection of connections) connection.close();
  return { lasted, ...answers.result(), cpuMs: msOf(process.cpuUsage(cpu)), samples: [] };
}

async function runSteady(load: SteadyLoad): Promise<LoadResult> {
  const requests = new Requests(load);
  const idle: Connection[] = [];
  const all = new Set<Connection>();
  const answers = new Answers();
  const samples: Sample[] = [];
  const inFlight = new Set<Promise<void>>();
  const cpu = process.cpuUsage();
  const began = performance.now();
  const count = Math.round((load.ms / 1_000) * load.perSecond);
  const gap = 1_000 / load.perSecond;
  const send = (at: number): Promise<void> =>
    new Promise((resolve) => {
      const connection = idle.pop() ?? new Connection(load.port);
      all.add(connection);
      connection.exchange(requests.next(), (status) => {
        const tookMs = performance.now() - began - at;
        answers.note(status, tookMs, true);
        samples.push({ at, tookMs, status });
        idle.push(connection);
        resolve();
      });
    });
  for (let index = 0; index < count;) {
    const now = performance.now() - began;
    for (; index < count && index * gap <= now; index++) {
      const sent = send(index * gap).then(() => void inFlight.delete(sent));
      inFlight.add(sent);
    }
    await delay(TICK_MS);
  }
  await Promise.all(inFlight);
  const lasted = performance.now() - began;
  for (const connection of all) connection.close();
  return {
    lasted,
    ...answers.result(),
    cpuMs: msOf(process.cpuUsage(cpu)),
    samples: samples.toSorted((a, b) => a.at - b.at),
  };
}

class Answers {
  readonly #inTime = new Map<number, number>();
  readonly #all = new Map<number, number>();
  readonly #times: number[] = [];

  note(status: number, tookMs: number, isInTime: boolean): void {
    this.#times.push(tookMs);
    this.#all.set(status, (this.#all.get(status) ?? 0) + 1);
    if (isInTime) this.#inTime.set(status, (this.#inTime.get(status) ?? 0) + 1);
  }

  result(): Pick<LoadResult, "inTime" | "all" | "p50" | "p99"> {
    const times = Float64Array.from(this.#times).toSorted();
    return {
      inTime: Object.fromEntries(this.#inTime),
      all: Object.fromEntries(this.#all),
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99),
    };
  }
}

function msOf({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1_000;
}
