import { Failure } from "../shared/failure.ts";
import { freePort, isFree } from "./ports.ts";

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 3000;
const LAST_PORT = 65_535;

/** Where the API will listen. */
export interface ApiAddress {
  host: string;
  port: number;
  /** For clients on this machine. */
  url: string;
  /** Set when it is not the port that one would expect. */
  note?: string;
}

/**
 * Chooses where the API listens: HOST and PORT when they are set, else 127.0.0.1 and the port of the last run, 3000,
 * or the next free one.
 *
 * @param remembered the port of the last run in this folder
 * @throws Failure that names PORT or HOST when what they ask for can't be had
 */
export async function chooseApiAddress(
  environment: NodeJS.ProcessEnv,
  remembered?: number,
): Promise<ApiAddress> {
  const host = environment["HOST"] || DEFAULT_HOST;
  const asked = environment["PORT"];
  if (asked) {
    const port = await portAskedFor(asked, host);
    return { host, port, url: urlOf(host, port) };
  }
  await checkHost(host);
  const port = await nextFree([...(remembered ? [remembered] : []), DEFAULT_PORT], host);
  const note =
    port === DEFAULT_PORT
      ? undefined
      : `The API listens on port ${port}${port === remembered ? ", as before" : `, since ${DEFAULT_PORT} is taken`}; set PORT to choose another`;
  return { host, port, url: urlOf(host, port), ...(note && { note }) };
}

async function portAskedFor(asked: string, host: string): Promise<number> {
  const port = /^\d{1,5}$/.test(asked) ? Number(asked) : Number.NaN;
  if (!(port <= LAST_PORT))
    throw new Failure(`PORT must be a whole number from 0 to ${LAST_PORT}, not "${asked}"`);
  await checkHost(host);
  if (port === 0) return freePort();
  if (!(await isFree(port, host))) {
    throw new Failure(`PORT is ${port}, and that port is taken or may not be used: set PORT to another`);
  }
  return port;
}

async function checkHost(host: string): Promise<void> {
  if (!(await isFree(0, host))) throw new Failure(`HOST is ${host}, and this machine can't listen there`);
}

async function nextFree(candidates: number[], host: string): Promise<number> {
  for (const port of candidates) {
    if (await isFree(port, host)) return port;
  }
  return nextFree([(candidates.at(-1) ?? DEFAULT_PORT) + 1], host);
}

/** An API that listens on all addresses is reached on the loopback one. */
function urlOf(host: string, port: number): string {
  const name = host === "0.0.0.0" || host === "::" ? DEFAULT_HOST : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
