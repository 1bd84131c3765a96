import path from "node:path";
import { Redis } from "ioredis";
import { Database } from "../../db/database.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { changeQueueSettings } from "../../db/queue-settings.ts";
import { SERVICE_FLAGS } from "../launcher/node-flags.ts";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { freePort } from "../launcher/ports.ts";
import { compileInto, makeRunFolder, removeRunFolder } from "../launcher/run-folder.ts";
import {
  startPrivateMysql,
  startPrivateRedis,
  type PrivateServer,
} from "../launcher/servers/private-server.ts";
import { removeAbandonedTempFolders } from "../launcher/temp-folder.ts";
import type { BehaviourChange } from "../simulators/easypost/behaviour.ts";
import { SENDER } from "../simulators/easypost/sender.ts";
import { startEasyPost, type EasyPostServer } from "../simulators/easypost/server.ts";
import { startProviders, type Fault, type Provider, type Providers } from "../simulators/providers.ts";
import type { WebhookSettings } from "../simulators/stripe/webhooks.ts";
import { VARIABLES } from "../../src/composition/variables.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { pay } from "../../src/order/stages/pay.ts";
import { startReplicatedMysql, type ReplicatedMysql } from "./replicated-mysql.ts";
import { numbered } from "./schedule.ts";
import { createAccount, createDatabase, Sql } from "./sql.ts";
import { Supervised } from "./supervised.ts";
import { startUnreliableStage, type UnreliableStage } from "./unreliable-stage.ts";

/** The API key. */
export const API_KEY = "chaos-key-0123456789";
const DATABASE = "conveyor";
/** The service's MySQL account. */
export const ACCOUNT = "service";
const TRANSIT_MS = 2_000;
const FIRST_HALF = ["reserve", "pay"];
/** The stages of every other worker, and those of the rest. */
const halves = () =>
  [
    ["--stages", FIRST_HALF.join(",")],
    [
      "--stages",
      lifecycle.steps
        .map(({ name }) => name)
        .filter((name) => !FIRST_HALF.includes(name))
        .join(","),
    ],
  ] as const;
/** What a fast real provider takes, so that there is nearly always a call in flight when something dies. */
const PROVIDER_LATENCY_MS = 100;
/** Variables that we set ourselves; all others are passed on from the environment. */
const OWN_VARIABLES = new Set(["DATABASE_URL", "REDIS_URL", "API_KEYS", "HOST", "PORT", "NODE_ENV"]);

/** The whole system as in production: processes, servers and providers, all of which can be broken. */
export interface Deployment {
  readonly mysql: PrivateServer;
  readonly redis: PrivateServer;
  readonly providers: Providers;
  /** Set if the simulated EasyPost is the carrier. */
  readonly easypost: EasyPostServer | undefined;
  /** For observers: an account with all rights. */
  readonly databaseUrl: string;
  /** Set if MySQL has a replica to fail over to. */
  readonly standby: ReplicatedMysql | undefined;
  /** Set if the pipeline has a stage over HTTP. */
  readonly stage: UnreliableStage | undefined;
  readonly apis: readonly Supervised[];
  readonly apiUrls: readonly URL[];
  readonly workers: readonly Supervised[];
  /** An observer's connection to MySQL. */
  readonly sql: Sql;
  /** An observer's connection to Redis. */
  readonly observerRedis: Redis;
  /** The folder with the processes' logs. */
  readonly logFolder: string;
  /** Replaces the current fault of a provider, for calls from now on. */
  setFault(provider: Provider, fault: Fault): void;
  /** The records of the providers that are in use. */
  books(): Providers["books"];
  /** The API or worker with this name. */
  process(name: string): Supervised | undefined;
  /** Stops everything, whatever its state. `keepLogs` keeps the processes' logs. */
  close(keepLogs: boolean): Promise<void>;
}

/** How the simulated Stripe misbehaves all the time. */
export interface StripeTrouble {
  /** How long it keeps idempotency keys. Milliseconds. */
  readonly keysMs: number;
  readonly webhooks: Pick<WebhookSettings, "lost" | "doubled" | "latestMs">;
}

/** How the simulated EasyPost misbehaves all the time. */
export type EasyPostTrouble = BehaviourChange;

