import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { text } from "node:stream/consumers";
import { listen } from "../../src/platform/listen.ts";

const LOOK_EVERY_MS = 50;

/** An address that takes results by callback. It refuses the first one for the moment, as Conveyor may. */
export interface CallbackAddress {
  readonly url: string;
  /** The bodies that came, oldest first. */
  readonly bodies: readonly string[];
  /** Waits for so many of them. @returns whether they came in time. */
  came(count: number, withinMs: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Opens an address on this machine. */
export async function openCallbackAddress(): Promise<CallbackAddress> {
  const bodies: string[] = [];
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    bodies.push(await text(request));
    response.writeHead(bodies.length === 1 ? 503 : 204).end();
  };
  const server = createServer((request, response) => void take(request, response));
  const url = await listen(server, { port: 0, host: "127.0.0.1", variable: "the port" });
  return {
    url: `${url}/operations/a-token-for-tests`,
    bodies,
    async came(count, withinMs, signal) {
      const deadline = performance.now() + withinMs;
      while (bodies.length < count && performance.now() < deadline)
        await delay(LOOK_EVERY_MS, undefined, { signal });
      return bodies.length >= count;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
