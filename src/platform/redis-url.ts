import { decoded } from "./decoded.ts";
import { faultOfHost } from "./host-fault.ts";

/** What REDIS_URL says, in the parts that a client needs. */
export interface RedisAddress {
  /** One server; the Sentinels that know which one; some nodes of a cluster. */
  readonly kind: "single" | "sentinel" | "cluster";
  /** The server, the Sentinels or the nodes; empty for a socket. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** The path of a Unix socket. */
  readonly socket: string | undefined;
  /** The name under which the Sentinels know the master. */
  readonly master: string | undefined;
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** The database index. */
  readonly database: number;
  /** IPv4 only, IPv6 only, or both. */
  readonly family: 0 | 4 | 6;
  /** The login at the Sentinels themselves. */
  readonly sentinelUsername: string | undefined;
  readonly sentinelPassword: string | undefined;
}

const SINGLE = "redis://:password@host:6379/0";
const SENTINELS = "redis+sentinel://host1:26379,host2:26379/mymaster";
const CLUSTER = "redis+cluster://host1:6379,host2:6379";
const SOCKET = "unix:///run/redis/redis.sock";

const EXAMPLES = { single: SINGLE, sentinel: SENTINELS, cluster: CLUSTER } as const;
const DEFAULT_PORTS = { single: 6379, sentinel: 26_379, cluster: 6379 } as const;
/** Names in Sentinels' configuration. */
const MASTER = /^[\w.-]+$/;
const INDEX = /^(?:0|[1-9]\d{0,5})$/;
const FAMILIES = new Map<string, RedisAddress["family"]>([
  ["0", 0],
  ["4", 4],
  ["6", 6],
]);

/** A URL whose authority may name several hosts, which `URL` does not understand. */
interface Parts {
  readonly hosts: readonly string[];
  /** The login, path and query, with the first host. */
  readonly rest: URL;
}

/**
 * What is wrong with a Redis URL, as a phrase to follow its name; undefined if it is valid. This is strict
 * because ioredis accepts options in the query and any path as the database.
 */
export function faultOfRedisUrl(url: string): string | undefined {
  const address = read(url);
  return typeof address === "string" ? address : undefined;
}

/** The parts of a valid Redis URL. @throws {Error} with what is wrong with it, which tells no password. */
export function redisAddress(url: string): RedisAddress {
  const address = read(url);
  if (typeof address === "string") throw new Error(`the address of Redis ${address}`);
  return address;
}

/** Where a valid Redis URL leads, for people to read: `host:6379`. */
export function describeRedis(url: string): string {
  const { hosts, socket } = redisAddress(url);
  return (
    socket ?? hosts.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`).join(", ")
  );
}

function read(url: string): RedisAddress | string {
  const scheme = /^(?:rediss?(?:\+(?:sentinel|cluster))?|unix):\/\//i.exec(url)?.[0].toLowerCase();
  if (scheme === undefined)
    return "must start with redis://, redis+sentinel://, redis+cluster:// (rediss for TLS) or unix://";
  const tls = scheme.startsWith("rediss");
  const kind = scheme.includes("+sentinel") ? "sentinel" : scheme.includes("+cluster") ? "cluster" : "single";
  const parts = split(scheme, url, kind);
  if (typeof parts === "string") return parts;
  const { username, password } = parts.rest;
  const login = { username: decoded(username), password: decoded(password) };
  if (login.username === undefined || login.password === undefined)
    return "must have a % in its user name or password written as %25";
  const { search, searchParams } = parts.rest;
  if (decoded(search) === undefined) return "must have a % in its query written as %25";
  if (new Set(searchParams.keys()).size < searchParams.size) return "must say each part of its query once";
  const place = scheme === "unix://" ? placeOfSocket(parts) : placeOf(kind, parts);
  if (typeof place === "string") return place;
  return {
    kind,
    tls,
    username: login.username || undefined,
    password: login.password || undefined,
    ...place,
  };
}

function split(scheme: string, url: string, kind: RedisAddress["kind"]): Parts | string {
  // First, for a password with # ends the host before it begins.
  if (url.includes("#")) return "must not contain #; in a password it is written as %23";
  const [, authority = "", rest = ""] = /^([^/?]*)(.*)$/s.exec(url.slice(scheme.length)) ?? [];
  const at = authority.lastIndexOf("@") + 1;
  const login = authority.slice(0, at);
  const names = authority.slice(at);
  if (scheme === "unix://") {
    if (names !== "") return `must name a socket by its path, such as ${SOCKET}`;
    return { hosts: [], rest: new URL(`redis://${login}localhost${rest}`) };
  }
  if (kind === "single" && names.includes(","))
    return `names several hosts: write ${SENTINELS} for Sentinels, ${CLUSTER} for a cluster`;
  const hosts = names.split(",");
  for (const host of hosts) {
    const fault = faultOfHost(`redis://${login}${host}${rest}`, EXAMPLES[kind]);
    if (fault !== undefined)
      return kind === "single" ? fault : `must name hosts, each with its port, such as ${EXAMPLES[kind]}`;
  }
  return { hosts, rest: new URL(`redis://${login}${hosts[0]}${rest}`) };
}

