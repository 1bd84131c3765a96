import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { z } from "zod";
import { readConfigFile } from "./config-file.ts";
import type { GivenProviders } from "./configuration.ts";
import { type SIMULATED, VARIABLES, WELL_KNOWN_KEYS } from "./variables.ts";
import { ConfigError } from "../platform/config-error.ts";
import { describeError } from "../platform/describe-error.ts";
import { usePipeline } from "../order/lifecycle.ts";
import { DEFAULT_SETTINGS, type Stage, type StageSettings } from "../order/stage.ts";

/** The variables, and what can only come from a configuration file: see {@link configure}. */
const variables = z.object({ ...VARIABLES, providers: z.custom<GivenProviders>().optional() });

/** Read by every process. */
const SHARED = {
  CONVEYOR_CONFIG: true,
  PIPELINE_SET_BY: true,
  DATABASE_URL: true,
  REDIS_URL: true,
  REDIS_PREFIX: true,
  HOST: true,
  METRICS_PORT: true,
  NODE_ENV: true,
  LOG_LEVEL: true,
  DATABASE_POOL_SIZE: true,
  GROUP_COMMIT: true,
  SHUTDOWN_TIMEOUT_MS: true,
  STAGE_ATTEMPTS: true,
  STAGE_BACKOFF_MS: true,
} as const;

/** Read for sending webhooks. */
const WEBHOOKS = {
  WEBHOOK_ALLOWED_NETWORKS: true,
  WEBHOOK_TIMEOUT_MS: true,
  WEBHOOK_CONCURRENCY: true,
  WEBHOOK_DISABLE_AFTER: true,
  WEBHOOK_RETENTION: true,
} as const;

/** Read for processing orders. */
const STAGES = {
  STAGE_TIMEOUT_MS: true,
  PORT: true,
  PUBLIC_URL: true,
  PAYMENT_DEADLINE: true,
  PROBE_INTERVAL_MS: true,
  SWEEP_INTERVAL_MS: true,
  SWEEP_AFTER_MS: true,
  PAYMENTS: true,
  PAYMENT_CAPTURE: true,
  STRIPE_SECRET_KEY: true,
  STRIPE_WEBHOOK_SECRET: true,
  STRIPE_API_URL: true,
  PAYMENTS_URL: true,
  CARRIER_URL: true,
  INVENTORY_URL: true,
  SIGNING_SECRET: true,
  CARRIER: true,
  CARRIER_SERVICE: true,
  SHIP_FROM: true,
  DEFAULT_PARCEL: true,
  EASYPOST_API_KEY: true,
  EASYPOST_WEBHOOK_SECRET: true,
  EASYPOST_API_URL: true,
  FULFILMENT: true,
  TRACKING_INTERVAL: true,
  PROVIDERS_MODULE: true,
  providers: true,
  ...WEBHOOKS,
} as const;

/** Production has no provider by default. Reported even if other variables are invalid. */
function requiredInProduction(port: keyof GivenProviders, name: keyof typeof SIMULATED, what: string) {
  type Given = Partial<
    Pick<
      z.output<typeof variables>,
      "NODE_ENV" | typeof name | "PROVIDERS_MODULE" | "providers" | "PAYMENTS" | "CARRIER"
    >
  >;
  const isGiven = ({ NODE_ENV, PROVIDERS_MODULE, PAYMENTS, CARRIER, providers, [name]: url }: Given) =>
    NODE_ENV !== "production" ||
    url !== undefined ||
    PROVIDERS_MODULE !== undefined ||
    providers?.[port] !== undefined ||
    (port === "payments" && PAYMENTS === "stripe") ||
    (port === "carrier" && CARRIER === "easypost");
  const error = `must be set to the address of ${what} when NODE_ENV is production: see docs/providers.md`;
  const options = { path: [name], error, when: () => true };
  return [isGiven, options] as const;
}
const PAYMENTS_REQUIRED = requiredInProduction("payments", "PAYMENTS_URL", "a payment provider");
const CARRIER_REQUIRED = requiredInProduction("carrier", "CARRIER_URL", "a carrier");

/** What must be set if a provider is chosen. */
function requiredBy(
  choice: "PAYMENTS" | "CARRIER",
  chosen: "stripe" | "easypost",
  name: "STRIPE_SECRET_KEY" | "EASYPOST_API_KEY" | "SHIP_FROM",
  guide: string,
) {
  type Given = Partial<Pick<z.output<typeof variables>, typeof choice | typeof name>>;
  const isGiven = ({ [choice]: used, [name]: value }: Given) => used !== chosen || value !== undefined;
  const options = {
    path: [name],
    error: `must be set when ${choice} is ${chosen}: see ${guide}`,
    when: ({ issues }: z.core.ParsePayload) => !issues.some(({ path }) => path?.[0] === name),
  };
  return [isGiven, options] as const;
}
const STRIPE_KEY_REQUIRED = requiredBy("PAYMENTS", "stripe", "STRIPE_SECRET_KEY", "docs/providers.md");
const EASYPOST_KEY_REQUIRED = requiredBy("CARRIER", "easypost", "EASYPOST_API_KEY", "docs/shipping.md");
const SENDER_REQUIRED = requiredBy("CARRIER", "easypost", "SHIP_FROM", "docs/shipping.md");

