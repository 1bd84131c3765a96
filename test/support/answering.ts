import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { listen } from "../../src/platform/listen.ts";

/** A request that a service of a test received. */
export interface Received {
  readonly method: string;
  readonly headers: IncomingMessage["headers"];
  /** As it came. */
  readonly body: string;
}

/** A real HTTP server that answers whatever a test says. */
export interface AnsweringServer {
  readonly url: string;
  /** The POST requests, oldest first. */
  readonly received: Received[];
  close(): Promise<void>;
}

/**
 * @param answer is given each POST, read to its end
 * @param toPings the status for all other requests; many a service answers them with 405
 */
export async function startAnswering(
  answer: (response: ServerResponse, request: Received) => void,
  toPings = 405,
): Promise<AnsweringServer> {
  const received: Received[] = [];
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = "", headers } = request;
    const given = { method, headers, body: await text(request) };
    if (method !== "POST") return void response.writeHead(toPings).end();
    received.push(given);
    answer(response, given);
  };
  const server = createServer((request, response) => void take(request, response));
  const url = await listen(server, { port: 0, host: "127.0.0.1", variable: "the port" });
  return {
    url,
    received,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Answers with a status, a JSON body and headers. */
export function reply(
  response: ServerResponse,
  status: number,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}
