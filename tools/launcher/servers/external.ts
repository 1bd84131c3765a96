import { faultOfMysqlUrl } from "../../../src/platform/mysql-url.ts";
import { faultOfRedisUrl } from "../../../src/platform/redis-url.ts";
import { errorCode, Failure } from "../../shared/failure.ts";
import type { ServerName } from "./binaries.ts";
import { probeMysql, probeRedis } from "./probe.ts";
import type { Server } from "./server.ts";

const VARIABLES = {
  mysql: { name: "DATABASE_URL", protocols: ["mysql:"], example: "mysql://user:password@host:3306/database" },
  redis: { name: "REDIS_URL", protocols: ["redis:", "rediss:"], example: "redis://:password@host:6379" },
} as const;
const FAULTS = { mysql: faultOfMysqlUrl, redis: faultOfRedisUrl };
const PROBES = { mysql: probeMysql, redis: probeRedis };

/** The URL of a server from the environment; an empty variable counts as unset. */
export function environmentUrl(server: ServerName, environment: NodeJS.ProcessEnv): string | undefined {
  return environment[VARIABLES[server].name] || undefined;
}

/**
 * Checks that a server named in the environment works. If it does not, nothing else is tried: storing data in
 * the wrong place is worse than not starting.
 *
 * @throws Failure that names the variable but never the password
 */
export async function checkExternal(server: ServerName, url: string): Promise<Server> {
  const { name, protocols, example } = VARIABLES[server];
  const fault = FAULTS[server](url);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !protocols.some((protocol) => protocol === parsed.protocol)) {
    throw new Failure(`${name} is not an address like ${example}`);
  }
  if (fault !== undefined) throw new Failure(`${name} ${fault}`);
  try {
    return { url, version: await PROBES[server](url) };
  } catch (error) {
    throw new Failure(`${name}: ${parsed.host} can't be used: ${reasonOf(error)}`);
  }
}

/** Node's error for a host name with several addresses has no message. */
function reasonOf(error: unknown): string {
  const [line] = (error instanceof Error ? error.message : String(error)).split("\n");
  return line || errorCode(error) || "no answer";
}