/** What each kind of process reads. */
const worker = variables.pick({
  ...SHARED,
  ...STAGES,
  WEDGED_AFTER_MS: true,
  HAND_OVER: true,
  EVENTS_STREAM_LENGTH: true,
});

function hasWellKnown(keys: readonly string[] | undefined): boolean {
  return keys?.some((key) => WELL_KNOWN_KEYS.has(key)) ?? false;
}

/** Whether nobody else can use a well-known key. Production refuses those anyway. */
function isForThisMachineOnly(
  given: Partial<Pick<z.output<typeof variables>, "NODE_ENV" | "HOST" | "API_KEYS">>,
): boolean {
  const { NODE_ENV, HOST = "127.0.0.1", API_KEYS } = given;
  return NODE_ENV === "production" || isLoopback(HOST) || !hasWellKnown(API_KEYS);
}

/** Whether only this machine reaches an address. */
function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/i.test(host);
}

export const PROCESSES = {
  api: variables
    .pick({
      ...SHARED,
      ...STAGES,
      DATABASE_READ_URL: true,
      DATABASE_TIMEOUT_MS: true,
      API_KEYS: true,
      PROCESSING: true,
      TRUST_PROXY: true,
      SHUTDOWN_DELAY_MS: true,
    })
    .partial({ REDIS_URL: true })
    .refine(({ PROCESSING, REDIS_URL }) => PROCESSING === "sync" || REDIS_URL !== undefined, {
      path: ["REDIS_URL"],
      error: "must be set, unless PROCESSING is sync",
      when: ({ issues }) =>
        !issues.some(({ path }) => path?.[0] === "REDIS_URL" || path?.[0] === "PROCESSING"),
    })
    .refine(isForThisMachineOnly, {
      path: ["API_KEYS"],
      error: "must be set to keys of your own when HOST is an address that others can reach",
      when: () => true,
    })
    .refine(({ NODE_ENV, API_KEYS }) => NODE_ENV !== "production" || !hasWellKnown(API_KEYS), {
      path: ["API_KEYS"],
      error: "must be set to keys of your own when NODE_ENV is production",
      // Report this even if other variables are invalid.
      when: () => true,
    })
    .refine(...PAYMENTS_REQUIRED)
    .refine(...CARRIER_REQUIRED)
    .refine(...STRIPE_KEY_REQUIRED)
    .refine(...EASYPOST_KEY_REQUIRED)
    .refine(...SENDER_REQUIRED),
  worker: worker
    .refine(...PAYMENTS_REQUIRED)
    .refine(...CARRIER_REQUIRED)
    .refine(...STRIPE_KEY_REQUIRED)
    .refine(...EASYPOST_KEY_REQUIRED)
    .refine(...SENDER_REQUIRED),
  migrate: variables.pick({ DATABASE_URL: true, CONVEYOR_CONFIG: true }),
};

/** What operators' commands read: they call no provider, and do without Redis. */
export const COMMANDS = worker.partial({ REDIS_URL: true });

export type ApiConfig = z.output<typeof PROCESSES.api>;
/** An API that uses queues. */
export type QueuedApiConfig = ApiConfig & { readonly REDIS_URL: string };
export type WorkerConfig = z.output<typeof PROCESSES.worker>;
/** What processing orders reads, in any process. */
export type StagesConfig = Omit<
  WorkerConfig,
  "REDIS_URL" | "REDIS_PREFIX" | "METRICS_PORT" | "HAND_OVER" | "WEDGED_AFTER_MS" | "EVENTS_STREAM_LENGTH"
>;

