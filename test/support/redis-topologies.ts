import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Redis } from "ioredis";
import { spawnGuarded, type GuardedProcess } from "../../tools/launcher/guard.ts";
import { freePort } from "../../tools/launcher/ports.ts";
import { requireBinaries } from "../../tools/launcher/servers/find.ts";
import { searchOptions } from "../../tools/launcher/servers/private-server.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";
import { redisTlsArgs, type Certificates } from "./certificates.ts";
import { startTestRedis, type TestServer } from "./servers.ts";
import { waitFor } from "./wait-for.ts";

/*
 * Redis as larger shops run it, on the loopback address, from the one program that all tests need anyway: with
 * `--sentinel` it is a Sentinel. All of it ends with this process.
 */

const PASSWORD = "redis-password";
/** What certificates are for. */
const HOST = "localhost";
const SLOTS = 16_384;
/** Milliseconds until a master that does not answer is replaced. */
const DOWN_AFTER_MS = 1_000;

/** What a service's account needs, for a prefix that begins with "shop", as docs/deploying.md says. */
const ACCOUNT = "shop on >PASSWORD ~shop* ~{shop* &{shop* +@all -@dangerous +info".replace(
  "PASSWORD",
  PASSWORD,
);

/** How the servers are to be. */
export interface TopologyOptions {
  /** With TLS: `url` and `accountUrl` lead to "localhost", as do the names that servers tell. */
  readonly certificates?: Certificates;
}

/** Several servers that are one Redis. */
export interface RedisTopology {
  /** For REDIS_URL, with a login that may do everything. */
  readonly url: string;
  /** With that of an account that may use what its prefix, which begins with "shop", needs. */
  readonly accountUrl: string;
  /** The servers with data, those that began as masters first. */
  readonly servers: readonly TestServer[];
  /** The server that takes writes for a key. */
  masterOf(key: string): Promise<TestServer>;
  /** Waits until a server has the data of its master. */
  untilReplicated(server: TestServer): Promise<true>;
  /** Says things to a server that the service itself never says. */
  admin(server: TestServer): Redis;
  stop(): Promise<void>;
}

class Servers {
  readonly all: TestServer[] = [];
  readonly #certificates: Certificates | undefined;
  readonly #admins = new Map<number, Redis>();
  /** By the port for those who use TLS. */
  readonly #byTlsPort = new Map<number, TestServer>();

  constructor({ certificates }: TopologyOptions) {
    this.#certificates = certificates;
  }

