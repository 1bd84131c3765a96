import { hash, randomUUID } from "node:crypto";
import { stringify, v7 as uuidv7 } from "uuid";
import type { Database } from "../../../db/database.ts";
import { EventLog } from "../../../db/event-log.ts";
import { afterwards } from "../../platform/storage-error.ts";
import {
  findDelivery,
  makeTestDelivery,
  resendDelivery,
  type ListedDelivery,
} from "../../../db/webhook-deliveries.ts";
import { bringAllForward } from "../../../db/webhook-sending.ts";
import {
  changeEndpoint,
  createEndpoint,
  deleteEndpoint,
  DISABLED_BY,
  disableEndpoint,
  enableEndpoint,
  findEndpoint,
  rotateSecret,
  type EndpointSettings,
  type RepeatableRequest,
  type SecretMade,
  type WebhookEndpoint,
} from "../../../db/webhook-endpoints.ts";
import { faultOfAddress } from "./address.ts";
import type { Networks } from "./networks.ts";
import { newSecret } from "./signature.ts";
import { nowMs } from "../../platform/clock.ts";

/** Maximum number of webhook endpoints. */
const MAX_ENDPOINTS = 1_000;
/** Milliseconds for which previous secrets stay valid. */
const ROTATION_MS = 24 * 3_600_000;

/** A request that its client may repeat, identified by client and key. */
export interface KeyedRequest {
  readonly client: string;
  readonly key: string;
}

/** An endpoint with a secret to show. */
export interface Told {
  readonly endpoint: WebhookEndpoint;
  /** Whether an earlier request with the same key made it. */
  readonly repeated: boolean;
}

/** The request can't be carried out; the message says why. */
export class WebhookError extends Error {
  override name = "WebhookError";
  readonly kind:
    | "no such endpoint"
    | "no such delivery"
    | "bad address"
    | "too many"
    | "disabled"
    | "another request"
    | "not told again";

