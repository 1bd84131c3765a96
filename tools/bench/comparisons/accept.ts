import { setTimeout as delay } from "node:timers/promises";
import { Failure } from "../../shared/failure.ts";
import type { LoadResult, Target } from "../load/messages.ts";
import { cpuMsOf, type BenchProcess } from "../process.ts";
import type { AcceptRow, BenchReport } from "../report.ts";
import { Closers, rotated, type Context } from "../context.ts";
import { API_KEY, Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { known, NAMES, ONE_TRANSACTION, SYNC, SYNC_GROUPED, type Mode } from "../variants.ts";

/** After a load, to let pending writes reach the disk. */
const SETTLE_MS = 200;

/** A server that answers `POST /orders`. */
interface Server {
  readonly name: string;
  readonly process: BenchProcess;
  readonly target: () => Target;
  /** Compares the answers with the orders in MySQL, and clears the queue. @throws {Failure} */
  readonly check: (accepted: number, signal: AbortSignal) => Promise<void>;
}

interface Measured {
  readonly server: Server;
  readonly connections: number;
  readonly result: LoadResult;
  /** Share of one core. */
  readonly serverCpu: number | undefined;
}

/** How fast orders are accepted while no worker runs. The synchronous servers also process them. */
export async function accept({
  testBed,
  sizes,
  signal,
  note,
}: Context): Promise<NonNullable<BenchReport["accept"]>> {
  const { warmUpMs, ms, connections } = sizes.accept;
  const closers = new Closers();
  try {
    const modes = [{ name: NAMES.conveyor, env: {} }, ...known([ONE_TRANSACTION, SYNC, SYNC_GROUPED])];
    const servers = await Promise.all([
      startExpress(),
      ...modes.map(async (mode, index) => {
        const shop = closers.add(
          await Shop.open(testBed, { name: `accept-${index}`, env: mode.env }),
          (opened) => opened.close(),
        );
        await shop.startApi();
        return serverOf(mode, shop);
      }),
    ]);
    for (const server of servers) await measure(server, Math.max(...connections), warmUpMs);
    const measured: Measured[] = [];
    for (let repeat = 0; repeat < sizes.repeats; repeat++) {
      for (const each of connections) {
        for (const server of rotated(servers, repeat)) {
          signal.throwIfAborted();
          const taken = await measure(server, each, ms);
          measured.push(taken);
          note(
            `accept ${repeat + 1}: ${server.name}, ${each} connections: ${Math.round(rateOf(taken.result))}/s`,
          );
        }
      }
    }
    return {
      seconds: ms / 1_000,
      rows: servers.flatMap((server) =>
        connections.map((each) =>
          rowOf(
            server.name,
            each,
            measured.filter((taken) => taken.server === server && taken.connections === each),
          ),
        ),
      ),
    };
  } finally {
    await closers.close();
  }

  async function startExpress(): Promise<Server> {
    const express = await testBed.startBaseline("baselines/express.ts", {
      name: "express",
      readyMessage: "listening",
    });
    closers.add(express, (started) => started.stop());
    const port = Number(new URL(String(express.ready["url"])).port);
    return {
      name: NAMES.express,
      process: express,
      target: () => ({ port, apiKey: API_KEY, seed: 1 }),
      check: async () => {},
    };
  }

  async function measure(server: Server, count: number, lasts: number): Promise<Measured> {
    const before = cpuMsOf([server.process.pid]);
    const result = await testBed.load.run({
      kind: "closed",
      ...server.target(),
      connections: count,
      until: { ms: lasts },
    });
    const after = cpuMsOf([server.process.pid]);
    server.process.assertRunning();
    await server.check(acceptedOf(result.all), signal);
    await delay(SETTLE_MS, undefined, { signal });
    const used = before === undefined || after === undefined ? undefined : after - before;
    return {
      server,
      connections: count,
      result,
      serverCpu: used === undefined ? undefined : used / result.lasted,
    };
  }
}

function serverOf({ name, env }: Mode, shop: Shop): Server {
  let before = 0;
  return {
    name,
    process: shop.api,
    target: () => shop.target(),
    check: async (accepted, signal) => {
      const written = (await shop.countOrders()) - before;
      before += written;
      if (written !== accepted)
        throw new Failure(`${name} accepted ${accepted} orders but stored ${written}`);
      if (env["PROCESSING"] === "sync") return;
      await shop.queues.untilWaiting(accepted, signal);
      // No worker will process them.
      await shop.queues.discard();
    },
  };
}

function rowOf(name: string, connections: number, measured: readonly Measured[]): AcceptRow {
  const serverCpu = measured.flatMap((each) => (each.serverCpu === undefined ? [] : [each.serverCpu]));
  const of = (value: (result: LoadResult) => number) => spreadOf(measured.map(({ result }) => value(result)));
  return {
    name,
    connections,
    requestsPerSecond: of(rateOf),
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99),
    refused: measured.reduce((sum, { result }) => sum + refusedOf(result.all), 0),
    serverCpu: serverCpu.length === measured.length ? spreadOf(serverCpu) : null,
    clientCpu: of(({ cpuMs, lasted }) => cpuMs / lasted),
  };
}

function rateOf({ inTime, lasted }: LoadResult): number {
  return (acceptedOf(inTime) / lasted) * 1_000;
}

/** Counts 202s, and 201s for orders that are already finished. */
export function acceptedOf(answers: LoadResult["all"]): number {
  return (answers[201] ?? 0) + (answers[202] ?? 0);
}

function refusedOf(answers: LoadResult["all"]): number {
  const all = Object.values(answers).reduce((sum, count) => sum + count, 0);
  return all - acceptedOf(answers);
}
