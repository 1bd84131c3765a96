import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { spawnGuarded, type GuardedProcess } from "../../tools/launcher/guard.ts";
import { LOCAL } from "../../tools/launcher/local-folder.ts";
import {
  canUnpackDebianPackages,
  unpackDebianPackages,
} from "../../tools/launcher/servers/debian-packages.ts";
import { endWithJest } from "./end-with-jest.ts";
import { waitFor } from "./wait-for.ts";

/** Fetching and unpacking it takes what the network takes. */
export const PROMETHEUS_START_MS = 600_000;

/** Prometheus' programs. */
export interface PrometheusTools {
  readonly prometheus: string;
  readonly promtool: string;
}

/** Where this machine has them, or whether it can have them. */
export const canHavePrometheus = findOnPath() !== undefined || canUnpackDebianPackages();

/** Those of this machine, or of Debian's packages, unpacked into `.local` the first time. @throws {Error} */
export async function findPrometheus(): Promise<PrometheusTools> {
  const installed = findOnPath();
  if (installed) return installed;
  const { root } = await unpackDebianPackages(["prometheus"], LOCAL.packages, {
    progress: (text) => process.stderr.write(`test prometheus: ${text}\n`),
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

/** What promtool prints. @throws {Error} with that, when it finds a fault. */
export function check(
  { promtool: program }: PrometheusTools,
  args: readonly string[],
  input = "",
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], (error, stdout, stderr) => {
      const output = stdout + stderr;
      if (error) reject(new Error(`promtool ${args.join(" ")}: ${output}`));
      else resolve(output);
    });
    child.stdin?.on("error", () => undefined).end(input);
  });
}

/** A Prometheus that belongs to a test. */
export interface TestPrometheus {
  /** Asks its API: `/api/v1/query?query=up`. @throws {Error} for a query that it refuses. */
  ask<Data>(address: string): Promise<Data>;
  close(): Promise<void>;
}

/** Starts a Prometheus with this configuration, which keeps its data in this folder. */
export async function startPrometheus(
  { prometheus }: PrometheusTools,
  { config, folder, port }: { readonly config: string; readonly folder: string; readonly port: number },
): Promise<TestPrometheus> {
  endWithJest();
  const lines: string[] = [];
  const child: GuardedProcess = spawnGuarded(
    prometheus,
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { cwd: folder, env: { PATH: process.env["PATH"] }, onLine: (line) => lines.push(line) },
  );
  const url = `http://127.0.0.1:${port}`;
  await waitFor("Prometheus to be ready", async () => {
    if (!child.running) throw new Error(`Prometheus ended:\n${lines.join("\n")}`);
    const answer = await fetch(`${url}/-/ready`).catch(() => undefined);
    return answer?.ok;
  });
  return {
    async ask<Data>(address: string): Promise<Data> {
      const response = await fetch(url + address);
      const text = await response.text();
      if (!response.ok) throw new Error(`Prometheus answered ${response.status}: ${text}`);
      const answer: { data: Data } = JSON.parse(text);
      return answer.data;
    },
    async close() {
      await child.stop(30_000);
    },
  };
}
