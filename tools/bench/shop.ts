import { createHash, randomUUID } from "node:crypto";
import { Sql } from "../chaos/sql.ts";
import { Database } from "../../db/database.ts";
import { createOrders } from "../../db/new-orders.ts";
import { setStock } from "../../db/stock.ts";
import { Failure } from "../shared/failure.ts";
import { newOrder } from "../../src/api/new-order.ts";
import type { NewOrder } from "../../src/order/order.ts";
import type { OrderRequestBody } from "../../src/api/schemas.ts";
import type { Context } from "./context.ts";
import { acceptedOf } from "./load/messages.ts";
import { OrderRows } from "./order-rows.ts";
import type { BenchProcess } from "./process.ts";
import { PipelineQueues } from "./pipeline-queues.ts";
import type { Revision } from "./revision.ts";
import type { Sandbox, StartOptions, TestBed } from "./test-bed.ts";
import { GOODS, makeOrders } from "./workload.ts";

/** The API key. */
export const API_KEY = "bench-key-0123456789";
/** Orders per transaction. */
const PAGE = 1_000;
/** Connections over which an earlier version gets its backlog. */
const CONNECTIONS = 50;
/** Only the service itself takes time; logging is as in production. */
const ENVIRONMENT = {
  API_KEYS: API_KEY,
  PORT: "0",
  LOG_LEVEL: "info",
  PROVIDERS_MODULE: "tools/simulators/in-process",
  // For earlier versions, which simulated providers by themselves.
  PROVIDER_LATENCY_MS: "0",
  CARRIER_TRANSIT_MS: "0",
};

export interface ShopOptions {
  /** Prefix of its processes' names and logs. */
  readonly name: string;
  /** Further environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** An earlier version to run instead of this one. Its tables may differ, so it is stocked and filled over HTTP. */
  readonly version?: Revision | undefined;
}

/** One configuration of the service, with its own database and queues. */
export class Shop {
  readonly name: string;
  readonly queues: PipelineQueues;
  readonly database: Database;
  readonly sql: Sql;
  readonly orders: OrderRows;
  readonly #testBed: TestBed;
  readonly #sandbox: Sandbox;
  readonly #version: Revision | undefined;
  readonly #env: Readonly<Record<string, string>>;
  readonly #workers: BenchProcess[] = [];
  #api: BenchProcess | undefined;
  #seed = 0;

  private constructor(testBed: TestBed, sandbox: Sandbox, { name, env, version }: ShopOptions) {
    this.name = name;
    this.#testBed = testBed;
    this.#sandbox = sandbox;
    this.#version = version;
    this.#env = {
      ...ENVIRONMENT,
      ...env,
      DATABASE_URL: sandbox.databaseUrl,
      REDIS_URL: sandbox.redisUrl,
    };
    this.queues = new PipelineQueues(sandbox.redisUrl);
    this.database = new Database({ url: sandbox.databaseUrl, poolSize: 2, timeoutMs: 60_000 });
    this.sql = new Sql(sandbox.databaseUrl);
    this.orders = new OrderRows(this.sql);
  }

  /** Makes a fully stocked shop without orders, whose processes are not started yet. @throws {Failure} */
  static async open(
    { testBed, closers }: Pick<Context, "testBed" | "closers">,
    options: ShopOptions,
  ): Promise<Shop> {
    const sandbox = await testBed.makeSandbox(options.version);
    const shop = closers.add(new Shop(testBed, sandbox, options), (opened) => opened.close());
    await shop.#fillShelves();
    return shop;
  }

  get databaseName(): string {
    return new URL(this.#sandbox.databaseUrl).pathname.slice(1);
  }

  /** The first worker. @throws {Error} if none was started */
  get worker(): BenchProcess {
    const [worker] = this.#workers;
    if (worker === undefined) throw new Error(`${this.name} has no worker`);
    return worker;
  }

  /** @throws {Error} if it was not started */
  get api(): BenchProcess {
    if (this.#api === undefined) throw new Error(`${this.name} has no API`);
    return this.#api;
  }

  /** The API's port. */
  get port(): number {
    return Number(new URL(String(this.api.ready["url"])).port);
  }

  /** A target for a load, with new orders each time. */
  target(): { readonly port: number; readonly apiKey: string; readonly seed: number } {
    return { port: this.port, apiKey: API_KEY, seed: ++this.#seed };
  }

  async startApi(): Promise<void> {
    this.#api = await this.#start("src/main", { name: `${this.name}-api`, readyMessage: "listening" });
  }

  async startWorkers(count = 1, args: readonly string[] = []): Promise<BenchProcess[]> {
    const options = { name: `${this.name}-worker`, args, readyMessage: "worker ready" };
    const started = await Promise.all(
      Array.from({ length: count }, () => this.#start("workers/main", options)),
    );
    this.#workers.push(...started);
    return started;
  }

  /** Stops a worker, as a deploy does. */
  async stopWorker(worker: BenchProcess): Promise<void> {
    this.#workers.splice(this.#workers.indexOf(worker), 1);
    await worker.stop();
  }

  /** Stores orders as the API does and adds them to the first queue. */
  async placeOrders(count: number): Promise<void> {
    if (this.#version) return this.#sendOrders(count);
    const orders = makeOrders(count, 1_000 + ++this.#seed).map((each) => asNew(each));
    for (let start = 0; start < count; start += PAGE) {
      const page = orders.slice(start, start + PAGE);
      await createOrders(this.database, page);
      await this.queues.add(page.map(({ id }) => id));
    }
  }

  /** Waits until no order is under way in MySQL. @throws when aborted, or if a worker exits */
  untilDelivered(signal: AbortSignal): Promise<void> {
    return this.orders.untilNoneIsUnderWay(this.#workers, signal);
  }

  /** Stops the processes and removes the data. */
  async close(): Promise<void> {
    await Promise.all([this.#api?.stop(), ...this.#workers.map((worker) => worker.stop())]);
    await this.queues.close();
    this.sql.close();
    await this.database.close();
    await this.#sandbox.close();
  }

  #start(script: "src/main" | "workers/main", options: StartOptions): Promise<BenchProcess> {
    return this.#testBed.startService(script, { ...options, env: this.#env, code: this.#version?.code });
  }

  async #fillShelves(): Promise<void> {
    if (!this.#version) return void (await setStock(this.database, GOODS));
    await this.#withApi(async (port) => {
      const answer = await fetch(`http://127.0.0.1:${port}/stock`, {
        method: "POST",
        headers: { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" },
        body: JSON.stringify({ items: GOODS }),
      });
      if (!answer.ok) throw new Failure(`${this.name} answered ${answer.status}: ${await answer.text()}`);
    });
  }

  async #sendOrders(count: number): Promise<void> {
    const load = { kind: "closed", connections: CONNECTIONS, until: { orders: count } } as const;
    const { all } = await this.#withApi(() => this.#testBed.load.run({ ...load, ...this.target() }));
    if (acceptedOf(all) !== count) throw new Failure(`${this.name} answered ${JSON.stringify(all)}`);
  }

  /** Runs an API for this work only: no other shop has one while its backlog drains. */
  async #withApi<T>(work: (port: number) => Promise<T>): Promise<T> {
    await this.startApi();
    try {
      return await work(this.port);
    } finally {
      await this.api.stop();
    }
  }
}

/** Turns a request into an order, as the API does. */
function asNew(request: OrderRequestBody): NewOrder {
  const key = randomUUID();
  return newOrder(request, { client: digestOf(API_KEY), key, requestHash: digestOf(key) });
}

function digestOf(value: string): string {
  return createHash("sha256").update(value).digest("base64");
}
