import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { spawnGuarded } from "../guard.ts";
import { LogFile } from "../log-file.ts";
import { answers, freePort } from "../ports.ts";
import { untilReady } from "../ready.ts";
import { makeTempFolder } from "../temp-folder.ts";
import type { UnpackedPackages } from "./debian-packages.ts";

const READY_TIMEOUT_MS = 10_000;
const STOP_DEADLINE_MS = 5_000;

/** HAProxy in front of some MySQL servers. It never outlives this process. */
export interface MysqlProxy {
  /** Leads to the first server that runs; when that one is back, to it again, and connections to others are closed. */
  readonly writerPort: number;
  /** Leads to all that run, in turn. */
  readonly readerPort: number;
  stop(): Promise<void>;
}

/** @param ports of the servers, on this machine @throws Failure with the end of its log */
export async function startMysqlProxy(
  packages: UnpackedPackages,
  ports: readonly number[],
): Promise<MysqlProxy> {
  const [writerPort, readerPort] = [await freePort(), await freePort()];
  const proxy = await startHaproxy(packages, mysqlConfiguration(writerPort, readerPort, ports), writerPort);
  return { writerPort, readerPort, stop: () => proxy.stop() };
}

/**
 * @param configuration what its file says
 * @param port one that it listens on
 * @throws Failure with the end of its log
 */
export async function startHaproxy(
  packages: UnpackedPackages,
  configuration: string,
  port: number,
): Promise<{ stop(): Promise<void> }> {
  const folder = makeTempFolder();
  const file = path.join(folder, "haproxy.cfg");
  writeFileSync(file, configuration);
  const log = new LogFile(path.join(folder, "haproxy.log"));
  const child = spawnGuarded(`${packages.root}/usr/sbin/haproxy`, ["-db", "-f", file], {
    env: { PATH: process.env["PATH"], ...packages.environment },
    output: log.fd,
  });
  const stop = async () => {
    await child.stop(STOP_DEADLINE_MS);
    log.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const options = { name: "HAProxy", process: child, log, timeoutMs: READY_TIMEOUT_MS };
    await untilReady(options, async () => (await answers(port)) || undefined);
    return { stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function mysqlConfiguration(writerPort: number, readerPort: number, ports: readonly number[]): string {
  const server = (port: number, index: number) =>
    `server node-${index} 127.0.0.1:${port} check inter 500 fall 2 rise 2 on-marked-down shutdown-sessions`;
  const only = (index: number) => (index === 0 ? " on-marked-up shutdown-backup-sessions" : " backup");
  return `defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h

listen writer
  bind 127.0.0.1:${writerPort}
  ${ports.map((port, index) => server(port, index) + only(index)).join("\n  ")}

listen readers
  bind 127.0.0.1:${readerPort}
  balance roundrobin
  ${ports.map(server).join("\n  ")}
`;
}
