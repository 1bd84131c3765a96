import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { createConnection, type Connection, type RowDataPacket } from "mysql2/promise";
import { errorCode } from "../../../tools/shared/failure.ts";
import { BEARER } from "../../support/api.ts";
import { PLAIN_ORDER, TestClient } from "../../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startApi, untilLogged, type TestProcess } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
let blocker: Connection;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
beforeEach(async () => {
  blocker = await createConnection(environment.databaseUrl);
});
afterEach(() => blocker.end());
afterAll(() => environment.close());

type Api = TestProcess & { readonly url: string };

function serve(env: Record<string, string> = {}): Promise<Api> {
  return startApi({ ...environment, env });
}

/** From now on MySQL answers no question about orders, until it is told to. */
async function blockOrders(): Promise<void> {
  await blocker.query("LOCK TABLES orders WRITE");
}

async function unblockOrders(): Promise<void> {
  await blocker.query("UNLOCK TABLES");
}

async function untilBlocked(): Promise<void> {
  const database = new URL(environment.databaseUrl).pathname.slice(1);
  await waitFor("somebody waits for the table", async () => {
    const [rows] = await blocker.query<RowDataPacket[]>("SHOW FULL PROCESSLIST");
    return rows.some((row) => row["db"] === database && String(row["State"]).startsWith("Waiting for table"));
  });
}

function connectTo(api: Api): Socket {
  const { hostname, port } = new URL(api.url);
  // How the connection ends is for the test to look at.
  return connect({ host: hostname, port: Number(port) }).on("error", () => {});
}

const LISTING = `GET /orders HTTP/1.1\r\nhost: api\r\nauthorization: ${BEARER.authorization}\r\n\r\n`;

test.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGPWR"] as const)(
  "on %s answers what is under way, takes nothing new, and exits with 0",
  async (signal) => {
    const api = await serve();
    await blockOrders();
    const answer = new TestClient(api.url).order(PLAIN_ORDER);
    await untilBlocked();

    api.process.kill(signal);
    await untilLogged(api, "shutting down");
    await waitFor("it to take nothing new", () =>
      fetch(`${api.url}/health/live`).then(
        () => false,
        () => true,
      ),
    );
    await unblockOrders();

    const { id } = await answer;
    expect(await api.process.exited).toEqual({ code: 0, signal: null });
    expect(api.logs().at(-1)).toMatchObject({ msg: "stopped" });
    // Its job was added in the background.
    expect(await environment.redis.keys(`*:${id}-*`)).toHaveLength(1);
  },
);

test("a second signal ends it at once, with 1", async () => {
  const api = await serve();
  await blockOrders();
  const answer = new TestClient(api.url).get("/orders").catch((error: Error) => error.message);
  await untilBlocked();

  api.process.kill("SIGTERM");
  await untilLogged(api, "shutting down");
  // One that comes at once belongs to the first.
  await waitFor("the next one to end it", () => {
    api.process.kill("SIGTERM");
    return !api.process.running;
  });

  expect(await api.process.exited).toEqual({ code: 1, signal: null });
  expect(await answer).toBe("fetch failed");
  await unblockOrders();
});

test("waits for no connection that its client only holds on to", async () => {
  const api = await serve({ SHUTDOWN_TIMEOUT_MS: "600000" });
  const silent = connectTo(api);
  const kept = connectTo(api);
  kept.write(LISTING);
  await once(kept, "data");
  const underWay = connectTo(api);
  const received = text(underWay);
  await blockOrders();
  underWay.write(LISTING);
  await untilBlocked();

  api.process.kill("SIGTERM");
  await untilLogged(api, "shutting down");
  await unblockOrders();

  expect(await received).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*connection: close/i);
  expect(await api.process.exited).toEqual({ code: 0, signal: null });
  silent.destroy();
});

test("cuts off a request that never ends when its time has passed, and exits with 0", async () => {
  const api = await serve({ SHUTDOWN_TIMEOUT_MS: "100" });
  const socket = connectTo(api);
  const head = `POST /orders HTTP/1.1\r\nhost: api\r\nauthorization: ${BEARER.authorization}\r\n`;
  socket.write(
    `${head}content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n`,
  );
  // Its answer to this says that it has taken the request.
  await once(socket, "data");

  api.process.kill("SIGTERM");

  expect(await api.process.exited).toEqual({ code: 0, signal: null });
  expect(api.logs().at(-2)).toMatchObject({
    level: "warn",
    msg: "requests took too long to finish: cutting them off",
    requests: 1,
  });
});

test("goes on answering for its delay, is not ready meanwhile, and resets nobody's request", async () => {
  const api = await serve({ SHUTDOWN_DELAY_MS: "1500" });
  const clients = Array.from({ length: 50 }, () => new BusyClient(api.url));
  const done = clients.map((client) => client.ask());
  await waitFor("every client to be served", () => clients.every(({ answered }) => answered > 0));

  api.process.kill("SIGTERM");
  await untilLogged(api, "shutting down");
  // Those that kept their connections are told to connect anew; and whoever does is answered as before.
  expect(new Set(await Promise.all(done))).toEqual(new Set(["told to go"]));
  const readiness = await fetch(`${api.url}/health/ready`);
  expect(readiness.status).toBe(503);
  expect(await readiness.json()).toMatchObject({
    ready: false,
    checks: { mysql: { ready: true }, shutdown: { ready: false, detail: "shutting down" } },
  });
  expect((await fetch(`${api.url}/health/accepting`)).status).toBe(503);
  const again = await Promise.all(clients.map(() => new BusyClient(api.url).ask()));
  expect(new Set(again)).toEqual(new Set(["told to go"]));

  expect(await api.process.exited).toEqual({ code: 0, signal: null });
  await expect(new BusyClient(api.url).ask()).resolves.toBe("ECONNREFUSED");
});

test("answers every request that was sent over a connection of before, also without a delay", async () => {
  const api = await serve({ SHUTDOWN_DELAY_MS: "0" });
  const clients = Array.from({ length: 50 }, () => new BusyClient(api.url));
  const done = clients.map((client) => client.ask());
  await waitFor("every client to be served", () => clients.every(({ answered }) => answered > 0));

  api.process.kill("SIGTERM");

  expect(new Set(await Promise.all(done))).toEqual(new Set(["told to go"]));
  expect(await api.process.exited).toEqual({ code: 0, signal: null });
});

/** A client that keeps its connection, and asks again as soon as it has an answer. */
class BusyClient {
  answered = 0;
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(url: string) {
    this.#url = `${url}/orders?limit=1`;
  }

  /** @returns why it stopped: an error's code, or that the server asked for a new connection. */
  async ask(): Promise<string> {
    try {
      for (;;) {
        const { statusCode, headers } = await new Promise<IncomingMessage>((resolve, reject) => {
          get(this.#url, { agent: this.#agent, headers: BEARER }, (response) => {
            response
              .on("error", reject)
              .on("end", () => resolve(response))
              .resume();
          }).on("error", reject);
        });
        if (statusCode !== 200) return `answered ${statusCode}`;
        const { connection } = headers;
        this.answered++;
        if (connection === "close") return "told to go";
      }
    } catch (error) {
      return String(errorCode(error));
    } finally {
      this.#agent.destroy();
    }
  }
}