  async start(count: number, argsOf: () => Promise<string[]>): Promise<void> {
    const started = Array.from({ length: count }, async () => {
      const tlsPort = this.#certificates && (await freePort());
      const server = await startTestRedis({
        password: PASSWORD,
        args: [
          "--masterauth",
          PASSWORD,
          "--user",
          ...ACCOUNT.split(" "),
          ...(await argsOf()),
          ...(this.#certificates && tlsPort !== undefined
            ? [...redisTlsArgs(this.#certificates, tlsPort), "--tls-replication", "yes"]
            : []),
        ],
      });
      if (tlsPort !== undefined) this.#byTlsPort.set(tlsPort, server);
      return server;
    });
    this.all.push(...(await Promise.all(started)));
  }

  /** The port at which others are to reach a server. */
  portOf(server: TestServer): number {
    const [tlsPort] = [...this.#byTlsPort].find(([, each]) => each === server) ?? [];
    return tlsPort ?? server.port;
  }

  admin({ port }: { readonly port: number }): Redis {
    const known = this.#admins.get(port);
    if (known) return known;
    const redis = new Redis(port, "127.0.0.1", { password: PASSWORD, commandTimeout: 1_000 });
    redis.on("error", () => undefined);
    this.#admins.set(port, redis);
    return redis;
  }

  /** The server at a port that another server names. */
  at(port: number): TestServer {
    const found = this.#byTlsPort.get(port) ?? this.all.find((server) => server.port === port);
    if (found === undefined) throw new Error(`no server listens on ${port}`);
    return found;
  }

  async stop(): Promise<void> {
    for (const admin of this.#admins.values()) admin.disconnect();
    for (const server of this.all) server.kill("SIGCONT");
    await Promise.all(this.all.map((server) => server.stop()));
  }
}

/** A cluster of three masters with a replica each. */
export async function startRedisCluster(options: TopologyOptions = {}): Promise<RedisTopology> {
  const servers = new Servers(options);
  const { certificates } = options;
  await servers.start(6, async () => [
    "--cluster-enabled",
    "yes",
    "--cluster-port",
    String(await freePort()),
    "--cluster-node-timeout",
    String(DOWN_AFTER_MS),
    ...(certificates
      ? [
          "--tls-cluster",
          "yes",
          "--cluster-announce-hostname",
          HOST,
          "--cluster-preferred-endpoint-type",
          "hostname",
        ]
      : []),
  ]);
  const nodes = servers.all.map((server) => servers.admin(server));
  const [masters, replicas] = [nodes.slice(0, 3), nodes.slice(3)];
  for (const [index, node] of nodes.entries()) await node.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1);
  await Promise.all(
    masters.map((master, index) => {
      const [from, to] = [index, index + 1].map((part) => Math.floor((SLOTS * part) / masters.length));
      const slots = Array.from({ length: to! - from! }, (_, slot) => from! + slot);
      return master.call("CLUSTER", "ADDSLOTS", ...slots);
    }),
  );
  const ports = await Promise.all(
    nodes.map(async (node) => {
      const [, port] = String(await node.config("GET", "cluster-port")).split(",");
      return Number(port);
    }),
  );
  for (const [index, { port }] of servers.all.entries())
    await nodes[0]!.call("CLUSTER", "MEET", "127.0.0.1", port, ports[index]!);
  const isOf = (node: Redis, what: string) => async () => (await node.cluster("INFO")).includes(what);
  for (const node of nodes) await waitFor("the nodes to meet", isOf(node, "cluster_known_nodes:6"));
  const ids = await Promise.all(masters.map((master) => master.call("CLUSTER", "MYID")));
  await Promise.all(
    replicas.map((replica, index) =>
      waitFor("a replica to know its master", () =>
        replica.call("CLUSTER", "REPLICATE", String(ids[index])).then(
          () => true,
          () => false,
        ),
      ),
    ),
  );
  for (const node of nodes) await waitFor("the cluster to be whole", isOf(node, "cluster_state:ok"));
  await Promise.all(replicas.map(untilReplicated));
  const [scheme, host] = certificates ? ["rediss", HOST] : ["redis", "127.0.0.1"];
  const url = `${scheme}+cluster://:${PASSWORD}@${servers.all
    .slice(0, 3)
    .map((server) => `${host}:${servers.portOf(server)}`)
    .join(",")}`;
  return {
    url,
    accountUrl: ofAccount(url),
    servers: servers.all,
    async masterOf(key) {
      // The first that is alive and answers.
      const [slot, table] = await Promise.any(
        nodes.map(
          async (node) =>
            [
              Number(await node.call("CLUSTER", "KEYSLOT", key)),
              String(await node.call("CLUSTER", "NODES")),
            ] as const,
        ),
      );
      return servers.at(portOf(slot, table));
    },
    untilReplicated: (server) => untilReplicated(servers.admin(server)),
    admin: (server) => servers.admin(server),
    stop: () => servers.stop(),
  };
}

/** The port of the node that has a slot, by the answer to CLUSTER NODES. */
function portOf(slot: number, table: string): number {
  for (const line of table.split("\n")) {
    const [, address = "", flags = "", , , , , , ...ranges] = line.split(" ");
    const isThere = ranges.some((range) => {
      const [from = NaN, to = from] = range.split("-").map(Number);
      return from <= slot && slot <= to;
    });
    if (isThere && flags.includes("master")) return Number(/:(\d+)/.exec(address)?.[1]);
  }
  throw new Error(`no node has the slot ${slot}`);
}

/** A Redis with two replicas, watched by three Sentinels. */
export async function startRedisSentinels(options: TopologyOptions = {}): Promise<RedisTopology> {
  const servers = new Servers(options);
  const { certificates } = options;
  await servers.start(3, async () => (certificates ? ["--replica-announce-ip", HOST] : []));
  const [scheme, host] = certificates ? ["rediss", HOST] : ["redis", "127.0.0.1"];
  const [master, ...replicas] = servers.all;
  const masterPort = servers.portOf(master!);
  for (const replica of replicas) await servers.admin(replica).replicaof(host, String(masterPort));
  await Promise.all(replicas.map((replica) => untilReplicated(servers.admin(replica))));
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(masterPort, options)));
  const first = new Redis(sentinels[0]!.port, "127.0.0.1", { password: PASSWORD });
  first.on("error", () => undefined);
  await waitFor("the Sentinels to know each other and the replicas", async () => {
    const reply = String(await first.call("SENTINEL", "MASTER", "shop")).split(",");
    const of = (name: string) => reply[reply.indexOf(name) + 1];
    return of("num-other-sentinels") === "2" && of("num-slaves") === "2";
  });
  const hosts = sentinels.map(({ port, tlsPort }) => `${host}:${tlsPort ?? port}`).join(",");
  const url = `${scheme}+sentinel://:${PASSWORD}@${hosts}/shop/2?sentinelPassword=${PASSWORD}`;
  return {
    url,
    accountUrl: ofAccount(url),
    servers: servers.all,
    async masterOf() {
      const reply = await first.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop");
      const [, port] = String(reply).split(",");
      return servers.at(Number(port));
    },
    untilReplicated: (server) => untilReplicated(servers.admin(server)),
    admin: (server) => servers.admin(server),
    async stop() {
      first.disconnect();
      await Promise.all(sentinels.map((sentinel) => sentinel.stop()));
      await servers.stop();
    },
  };
}

function ofAccount(url: string): string {
  return url.replace("://:", "://shop:");
}

function untilReplicated(replica: Redis): Promise<true> {
  return waitFor("a replica to have its master's data", () =>
    replica.info("replication").then(
      (info) => info.includes("master_link_status:up"),
      () => false,
    ),
  );
}

interface Sentinel {
  readonly port: number;
  readonly tlsPort: number | undefined;
  stop(): Promise<void>;
}

async function startSentinel(masterPort: number, { certificates }: TopologyOptions): Promise<Sentinel> {
  const { redis } = await requireBinaries(searchOptions());
  const port = await freePort();
  const tlsPort = certificates && (await freePort());
  const folder = path.join(makeTempFolder(), "sentinel");
  mkdirSync(folder, { mode: 0o700 });
  const file = path.join(folder, "sentinel.conf");
  // It writes what it learns into the same file.
  writeFileSync(
    file,
    [
      "bind 127.0.0.1",
      `port ${port}`,
      `dir ${folder}`,
      `requirepass ${PASSWORD}`,
      `sentinel sentinel-pass ${PASSWORD}`,
      ...(certificates && tlsPort !== undefined ? withTls(redisTlsArgs(certificates, tlsPort)) : []),
      `sentinel monitor shop ${certificates ? HOST : "127.0.0.1"} ${masterPort} 2`,
      `sentinel auth-pass shop ${PASSWORD}`,
      `sentinel down-after-milliseconds shop ${DOWN_AFTER_MS}`,
      "sentinel failover-timeout shop 2000",
      "",
    ].join("\n"),
    { mode: 0o600 },
  );
  const child: GuardedProcess = spawnGuarded(redis.path, [file, "--sentinel"], {
    env: { ...process.env, ...redis.environment },
  });
  return {
    port,
    tlsPort,
    async stop() {
      await child.stop(5_000);
      rmSync(path.dirname(folder), { recursive: true, force: true });
    },
  };
}

/** A Sentinel's configuration for TLS, from the arguments of a server. */
function withTls(args: readonly string[]): string[] {
  return [
    ...args.flatMap((arg, index) => (arg.startsWith("--") ? [`${arg.slice(2)} ${args[index + 1]}`] : [])),
    "tls-replication yes",
    "sentinel resolve-hostnames yes",
    "sentinel announce-hostnames yes",
  ];
}
