import { faultOfMysqlUrl } from "../../../src/platform/mysql-url.ts";
import { describeRedis, faultOfRedisUrl } from "../../../src/platform/redis-url.ts";
import { errorCode, Failure } from "../../shared/failure.ts";
import type { ServerName } from "./binaries.ts";
import { probeMysql, probeRedis } from "./probe.ts";
import type { Server } from "./server.ts";

const SERVERS = {
  mysql: {
    name: "DATABASE_URL",
    faultOf: faultOfMysqlUrl,
    probe: probeMysql,
    describe: (url: string) => new URL(url).host,
  },
  redis: { name: "REDIS_URL", faultOf: faultOfRedisUrl, probe: probeRedis, describe: describeRedis },
} as const;

/** The URL of a server from the environment; an empty variable counts as unset. */
export function environmentUrl(server: ServerName, environment: NodeJS.ProcessEnv): string | undefined {
  return environment[SERVERS[server].name] || undefined;
}

/**
 * Checks that a server named in the environment works. If it does not, nothing else is tried: storing data in
 * the wrong place is worse than not starting.
 *
 * @throws Failure that names the variable but never the password
 */
export async function checkExternal(server: ServerName, url: string): Promise<Server> {
  const { name, faultOf, probe, describe } = SERVERS[server];
  const fault = faultOf(url);
  if (fault !== undefined) throw new Failure(`${name} ${fault}`);
  try {
    return { url, version: await probe(url) };
  } catch (error) {
    throw new Failure(`${name}: ${describe(url)} can't be used: ${reasonOf(error)}`);
  }
}

/** Node's error for a host name with several addresses has no message. */
function reasonOf(error: unknown): string {
  const [line] = (error instanceof Error ? error.message : String(error)).split("\n");
  return line || errorCode(error) || "no answer";
}
