import { setTimeout as delay } from "node:timers/promises";
import { inRounds, type Context } from "../context.ts";
import { Failure } from "../../shared/failure.ts";
import { acceptedOf, type LoadResult, type Target } from "../load/messages.ts";
import { cpuMsOf, type BenchProcess } from "../process.ts";
import type { AcceptRow, ResultOf } from "../report.ts";
import { API_KEY, Shop, type ShopOptions } from "../shop.ts";
import { spreadIfKnown, spreadOf } from "../statistics.ts";
import { CONVEYOR, NAMES, ONE_TRANSACTION, SYNC, SYNC_GROUPED, type Mode } from "../variants.ts";

/** After a load, to let pending writes reach the disk. */
const SETTLE_MS = 200;

/** A server that answers `POST /orders`. */
interface Server {
  readonly name: string;
  readonly process: BenchProcess;
  readonly target: () => Target;
  /** Compares the answers with the orders in MySQL, and clears the queue. @throws {Failure} */
  readonly check: (accepted: number) => Promise<void>;
}

interface Measured {
  readonly result: LoadResult;
  /** Share of one core; NaN if unknown. */
  readonly serverCpu: number;
}

/** How fast orders are accepted while no worker runs. The synchronous servers also process them. */
export async function accept(context: Context): Promise<ResultOf<"accept">> {
  const { before } = context;
  const { warmUpMs, ms, connections } = context.sizes.accept;
  const servers = await Promise.all([
    bareExpress(context),
    shopServer(context, CONVEYOR),
    ...(before ? [shopServer(context, { name: NAMES.before, env: {} }, { version: before })] : []),
    ...[ONE_TRANSACTION, SYNC, SYNC_GROUPED].map((mode) => shopServer(context, mode)),
  ]);
  for (const server of servers) await measure(context, server, Math.max(...connections), warmUpMs);
  const loads = connections.flatMap((count) => servers.map((server) => ({ server, count })));
  const measured = await inRounds(context, loads, async ({ server, count }, round) => {
    const taken = await measure(context, server, count, ms);
    const rate = Math.round(rateOf(taken.result));
    context.note(`accept ${round}: ${server.name}, ${count} connections: ${rate}/s`);
    return taken;
  });
  const rows = measured.map(({ item: { server, count }, taken }) => rowOf(server.name, count, taken));
  const byServer = servers.flatMap(({ name }) => rows.filter((row) => row.name === name));
  return { seconds: ms / 1_000, rows: byServer };
}

async function bareExpress({ testBed, closers }: Context): Promise<Server> {
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

async function shopServer(
  context: Context,
  { name, env }: Mode,
  options: Pick<ShopOptions, "version"> = {},
): Promise<Server> {
  const shop = await Shop.open(context, { name: "accept", env, ...options });
  await shop.startApi();
  let before = 0;
  return {
    name,
    process: shop.api,
    target: () => shop.target(),
    async check(accepted) {
      const written = (await shop.orders.count()) - before;
      before += written;
      if (written !== accepted)
        throw new Failure(`${name} accepted ${accepted} orders but stored ${written}`);
      if (env["PROCESSING"] === "sync") return;
      await shop.queues.untilWaiting(accepted, context.signal);
      // No worker will process them.
      await shop.queues.discard();
    },
  };
}

async function measure(
  { testBed, signal }: Context,
  server: Server,
  connections: number,
  ms: number,
): Promise<Measured> {
  const before = cpuMsOf(server.process.pid);
  const result = await testBed.load.run({ kind: "closed", ...server.target(), connections, until: { ms } });
  const serverCpu = (cpuMsOf(server.process.pid) - before) / result.lasted;
  server.process.assertRunning();
  await server.check(acceptedOf(result.all));
  await delay(SETTLE_MS, undefined, { signal });
  return { result, serverCpu };
}

function rowOf(name: string, connections: number, taken: readonly Measured[]): AcceptRow {
  const of = (value: (result: LoadResult) => number) => spreadOf(taken.map(({ result }) => value(result)));
  return {
    name,
    connections,
    requestsPerSecond: of(rateOf),
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99),
    refused: taken.reduce((sum, { result }) => sum + refusedOf(result.all), 0),
    serverCpu: spreadIfKnown(taken.map(({ serverCpu }) => serverCpu)),
    clientCpu: of(({ cpuMs, lasted }) => cpuMs / lasted),
  };
}

function rateOf({ inTime, lasted }: LoadResult): number {
  return (acceptedOf(inTime) / lasted) * 1_000;
}

function refusedOf(answers: LoadResult["all"]): number {
  return Object.values(answers).reduce((sum, count) => sum + count, 0) - acceptedOf(answers);
}
