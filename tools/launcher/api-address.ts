import { Failure } from "../shared/failure.ts";
import { freePort, isFree } from "./ports.ts";

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 3000;
const LAST_PORT = 65_535;

/** Where the API will listen. */
export interface ApiAddress {
  host: string;
  port: number;
  /** URL for clients on this machine. */
  url: string;
  /** Set when the port is not the default one; says why. */
  note?: string;
}

/**
 * Chooses where the API listens. HOST and PORT win when set; otherwise it is 127.0.0.1, on the port of the last
 * run, on 3000, or on the next free port.
 *
 * @param remembered the port of the last run in this folder
 * @throws Failure that names PORT or HOST when the API can't listen there
 */
export async function chooseApiAddress(
  environment: NodeJS.ProcessEnv,
  remembered?: number,
): Promise<ApiAddress> {
  const host = environment["HOST"] || DEFAULT_HOST;
  const asked = environment["PORT"];
  if (asked) {
    const port = await requestedPort(asked, host);
    return { host, port, url: urlOf(host, port) };
  }
  await checkHost(host);
  const port = await nextFree([...(remembered ? [remembered] : []), DEFAULT_PORT], host);
  const note =
    port === DEFAULT_PORT
      ? undefined
      : `The API listens on port ${port}${port === remembered ? ", as before" : `, since ${DEFAULT_PORT} is in use`}; set PORT to choose another`;
  return { host, port, url: urlOf(host, port), ...(note && { note }) };
}

async function requestedPort(asked: string, host: string): Promise<number> {
  const port = /^\d{1,5}$/.test(asked) ? Number(asked) : Number.NaN;
  if (!(port <= LAST_PORT))
    throw new Failure(`PORT must be a whole number from 0 to ${LAST_PORT}, not "${asked}"`);
  await checkHost(host);
  if (port === 0) return freePort();
  if (!(await isFree(port, host))) {
    throw new Failure(`PORT is ${port}, which is in use or not allowed: set PORT to another`);
  }
  return port;
}

async function checkHost(host: string): Promise<void> {
  if (!(await isFree(0, host))) throw new Failure(`HOST is ${host}, which this machine can't listen on`);
}

async function nextFree(candidates: number[], host: string): Promise<number> {
  for (const port of candidates) {
    if (await isFree(port, host)) return port;
  }
  return nextFree([(candidates.at(-1) ?? DEFAULT_PORT) + 1], host);
}

/** Clients reach an API that listens on all addresses through the loopback address. */
function urlOf(host: string, port: number): string {
  const name = host === "0.0.0.0" || host === "::" ? DEFAULT_HOST : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
