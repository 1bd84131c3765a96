import { existsSync } from "node:fs";
import path from "node:path";
import { spawnGuarded } from "../guard.ts";
import { LOCAL } from "../local-folder.ts";
import { LogFile } from "../log-file.ts";
import { untilReady } from "../ready.ts";
import { canUnpackDebianPackages, unpackDebianPackages } from "./debian-packages.ts";

const READY_TIMEOUT_MS = 60_000;
const STOP_DEADLINE_MS = 30_000;

/** Prometheus' programs. */
export interface PrometheusTools {
  readonly prometheus: string;
  readonly promtool: string;
}

/** A Prometheus. It never outlives this process. */
export interface Prometheus {
  /** Asks its API: `/api/v1/query?query=up`. @throws {Error} for a query that it refuses. */
  ask<Data>(address: string): Promise<Data>;
  close(): Promise<void>;
}

/** Whether this machine has them, or can have them. */
export function canHavePrometheus(): boolean {
  return findOnPath() !== undefined || canUnpackDebianPackages();
}

/** Those of this machine, or of Debian's packages, unpacked into `.local` the first time. @throws {Error} */
export async function findPrometheus(): Promise<PrometheusTools> {
  const installed = findOnPath();
  if (installed) return installed;
  const { root } = await unpackDebianPackages(["prometheus"], LOCAL.packages, {
    progress: (text) => text && process.stderr.write(`prometheus: ${text}\n`),
  });
  return within(path.join(root, "usr/bin"));
}

function findOnPath(): PrometheusTools | undefined {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter).map(within);
  return folders.find(({ prometheus, promtool }) => existsSync(prometheus) && existsSync(promtool));
}

function within(folder: string): PrometheusTools {
  return { prometheus: path.join(folder, "prometheus"), promtool: path.join(folder, "promtool") };
}

/** Starts a Prometheus with this configuration, a file, which keeps its data and its log in this folder. @throws {Failure} */
export async function startPrometheus(
  { prometheus }: Pick<PrometheusTools, "prometheus">,
  { config, folder, port }: { readonly config: string; readonly folder: string; readonly port: number },
): Promise<Prometheus> {
  const log = new LogFile(path.join(folder, "prometheus.log"));
  const child = spawnGuarded(
    prometheus,
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { cwd: folder, env: { PATH: process.env["PATH"] }, output: log.fd },
  );
  const url = `http://127.0.0.1:${port}`;
  await untilReady({ name: "Prometheus", process: child, log, timeoutMs: READY_TIMEOUT_MS }, async () =>
    (await fetch(`${url}/-/ready`)).ok ? true : undefined,
  );
  return {
    async ask<Data>(address: string): Promise<Data> {
      const response = await fetch(url + address);
      const text = await response.text();
      if (!response.ok) throw new Error(`Prometheus answered ${response.status}: ${text}`);
      const answer: { data: Data } = JSON.parse(text);
      return answer.data;
    },
    async close() {
      await child.stop(STOP_DEADLINE_MS);
      log.close();
    },
  };
}
