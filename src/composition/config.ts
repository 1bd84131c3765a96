import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { basename } from "node:path";
import { z } from "zod";
import { readConfigFile, type GivenProviders } from "./config-file.ts";
import { ConfigError } from "../platform/config-error.ts";
import { describeError } from "../platform/describe-error.ts";
import { parseDuration } from "../platform/duration.ts";
import { usePipeline } from "../order/lifecycle.ts";
import { DEFAULT_SETTINGS, type Stage, type StageSettings } from "../order/stage.ts";
import { faultOfMysqlUrl } from "../platform/mysql-url.ts";
import { faultOfRedisUrl } from "../platform/redis-url.ts";
import { isSigningSecret } from "../order/http-stage.ts";
import { isNetwork } from "../events/webhooks/networks.ts";

/** The key for development, which production refuses. */
export const DEVELOPMENT_KEY = "conveyor-development-key";
const WELL_KNOWN_KEYS = new Set([
  DEVELOPMENT_KEY,
  "changemechangeme",
  "0123456789abcdef",
  "passwordpassword",
]);
const SHORTEST_KEY = 16;

/** Where the simulated providers listen by default: see tools/simulators/main.ts. */
export const SIMULATED = {
  PAYMENTS_URL: "http://127.0.0.1:4101",
  CARRIER_URL: "http://127.0.0.1:4102",
} as const;

