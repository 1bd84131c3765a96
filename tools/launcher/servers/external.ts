import { faultOfRedisUrl } from "../../../src/platform/redis-url.ts";
import { errorCode, Failure } from "../../shared/failure.ts";
import type { ServerName } from "./binaries.ts";
import { probeMysql, probeRedis } from "./probe.ts";
import type { Server } from "./server.ts";

const VARIABLES = {
  mysql: { name: "DATABASE_URL", protocols: ["mysql:"], example: "mysql://user:password@host:3306/database" },
  redis: { name: "REDIS_URL", protocols: ["redis:", "rediss:"], example: "redis://:password@host:6379" },
} as const;
const PROBES = { mysql: probeMysql, redis: probeRedis };

/** The URL that the environment gives for a server; an empty variable counts as not set. */
export function environmentUrl(server: ServerName, environment: NodeJS.ProcessEnv): string | undefined {
  return environment[VARIABLES[server].name] || undefined;
}

/**
 * Makes sure that the server the environment names can be used. Nothing else is tried when it can't: data that lands
 * in another place than the one asked for is worse than no start.
 *
 * @throws Failure that names the variable, and never the password
 */
export async function checkExternal(server: ServerName, url: string): Promise<Server> {
  const { name, protocols, example } = VARIABLES[server];
  const fault = server === "redis" ? faultOfRedisUrl(url) : undefined;
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

/** Node reports a name with several addresses as an error without a message. */
function reasonOf(error: unknown): string {
  const [line] = (error instanceof Error ? error.message : String(error)).split("\n");
  return line || errorCode(error) || "no answer";
}
