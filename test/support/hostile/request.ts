import type * as fc from "fast-check";

/**
 * What must come back. Whatever it is, it is below 500; `any` is for what does no harm when it is answered, and `refused`
 * for what is wrong by construction.
 */
export type Expected = "any" | "refused" | "unauthorized";

/** A request that is HTTP, however odd it is. */
export interface HttpRequest {
  readonly via: "http";
  readonly method: string;
  /** Sent as it stands. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** Sends the body in chunks, without saying how long it is. */
  readonly chunked?: boolean;
  /** The operation that it is for, as the API's description has it, when its answer is to fit this. */
  readonly described?: { readonly method: string; readonly path: string };
  readonly expected: Expected;
}

/** Bytes on a connection of their own, which may be no HTTP at all. */
export interface RawRequest {
  readonly via: "socket";
  /** Written one after the other. */
  readonly pieces: readonly Uint8Array[];
  /** What happens after that: wait until the server closes, close this side first, or tear the connection down. */
  readonly ending: "wait" | "end" | "reset";
  readonly expected: "any" | "refused";
}

export type HostileRequest = HttpRequest | RawRequest;

/** One way to be hostile to one route. */
export interface Attack {
  readonly kind: string;
  /** "POST /orders", or what else it is aimed at. */
  readonly target: string;
  readonly request: fc.Arbitrary<HostileRequest>;
}

/** For a message: what was sent, cut to a readable length. */
export function summary(request: HostileRequest): string {
  if (request.via === "socket") {
    const bytes = Buffer.concat(request.pieces);
    return `${shown(bytes)} in ${request.pieces.length} pieces, then ${request.ending}`;
  }
  const { method, path, headers, body } = request;
  return `${method} ${cut(path)} ${cut(JSON.stringify(headers))} ${body ? shown(body) : "without a body"}`;
}

function shown(bytes: Uint8Array): string {
  return `${cut(JSON.stringify(Buffer.from(bytes.subarray(0, 600)).toString("latin1")))} (${bytes.length} bytes)`;
}

function cut(text: string): string {
  return text.length <= 600 ? text : `${text.slice(0, 600)}… (${text.length} characters)`;
}