/** Every environment variable that Conveyor reads. docs/configuration.md is generated from it. */
export const VARIABLES = {
  DATABASE_URL: serverAddress(faultOfMysqlUrl).meta({
    description:
      "MySQL 8.4 or later, or MariaDB 10.11 or later: `mysql://user:password@host:port/database`, with `?ssl-mode=REQUIRED` and the like for [TLS](deploying.md#tls)",
  }),
  REDIS_URL: serverAddress(faultOfRedisUrl).meta({
    description:
      "Redis 6.2 or later, or Valkey, with `maxmemory-policy noeviction`: `redis://:password@host:port/0`, where 0 is the database index; `rediss:` for TLS. Not needed with `PROCESSING=sync`",
  }),
  REDIS_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, { error: "must be 1 to 64 letters, digits, - and _" })
    .default("conveyor")
    .meta({
      description:
        "Prefix of every key, channel and stream in Redis. Installations that share a Redis each need their own: see [One Redis for several](architecture.md#one-redis-for-several)",
    }),
  API_KEYS: z
    .string()
    .default(DEVELOPMENT_KEY)
    .transform((keys) => keys.split(",").map((key) => key.trim()))
    .refine((keys) => keys.every((key) => key.length >= SHORTEST_KEY && /^[\x21-\x7e]+$/.test(key)), {
      error: `must be keys of at least ${SHORTEST_KEY} printable characters, separated by commas`,
    })
    .meta({
      description: `API keys of clients, separated by commas, at least ${SHORTEST_KEY} characters each. Must be your own keys when \`NODE_ENV\` is \`production\``,
    }),
  PROCESSING: oneOf("queue", "sync").default("queue").meta({
    description:
      "`sync`: the API runs an order's stages while the client waits, without Redis and workers; see [Without a queue](without-a-queue.md)",
  }),
  HOST: z
    .string()
    .default("127.0.0.1")
    .meta({ description: "Address to listen on. Workers listen on `METRICS_PORT` only" }),
  PORT: wholeNumber(0, 65_535).default(3000).meta({ description: "Port to listen on; 0 picks a free one" }),
  PUBLIC_URL: webAddress()
    .refine((url) => !URL.canParse(url) || isPlain(new URL(url)), {
      error: "must have no query and no #, and a path of letters, digits, -, ., _ and ~",
    })
    .transform((url) => url.replace(/\/+$/, ""))
    .optional()
    .meta({
      description:
        "URL under which people and other services reach the API, such as `https://ops.example.com/conveyor`; see [Behind a proxy](deploying.md#behind-a-proxy) and [Callbacks](http-stages.md#callbacks)",
      unset: "the API's own address, `http://HOST:PORT`",
    }),
  TRUST_PROXY: z
    .string()
    .transform((text) => proxiesIn(text))
    .refine((proxies) => proxies !== undefined, {
      error:
        "must be the number of proxies in front of the API, or their networks, separated by commas: loopback, linklocal, uniquelocal, 10.0.0.0/8",
    })
    .optional()
    .meta({
      description:
        "Proxies whose `X-Forwarded-Host` counts: how many are in front of the API, or their networks, such as `loopback,10.0.0.0/8`",
      unset: "none",
    }),
  METRICS_PORT: wholeNumber(0, 65_535).optional().meta({
    description:
      "Port on which the process serves `/metrics` for Prometheus, without a key, at `HOST`; 0 picks a free one and logs it. The API also serves `/metrics` on its own port, with a key",
    unset: "none",
  }),
  NODE_ENV: oneOf("development", "production", "test").default("development").meta({
    description:
      "`production` refuses to start without `API_KEYS`, `PAYMENTS_URL` and `CARRIER_URL` of your own",
  }),
  LOG_LEVEL: oneOf("trace", "debug", "info", "warn", "error", "fatal", "silent")
    .default("info")
    .meta({ description: "Minimum level to log" }),
  DATABASE_POOL_SIZE: wholeNumber(1, 1_000).default(10).meta({
    description: "MySQL connections per process. Keep the sum over all processes below `max_connections`",
  }),
  DATABASE_TIMEOUT_MS: wholeNumber(1_200, 60_000).default(1_500).meta({
    description:
      "How long a transaction may take before the API answers 503. At least 1200: a locked row must not look like a MySQL that hangs",
  }),
  GROUP_COMMIT: oneOf("on", "off").default("on").meta({
    description: "`off` gives each order and transition its own transaction, for comparison",
  }),
  HAND_OVER: oneOf("in-place", "queue").default("in-place").meta({
    description:
      "`in-place`: the worker that finishes a stage continues with the order's next stage at once, if it has a free place there. `queue`: each stage of each order has its own job, which Bull Board shows",
  }),
  SHUTDOWN_DELAY_MS: wholeNumber(0, 600_000).default(2_000).meta({
    description:
      "How long the API goes on answering after SIGTERM, while `/health/ready` already answers 503: longer than a load balancer takes to notice. See [Stopping](deploying.md#stopping)",
  }),
  SHUTDOWN_TIMEOUT_MS: wholeNumber(100, 600_000).default(10_000).meta({
    description:
      "How long running work may take to finish after SIGTERM, SIGINT, SIGHUP or SIGQUIT. Unfinished jobs go back to their queues, unfinished requests are cut off",
  }),
  STAGE_ATTEMPTS: wholeNumber(1, 100).optional().meta({
    description:
      "Maximum attempts of every stage, overriding its own setting. After the last one, the order waits for an operator",
  }),
  STAGE_BACKOFF_MS: wholeNumber(1, 3_600_000).optional().meta({
    description:
      "Delay before the first retry of every stage, overriding its own setting. It doubles with each retry",
  }),
  STAGE_TIMEOUT_MS: wholeNumber(10, 600_000).optional().meta({
    description:
      "Timeout of one attempt of every stage, overriding its own setting. Time spent waiting for MySQL does not count",
  }),
  PROBE_INTERVAL_MS: wholeNumber(10, 3_600_000).default(5_000).meta({
    description: "How often a service that is down is pinged, and how long an order that found it down waits",
  }),
  PAYMENT_DEADLINE: duration("1s", "365d").optional().meta({
    description:
      "How long an order may take to be paid, such as `30s`, `90m`, `24h` or `2d`. After that it is cancelled and its stock released",
    unset: "`24h`",
  }),
  SWEEP_INTERVAL_MS: wholeNumber(10, 3_600_000).default(2_000).meta({
    description:
      "How often a worker looks for orders whose job was lost and checks whether Redis has lost its data",
  }),
  EVENTS_STREAM_LENGTH: wholeNumber(1_000, 100_000_000).default(100_000).meta({
    description:
      "Minimum number of events that the Redis Stream `conveyor:events` keeps, about 400 bytes each; see [events.md](events.md)",
  }),
  SWEEP_AFTER_MS: wholeNumber(0, 86_400_000).default(30_000).meta({
    description: "How long an order may make no progress before its job counts as lost",
  }),
  WEDGED_AFTER_MS: wholeNumber(1_000, 3_600_000).default(60_000).meta({
    description:
      "How long a worker may make no progress while jobs wait, before it exits and is restarted. At least twice a stage's timeout; smaller values are raised to that",
  }),
  WEBHOOK_ALLOWED_NETWORKS: z
    .string()
    .default("")
    .transform((text) =>
      text
        .split(",")
        .map((network) => network.trim())
        .filter((network) => network !== ""),
    )
    .refine((networks) => networks.every(isNetwork), {
      error: "must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas",
    })
    .meta({
      description:
        "Private networks that webhooks may be sent to, such as `127.0.0.0/8,10.0.0.0/8`, separated by commas; see [webhooks.md](webhooks.md)",
      unset: "none",
    }),
  WEBHOOK_TIMEOUT_MS: wholeNumber(100, 60_000).default(10_000).meta({
    description: "Timeout of one request to a webhook endpoint",
  }),
  WEBHOOK_CONCURRENCY: wholeNumber(1, 1_000).default(10).meta({
    description: "Maximum concurrent requests to one webhook endpoint, each for a different order",
  }),
  WEBHOOK_DISABLE_AFTER: duration("1m", "365d").optional().meta({
    description: "How long every attempt may fail before a webhook endpoint is disabled",
    unset: "`5d`",
  }),
  WEBHOOK_RETENTION: duration("1m", "3650d").optional().meta({
    description: "How long finished webhook deliveries and their responses are kept",
    unset: "`30d`",
  }),
  PAYMENTS: oneOf("http", "stripe").default("http").meta({
    description:
      "Payment provider: `stripe`, or `http` for one, or an adapter, at `PAYMENTS_URL`; see [providers.md](providers.md)",
  }),
  PAYMENT_CAPTURE: oneOf("on-payment", "on-shipment").default("on-payment").meta({
    description:
      "When the money is taken. `on-shipment`: the stage `pay` only authorizes, and `ship` captures before it books a label",
  }),
  STRIPE_SECRET_KEY: matching(
    /^(sk|rk)_(test|live)_\w+$/,
    "must be a secret key of Stripe's, such as sk_test_…",
  )
    .optional()
    .meta({
      description:
        "Secret key of Stripe's API. Required with `PAYMENTS=stripe`. Also as `STRIPE_SECRET_KEY_FILE`",
      unset: "none",
    }),
  STRIPE_WEBHOOK_SECRET: z
    .string()
    .default("")
    .transform((text) => text.split(/[ ,]+/).filter((each) => each !== ""))
    .refine((secrets) => secrets.every((each) => /^whsec_\S+$/.test(each)), {
      error:
        "must be a webhook's signing secret, whsec_…; two of them, separated by a space, while one is replaced",
    })
    .meta({
      description:
        "Signing secret of the webhook endpoint at Stripe that points to `/providers/payments/webhook`; two, separated by a space, while one is replaced. Also as `STRIPE_WEBHOOK_SECRET_FILE`",
      unset: "webhooks are refused",
    }),
  STRIPE_API_URL: webAddress().default("https://api.stripe.com").meta({
    description: "Base URL of Stripe's API; another one for a simulated Stripe",
  }),
  PAYMENTS_URL: webAddress()
    .optional()
    .meta({
      description:
        "URL of a payment provider, or of an adapter, that speaks the protocol of [providers.md](providers.md). Required when `NODE_ENV` is `production`",
      unset: `\`${SIMULATED.PAYMENTS_URL}\`, where \`npm run simulators\` listens`,
    }),
  CARRIER_URL: webAddress()
    .optional()
    .meta({
      description: "URL of a carrier that speaks the same protocol. Required when `NODE_ENV` is `production`",
      unset: `\`${SIMULATED.CARRIER_URL}\`, where \`npm run simulators\` listens`,
    }),
  INVENTORY_URL: webAddress().optional().meta({
    description:
      "URL of an inventory service that speaks the same protocol. Without it, stock is in MySQL: see `/stock` in the [API](api.md)",
    unset: "stock in MySQL",
  }),
  SIGNING_SECRET: z
    .string()
    .default("")
    .transform((text) => text.split(" ").filter((secret) => secret !== ""))
    .refine((secrets) => secrets.every(isSigningSecret), {
      error: "must be whsec_ and base64; two of them, separated by a space, while one is replaced",
    })
    .meta({
      description:
        "Signs requests to HTTP stages and to providers: `whsec_` and base64. Two, separated by a space, while one is replaced; see [http-stages.md](http-stages.md)",
      unset: "not signed",
    }),
  CONVEYOR_CONFIG: z.string().optional().meta({
    description:
      "Configuration file with the pipeline and the providers, in TypeScript, JavaScript or JSON; see [Without a fork](without-a-fork.md)",
    unset:
      "`conveyor.config.ts`, `.mts`, `.js`, `.mjs` or `.json` in the working directory or its folder `config`, if there is one",
  }),
  PIPELINE_SET_BY: oneOf("start", "migrate").default("start").meta({
    description:
      "What puts this process's pipeline in force: `start`, its start, if it is new or nobody has the other one any more; `migrate`, nothing but `npm run migrate`, so that no stray process can. See [While old workers still run](without-a-fork.md#while-old-workers-still-run)",
  }),
  CARRIER: oneOf("http", "easypost").default("http").meta({
    description:
      "Carrier: `easypost`, or `http` for one, or an adapter, at `CARRIER_URL`; see [shipping.md](shipping.md)",
  }),
  CARRIER_SERVICE: z
    .string()
    .default("cheapest")
    .transform((text): "cheapest" | "fastest" | readonly string[] => {
      if (text === "cheapest" || text === "fastest") return text;
      return text
        .split(",")
        .map((service) => service.trim())
        .filter((service) => service !== "");
    })
    .refine((choice) => choice.length > 0, {
      error: "must be cheapest, fastest, or services by preference, separated by commas",
    })
    .meta({
      description:
        "Which service EasyPost's labels are bought of: `cheapest`, `fastest`, or services by preference, such as `USPS Priority,UPS Ground`",
    }),
  SHIP_FROM: jsonOf(
    z.strictObject({
      name: z.string().min(1),
      company: z.string().optional(),
      line1: z.string().min(1),
      line2: z.string().optional(),
      city: z.string().min(1),
      region: z.string().optional(),
      postalCode: z.string().min(1),
      country: z.string().regex(/^[A-Z]{2}$/),
      phone: z.string().optional(),
    }),
    '{"name":"Conveyor","line1":"1 Main St","city":"Springfield","region":"IL","postalCode":"62701","country":"US","phone":"2175550100"}',
  )
    .optional()
    .meta({
      description:
        "The sender's address, as JSON with the fields of `shipTo`, `company` and `phone`. Required with `CARRIER=easypost`",
      unset: "none",
    }),
  DEFAULT_PARCEL: jsonOf(
    z.strictObject({
      weight: z.int().positive(),
      length: z.int().positive().optional(),
      width: z.int().positive().optional(),
      height: z.int().positive().optional(),
    }),
    '{"weight":500,"length":300,"width":200,"height":100}',
  )
    .default({ weight: 500, length: 300, width: 200, height: 100 })
    .meta({
      description:
        "What a parcel is without a word about it, as JSON: grams and millimetres. Weights of lines go before its weight",
      unset: '`{"weight":500,"length":300,"width":200,"height":100}`',
    }),
  EASYPOST_API_KEY: z
    .string()
    .regex(/^EZ[AT]K\S+$/, { error: "must be a key of EasyPost's API: EZTK… for tests, EZAK… for real" })
    .optional()
    .meta({
      description: "Key of EasyPost's API. Required with `CARRIER=easypost`. Also as `EASYPOST_API_KEY_FILE`",
      unset: "none",
    }),
  EASYPOST_WEBHOOK_SECRET: z
    .string()
    .default("")
    .transform((text) => text.split(" ").filter((secret) => secret !== ""))
    .meta({
      description:
        "Secret of the webhook at EasyPost that points to `/providers/carrier/webhook`; two, separated by a space, while one is replaced. Also as `EASYPOST_WEBHOOK_SECRET_FILE`",
      unset: "webhooks are refused",
    }),
  EASYPOST_API_URL: webAddress().default("https://api.easypost.com/v2").meta({
    description: "Base URL of EasyPost's API; another one for a simulated EasyPost",
  }),
  FULFILMENT: oneOf("automatic", "manual").default("automatic").meta({
    description:
      "`automatic`: one parcel for each order, booked by itself. `manual`: orders wait while the warehouse plans and books their parcels; see [shipping.md](shipping.md)",
  }),
  TRACKING_INTERVAL: duration("1s", "7d").optional().meta({
    description: "How often a carrier that sends webhooks is asked where a parcel is, in case one was lost",
    unset: "`4h`",
  }),
  PROVIDERS_MODULE: z.string().optional().meta({
    description:
      "JavaScript module that provides the payments, the carrier or the inventory in the process itself; see [providers.md](providers.md#in-the-process). Makes the two URLs optional",
    unset: "none",
  }),
};

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
  const { file, stages, variables: defaults, providers, faults } = await readConfigFile(environment);
  const set = onlySet(environment);
  const parsed = parse(schema, { ...defaults, ...set }, withoutThose(providers, set));
  const inFile = (variable: string) => `${basename(file ?? "")} ${providerOf(variable)}`;
  const isFromFile = (variable: string) => variable in defaults && !(variable in set);
  const all = [
    ...faults,
    ...Object.entries(defaults).flatMap(([variable, value]) =>
      variable in VARIABLES
        ? []
        : [`${inFile(variable)} "${value}" is no address, and no provider that Conveyor knows`],
    ),
    ...(parsed.success ? [] : parsed.faults).map((fault) => {
      const [variable = ""] = fault.split(" ", 1);
      return isFromFile(variable) ? inFile(variable) + fault.slice(variable.length) : fault;
    }),
    ...unsigned(stages, environment),
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
  const parsed = parse(schema, onlySet(environment));
  if (parsed.success) return parsed.config;
  throw new ConfigError(parsed.faults);
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
  const { secrets, faults } = readSecrets(given);
  const parsed = schema.safeParse({ ...given, ...secrets, providers });
  if (parsed.success && faults.length === 0) return { success: true, config: parsed.data } as const;
  const issues = parsed.success ? [] : parsed.error.issues;
  return {
    success: false,
    faults: [...faults, ...issues.map(({ path, message }) => `${path.join(".")} ${message}`)],
  } as const;
}

