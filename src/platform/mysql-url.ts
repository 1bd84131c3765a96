import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { decoded } from "./decoded.ts";
import { faultOfHost } from "./host-fault.ts";

const DEFAULT_PORT = 3306;

const EXAMPLE = "mysql://user:password@host:3306/database";

/** How to connect to MySQL, in the driver's terms. */
export interface MysqlAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database?: string;
  /** Without it: in plain text. */
  readonly ssl?: MysqlTls;
}

interface MysqlTls {
  /** Whether the server's certificate must be signed by a known authority, and whether it must name the host. */
  rejectUnauthorized: boolean;
  verifyIdentity: boolean;
  /** PEM. Default: the authorities that Node knows. */
  ca?: string;
  /** PEM: what the client shows. */
  cert?: string;
  key?: string;
}

/** As MySQL's own clients name them. PREFERRED is not offered: who can cut in would choose plain text. */
const MODES = ["DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"] as const;
type Mode = (typeof MODES)[number];

/** The parameters of the query, by their names without `-` and `_` in small letters: hosts and libraries spell them in many ways. */
const PARAMETERS = new Map(
  Object.entries({
    ssl: "mode",
    sslmode: "mode",
    sslaccept: "mode",
    tls: "mode",
    sslca: "ca",
    sslrootcert: "ca",
    sslcert: "cert",
    sslkey: "key",
  } as const),
);

/** The values of the mode, spelled in the same way: MySQL's, libpq's, Prisma's, and those of `ssl` and `tls`. */
const SPELLINGS = new Map<string, Mode>(
  Object.entries({
    disabled: "DISABLED",
    disable: "DISABLED",
    false: "DISABLED",
    0: "DISABLED",
    required: "REQUIRED",
    require: "REQUIRED",
    true: "REQUIRED",
    1: "REQUIRED",
    skipverify: "REQUIRED",
    acceptinvalidcerts: "REQUIRED",
    '{"rejectunauthorized":false}': "REQUIRED",
    verifyca: "VERIFY_CA",
    verifyidentity: "VERIFY_IDENTITY",
    verifyfull: "VERIFY_IDENTITY",
    strict: "VERIFY_IDENTITY",
    '{"rejectunauthorized":true}': "VERIFY_IDENTITY",
  } as const),
);

/** What is wrong with a MySQL URL, as a phrase to follow its name; undefined if it is valid. */
export function faultOfMysqlUrl(url: string): string | undefined {
  const parsed = parse(url);
  return typeof parsed === "string" ? parsed : undefined;
}

/** How to connect to the MySQL at a URL. @throws {Error} with {@link faultOfMysqlUrl} */
export function mysqlAddress(url: string): MysqlAddress {
  const parsed = parse(url);
  if (typeof parsed === "string") throw new Error(`the URL of MySQL ${parsed}`);
  return parsed;
}

/** Strict, because the driver takes any parameter as an option and ignores those that it does not know. */
function parse(url: string): MysqlAddress | string {
  if (!/^mysql:\/\//i.test(url)) return "must be an address that begins with mysql://";
  const fault = faultOfHost(url, EXAMPLE);
  if (fault !== undefined) return fault;
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  const [user, secret, database] = [username, password, pathname.slice(1)].map(decoded);
  if (user === undefined || secret === undefined || database === undefined)
    return "must have a % in its user name, password or database written as %25";
  if (pathname.slice(1).includes("/"))
    return `must have the database's name as its whole path, such as ${EXAMPLE}`;
  const host = hostname.replaceAll(/^\[|\]$/g, "");
  const ssl = tlsOf(searchParams, host);
  if (typeof ssl === "string") return ssl;
  return {
    host,
    port: Number(port || DEFAULT_PORT),
    user,
    password: secret,
    ...(database !== "" && { database }),
    ...(ssl && { ssl }),
  };
}

function tlsOf(query: URLSearchParams, host: string): MysqlTls | string | undefined {
  const given = new Map<string, string>();
  for (const [name, value] of query) {
    const parameter = PARAMETERS.get(plain(name));
    if (parameter === undefined)
      return `must have no parameter ${name}; known are ssl-mode, ssl-ca, ssl-cert and ssl-key`;
    if (given.has(parameter)) return `must say ssl-${parameter} once`;
    given.set(parameter, value);
  }
  const named = given.get("mode");
  const files = given.size > (named === undefined ? 0 : 1);
  const mode = named === undefined ? (files ? "VERIFY_CA" : "DISABLED") : SPELLINGS.get(plain(named));
  if (mode === undefined) return `must have one of ${MODES.join(", ")} as its ssl-mode`;
  if (mode === "DISABLED") return files ? "must not have certificates without TLS: set ssl-mode" : undefined;
  if (mode === "VERIFY_IDENTITY" && isIP(host) !== 0)
    return "must have a host name, and no IP address, with ssl-mode=VERIFY_IDENTITY";
  if (given.has("cert") !== given.has("key")) return "must have both ssl-cert and ssl-key, or none";
  const tls: MysqlTls = {
    // As MySQL's clients do: an authority that is given is used.
    rejectUnauthorized: mode !== "REQUIRED" || given.has("ca"),
    verifyIdentity: mode === "VERIFY_IDENTITY",
  };
  for (const parameter of ["ca", "cert", "key"] as const) {
    const file = given.get(parameter);
    if (file === undefined) continue;
    const text = contentOf(file);
    if (text?.includes("-----BEGIN ") !== true)
      return `must have a readable PEM file as its ssl-${parameter}`;
    tls[parameter] = text;
  }
  return tls;
}

function plain(text: string): string {
  return text.toLowerCase().replaceAll(/[-_\s]/g, "");
}

function contentOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
