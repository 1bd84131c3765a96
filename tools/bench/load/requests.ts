import { randomUUID } from "node:crypto";
import { makeOrders } from "../workload.ts";
import type { Target } from "./messages.ts";

/** Number of distinct orders; after that they repeat, with new keys. */
const DIFFERENT = 2_000;

/** Precomputed requests to place orders, each with its own idempotency key. */
export class Requests {
  readonly #heads: readonly string[];
  readonly #bodies: readonly string[];
  #next = 0;

  constructor({ port, apiKey, seed }: Target) {
    this.#bodies = makeOrders(DIFFERENT, seed).map((order) => JSON.stringify(order));
    this.#heads = this.#bodies.map((body) =>
      [
        "POST /orders HTTP/1.1",
        `Host: 127.0.0.1:${port}`,
        `Authorization: Bearer ${apiKey}`,
        "Content-Type: application/json",
        // Bodies are ASCII: see workload.ts.
        `Content-Length: ${body.length}`,
        "Idempotency-Key: ",
      ].join("\r\n"),
    );
  }

  next(): string {
    const index = this.#next++ % DIFFERENT;
    return `${this.#heads[index]}${randomUUID()}\r\n\r\n${this.#bodies[index]}`;
  }
}
