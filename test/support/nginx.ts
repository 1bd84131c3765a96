import { rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { spawnGuarded } from "../../tools/launcher/guard.ts";
import { LOCAL } from "../../tools/launcher/local-folder.ts";
import { unpackDebianPackages } from "../../tools/launcher/servers/debian-packages.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";
import { endWithJest } from "./end-with-jest.ts";
import { waitFor } from "./wait-for.ts";

/** Fetching and unpacking a proxy takes what the network takes. */
export const PROXY_START_MS = 300_000;

/**
 * Starts Debian's nginx, unpacked into `.local` the first time, as a proxy on a port of this machine. It ends with this
 * process, however that ends.
 *
 * @param http what its configuration has in `http { … }`: `server { listen 127.0.0.1:8080; … }`
 * @param port one that it listens on
 */
export async function startNginx(http: string, port: number): Promise<{ stop(): Promise<unknown> }> {
  endWithJest();
  const { root, environment } = await unpackDebianPackages(["nginx"], LOCAL.packages, {
    progress: (text) => process.stderr.write(`nginx: ${text}\n`),
  });
  const folder = makeTempFolder();
  const file = path.join(folder, "nginx.conf");
  writeFileSync(file, configuration(folder, http));
  const lines: string[] = [];
  const child = spawnGuarded(path.join(root, "usr/sbin/nginx"), ["-p", folder, "-c", file, "-e", "stderr"], {
    env: { PATH: process.env["PATH"], ...environment },
    onLine: (line) => lines.push(line),
  });
  await waitFor("nginx to listen", () => {
    if (!child.running) throw new Error(`nginx ended:\n${lines.join("\n")}`);
    return listens(port);
  });
  return {
    async stop() {
      await child.stop(5_000);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function configuration(folder: string, http: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (each) => `${each}_temp_path ${folder}/${each};`,
  );
  return `daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  ${temporary.join("\n  ")}
  ${http}
}
`;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