  constructor(kind: WebhookError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

/**
 * Manages webhook endpoints for clients and operators, and records each action with its actor. Every method
 * throws a {@link WebhookError} for a request that can't be carried out, and {@link DatabaseError}.
 */
export class WebhookEndpoints {
  readonly #database: Database;
  readonly #events: EventLog;
  readonly #networks: Networks;

  constructor(database: Database, networks: Networks) {
    this.#database = database;
    this.#events = new EventLog(database);
    this.#networks = networks;
  }

  /**
   * Creates an endpoint for events from now on.
   *
   * @param request identifies the request, if it may be repeated
   * @returns the endpoint with its secret, and whether an earlier request made it
   */
  async create(settings: EndpointSettings, actor: string, request?: KeyedRequest): Promise<Told> {
    this.#check(settings.url);
    const id = request === undefined ? uuidv7() : idOf(request);
    const made = await createEndpoint(
      this.#database,
      { ...settings, id, secret: newSecret(), afterEventId: await this.#events.newest() },
      { atMost: MAX_ENDPOINTS, actor, request: request && repeatable(request, settings) },
    );
    if (made === undefined)
      throw new WebhookError("too many", `there are ${MAX_ENDPOINTS} endpoints already`);
    return told(made, `endpoint ${id} was created`);
  }

  /**
   * Changes the given settings. If the URL changes or the endpoint is enabled, waiting deliveries are sent at
   * once.
   */
  async change(
    id: string,
    change: Partial<EndpointSettings> & { readonly enabled?: boolean | undefined },
    actor: string,
  ): Promise<WebhookEndpoint> {
    const { enabled, ...settings } = change;
    const { url, ...others } = settings;
    if (url !== undefined) this.#check(url);
    const before = there(await findEndpoint(this.#database, id));
    const isMoved = url !== undefined && url !== before.url;
    let endpoint: WebhookEndpoint | undefined = before;
    if (Object.keys(settings).length > 0) {
      const note = { actor, action: "webhook-change", details: { url: url ?? before.url } };
      endpoint = await changeEndpoint(this.#database, id, isMoved ? settings : others, note);
    }
    return afterwards(async () => {
      // Even if the URL is unchanged: an earlier attempt of this request may have changed it.
      if (url !== undefined || (enabled === true && before.state !== "enabled"))
        await bringAllForward(this.#database, id);
      if (enabled === true && before.state !== "enabled") {
        const note = { actor, action: "webhook-enable" };
        endpoint = await enableEndpoint(this.#database, id, await this.#events.newest(), note);
      }
      if (enabled === false && before.state === "enabled") {
        const note = { actor, action: "webhook-disable" };
        endpoint = await disableEndpoint(this.#database, id, DISABLED_BY + actor, note);
      }
      return there(endpoint);
    });
  }

  /**
   * Rotates the secret; the last two before stay valid for a day.
   *
   * @param request identifies the request, if it may be repeated
   * @returns the endpoint with its secret, and whether an earlier request rotated it
   */
  async rotate(id: string, actor: string, request?: KeyedRequest): Promise<Told> {
    const previousUntil = new Date(nowMs() + ROTATION_MS);
    const made = await rotateSecret(this.#database, id, {
      secret: newSecret(),
      previousUntil,
      actor,
      request: request && repeatable(request, null),
    });
    return told(there(made), "the secret was rotated");
  }

  async remove(id: string, actor: string): Promise<void> {
    there(await findEndpoint(this.#database, id));
    await deleteEndpoint(this.#database, id, { actor, action: "webhook-delete" });
  }

  /** Sends a test message. @returns the delivery */
  async test(id: string, actor: string): Promise<ListedDelivery> {
    const endpoint = there(await findEndpoint(this.#database, id));
    if (endpoint.state !== "enabled") throw new WebhookError("disabled", "the endpoint is disabled");
    const note = { actor, action: "webhook-test", target: id };
    const delivery = await makeTestDelivery(this.#database, { endpointId: id, id: randomUUID() }, note);
    const found = await afterwards(() => findDelivery(this.#database, delivery));
    if (found === undefined) throw noDelivery();
    return found.delivery;
  }

  /** Resends a delivery, with all its attempts; waits while its endpoint is disabled. */
  async resend(deliveryId: number, actor: string): Promise<ListedDelivery> {
    const note = { actor, action: "webhook-resend", details: { delivery: deliveryId } };
    const delivery = await resendDelivery(this.#database, deliveryId, note);
    if (delivery === undefined) throw noDelivery();
    return delivery;
  }

  #check(url: string): void {
    const fault = faultOfAddress(url, this.#networks);
    if (fault !== undefined) throw new WebhookError("bad address", fault);
  }
}

/** A digest that identifies the same request of the same client. */
function repeatable({ client, key }: KeyedRequest, asked: unknown): RepeatableRequest {
  return { digest: hash("sha256", JSON.stringify([client, key, asked]), "base64") };
}

/** A UUIDv8 (RFC 9562) derived from client and key. */
function idOf({ client, key }: KeyedRequest): string {
  const bytes = Buffer.from(hash("sha256", JSON.stringify(["webhook-endpoint", client, key]), "hex"), "hex");
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return stringify(bytes);
}

/** @throws {WebhookError} if an earlier request with the same key prevents it */
function told(made: SecretMade, what: string): Told {
  switch (made.outcome) {
    case "done":
      return made;
    case "another request":
      throw new WebhookError("another request", "the key was used for another endpoint; use a new key");
    case "not told again":
      throw new WebhookError(
        "not told again",
        `${what} by an earlier request with this key, whose response is no longer available: rotate the secret, with a new key, to get one`,
      );
  }
}

function there<T>(endpoint: T | undefined): T {
  if (endpoint === undefined) throw new WebhookError("no such endpoint", "there is no such webhook endpoint");
  return endpoint;
}

function noDelivery(): WebhookError {
  return new WebhookError("no such delivery", "there is no such delivery");
}
