import { randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import type { Database } from "../../../db/database.ts";
import { EventLog } from "../../../db/event-log.ts";
import { recordAction } from "../../../db/operator-actions.ts";
import {
  bringAllForward,
  findDelivery,
  makeTestDelivery,
  resendDelivery,
  type ListedDelivery,
} from "../../../db/webhook-deliveries.ts";
import {
  changeEndpoint,
  createEndpoint,
  deleteEndpoint,
  disableEndpoint,
  enableEndpoint,
  findEndpoint,
  rotateSecret,
  type EndpointSettings,
  type WebhookEndpoint,
} from "../../../db/webhook-endpoints.ts";
import { LIMITS } from "../../order/limits.ts";
import { faultOfAddress } from "./address.ts";
import type { Networks } from "./networks.ts";
import { newSecret } from "./signature.ts";

/** Milliseconds for which the secret before stays valid. */
const ROTATION_MS = 24 * 3_600_000;

/** What was asked for can't be done; the message says why. */
export class WebhookError extends Error {
  override name = "WebhookError";
  readonly kind: "no such endpoint" | "no such delivery" | "bad address" | "too many" | "disabled";

  constructor(kind: WebhookError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

/**
 * What clients and operators do with webhook endpoints; each deed is noted with who did it. Every method throws a
 * {@link WebhookError} for what can't be done, and a {@link DatabaseError}.
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

  /** Makes an endpoint for the events from now on. Its secret is told this once. */
  async create(settings: EndpointSettings, actor: string): Promise<WebhookEndpoint> {
    this.#check(settings.url);
    const id = uuidv7();
    const endpoint = await createEndpoint(
      this.#database,
      { ...settings, id, secret: newSecret(), afterEventId: await this.#events.newest() },
      LIMITS.webhookEndpoints,
    );
    if (endpoint === undefined)
      throw new WebhookError("too many", `there are ${LIMITS.webhookEndpoints} endpoints already`);
    await this.#note("webhook-create", id, actor, { url: endpoint.url });
    return endpoint;
  }

  /**
   * Changes what is given, and leaves the rest. At another address, or when it is enabled, what waits for a later attempt is
   * sent at once.
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
    let endpoint: WebhookEndpoint | undefined = before;
    if (Object.keys(settings).length > 0) {
      const isMoved = url !== undefined && url !== before.url;
      endpoint = await changeEndpoint(this.#database, id, isMoved ? settings : others);
      await this.#note("webhook-change", id, actor, { url: url ?? before.url });
      if (isMoved) await bringAllForward(this.#database, id);
    }
    if (enabled === true && before.state !== "enabled") {
      await bringAllForward(this.#database, id);
      endpoint = await enableEndpoint(this.#database, id, await this.#events.newest());
      await this.#note("webhook-enable", id, actor);
    }
    if (enabled === false && before.state === "enabled") {
      endpoint = await disableEndpoint(this.#database, id, `disabled by ${actor}`);
      await this.#note("webhook-disable", id, actor);
    }
    return there(endpoint);
  }

  /** Gives it another secret, which is told this once; the one before is valid for another day. */
  async rotate(id: string, actor: string): Promise<WebhookEndpoint> {
    const previousUntil = new Date(Date.now() + ROTATION_MS);
    const endpoint = there(await rotateSecret(this.#database, id, { secret: newSecret(), previousUntil }));
    await this.#note("webhook-rotate", id, actor);
    return endpoint;
  }

  async remove(id: string, actor: string): Promise<void> {
    there(await findEndpoint(this.#database, id));
    await deleteEndpoint(this.#database, id);
    await this.#note("webhook-delete", id, actor);
  }

  /** Sends it a message that is about nothing. @returns the delivery to look at. */
  async test(id: string, actor: string): Promise<ListedDelivery> {
    const endpoint = there(await findEndpoint(this.#database, id));
    if (endpoint.state !== "enabled")
      throw new WebhookError("disabled", "the endpoint is disabled: nothing is sent to it");
    const delivery = await makeTestDelivery(this.#database, { endpointId: id, id: randomUUID() });
    await this.#note("webhook-test", id, actor, { delivery });
    const found = await findDelivery(this.#database, delivery);
    if (found === undefined) throw noDelivery();
    return found.delivery;
  }

  /** Has a delivery sent again, with all its attempts; while its endpoint is disabled it waits for that. */
  async resend(deliveryId: number, actor: string): Promise<ListedDelivery> {
    const delivery = await resendDelivery(this.#database, deliveryId);
    if (delivery === undefined) throw noDelivery();
    await this.#note("webhook-resend", delivery.endpointId, actor, { delivery: deliveryId });
    return delivery;
  }

  #check(url: string): void {
    const fault = faultOfAddress(url, this.#networks);
    if (fault !== undefined) throw new WebhookError("bad address", fault);
  }

  async #note(
    action: string,
    target: string,
    actor: string,
    details: Readonly<Record<string, string | number>> | null = null,
  ): Promise<void> {
    await recordAction(this.#database, { actor, action, target, details });
  }
}

function there(endpoint: WebhookEndpoint | undefined): WebhookEndpoint {
  if (endpoint === undefined) throw new WebhookError("no such endpoint", "there is no such webhook endpoint");
  return endpoint;
}

function noDelivery(): WebhookError {
  return new WebhookError("no such delivery", "there is no such delivery");
}
