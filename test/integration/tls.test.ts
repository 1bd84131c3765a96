import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Database } from "../../db/database.ts";
import { freePort } from "../../tools/launcher/ports.ts";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { makeCertificates, redisTlsArgs, type Certificates } from "../support/certificates.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { ACCOUNT, startOwnMysql, type OwnMysql } from "../support/own-mysql.ts";
import { start, startApi, startWorker } from "../support/processes.ts";
import { startRedisCluster, startRedisSentinels, type RedisTopology } from "../support/redis-topologies.ts";
import { startTestMysql, startTestRedis, type TestServer } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

let certificates: Certificates;
const file: Certificates["file"] = (name) => certificates.file(name);
let mysql: OwnMysql;
let redis: TestServer;
let redisUrl: string;
let providers: Providers;

function mysqlArgs(certificate: string): string[] {
  return [
    `--ssl-ca=${file("ca.pem")}`,
    `--ssl-cert=${file(`${certificate}.pem`)}`,
    `--ssl-key=${file(`${certificate}.key`)}`,
  ];
}

beforeAll(async () => {
  certificates = makeCertificates();
  const tlsPort = await freePort();
  [mysql, redis, providers] = await Promise.all([
    startOwnMysql({ args: mysqlArgs("server") }),
    startTestRedis({ args: redisTlsArgs(certificates, tlsPort) }),
    startProviders({ transitMs: 0 }),
  ]);
  // From here on it takes no connections in plain text.
  for (const host of ["localhost", "127.0.0.1"])
    await mysql.admin(`ALTER USER ${ACCOUNT}@'${host}' REQUIRE SSL`);
  redisUrl = `rediss://:${new URL(redis.url).password}@localhost:${tlsPort}`;
});

afterAll(async () => {
  await Promise.all([mysql?.stop(), redis?.stop(), providers?.close()]);
  certificates?.remove();
});

function address(query: string): string {
  const url = new URL(mysql.databaseUrl);
  url.hostname = "localhost";
  return url.href + query;
}

async function cipherOf(url: string): Promise<unknown> {
  const database = new Database({ url });
  try {
    const [rows] = await database.query((queries) => queries.execute(sql`SHOW STATUS LIKE 'Ssl_cipher'`));
    return rows;
  } finally {
    await database.close();
  }
}

describe("MySQL with TLS", () => {
  const ENCRYPTED = [{ Variable_name: "Ssl_cipher", Value: expect.stringMatching(/TLS|AES|CHACHA/) }];

  test.each([
    ["?ssl-mode=REQUIRED", () => ""],
    ["?sslmode=require", () => ""],
    ["?ssl=true", () => ""],
    ["?ssl-mode=VERIFY_CA&ssl-ca=", () => file("ca.pem")],
    ["?ssl-ca=", () => file("ca.pem")],
    ["?ssl-mode=VERIFY_IDENTITY&ssl-ca=", () => file("ca.pem")],
    ["?sslmode=verify-full&sslrootcert=", () => file("ca.pem")],
  ])("is spoken to in TLS with %s", async (query, authority) => {
    expect(await cipherOf(address(query + authority()))).toEqual(ENCRYPTED);
  });

  test("refuses an account that must use it and does not", async () => {
    await expect(cipherOf(address(""))).rejects.toThrow("(1045)");
  });

  test.each(["?ssl-mode=VERIFY_CA&ssl-ca=", "?ssl-mode=REQUIRED&ssl-ca="])(
    "is not spoken to with %s if a stranger has signed its certificate",
    async (query) => {
      await expect(cipherOf(address(query + file("stranger.pem")))).rejects.toThrow("HANDSHAKE_SSL_ERROR");
    },
  );

  test("is not spoken to with VERIFY_IDENTITY if its certificate is for another host", async () => {
    certificates.make("elsewhere", "elsewhere.example");
    const server = await startTestMysql({ args: mysqlArgs("elsewhere") });
    try {
      const at = (mode: string) =>
        `${server.url.replace("127.0.0.1", "localhost")}?ssl-mode=${mode}&ssl-ca=${file("ca.pem")}`;
      expect(await cipherOf(at("VERIFY_CA"))).toEqual(ENCRYPTED);
      await expect(cipherOf(at("VERIFY_IDENTITY"))).rejects.toThrow("HANDSHAKE_SSL_ERROR");
    } finally {
      await server.stop();
    }
  });
});