/** Whether this API uses queues, and so Redis. */
export function hasQueues(config: ApiConfig): config is QueuedApiConfig {
  return config.PROCESSING === "queue" && config.REDIS_URL !== undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads and validates what a process is to do: its environment and the configuration file. A variable wins over the file.
 * From then on this process has the file's pipeline. Call it first, once.
 *
 * @throws {ConfigError} listing every fault of both.
 */
export async function configure<Schema extends z.ZodType>(
  schema: Schema,
  environment: Environment,
): Promise<z.output<Schema>> {
  const { set, faults: unreadable } = readSecrets(onlySet(environment));
  const { file, stages, variables: defaults, providers, faults } = await readConfigFile(set);
  const parsed = parse(schema, { ...defaults, ...set }, withoutThose(providers, set));
  const inFile = (variable: string) => `${basename(file ?? "")} ${providerOf(variable)}`;
  const isFromFile = (variable: string) => variable in defaults && !(variable in set);
  const all = [
    ...faults,
    ...unreadable,
    ...Object.entries(defaults).flatMap(([variable, value]) =>
      variable in VARIABLES
        ? []
        : [`${inFile(variable)} "${value}" is no address, and no provider that Conveyor knows`],
    ),
    ...(parsed.success ? [] : parsed.faults).map((fault) => {
      const [variable = ""] = fault.split(" ", 1);
      return isFromFile(variable) ? inFile(variable) + fault.slice(variable.length) : fault;
    }),
    ...unsigned(stages, set),
  ];
  if (!parsed.success || all.length > 0) throw new ConfigError(all);
  usePipeline(stages);
  return parsed.config;
}

/**
 * Reads and validates an environment, without a configuration file: `loadConfig(PROCESSES.api, process.env)`. Empty
 * variables count as unset.
 * @throws {ConfigError} listing every fault.
 */
export function loadConfig<Schema extends z.ZodType>(
  schema: Schema,
  environment: Environment,
): z.output<Schema> {
  const { set, faults } = readSecrets(onlySet(environment));
  const parsed = parse(schema, set);
  if (parsed.success && faults.length === 0) return parsed.config;
  throw new ConfigError([...faults, ...(parsed.success ? [] : parsed.faults)]);
}

/** The provider of a configuration file of which a variable speaks. */
function providerOf(variable: string): string {
  return variable.replace(/_URL$/, "").toLowerCase();
}

/** Leaves out the providers that a variable names too. */
function withoutThose(providers: GivenProviders, set: Environment): GivenProviders {
  const isNamed = (name: string) => [name, `${name}_URL`].some((variable) => set[variable] !== undefined);
  return Object.fromEntries(Object.entries(providers).filter(([name]) => !isNamed(name.toUpperCase())));
}

function onlySet(environment: Environment) {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
}

function parse<Schema extends z.ZodType>(schema: Schema, given: Environment, providers?: GivenProviders) {
  const parsed = schema.safeParse({ ...given, providers });
  if (parsed.success) return { success: true, config: parsed.data } as const;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".")} ${message}`);
  return { success: false, faults } as const;
}

/** The variables that may be in a file instead, as orchestrators mount secrets: `STRIPE_SECRET_KEY_FILE`. */
export const SECRETS = [
  "DATABASE_URL",
  "DATABASE_READ_URL",
  "REDIS_URL",
  "API_KEYS",
  "SIGNING_SECRET",
  "STRIPE_SECRET_KEY",
  "STRIPE_WEBHOOK_SECRET",
  "EASYPOST_API_KEY",
  "EASYPOST_WEBHOOK_SECRET",
] as const;

/** Adds the secrets that are in files. One whose file can't be read is left out, and is a fault. */
function readSecrets(given: Environment): { readonly set: Environment; readonly faults: readonly string[] } {
  const set: Record<string, string | undefined> = { ...given };
  const faults: string[] = [];
  for (const name of SECRETS) {
    const file = given[`${name}_FILE`];
    if (file === undefined) continue;
    if (given[name] !== undefined) faults.push(`${name} and ${name}_FILE must not both be set`);
    try {
      set[name] = readFileSync(file, "utf8").trim();
    } catch (error) {
      faults.push(`${name}_FILE can't be read: ${describeError(error)}`);
    }
  }
  return { set, faults };
}

/** Nobody in production may be able to play the service of a stage. */
function unsigned(stages: readonly Stage[], { NODE_ENV, SIGNING_SECRET }: Environment): string[] {
  if (NODE_ENV !== "production" || SIGNING_SECRET?.trim()) return [];
  return stages
    .filter(({ http }) => http && http.secret === undefined)
    .map(
      ({ name }) =>
        `SIGNING_SECRET must be set when NODE_ENV is production, or the stage ${name} needs a secret of its own`,
    );
}

/** The address under which other services reach the API; undefined if nothing says so. */
export function publicUrl({
  PUBLIC_URL,
  HOST,
  PORT,
}: Pick<StagesConfig, "PUBLIC_URL" | "PORT"> & Pick<WorkerConfig, "HOST">): string | undefined {
  if (PUBLIC_URL !== undefined || PORT === 0) return PUBLIC_URL;
  const host = ["0.0.0.0", "::"].includes(HOST) ? "127.0.0.1" : HOST;
  return `http://${host.includes(":") ? `[${host}]` : host}:${PORT}`;
}

/** The stage settings that the environment overrides. */
export function stageOverrides(config: {
  readonly STAGE_ATTEMPTS?: number | undefined;
  readonly STAGE_BACKOFF_MS?: number | undefined;
  readonly STAGE_TIMEOUT_MS?: number | undefined;
}): Partial<StageSettings> {
  return {
    ...(config.STAGE_ATTEMPTS === undefined ? {} : { attempts: config.STAGE_ATTEMPTS }),
    ...(config.STAGE_BACKOFF_MS === undefined
      ? {}
      : { backoff: { ...DEFAULT_SETTINGS.backoff, delay: config.STAGE_BACKOFF_MS } }),
    ...(config.STAGE_TIMEOUT_MS === undefined ? {} : { timeout: config.STAGE_TIMEOUT_MS }),
  };
}