export interface DeploymentOptions {
  readonly apis: number;
  readonly workers: number;
  /** Whether every other worker runs only the first stages, and the others the rest. */
  readonly isSplit?: boolean;
  /** Orders in `pay` at once, over all workers. */
  readonly payLimit?: number | undefined;
  /** Milliseconds until a parcel is delivered. */
  readonly transitMs?: number;
  /** Whether MySQL has a replica to fail over to. */
  readonly hasStandby?: boolean;
  /** The seed of a stage over HTTP that the pipeline has as well. */
  readonly httpStageSeed?: number | undefined;
  /** Set if the simulated Stripe takes the payments. */
  readonly stripe?: StripeTrouble | undefined;
  /** Set if the simulated EasyPost is the carrier. */
  readonly easypost?: EasyPostTrouble | undefined;
  /** Decides which calls a provider fault hits. */
  readonly random: () => number;
}

/** Starts everything with an empty database. @throws {Failure} if something is missing or does not start */
export async function startDeployment(options: DeploymentOptions): Promise<Deployment> {
  removeAbandonedTempFolders();
  const folder = makeRunFolder("chaos");
  const opened: (() => Promise<void> | void)[] = [];
  const closeAll = async (keepLogs: boolean): Promise<void> => {
    for (const close of opened.splice(0).toReversed()) await close();
    removeRunFolder(folder, keepLogs);
  };
  try {
    const [standby, redis, code] = await Promise.all([
      options.hasStandby ? startReplicatedMysql() : undefined,
      startPrivateRedis(),
      compileInto(folder),
    ]);
    opened.push(() => stopAll([redis]));
    if (standby) opened.push(() => standby.close());
    const mysql = standby?.primary ?? (await startPrivateMysql());
    if (!standby) opened.push(() => stopAll([mysql]));
    const providers = await startProviders({
      transitMs: options.transitMs ?? TRANSIT_MS,
      latencyMs: PROVIDER_LATENCY_MS,
      random: options.random,
    });
    opened.push(() => providers.close());
    const easypost = options.easypost && (await startSimulatedEasyPost(options.easypost, options.random));
    if (easypost) opened.push(() => easypost.close());
    const databaseUrl = await createDatabase(standby?.url ?? mysql.url, DATABASE);
    const serviceUrl = await createAccount(databaseUrl, ACCOUNT);
    const { httpStageSeed } = options;
    const stage = httpStageSeed === undefined ? undefined : await startUnreliableStage(folder, httpStageSeed);
    if (stage) opened.push(() => stage.close());
    await migrateDatabase({ url: databaseUrl });
    if (options.payLimit !== undefined) await limitPayments(databaseUrl, options.payLimit);

    const ports = await freePorts(options.apis);
    const shared = {
      ...serviceVariables(),
      DATABASE_URL: serviceUrl,
      REDIS_URL: redis.url,
      PAYMENTS_URL: providers.paymentsUrl,
      CARRIER_URL: providers.carrierUrl,
      PROVIDERS_MODULE: "tools/simulators/inventory",
      INVENTORY_SIMULATOR_URL: providers.inventoryUrl,
      ...(options.stripe && stripeVariables(providers.paymentsUrl)),
      ...(easypost && easypostVariables(easypost.url)),
      ...(stage && { ...stage.env, PUBLIC_URL: `http://127.0.0.1:${ports[0]}` }),
    };
    if (options.stripe) {
      const { keysMs, webhooks } = options.stripe;
      providers.forgetKeysAfter(keysMs);
      const url = `http://127.0.0.1:${ports[0]}/providers/payments/webhook`;
      providers.setWebhooks({ url, secret: WEBHOOK_SECRET, ...webhooks });
    }
    easypost?.easypost.webhooks.endpoints.set("hook_chaos", {
      id: "hook_chaos",
      url: `http://127.0.0.1:${ports[0]}/providers/carrier/webhook`,
      secret: WEBHOOK_SECRET,
      at: new Date(),
      headers: [],
    });
    const supervise = (
      name: string,
      script: string,
      readyMessage: string,
      env: NodeJS.ProcessEnv,
      args: readonly string[] = [],
    ): Supervised =>
      new Supervised({
        name,
        command: process.execPath,
        args: [...SERVICE_FLAGS, path.join(code, script), ...args],
        cwd: PROJECT_FOLDER,
        env: { PATH: process.env["PATH"], ...shared, ...env },
        logFile: path.join(folder, `${name}.log`),
        clockFile: path.join(folder, `${name}.clock`),
        readyMessage,
        needs: () => [mysql.process, redis.process, ...(standby ? [standby.replica.process] : [])],
      });
    const apis = numbered("api", options.apis).map((name, index) =>
      supervise(name, "src/main.js", "listening", { PORT: String(ports[index]), API_KEYS: API_KEY }),
    );
    const workers = numbered("worker", options.workers).map((name, index) =>
      supervise(name, "workers/main.js", "worker ready", {}, options.isSplit ? halves()[index % 2] : []),
    );
    const processes = [...apis, ...workers];
    opened.push(async () => void (await Promise.all(processes.map((each) => each.stop()))));
    for (const each of processes) each.start();
    await Promise.all(processes.map((each) => each.ready()));

    const sql = new Sql(databaseUrl);
    opened.push(() => sql.close());
    const observerRedis = connectObserver(redis.url);
    opened.push(() => observerRedis.disconnect());
    return {
      mysql,
      redis,
      providers,
      easypost,
      databaseUrl,
      standby,
      stage,
      apis,
      apiUrls: ports.map((port) => new URL(`http://127.0.0.1:${port}`)),
      workers,
      sql,
      observerRedis,
      logFolder: folder,
      setFault(provider, fault) {
        if (provider === "carrier" && easypost) easypost.setFault(fault);
        else providers.setFault(provider, fault);
      },
      books: () => (easypost ? withLabelsOf(easypost, providers) : providers.books),
      process: (name) => processes.find((each) => each.name === name),
      close: closeAll,
    };
  } catch (error) {
    await closeAll(true);
    throw error;
  }
}

