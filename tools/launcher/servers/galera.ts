import { cpSync, rmSync } from "node:fs";
import path from "node:path";
import { randomBytes } from "node:crypto";
import type { RowDataPacket } from "mysql2";
import { LogFile } from "../log-file.ts";
import { LOCAL } from "../local-folder.ts";
import { freePort } from "../ports.ts";
import { untilReady } from "../ready.ts";
import { run } from "../run.ts";
import { makeTempFolder } from "../temp-folder.ts";
import type { ServerBinary } from "./binaries.ts";
import { unpackDebianPackages, type UnpackedPackages } from "./debian-packages.ts";
import { requireBinaries } from "./find.ts";
import { startMysqlProxy } from "./haproxy.ts";
import { ownSettings, startMysql } from "./mysql.ts";
import { mysqlTemplate, searchOptions } from "./private-server.ts";
import type { Server } from "./server.ts";

const NODES = 3;
const READY_TIMEOUT_MS = 9_000;
const STOP_DEADLINE_MS = 20_000;
/** The folder of the script `wsrep_sst_missed`. */
const TRANSFER = path.join(import.meta.dirname, "galera");
const PACKAGES = ["galera-4", "haproxy"];

/** One MariaDB of a cluster. It never outlives this process. */
export interface GaleraNode {
  /** Past the proxy; with user and password, without a database. */
  readonly url: string;
  readonly pid: number;
  /** Sends a signal: SIGKILL simulates a crash, SIGSTOP and SIGCONT a hang. */
  kill(signal: NodeJS.Signals): void;
  /** Kills it if it still runs, and starts it again. It catches up with the others before it serves. */
  restart(): Promise<void>;
}

/** A Galera cluster behind HAProxy, for one run, to break at will. */
export interface GaleraCluster {
  readonly nodes: readonly GaleraNode[];
  /** HAProxy, which leads everybody to the same node: the first one that runs. */
  readonly url: string;
  /** HAProxy, which leads each connection to another node. */
  readonly readUrl: string;
  stop(): Promise<void>;
}

/** The ports of a node: its cluster's are apart from those of SQL. */
interface Ports {
  readonly sql: number;
  readonly group: number;
  readonly transfer: number;
}

/**
 * An empty Galera cluster of three MariaDB nodes, and HAProxy, from Debian's packages. Takes about 15 seconds.
 *
 * The nodes start with the same data, as if each had been there all the time. So none has to be sent a copy of another's
 * (SST), for which Debian's script needs rsync and a user that is not root; what a restarted node missed it gets from the
 * others' memory (IST).
 *
 * @throws Failure if MariaDB can't be had here; CommandFailed if the packages can't be downloaded
 */
