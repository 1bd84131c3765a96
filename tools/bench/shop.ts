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
import { QueueLine } from "./queue-line.ts";
import type { Room, Stand } from "./stand.ts";
import { GOODS, makeOrders } from "./workload.ts";

/** The key that the APIs take. */
export const API_KEY = "bench-key-0123456789";
/** Orders written in one transaction. */
const PAGE = 1_000;
/** Nothing but the service takes time, and whatever it logs it logs. */
const ENVIRONMENT = {
  API_KEYS: API_KEY,
  PORT: "0",
  LOG_LEVEL: "info",
  PROVIDER_LATENCY_MS: "0",
  CARRIER_TRANSIT_MS: "0",
};

export interface ShopOptions {
  /** Its processes' logs are named after it. */
  readonly name: string;
  /** Variables of the service beside those of every shop. */
  readonly env?: Readonly<Record<string, string>>;
}

/** One configuration of the service with a database and queues of its own. */
export class Shop {
  readonly name: string;
  readonly line: QueueLine;
  readonly #stand: Stand;
  readonly #room: Room;
  readonly #env: Readonly<Record<string, string>>;
  readonly #database: Database;
  readonly #sql: Sql;
  readonly #workers: BenchProcess[] = [];
  #api: BenchProcess | undefined;
  #seed = 0;

  private constructor(stand: Stand, room: Room, { name, env }: ShopOptions) {
    this.name = name;
    this.#stand = stand;
    this.#room = room;
    this.#env = {
      ...ENVIRONMENT,
      ...env,
      DATABASE_URL: room.databaseUrl,
      REDIS_URL: room.redisUrl,
    };
    this.line = new QueueLine(room.redisUrl);
    this.#database = new Database({ url: room.databaseUrl, poolSize: 2, timeoutMs: 60_000 });
    this.#sql = new Sql(room.databaseUrl);
  }

  /** An empty one with full shelves, whose processes do not run yet. */
  static async open(stand: Stand, options: ShopOptions): Promise<Shop> {
    const shop = new Shop(stand, await stand.makeRoom(), options);
    await setStock(shop.#database, GOODS);
    return shop;
  }

  get databaseName(): string {
    return new URL(this.#room.databaseUrl).pathname.slice(1);
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

  /** @throws {Error} before it was started. */
  get api(): BenchProcess {
    if (this.#api === undefined) throw new Error(`${this.name} has no API`);
    return this.#api;
  }

  /** Where the API listens. */
  get port(): number {
    return Number(new URL(String(this.api.ready["url"])).port);
  }

  /** Who to send orders to, other ones each time. */
  target(): { readonly port: number; readonly apiKey: string; readonly seed: number } {
    return { port: this.port, apiKey: API_KEY, seed: ++this.#seed };
  }

  async startApi(): Promise<void> {
    this.#api = await this.#stand.startService("src/main", {
      name: `${this.name}-api`,
      env: this.#env,
      readyMessage: "listening",
    });
  }

  async startWorkers(count = 1, args: readonly string[] = []): Promise<void> {
    const started = await Promise.all(
      Array.from({ length: count }, () =>
        this.#stand.startService("workers/main", {
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

  /** Writes orders as the API does, and puts them into the first queue. @returns their ids. */
  async takeIn(count: number): Promise<string[]> {
    const orders = makeOrders(count, 1_000 + ++this.#seed).map((each) => asNew(each));
    for (let start = 0; start < count; start += PAGE) {
      const page = orders.slice(start, start + PAGE);
      await createOrders(this.#database, page);
      await this.line.add(page.map(({ id }) => id));
    }
    return orders.map(({ id }) => id);
  }

  /** Orders in MySQL. */
  async countOrders(): Promise<number> {
    const [row] = await this.#sql.rows("SELECT COUNT(*) AS orders FROM orders", [], 300_000);
    return number(row?.["orders"]);
  }

  /** Orders that are not DELIVERED: what was measured must have been done. */
  async countOpen(): Promise<number> {
    const [row] = await this.#sql.rows(
      "SELECT COUNT(*) AS orders FROM orders WHERE status <> 'DELIVERED'",
      [],
      300_000,
    );
    return number(row?.["orders"]);
  }

  /** @throws {Failure} when an order is not DELIVERED, or there are not so many. */
  async assertDelivered(orders: number): Promise<void> {
    const [all, open] = [await this.countOrders(), await this.countOpen()];
    if (all !== orders || open > 0)
      throw new Failure(`${this.name}: of ${orders} orders ${all} are there, and ${open} are not delivered`);
  }

  /** Ends its processes and removes its data. */
  async close(): Promise<void> {
    await Promise.all([this.#api?.stop(), this.stopWorkers()]);
    await this.line.close();
    this.#sql.close();
    await this.#database.close();
    await this.#room.close();
  }
}

/** What the API makes of a request. */
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