test("an order is delivered over TLS to MySQL and Redis alone", async () => {
  const options = {
    databaseUrl: address(`?ssl-mode=VERIFY_IDENTITY&ssl-ca=${file("ca.pem")}`),
    redisUrl,
    providers,
    env: { NODE_EXTRA_CA_CERTS: file("ca.pem") },
  };
  const [api, worker] = await Promise.all([startApi(options), startWorker(options)]);
  try {
    const client = new TestClient(api.url);
    await client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 10 }] });
    const { id } = await client.order(PLAIN_ORDER);
    await client.orderIn(id, "DELIVERED");
  } finally {
    await Promise.all([api.stop(), worker.stop()]);
  }
});

describe.each(Object.entries({ "a cluster": startRedisCluster, Sentinels: startRedisSentinels }))(
  "Redis with %s and TLS",
  (_, startTopology) => {
    let topology: RedisTopology;
    beforeAll(async () => {
      topology = await startTopology({ certificates });
    });
    afterAll(() => topology?.stop());

    test("is spoken to in TLS alone, also by the name that a new master tells", async () => {
      const options = {
        databaseUrl: address(`?ssl-mode=VERIFY_IDENTITY&ssl-ca=${file("ca.pem")}`),
        redisUrl: topology.accountUrl,
        providers,
        env: { NODE_EXTRA_CA_CERTS: file("ca.pem"), REDIS_PREFIX: "shop", STAGE_ATTEMPTS: "1" },
      };
      const [api, worker] = await Promise.all([startApi(options), startWorker(options)]);
      try {
        const client = new TestClient(api.url);
        await client.put("/stock/MUG-BLUE", { onHand: 100 });
        const { id } = await client.order(PLAIN_ORDER);
        await client.orderIn(id, "DELIVERED");
        const master = await topology.masterOf("{pay}");
        master.kill("SIGKILL");
        await waitFor("another master", () =>
          topology.masterOf("{pay}").then(
            ({ port }) => port !== master.port,
            () => false,
          ),
        );
        const { id: later } = await client.order(PLAIN_ORDER);
        await client.orderIn(later, "DELIVERED");
        await master.restart();
        const connections = await waitFor("every server to list its clients", () =>
          Promise.all(topology.servers.map((server) => portsOfClients(topology, server))).catch(
            () => undefined,
          ),
        );
        expect(connections.flat()).not.toEqual([]);
        for (const [index, { port }] of topology.servers.entries())
          expect(connections[index]).not.toContain(port);
      } finally {
        await Promise.all([api.stop(), worker.stop()]);
      }
    });

    test("is not spoken to if nobody knows its certificate", async () => {
      const api = await startApi({
        databaseUrl: address(`?ssl-mode=VERIFY_IDENTITY&ssl-ca=${file("ca.pem")}`),
        redisUrl: topology.accountUrl,
        env: { REDIS_PREFIX: "shop" },
      });
      try {
        const { status, body } = await new TestClient(api.url).get("/health/ready");
        expect({ status, body }).toMatchObject({
          status: 503,
          body: { checks: { redis: { ready: false } } },
        });
      } finally {
        await api.stop();
      }
    });
  },
);

/** The server's ports to which clients with the service's account are connected. */
async function portsOfClients(topology: RedisTopology, server: TestServer): Promise<number[]> {
  const clients = String(await topology.admin(server).client("LIST")).split("\n");
  return clients
    .filter((client) => client.includes(" user=shop "))
    .map((client) => Number(/ laddr=[^ ]*:(\d+) /.exec(client)?.[1]));
}

test("a Redis whose certificate nobody knows is not spoken to, and an unknown parameter is refused at the start", async () => {
  const api = await startApi({ databaseUrl: address("?ssl-mode=REQUIRED"), redisUrl });
  try {
    const { status, body } = await new TestClient(api.url, {}).get("/health/ready");
    expect({ status, body }).toMatchObject({ status: 503, body: { checks: { redis: { ready: false } } } });
  } finally {
    await api.stop();
  }
  const misspelt = start("src/main.ts", { databaseUrl: address("?sslmod=REQUIRED"), redisUrl });
  expect((await misspelt.process.exited).code).toBe(1);
  expect(misspelt.lines.join("\n")).toContain("DATABASE_URL must have no parameter sslmod");
});
