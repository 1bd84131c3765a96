import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { HostileRequest, HttpRequest, RawRequest } from "./request.ts";

/** One answer, or as many as came over a socket. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** Far more than anything may take; only to say which request it was. */
const DEADLINE_MS = 30_000;
const CUT_OFF: ReadonlySet<unknown> = new Set(["ECONNRESET", "EPIPE"]);

/** Sends hostile requests to one server, over connections that are kept and over others of their own. */
export class HostileClient {
  readonly #url: URL;
  readonly #agent: Agent;

  constructor(url: string, connections: number) {
    this.#url = new URL(url);
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  /** All answers that came: none when the connection was closed without one. @throws {Error} when the server leaves it hanging. */
  send(request: HostileRequest): Promise<Reply[]> {
    return request.via === "socket" ? this.#overSocket(request) : this.#exchange(request);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** @returns nothing when the server cuts the connection off without an answer. */
  async #exchange(request: HttpRequest): Promise<Reply[]> {
    // The server may close an idle connection just when it is to be used again, or all of them: so not the next one.
    for (const agent of [this.#agent, false] as const) {
      try {
        return [await this.#exchangeOnce(request, agent)];
      } catch (error) {
        if (!isCutOff(error)) throw error;
      }
    }
    return [];
  }

  #exchangeOnce({ method, path, headers, body, chunked }: HttpRequest, agent: Agent | false): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const length = body === undefined || chunked ? {} : { "content-length": String(body.length) };
      const sending = httpRequest(this.#url, {
        method,
        path,
        agent,
        headers: { ...headers, ...length, ...(chunked && { "transfer-encoding": "chunked" }) },
      });
      const timer = setTimeout(() => {
        sending.destroy(new Error(`no answer within ${DEADLINE_MS} ms`));
      }, DEADLINE_MS);
      // After the answer, errors concern what the server did not want to read any more.
      sending.on("error", reject);
      sending.once("close", () => clearTimeout(timer));
      sending.once("response", (response) => {
        read(response).then(resolve, reject);
      });
      sending.end(body);
    });
  }

  #overSocket({ pieces, ending }: RawRequest): Promise<Reply[]> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: this.#url.hostname, port: Number(this.#url.port) });
      const received: Buffer[] = [];
      const timer = setTimeout(() => {
        reject(new Error(`neither answered nor closed within ${DEADLINE_MS} ms`));
        socket.destroy();
      }, DEADLINE_MS);
      socket.on("data", (bytes) => received.push(bytes));
      // A server that refuses to read on resets the connection; that is an answer as well.
      socket.on("error", () => {});
      socket.once("close", () => {
        clearTimeout(timer);
        resolve(replies(Buffer.concat(received).toString("latin1")));
      });
      const write = (index: number) => {
        const piece = pieces[index];
        if (piece !== undefined) socket.write(piece, () => setImmediate(write, index + 1));
        else if (ending === "end") socket.end();
        else if (ending === "reset") socket.resetAndDestroy();
      };
      socket.once("connect", () => write(0));
    });
  }
}

function isCutOff(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && CUT_OFF.has(error.code);
}

async function read(response: IncomingMessage): Promise<Reply> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(response.headers)) headers.set(name, String(value));
  const status = response.statusCode ?? 0;
  // One that goes on until the client has enough.
  if (headers.get("content-type")?.startsWith("text/event-stream")) {
    response.destroy();
    return { status, headers, body: "" };
  }
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status, headers, body: Buffer.concat(chunks).toString() };
}

/** The final answers in what a connection has brought, without those that announce another (1xx). */
function replies(received: string): Reply[] {
  const starts = [...received.matchAll(/^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n/gm)];
  return starts
    .map((start, index) => {
      const answer = received.slice(start.index + start[0].length, starts[index + 1]?.index);
      const end = answer.indexOf("\r\n\r\n");
      const headers = new Headers();
      for (const line of answer.slice(0, Math.max(0, end)).split("\r\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) headers.set(line.slice(0, colon), line.slice(colon + 1));
      }
      return { status: Number(start[1]), headers, body: end < 0 ? "" : answer.slice(end + 4) };
    })
    .filter(({ status }) => status >= 200);
}
