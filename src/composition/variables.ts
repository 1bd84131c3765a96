import { z } from "zod";
import { faultOfMysqlUrl } from "../platform/mysql-url.ts";
import { faultOfRedisUrl } from "../platform/redis-url.ts";
import { isSigningSecret } from "../order/http-stage.ts";
import { isNetwork } from "../events/webhooks/networks.ts";
import {
  duration,
  isPlain,
  jsonOf,
  matching,
  oneOf,
  proxiesIn,
  serverAddress,
  webAddress,
  wholeNumber,
} from "./formats.ts";

/** The key for development, which production refuses. */
export const DEVELOPMENT_KEY = "conveyor-development-key";
export const WELL_KNOWN_KEYS = new Set([
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
  DATABASE_READ_URL: serverAddress(faultOfMysqlUrl).optional().meta({
    description:
      "A MySQL that follows the one of `DATABASE_URL`, for reads that may be somewhat old: lists of orders, stock and deliveries, and the console's lists and counts. While it is away, `DATABASE_URL` answers. See [Replicated MySQL](deploying.md#replicated-mysql)",
    unset: "none",
  }),
  REDIS_URL: serverAddress(faultOfRedisUrl).meta({
    description:
      "Redis 6.2 or later, or Valkey, with `maxmemory-policy noeviction`: `redis://user:password@host:port/0`, where 0 is the database index; also Sentinels, a cluster, TLS and a socket, see [Redis](deploying.md#redis). Not needed with `PROCESSING=sync`",
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
      unset: "a well-known key for development",
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
      error:
        "must have no query and no #, and a path of letters, digits, -, ., _ and ~, with single slashes between",
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
      "Port on which the process serves `/metrics` for Prometheus, `/health/live` and `/health/accepting` for orchestrators, without a key, at `HOST`; 0 picks a free one and logs it. The API also serves `/metrics` on its own port, with a key",
    unset: "none",
  }),
  NODE_ENV: oneOf("development", "production", "test").default("development").meta({
    description:
      "With `production`, a process refuses to start without `API_KEYS`, a payment provider and a carrier of your own",
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
      description: "Secret key of Stripe's API. Required with `PAYMENTS=stripe`",
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
        "Signing secret of the webhook endpoint at Stripe that points to `/providers/payments/webhook`; two, separated by a space, while one is replaced",
      unset: "webhooks are refused",
    }),
  STRIPE_API_URL: webAddress().default("https://api.stripe.com").meta({
    description: "Base URL of Stripe's API; another one for a simulated Stripe",
  }),
  PAYMENTS_URL: webAddress()
    .optional()
    .meta({
      description:
        "URL of a payment provider, or of an adapter, that speaks the protocol of [providers.md](providers.md). With `NODE_ENV=production` this, `PAYMENTS=stripe`, `PROVIDERS_MODULE` or a configuration file must set the provider",
      unset: `\`${SIMULATED.PAYMENTS_URL}\`, where \`npm run simulators\` listens`,
    }),
  CARRIER_URL: webAddress()
    .optional()
    .meta({
      description:
        "URL of a carrier that speaks the same protocol. With `NODE_ENV=production` this, `CARRIER=easypost`, `PROVIDERS_MODULE` or a configuration file must set the carrier",
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
        "The EasyPost service to buy labels for: `cheapest`, `fastest`, or services by preference, such as `USPS Priority,UPS Ground`",
    }),
  SHIP_FROM: jsonOf(
    z.strictObject({
      name: z.string().min(1),
      company: z.string().optional(),
      line1: z.string().min(1),
      line2: z.string().optional(),
      city: z.string().min(1),
      region: z.string().optional(),
      postalCode: z.string().min(1).optional(),
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
        "The parcel assumed when none is given, as JSON: grams and millimetres. Line weights take precedence over its weight",
      unset: '`{"weight":500,"length":300,"width":200,"height":100}`',
    }),
  EASYPOST_API_KEY: z
    .string()
    .regex(/^EZ[AT]K\S+$/, { error: "must be a key of EasyPost's API: EZTK… for tests, EZAK… for real" })
    .optional()
    .meta({
      description: "Key of EasyPost's API. Required with `CARRIER=easypost`",
      unset: "none",
    }),
  EASYPOST_WEBHOOK_SECRET: z
    .string()
    .default("")
    .transform((text) => text.split(" ").filter((secret) => secret !== ""))
    .meta({
      description:
        "Secret of the webhook at EasyPost that points to `/providers/carrier/webhook`; two, separated by a space, while one is replaced",
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