/** The variables that may be in a file instead, as orchestrators mount secrets: `STRIPE_SECRET_KEY_FILE`. */
const SECRETS = [
  "STRIPE_SECRET_KEY",
  "STRIPE_WEBHOOK_SECRET",
  "EASYPOST_API_KEY",
  "EASYPOST_WEBHOOK_SECRET",
] as const;

/** Reads secrets from their files. */
function readSecrets(given: Readonly<Record<string, string | undefined>>) {
  const secrets: Record<string, string> = {};
  const faults: string[] = [];
  for (const name of SECRETS) {
    const file = given[`${name}_FILE`];
    if (file === undefined) continue;
    if (given[name] !== undefined) faults.push(`${name} and ${name}_FILE must not both be set`);
    try {
      secrets[name] = readFileSync(file, "utf8").trim();
    } catch (error) {
      faults.push(`${name}_FILE can't be read: ${describeError(error)}`);
    }
  }
  return { secrets, faults };
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

function address(...protocols: string[]) {
  const error = `must be an address that begins with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}`;
  return z
    .string({ error })
    .refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), { error });
}

function serverAddress(faultOf: (url: string) => string | undefined) {
  return z.string({ error: faultOf("") }).superRefine((value, context) => {
    const fault = faultOf(value);
    if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
  });
}