type Place = Omit<RedisAddress, "kind" | "tls" | "username" | "password">;

function placeOfSocket({ rest: { pathname, searchParams } }: Parts): Place | string {
  const socket = decoded(pathname);
  if (socket === undefined) return "must have a % in its path written as %25";
  if (socket.length < 2) return `must name a socket by its path, such as ${SOCKET}`;
  const index = searchParams.get("db") ?? "0";
  if (!INDEX.test(index) || hasOther(searchParams, ["db"]))
    return `must have no query except a database index: ${SOCKET}?db=0`;
  return { ...NOWHERE, socket, database: Number(index) };
}

function placeOf(kind: RedisAddress["kind"], { hosts, rest }: Parts): Place | string {
  const { pathname, searchParams } = rest;
  const family = FAMILIES.get(searchParams.get("family") ?? "0");
  const logins = kind === "sentinel" ? ["sentinelUsername", "sentinelPassword"] : [];
  if (family === undefined || hasOther(searchParams, ["family", ...logins]))
    return `must have no query except ${[...logins, "family=4 or family=6"].join(", ")}${
      kind === "single" ? "; the database goes in the path, as in redis://host:6379/0" : ""
    }`;
  const [master, index] = segmentsOf(kind, pathname);
  if (kind === "sentinel" && (master === undefined || !MASTER.test(master)))
    return `must name the master, as the Sentinels know it, as its path: ${SENTINELS}`;
  if (index !== undefined && !INDEX.test(index))
    return kind === "sentinel"
      ? `must have a database index, a whole number, after the master's name, or none: ${SENTINELS}/0`
      : "must have a database index, a whole number, as its path, or none: redis://host:6379/0";
  if (kind === "cluster" && Number(index ?? 0) !== 0)
    return `must have no database index, since a cluster has only database 0: ${CLUSTER}`;
  return {
    ...NOWHERE,
    hosts: hosts.map((host) => hostAndPort(host, DEFAULT_PORTS[kind])),
    master,
    database: Number(index ?? 0),
    family,
    sentinelUsername: searchParams.get("sentinelUsername") ?? undefined,
    sentinelPassword: searchParams.get("sentinelPassword") ?? undefined,
  };
}

/** The master's name, if it is one of Sentinels, and what stands for the database's index. */
function segmentsOf(kind: RedisAddress["kind"], pathname: string): [string | undefined, string | undefined] {
  const path = pathname.slice(1);
  if (kind !== "sentinel") return [undefined, path === "" ? undefined : path];
  const [, master, index] = /^([^/]*)(?:\/(.*))?$/s.exec(path) ?? [];
  return [master, index === "" ? undefined : index];
}

const NOWHERE: Place = {
  hosts: [],
  socket: undefined,
  master: undefined,
  database: 0,
  family: 0,
  sentinelUsername: undefined,
  sentinelPassword: undefined,
};

function hasOther(query: URLSearchParams, known: readonly string[]): boolean {
  return [...query.keys()].some((name) => !known.includes(name));
}

function hostAndPort(text: string, defaultPort: number): { host: string; port: number } {
  const { hostname, port } = new URL(`redis://${text}`);
  return { host: hostname.replaceAll(/^\[|\]$/g, ""), port: Number(port || defaultPort) };
}
