import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { parse as bytesOf, stringify as textOf } from "uuid";
import type { Database } from "../../../db/database.ts";
import { readInstallationSecret } from "../../../db/identity.ts";
import { findResults, storeResult, takeResult } from "../../../db/operation-results.ts";
import { readPipeline } from "../../../db/pipelines.ts";
import { CREATED, type Lifecycle } from "../../order/lifecycle.ts";
import { outlineOf, type Outline } from "../../order/outline.ts";
import { isFinal, type RunAnswer } from "./answers.ts";

const ID_BYTES = 16;
const NONCE_BYTES = 6;
const MAC_BYTES = 16;

/** The length of a token: base64url of an order's id, a nonce and their MAC. */
export const TOKEN_LENGTH = Math.ceil(((ID_BYTES + NONCE_BYTES + MAC_BYTES) * 4) / 3);

/** What became of a result. */
export type Taken =
  | {
      /**
       * `stored`, or stored before: the same result under the same token. `used`: the token has brought another result
       * before. `over`: the order is done with the stage, or is to be cancelled.
       */
      readonly taken: "stored" | "used" | "over";
      readonly orderId: string;
      readonly stage: string;
    }
  /** Nobody was given this token. */
  | { readonly taken: "unknown" };

/**
 * Results of HTTP stages that come later, by callback. Every request to a service carries an address whose token is for
 * that request alone. Nothing is stored until a result comes.
 */
export class Callbacks {
  readonly #database: Database;
  readonly #lifecycle: Lifecycle;
  readonly #publicUrl: string | undefined;
  #secret: Promise<string> | undefined;

  /** @param options.publicUrl the address under which services reach the API; undefined if it is not known */
  constructor(options: {
    readonly database: Database;
    readonly lifecycle: Lifecycle;
    readonly publicUrl: string | undefined;
  }) {
    this.#database = options.database;
    this.#lifecycle = options.lifecycle;
    this.#publicUrl = options.publicUrl;
  }

  /** An address for the result of one request; null if the API's own is not known. @throws {DatabaseError} */
  async addressFor(orderId: string, stage: string): Promise<string | null> {
    if (this.#publicUrl === undefined) return null;
    const head = Buffer.concat([bytesOf(orderId), randomBytes(NONCE_BYTES)]);
    const token = Buffer.concat([head, macOf(await this.#key(), head, stage)]).toString("base64url");
    return `${this.#publicUrl.replace(/\/+$/, "")}/operations/${token}`;
  }

  /**
   * The result that has come for a stage of an order, if any. One that is not final is returned once, as it says what to do
   * until the next request. @throws {DatabaseError}
   */
  async take(orderId: string, stage: string): Promise<RunAnswer | undefined> {
    const results = await findResults(this.#database, { orderId, stage });
    const found =
      results.find(({ result }) => isFinal(result)) ?? results.findLast(({ takenAt }) => takenAt === null);
    if (found && !isFinal(found.result)) await takeResult(this.#database, { orderId, stage });
    return found?.result;
  }

  /**
   * Stores the result that comes under a token, for a stage that is still ahead of the order, or that it waits in: other
   * stages may have been put before it since the service was asked. @throws {DatabaseError}
   */
  async store(token: string, given: RunAnswer): Promise<Taken> {
    // As it is written down: in JSON -0 and 0 are the same.
    const result: RunAnswer = JSON.parse(JSON.stringify(given));
    const bytes = Buffer.from(token, "base64url");
    if (bytes.length !== ID_BYTES + NONCE_BYTES + MAC_BYTES) return { taken: "unknown" };
    const own = outlineOf(this.#lifecycle.stages);
    const taken = await this.#storeFor(own, bytes, result);
    if (taken.taken !== "unknown" && taken.taken !== "over") return taken;
    // This process may have a former pipeline, while workers with the one in force have asked the service.
    const inForce = await readPipeline(this.#database, own);
    if (inForce === undefined || isDeepStrictEqual(inForce.stages, own)) return taken;
    const byOther = await this.#storeFor(inForce.stages, bytes, result);
    return byOther.taken === "unknown" ? taken : byOther;
  }

  async #storeFor(stages: Outline, token: Buffer, result: RunAnswer): Promise<Taken> {
    const head = token.subarray(0, ID_BYTES + NONCE_BYTES);
    const secret = await this.#key();
    const at = stages.findIndex(({ name }) =>
      timingSafeEqual(macOf(secret, head, name), token.subarray(head.length)),
    );
    const name = stages[at]?.name;
    if (name === undefined) return { taken: "unknown" };
    const of = { orderId: textOf(head.subarray(0, ID_BYTES)), stage: name };
    const stored = await storeResult(this.#database, {
      ...of,
      nonce: head.subarray(ID_BYTES).toString("base64url"),
      whileIn: [CREATED, ...stages.slice(0, at).map(({ to }) => to)],
      result,
    });
    if (stored === "over") return { taken: "over", ...of };
    return { taken: isDeepStrictEqual(stored, result) ? "stored" : "used", ...of };
  }

  /** Read once, and not at the start: an isolated process must start without MySQL. */
  async #key(): Promise<string> {
    this.#secret ??= readInstallationSecret(this.#database);
    try {
      return await this.#secret;
    } catch (error) {
      this.#secret = undefined;
      throw error;
    }
  }
}

function macOf(secret: string, head: Buffer, stage: string): Buffer {
  return createHmac("sha256", secret).update(head).update(stage).digest().subarray(0, MAC_BYTES);
}
