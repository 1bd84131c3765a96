import { v7 as uuidv7 } from "uuid";
import { sign } from "../../src/platform/signature.ts";
import { withinTime } from "../../src/platform/time-limit.ts";
import { messageOf } from "../shared/text.ts";
import { CONTRACT } from "../../src/providers/http/service-client.ts";
import type { Asked, Role } from "./roles.ts";

/** The service under test. */
export interface Target {
  readonly url: string;
  /** Undefined: requests are not signed, and signatures not tested. */
  readonly secret: string | undefined;
  /** How long an answer may take. Milliseconds. */
  readonly timeoutMs: number;
  readonly role: Role;
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
  /** What becomes of the signature. */
  readonly signature?: (right: string) => string;
  /** The bytes to send. */
  readonly body?: string;
  readonly attempt?: number;
  /** Where the result may come later. */
  readonly callback?: string | null;
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
  /** Its fields besides its id. */
  readonly order: Readonly<Record<string, unknown>>;
  readonly #target: Target;

  constructor(target: Target, fields: Readonly<Record<string, unknown>> = target.order) {
    this.#target = target;
    this.order = fields;
  }

  /** The body of a run. */
  get body(): object {
    return this.#target.role.run(this.#given({})).body;
  }

  run(unusual: Unusual = {}): Promise<Response> {
    return this.ask(this.#target.role.run(this.#given(unusual)), unusual);
  }

  undo(unusual: Unusual = {}): Promise<Response> {
    return this.ask(this.#target.role.undo(this.#given(unusual)), unusual);
  }

  /** Another operation on the order, where the role has one: the work of {@link run} under another id. */
  runAnother(): Promise<Response> | undefined {
    const asked = this.#target.role.another?.(this.#given({}));
    return asked && this.ask(asked);
  }

  /** Sends any request. */
  ask({ id, ...asked }: Asked, unusual: Unusual = {}): Promise<Response> {
    const { secret } = this.#target;
    const { secrets = secret === undefined ? [] : [secret], at = new Date() } = unusual;
    const { body = JSON.stringify(asked.body), signature = (right) => right } = unusual;
    const signed = secrets.length > 0 ? sign(secrets, { id, at, body }) : undefined;
    return exchange(this.#target, "POST", {
      body,
      headers: {
        "content-type": "application/json",
        "conveyor-contract": CONTRACT,
        "conveyor-timeout-ms": String(this.#target.timeoutMs),
        "webhook-id": id,
        ...(signed && { ...signed, "webhook-signature": signature(signed["webhook-signature"]) }),
      },
    });
  }

  #given({ attempt = 1, callback = null }: Unusual) {
    return { id: this.id, order: this.order, attempt, callback };
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
