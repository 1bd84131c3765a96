import { get, type IncomingMessage } from "node:http";
import { waitFor } from "./wait-for.ts";

export interface Received {
  readonly id: number;
  readonly event: {
    readonly id: string;
    readonly subject: string;
    readonly type: string;
    readonly data: object;
  };
  /** As `performance.now()` has it. */
  readonly at: number;
}

/** A client of a stream of server-sent events. It does not come back by itself. */
export class EventStreamClient {
  readonly received: Received[] = [];
  /** As the service said, in the last id, whether an event came with it or not. */
  lastId: number | undefined;
  heartbeats = 0;
  ended = false;
  readonly headers: Headers;
  readonly #response: IncomingMessage;
  #rest = "";

  private constructor(response: IncomingMessage) {
    this.#response = response;
    this.headers = new Headers();
    for (const [name, value] of Object.entries(response.headers)) this.headers.set(name, String(value));
    response.setEncoding("utf8");
    response.on("data", (text: string) => this.#take(text));
    response.on("error", () => undefined);
    response.once("close", () => (this.ended = true));
  }

  /** @throws {Error} when the service answers with another status than 200. */
  static open(url: string, headers: Readonly<Record<string, string>>): Promise<EventStreamClient> {
    return new Promise((resolve, reject) => {
      const request = get(url, { headers, agent: false }, (response) => {
        if (response.statusCode === 200) resolve(new EventStreamClient(response));
        else reject(new Error(`${url} answered ${response.statusCode}`));
      });
      request.on("error", reject);
    });
  }

  get ids(): number[] {
    return this.received.map(({ id }) => id);
  }

  /** Once so many events have come. */
  async has(count: number): Promise<Received[]> {
    await waitFor(
      `${count} events to come, after ${this.received.length}`,
      () => this.received.length >= count,
    );
    return this.received;
  }

  /** Reads nothing more, until {@link resume}. */
  pause(): void {
    this.#response.pause();
  }

  resume(): void {
    this.#response.resume();
  }

  close(): void {
    this.#response.destroy();
  }

  #take(text: string): void {
    const at = performance.now();
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(
        block.split("\n").map((line) => {
          const [, name = "", value = ""] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
          return [name, value] as const;
        }),
      );
      if (fields.has("")) this.heartbeats++;
      const id = fields.get("id");
      if (id !== undefined) this.lastId = Number(id);
      const data = fields.get("data");
      if (data !== undefined) this.received.push({ id: Number(id), event: JSON.parse(data), at });
    }
  }
}
