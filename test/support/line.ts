import { TestClient } from "./client.ts";
import { createTestEnvironment, type TestEnvironment } from "./environment.ts";
import { startApi, startWorker, type TestProcess } from "./processes.ts";

/** Quick retries: what a test waits for is the service itself. */
const QUICK = { STAGE_BACKOFF_MS: "20" };

/** The whole service as processes of their own: one API, and so many workers. */
export interface TestLine {
  readonly environment: TestEnvironment;
  readonly api: TestProcess & { readonly url: string };
  readonly workers: TestProcess[];
  readonly client: TestClient;
  /** One more worker; with `folder`, from other sources; with `env` beside the others'. */
  addWorker(options?: {
    folder?: string;
    args?: readonly string[];
    env?: Readonly<Record<string, string>>;
  }): Promise<TestProcess>;
  close(): Promise<void>;
}

/**
 * Starts the service on an empty database. `env` is for all of its processes; `latencyMs` is the providers' latency,
 * `transitMs` the time that a parcel takes.
 */
export async function startLine({
  workers: count = 1,
  env = {},
  ownRedis = false,
  ownMysql = false,
  redisUrl,
  folder,
  latencyMs = 0,
  transitMs = 0,
}: {
  workers?: number;
  /** Other sources, for all of its processes. */
  folder?: string;
  env?: Readonly<Record<string, string>>;
  ownRedis?: boolean;
  /** Another Redis than the environment's. */
  redisUrl?: string;
  ownMysql?: boolean;
  latencyMs?: number;
  transitMs?: number;
} = {}): Promise<TestLine> {
  const environment = await createTestEnvironment({ ownRedis, ownMysql });
  environment.providers.setLatency(latencyMs);
  environment.providers.setTransit(transitMs);
  const options = {
    databaseUrl: environment.databaseUrl,
    redisUrl: redisUrl ?? environment.redisUrl,
    providers: environment.providers,
    env: { ...QUICK, ...env },
    ...(folder !== undefined && { folder }),
  };
  const api = await startApi(options);
  // Where services call back.
  const forWorkers = { ...options, env: { PUBLIC_URL: api.url, ...options.env } };
  const workers = await Promise.all(Array.from({ length: count }, () => startWorker(forWorkers)));
  return {
    environment,
    api,
    workers,
    client: new TestClient(api.url),
    async addWorker(more) {
      const worker = await startWorker({ ...forWorkers, ...more, env: { ...forWorkers.env, ...more?.env } });
      workers.push(worker);
      return worker;
    },
    async close() {
      await Promise.all([api, ...workers].map((each) => each.stop()));
      await environment.close();
    },
  };
}
