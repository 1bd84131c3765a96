import { listEvents } from "../../db/order-events.ts";
import { orderStore } from "../../db/order-store.ts";
import { listShipments } from "../../db/shipments.ts";
import { setStock } from "../../db/stock.ts";
import { loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { connectPorts } from "../../src/composition/providers.ts";
import { BatchingStore } from "../../src/engine/batching-store.ts";
import { Executor } from "../../src/engine/executor.ts";
import type { Breakers } from "../../src/engine/stage-runner.ts";
import { CANCEL, lifecycle } from "../../src/order/lifecycle.ts";
import type { NewOrder } from "../../src/order/order.ts";
import type { Shipment } from "../../src/order/shipment.ts";
import { createLogger } from "../../src/platform/log.ts";
import { easypostCarrier } from "../../src/providers/easypost/carrier.ts";
import { Parcels, type ParcelsOptions } from "../../src/providers/shipping/parcels.ts";
import { SENDER } from "../../tools/simulators/easypost/sender.ts";
import { startEasyPost } from "../../tools/simulators/easypost/server.ts";
import { createTestEnvironment } from "./environment.ts";
import { createOrder, readOrder } from "./orders.ts";

export const WEBHOOK_SECRET = "webhook-sécret-1";
export const HOUR_MS = 3_600_000;

export const SHIP_TO = {
  name: "Elizabeth Swan",
  line1: "179 N Harbor Dr",
  city: "Redondo Beach",
  region: "CA",
  postalCode: "90277",
  country: "US",
};

/** What makes EasyPost, as simulated at this URL, the carrier. */
export function easypostVariables(url: string) {
  return {
    CARRIER: "easypost",
    EASYPOST_API_KEY: "EZTKtest",
    EASYPOST_WEBHOOK_SECRET: WEBHOOK_SECRET,
    EASYPOST_API_URL: `${url}/v2`,
    SHIP_FROM: JSON.stringify(SENDER),
  };
}

/** Stages with the simulated EasyPost behind them, and no queue: a test says which stage runs when. */
export async function startShipping(variables: Readonly<Record<string, string>> = {}) {
  const environment = await createTestEnvironment();
  const easypost = await startEasyPost({ behaviour: { transitMs: 10 * HOUR_MS } });
  const { database, databaseUrl, redisUrl, providers } = environment;
  const connect = (others: Readonly<Record<string, string>>) =>
    connectPorts(
      loadConfig(PROCESSES.worker, {
        DATABASE_URL: databaseUrl,
        REDIS_URL: redisUrl,
        PAYMENTS_URL: providers.paymentsUrl,
        CARRIER_URL: providers.carrierUrl,
        STRIPE_API_URL: providers.paymentsUrl,
        ...easypostVariables(easypost.url),
        ...variables,
        ...others,
      }),
      database,
    );
  const store = orderStore(database);
  const ports = await connect({});
  const executorOf = (given: typeof ports, breakers?: Breakers) =>
    new Executor({
      lifecycle,
      ports: given,
      store: new BatchingStore({ store }),
      ...(breakers && { breakers }),
    });
  const executor = executorOf(ports);
  await setStock(
    database,
    ["MUG-BLUE", "MUG-RED"].map((sku) => ({ sku, onHand: 1_000 })),
  );

  /** Runs the step that is due. */
  const step = async (id: string, { attempt = 1, by = executor } = {}) => {
    const { status, cancellation } = await readOrder(database, id);
    const due = lifecycle.next({ status, cancelled: cancellation !== null });
    if (due === undefined) throw new Error(`the order is ${status}`);
    return by.execute(id, due.step, AbortSignal.timeout(20_000), { attempt, startedAt: new Date() });
  };
  return {
    environment,
    database,
    easypost,
    ports,
    executor,
    store,
    connect,
    executorOf,
    step,
    /** An order that is paid. */
    async paid(given: Partial<NewOrder> = {}): Promise<string> {
      const id = await createOrder(database, { shipTo: SHIP_TO, ...given });
      await step(id);
      await step(id);
      return id;
    },
    async cancel(id: string, by = executor) {
      const { status } = await readOrder(database, id);
      await store.requestCancellation({
        orderId: id,
        whileIn: [status],
        reason: "asked for",
        at: new Date(),
      });
      return by.execute(id, CANCEL, AbortSignal.timeout(20_000));
    },
    shipments: (id: string) => listShipments(database, [id]),
    order: (id: string) => readOrder(database, id),
    eventTypes: async (id: string) => (await listEvents(database, id)).map(({ type }) => type),
    async close() {
      await easypost.close();
      await environment.close();
    },
  };
}

export type Shipping = Awaited<ReturnType<typeof startShipping>>;

/** EasyPost's adapter, in front of the simulated one. */
export function carrierOf({ easypost }: Pick<Shipping, "easypost">) {
  return easypostCarrier({
    apiKey: "EZTKtest",
    webhookSecrets: [WEBHOOK_SECRET],
    url: `${easypost.url}/v2`,
    timeoutMs: 10_000,
    parcel: { weight: 500 },
  });
}

/** What warehouses and operators do. Nobody is woken. */
export function parcelsOf(line: Shipping, given: Partial<ParcelsOptions> = {}): Parcels {
  const nobody = async () => undefined;
  return new Parcels({
    database: line.database,
    provider: carrierOf(line),
    wake: nobody,
    goOn: nobody,
    onEvents: () => undefined,
    log: createLogger({ name: "test", level: "silent" }),
    ...given,
  });
}

/** The order's shipment with this number, as it is now. */
export async function shipmentOf(line: Shipping, id: string, number = 1): Promise<Shipment> {
  const found = (await line.shipments(id)).find((each) => each.number === number);
  if (found === undefined) throw new Error(`there is no parcel ${number}`);
  return found;
}

/** The labels that were bought for an order at the simulated EasyPost. */
export function labelsOf({ easypost }: Pick<Shipping, "easypost">, id: string) {
  return easypost.easypost.bought.filter(({ reference }) => reference?.startsWith(id) ?? false);
}

/** Loses the simulated EasyPost's answer to the next POST whose path ends with this. */
export function loseAnswer({ easypost: { easypost } }: Pick<Shipping, "easypost">, end: string): void {
  const handle = easypost.handle.bind(easypost);
  easypost.handle = (call) => {
    const answer = handle(call);
    if (call.method !== "POST" || !call.path.endsWith(end)) return answer;
    easypost.handle = handle;
    return { status: 502, body: {} };
  };
}

/** Counts the calls that a simulated EasyPost gets, until it is stopped. */
export function countCalls(easypost: Shipping["easypost"]["easypost"]) {
  const handle = easypost.handle.bind(easypost);
  const calls = { count: 0, stop: () => void (easypost.handle = handle) };
  easypost.handle = (call) => {
    calls.count++;
    return handle(call);
  };
  return calls;
}
