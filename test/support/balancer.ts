import { LOCAL } from "../../tools/launcher/local-folder.ts";
import { unpackDebianPackages } from "../../tools/launcher/servers/debian-packages.ts";
import { startHaproxy } from "../../tools/launcher/servers/haproxy.ts";
import { endWithJest } from "./end-with-jest.ts";

/**
 * Starts Debian's HAProxy, unpacked into `.local` the first time, as a load balancer that sends requests to those API
 * processes alone that say they accept. It repeats none that it has sent.
 */
export async function startBalancer(
  port: number,
  urls: readonly string[],
): Promise<{ stop(): Promise<void> }> {
  endWithJest();
  const packages = await unpackDebianPackages(["haproxy"], LOCAL.packages, {
    progress: (text) => process.stderr.write(`HAProxy: ${text}\n`),
  });
  const servers = urls.map(
    (url, index) => `server api-${index} ${new URL(url).host} check inter 200ms fall 1`,
  );
  return startHaproxy(
    packages,
    `defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
  timeout check 10s

listen shop
  bind 127.0.0.1:${port}
  option httpchk GET /health/accepting
  ${servers.join("\n  ")}
`,
    port,
  );
}