export async function startGalera(): Promise<GaleraCluster> {
  const options = { ...searchOptions(), mysql: "MariaDB" as const };
  const [{ mysql: found }, packages] = await Promise.all([
    requireBinaries(options),
    unpackDebianPackages(PACKAGES, LOCAL.packages, options),
  ]);
  const binary = withLibrariesOf(packages, found);
  const folder = makeTempFolder();
  const password = randomBytes(12).toString("hex");
  const stops: (() => Promise<unknown>)[] = [async () => rmSync(folder, { recursive: true, force: true })];
  const stop = async () => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const ports: Ports[] = [];
    for (let node = 0; node < NODES; node++)
      ports.push({ sql: await freePort(), group: await freePort(), transfer: await freePort() });
    const member = { binary, folder, packages, password, ports };
    await makeFounder(member, await mysqlTemplate(found));
    const nodes: (GaleraNode & { readonly stop: () => Promise<unknown> })[] = [];
    for (let node = 0; node < NODES; node++) {
      const started = await startNode(member, node);
      stops.push(() => started.stop());
      nodes.push(started);
    }
    const proxy = await startMysqlProxy(
      packages,
      ports.map(({ sql }) => sql),
    );
    stops.push(() => proxy.stop());
    const at = (port: number) => Object.assign(new URL(nodes[0]!.url), { port: String(port) }).href;
    return { nodes, url: at(proxy.writerPort), readUrl: at(proxy.readerPort), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Member {
  readonly binary: ServerBinary;
  readonly folder: string;
  readonly packages: UnpackedPackages;
  readonly password: string;
  readonly ports: readonly Ports[];
}

function withLibrariesOf({ environment }: UnpackedPackages, binary: ServerBinary): ServerBinary {
  const folders = [environment.LD_LIBRARY_PATH, binary.environment["LD_LIBRARY_PATH"]].filter(Boolean);
  return {
    ...binary,
    environment: {
      ...binary.environment,
      LD_LIBRARY_PATH: folders.join(path.delimiter),
      PATH: [TRANSFER, process.env["PATH"]].join(path.delimiter),
    },
  };
}

/** Makes the data that all nodes start with: a cluster of one that has stopped, with our account. */
async function makeFounder(member: Member, template: string): Promise<void> {
  const { binary, folder, password, ports } = member;
  const dataFolder = path.join(folder, "founder");
  cpSync(template, dataFolder, { recursive: true });
  const log = new LogFile(path.join(folder, "founder.log"));
  const args = [...settings(member, 0), "--wsrep-new-cluster"];
  const founder = await startMysql({ args, binary, dataFolder, log, password, port: ports[0]!.sql });
  await founder.process.stop(STOP_DEADLINE_MS);
  log.close();
}

async function startNode(
  member: Member,
  node: number,
): Promise<GaleraNode & { stop: () => Promise<unknown> }> {
  const { binary, folder, password, ports } = member;
  const dataFolder = path.join(folder, `node-${node}`);
  cpSync(path.join(folder, "founder"), dataFolder, { recursive: true });
  const log = new LogFile(path.join(folder, `node-${node}.log`));
  const start = async (args: readonly string[]): Promise<Required<Server>> => {
    const server = await startMysql({
      // The account is there; a statement at the start would be another transaction of the cluster.
      args: [...settings(member, node), "--init-file=", ...args],
      binary,
      dataFolder,
      log,
      password,
      port: ports[node]!.sql,
    });
    const ready = { name: `node ${node}`, process: server.process, log, timeoutMs: READY_TIMEOUT_MS };
    await untilReady(ready, () => serves(server.url));
    return server;
  };
  let server = await start(node === 0 ? ["--wsrep-new-cluster"] : []);
  return {
    url: server.url,
    get pid() {
      return server.process.pid;
    },
    kill: (signal) => server.process.kill(signal),
    async restart() {
      server.process.kill("SIGKILL");
      await server.process.exited;
      server = await start([`--wsrep-start-position=${await positionOf(member, node, dataFolder)}`]);
    },
    async stop() {
      // Nobody needs its data again, and a node without the others waits for them.
      server.process.kill("SIGKILL");
      await server.process.exited;
      log.close();
    },
  };
}

/** A node that answers may still be catching up, and refuse reads. @throws {Error} of the driver */
async function serves(url: string): Promise<true | undefined> {
  const { createConnection } = await import("mysql2/promise");
  const connection = await createConnection(url);
  try {
    const [[ready]] = await connection.query<RowDataPacket[]>("SHOW STATUS LIKE 'wsrep_ready'");
    return ready?.["Value"] === "ON" || undefined;
  } finally {
    connection.destroy();
  }
}

/** The last transaction that a node has after a crash: "<cluster>:<number>". */
async function positionOf(member: Member, node: number, dataFolder: string): Promise<string> {
  const { binary, folder } = member;
  const args = [
    ...ownSettings(binary),
    `--datadir=${dataFolder}`,
    ...settings(member, node),
    "--wsrep-recover",
    "--skip-networking",
    `--socket=${path.join(folder, "recover.sock")}`,
  ];
  const lines = await run(binary.path, args, { env: binary.environment });
  const position = lines.map((line) => /Recovered position:\s*(\S+)/.exec(line)?.[1]).find(Boolean);
  if (position === undefined)
    throw new Error(`node ${node} has no position:\n${lines.slice(-20).join("\n")}`);
  return position;
}

function settings({ packages, ports }: Member, node: number): string[] {
  const own = ports[node]!;
  const provider = {
    base_host: "127.0.0.1",
    base_port: own.group,
    "gmcast.listen_addr": `tcp://127.0.0.1:${own.group}`,
    "ist.recv_addr": `127.0.0.1:${own.transfer}`,
    "gcache.size": "64M",
  };
  return [
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    "--wsrep-on=ON",
    `--wsrep-provider=${packages.root}/usr/lib/galera/libgalera_smm.so`,
    "--wsrep-cluster-name=conveyor",
    `--wsrep-node-name=node-${node}`,
    `--wsrep-node-address=127.0.0.1:${own.group}`,
    `--wsrep-cluster-address=gcomm://${ports.map(({ group }) => `127.0.0.1:${group}`).join(",")}`,
    `--wsrep-provider-options=${Object.entries(provider)
      .map(([name, value]) => `${name}=${value}`)
      .join(";")}`,
    "--wsrep-slave-threads=2",
    "--wsrep-sst-method=missed",
  ];
}