/** Credentials are refused here, because fetch refuses them with an error that shows them. */
function webAddress() {
  return address("http:", "https:").refine(
    (value) => {
      if (!URL.canParse(value)) return true;
      const { username, password } = new URL(value);
      return username === "" && password === "";
    },
    { error: "must be an address without user and password" },
  );
}

/** Milliseconds. */
function duration(min: string, max: string) {
  const [from, to] = [parseDuration(min) ?? 0, parseDuration(max) ?? 0];
  const error = `must be a duration such as 30s, 90m, 24h or 2d, from ${min} to ${max}`;
  return z
    .string({ error })
    .transform((text) => parseDuration(text) ?? NaN)
    .refine((value) => value >= from && value <= to, { error });
}

export function wholeNumber(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z
    .string({ error })
    .regex(/^\d{1,9}$/, { error })
    .transform(Number)
    .refine((value) => value >= min && value <= max, { error });
}

/** The path becomes part of pages and scripts. */
function isPlain({ pathname, search, hash }: URL): boolean {
  return /^[\w\-.~/]*$/.test(pathname) && search === "" && hash === "";
}

/** Names of networks that Express knows. */
const NAMED_NETWORKS = new Set(["loopback", "linklocal", "uniquelocal"]);

/** As Express takes them: a number of hops, or networks; undefined if the text is neither. */
function proxiesIn(text: string): number | string[] | undefined {
  if (/^[1-9]$/.test(text)) return Number(text);
  const networks = text.split(",").map((network) => network.trim());
  const areValid = networks.every((each) => NAMED_NETWORKS.has(each) || isNetwork(each) || isIP(each) !== 0);
  return areValid ? networks : undefined;
}

function matching(pattern: RegExp, error: string) {
  return z.string({ error }).regex(pattern, { error });
}

/** JSON with these fields. @param example of a right value, for errors */
function jsonOf<Schema extends z.ZodType>(schema: Schema, example: string) {
  const error = `must be JSON such as ${example}`;
  return z
    .string({ error })
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue({ code: "custom", message: error });
        return z.NEVER;
      }
    })
    .pipe(schema);
}

function oneOf<const Value extends string>(...values: Value[]) {
  return z.enum(values, { error: `must be one of ${values.join(", ")}` });
}