/** Soon enough that a run does not wait for lost webhooks. */
const TRACKED_EVERY = "5s";
const WEBHOOK_SECRET = "whsec_chaos";

function stripeVariables(url: string): Record<string, string> {
  return {
    PAYMENTS: "stripe",
    STRIPE_API_URL: url,
    STRIPE_SECRET_KEY: "sk_test_chaos",
    STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
  };
}

function startSimulatedEasyPost(behaviour: EasyPostTrouble, random: () => number): Promise<EasyPostServer> {
  return startEasyPost({ behaviour, random, latencyMs: PROVIDER_LATENCY_MS });
}

function easypostVariables(url: string): Record<string, string> {
  return {
    CARRIER: "easypost",
    EASYPOST_API_URL: `${url}/v2`,
    EASYPOST_API_KEY: "EZTKchaos",
    EASYPOST_WEBHOOK_SECRET: WEBHOOK_SECRET,
    SHIP_FROM: JSON.stringify(SENDER),
    TRACKING_INTERVAL: TRACKED_EVERY,
    FULFILMENT: process.env["FULFILMENT"] ?? "manual",
  };
}

/** The carrier's labels in place of those of the carrier that is not in use. */
function withLabelsOf({ easypost }: EasyPostServer, { books }: Providers): Providers["books"] {
  const labels = easypost.bought.map(({ reference, trackingCode, refundStatus, at }) => ({
    key: reference ?? "",
    orderId: reference?.split(":")[0] ?? "",
    trackingNumber: trackingCode,
    voided: refundStatus === "refunded",
    at,
  }));
  const { charges, refunds, declines, attempts } = books;
  return { charges, refunds, declines, attempts, labels };
}

/** As an operator would, before any worker runs. */
async function limitPayments(databaseUrl: string, concurrency: number): Promise<void> {
  const database = new Database({ url: databaseUrl });
  try {
    const action = { actor: "chaos", action: "limit", target: pay.name };
    await changeQueueSettings(database, pay.name, { concurrency }, action);
  } finally {
    await database.close();
  }
}

async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

/** The service's variables from our environment: `SWEEP_AFTER_MS=5000 npm run chaos`. */
function serviceVariables(): NodeJS.ProcessEnv {
  const names = Object.keys(VARIABLES).filter((name) => !OWN_VARIABLES.has(name));
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

function connectObserver(url: string): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: null,
    retryStrategy: () => 200,
    disconnectTimeout: 100,
  });
  // Redis will be away at times; commands wait until it is back.
  redis.on("error", () => {});
  return redis;
}

async function stopAll(servers: readonly PrivateServer[]): Promise<void> {
  for (const server of servers) server.kill("SIGCONT");
  await Promise.all(servers.map((server) => server.stop()));
}
