import { createHash, randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { number, Sql } from "../chaos/sql.ts";
import { Database } from "../../db/database.ts";
import { createOrders } from "../../db/new-orders.ts";
import { setStock } from "../../db/stock.ts";
import { Failure } from "../shared/failure.ts";
import { totalOf, type NewOrder } from "../../src/order/order.ts";
import type { OrderRequestBody } from "../../src/api/schemas.ts";
import type { BenchProcess } from "./process.ts";
import { PipelineQueues } from "./pipeline-queues.ts";
import type { Sandbox, TestBed } from "./test-bed.ts";
import { GOODS, makeOrders } from "./workload.ts";

/** The API key. */
export const API_KEY = "bench-key-0123456789";
/** Orders per transaction. */
const PAGE = 1_000;
/** Only the service itself takes time; logging is as in production. */
const ENVIRONMENT = {
  API_KEYS: API_KEY,
  PORT: "0",
  LOG_LEVEL: "info",
  PROVIDER_LATENCY_MS: "0",
  CARRIER_TRANSIT_MS: "0",
};

export interface ShopOptions {
  /** Prefix of its processes' names and logs. */
  readonly name: string;
  /** Further environment variables. */
  readonly env?: Readonly<Record<string, string>>;
}

/** One configuration of the service, with its own database and queues. */
export class Shop {
  readonly name: string;
  readonly queues: PipelineQueues;
  readonly #testBed: TestBed;
  readonly #sandbox: Sandbox;
  readonly #env: Readonly<Record<string, string>>;
  readonly #database: Database;
  readonly #sql: Sql;
  readonly #workers: BenchProcess[] = [];
  #api: BenchProcess | undefined;
  #seed = 0;

  private constructor(testBed: TestBed, sandbox: Sandbox, { name, env }: ShopOptions) {
    this.name = name;
    this.#testBed = testBed;
    this.#sandbox = sandbox;
    this.#env = {
      ...ENVIRONMENT,
      ...env,
      DATABASE_URL: sandbox.databaseUrl,
      REDIS_URL: sandbox.redisUrl,
    };
    this.queues = new PipelineQueues(sandbox.redisUrl);
    this.#database = new Database({ url: sandbox.databaseUrl, poolSize: 2, timeoutMs: 60_000 });
    this.#sql = new Sql(sandbox.databaseUrl);
  }

  /** Makes a fully stocked shop without orders, whose processes are not started yet. */
  static async open(testBed: TestBed, options: ShopOptions): Promise<Shop> {
    const shop = new Shop(testBed, await testBed.makeSandbox(), options);
    await setStock(shop.#database, GOODS);
    return shop;
  }

  get databaseName(): string {
    return new URL(this.#sandbox.databaseUrl).pathname.slice(1);
  }

  get sql(): Sql {
    return this.#sql;
  }

  get database(): Database {
    return this.#database;
  }

  get workers(): readonly BenchProcess[] {
    return this.#workers;
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
    this.#api = await this.#testBed.startService("src/main", {
      name: `${this.name}-api`,
      env: this.#env,
      readyMessage: "listening",
    });
  }

  async startWorkers(count = 1, args: readonly string[] = []): Promise<void> {
    const started = await Promise.all(
      Array.from({ length: count }, () =>
        this.#testBed.startService("workers/main", {
          name: `${this.name}-worker`,
          env: this.#env,
          args,
          readyMessage: "worker ready",
        }),
      ),
    );
    this.#workers.push(...started);
  }

  async stopWorkers(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map((worker) => worker.stop()));
  }

  /** Stores orders as the API does and adds them to the first queue. @returns their ids */
  async placeOrders(count: number): Promise<string[]> {
    const orders = makeOrders(count, 1_000 + ++this.#seed).map((each) => asNew(each));
    for (let start = 0; start < count; start += PAGE) {
      const page = orders.slice(start, start + PAGE);
      await createOrders(this.#database, page);
      await this.queues.add(page.map(({ id }) => id));
    }
    return orders.map(({ id }) => id);
  }

  /** The number of orders in MySQL. */
  async countOrders(): Promise<number> {
    const [row] = await this.#sql.rows("SELECT COUNT(*) AS orders FROM orders", [], 300_000);
    return number(row?.["orders"]);
  }

  /** The number of orders that are not DELIVERED. */
  async countOpen(): Promise<number> {
    const [row] = await this.#sql.rows(
      "SELECT COUNT(*) AS orders FROM orders WHERE status <> 'DELIVERED'",
      [],
      300_000,
    );
    return number(row?.["orders"]);
  }

  /** @throws {Failure} unless there are exactly this many orders and all are DELIVERED */
  async assertDelivered(orders: number): Promise<void> {
    const [all, open] = [await this.countOrders(), await this.countOpen()];
    if (all !== orders || open > 0)
      throw new Failure(
        `${this.name}: expected ${orders} delivered orders, found ${all} of which ${open} are not delivered`,
      );
  }

  /** Stops the processes and removes the data. */
  async close(): Promise<void> {
    await Promise.all([this.#api?.stop(), this.stopWorkers()]);
    await this.queues.close();
    this.#sql.close();
    await this.#database.close();
    await this.#sandbox.close();
  }
}

/** Turns a request into an order, as the API does. */
function asNew(request: OrderRequestBody): NewOrder {
  const createdAt = new Date();
  const key = randomUUID();
  return {
    id: uuidv7({ msecs: createdAt.getTime() }),
    customerId: request.customerId,
    reference: request.reference ?? null,
    currency: request.currency,
    total: totalOf(request.lines) ?? 0,
    lines: request.lines,
    paymentToken: request.paymentToken ?? null,
    shipTo: request.shipTo ?? null,
    createdAt,
    idempotency: { client: digestOf(API_KEY), key, requestHash: digestOf(key) },
  };
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}
