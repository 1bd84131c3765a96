import { v7 as uuidv7 } from "uuid";
import { sign } from "../../src/platform/signature.ts";
import { withinTime } from "../../src/platform/time-limit.ts";
import { messageOf } from "../shared/text.ts";
import { CONTRACT } from "../../src/providers/http/service-client.ts";

/** The service under test. */
export interface Target {
  readonly url: string;
  /** Undefined: requests are not signed, and signatures not tested. */
  readonly secret: string | undefined;
  /** How long an answer may take. Milliseconds. */
  readonly timeoutMs: number;
  /** The stage's name. */
  readonly stage: string;
  /** Fields of each order besides its id. */
  readonly order: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
}

/** What may be unusual about a request. */
export interface Unusual {
  /** Sign with these instead of the target's; none: don't sign. */
  readonly secrets?: readonly string[];
  /** The time of the signature. */
  readonly at?: Date;
  /** The bytes to send. */
  readonly body?: string;
  readonly attempt?: number;
  /** Where the result may come later. */
  readonly callback?: string;
}

/** What came back. */
export interface Response {
  /** Undefined if there was none. */
  readonly status?: number;
  readonly text: string;
  /** More than {@link LARGEST_ANSWER} bytes came. */
  readonly isTooLarge: boolean;
  readonly milliseconds: number;
  /** Why there was none. */
  readonly error?: string;
}

/** Maximum size of a response in bytes. */
export const LARGEST_ANSWER = 64 * 1024;
/** A service that is too slow is given this many times its time, to tell it from one that never answers. */
const PATIENCE = 2;

/** One order as the service sees it: its runs and undos. */
export class TestOrder {
  readonly id = uuidv7();
  readonly #target: Target;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(target: Target, fields: Readonly<Record<string, unknown>> = target.order) {
    this.#target = target;
    this.#fields = fields;
  }

  /** The body of a request. */
  body(operation: "run" | "undo", { attempt = 1, callback }: Unusual = {}): object {
    const order = { id: this.id, ...this.#fields };
    const later = { callback: callback ?? null, waited: null };
    return { operation, stage: this.#target.stage, attempt, deadline: null, ...later, order, records: {} };
  }

  run(unusual: Unusual = {}): Promise<Response> {
    return this.#post("run", `${this.id}:${this.#target.stage}`, unusual);
  }

  undo(unusual: Unusual = {}): Promise<Response> {
    return this.#post("undo", `${this.id}:${this.#target.stage}:undo`, unusual);
  }

  #post(operation: "run" | "undo", id: string, unusual: Unusual): Promise<Response> {
    const { secret } = this.#target;
    const body = unusual.body ?? JSON.stringify(this.body(operation, unusual));
    const { secrets = secret === undefined ? [] : [secret], at = new Date() } = unusual;
    return exchange(this.#target, "POST", {
      body,
      headers: {
        "content-type": "application/json",
        "conveyor-contract": CONTRACT,
        "conveyor-timeout-ms": String(this.#target.timeoutMs),
        ...(secrets.length > 0 ? sign(secrets, { id, at, body }) : { "webhook-id": id }),
      },
    });
  }
}

/** As Conveyor pings the service. */
export function ping(target: Target): Promise<Response> {
  return exchange(target, "GET", {});
}

async function exchange(
  { url, timeoutMs, signal }: Target,
  method: "GET" | "POST",
  message: { readonly headers?: Readonly<Record<string, string>>; readonly body?: string },
): Promise<Response> {
  const startedAt = performance.now();
  const milliseconds = () => Math.round(performance.now() - startedAt);
  try {
    return await withinTime(timeoutMs * PATIENCE, signal, async (patience) => {
      const response = await fetch(url, { ...message, method, redirect: "manual", signal: patience });
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of response.body ?? []) {
        size += chunk.byteLength;
        if (size > LARGEST_ANSWER) break;
        chunks.push(chunk);
      }
      const text = Buffer.concat(chunks).toString("utf8");
      return {
        status: response.status,
        text,
        isTooLarge: size > LARGEST_ANSWER,
        milliseconds: milliseconds(),
      };
    });
  } catch (error) {
    signal.throwIfAborted();
    return { text: "", isTooLarge: false, milliseconds: milliseconds(), error: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof DOMException && error.name === "TimeoutError") return "no answer";
  const cause = error instanceof Error ? error.cause : undefined;
  return messageOf(cause ?? error);
}
