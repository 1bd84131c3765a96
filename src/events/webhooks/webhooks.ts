import { setMaxListeners } from "node:events";
import type { Connection } from "../../../queues/connection.ts";
import { EventLog } from "../../../db/event-log.ts";
import { DatabaseLease } from "../../../db/leases.ts";
import { findPosition } from "../../../db/relay-positions.ts";
import { pruneWebhooks } from "../../../db/webhook-deliveries.ts";
import {
  attemptLocks,
  findNextDue,
  makeDeliveries,
  saveAttempts,
  type AttemptResult,
} from "../../../db/webhook-sending.ts";
import { listEndpoints, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import { EventSubscriber } from "../subscriber.ts";
import { withoutResults } from "../../platform/flush.ts";
import { GroupCommit, type Committer } from "../../platform/group-commit.ts";
import type { Service } from "../../platform/service.ts";
import { describeError } from "../../platform/describe-error.ts";
import { Repeat } from "../../platform/repeat.ts";
import type { Networks } from "./networks.ts";
import { EndpointQueue, type EndpointQueueOptions } from "./endpoint-queue.ts";
import type { Resolve } from "./resolve.ts";
import { Sender } from "./sender.ts";
import { nowMs } from "../../platform/clock.ts";

/** Milliseconds between two polls in the absence of notifications. */
const POLL_INTERVAL_MS = 1_000;
/** Events per batch. */
const BATCH = 500;
const PRUNE_INTERVAL_MS = 60_000;
const PRUNED = 1_000;
/** Milliseconds that active requests have to finish when the process stops. */
const GRACE_MS = 5_000;

export interface WebhooksOptions extends Omit<
  EndpointQueueOptions,
  "sender" | "attempts" | "maySend" | "signal"
> {
  readonly networks: Networks;
  /** Opens a connection to listen for notifications; without it, new events are polled for once a second. */
  readonly connectListener?: (() => Connection) | undefined;
  /** Milliseconds that an endpoint may take to respond. */
  readonly timeoutMs: number;
  /** Milliseconds for which settled deliveries and their attempts are kept. */
  readonly keepMs: number;
  readonly events?: EventLog;
  readonly resolve?: Resolve;
  /** Milliseconds between two polls, for new events and for retries that are due. */
  readonly lookIntervalMs?: number;
}

/**
 * Sends events to subscribed endpoints, in one process at a time. All state is in MySQL: a lease for who sends, the
 * position in the event log, and each delivery with its attempts. If the process dies, another one continues from there.
 * Redis only carries notifications of new events.
 *
 * It reads events from the log in batches and creates a delivery for each subscribed endpoint; and each endpoint has an
 * {@link EndpointQueue} that sends them. Without endpoints, it reads and writes no events.
 */
export class Webhooks implements Service {
  readonly name = "webhooks";
  readonly #options: WebhooksOptions;
  readonly #events: EventLog;
  readonly #sender: Sender;
  readonly #attempts: Committer<AttemptResult, void>;
  readonly #abort = new AbortController();
  readonly #queues = new Map<string, EndpointQueue>();
  readonly #subscriber: EventSubscriber;
  readonly #lease: DatabaseLease;
  readonly #rounds: Repeat;
  /** The lease's token under which the position was read. */
  #token: number | undefined;
  #position: number | undefined;
  #prunedAt = performance.now();
  #stopped = false;
  #isBroken = false;

  constructor(options: WebhooksOptions) {
    const { database, networks, timeoutMs, resolve, connectListener } = options;
    this.#options = options;
    this.#rounds = new Repeat({
      run: () => this.#round(),
      everyMs: options.lookIntervalMs ?? POLL_INTERVAL_MS,
      onError: (error) => this.#pause(error),
    });
    this.#subscriber = new EventSubscriber(connectListener, () => this.#rounds.wake());
    this.#lease = new DatabaseLease(database, "webhooks");
    // Every active request listens to it.
    setMaxListeners(0, this.#abort.signal);
    this.#events = options.events ?? new EventLog(database);
    this.#sender = new Sender({ networks, timeoutMs, ...(resolve && { resolve }) });
    this.#attempts = new GroupCommit({
      name: "webhook_attempts",
      flush: withoutResults((results) => saveAttempts(database, results)),
      locks: attemptLocks(database),
    });
  }

  /** Whether this process certainly holds the lease. */
  get leads(): boolean {
    return !this.#stopped && this.#lease.token !== undefined;
  }

  /** Starts sending. */
  start(): void {
    this.#rounds.start();
  }

  /** Stops after the active requests, aborts those that take too long, and lets another process take over. */
  async stop({ graceMs = GRACE_MS }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#stopped = true;
    await this.#rounds.stop();
    this.#subscriber.unsubscribe();
    const queues = [...this.#queues.values()];
    const timer = setTimeout(() => this.#abort.abort(), graceMs);
    await Promise.all(queues.map((queue) => queue.end()));
    clearTimeout(timer);
    await this.#attempts.idle();
    this.#sender.close();
    await this.#lease.release();
  }

  /** @returns 0 if there may be more events to read. @throws {DatabaseError} */
  async #round(): Promise<number | undefined> {
    const { database } = this.#options;
    const readAt = performance.now();
    const enabled = await this.#enabled();
    const isPruneDue = performance.now() - this.#prunedAt >= PRUNE_INTERVAL_MS;
    if (enabled.length === 0 && !isPruneDue) {
      this.#isBroken = false;
      this.#retire(enabled);
      return undefined;
    }
    if (!(await this.#hold())) return undefined;
    this.#subscriber.subscribe();
    this.#retire(enabled);
    if (isPruneDue) await this.#prune();
    const { endpoints, orderIds, hasMore } = await this.#read(enabled);
    const now = nowMs();
    const due = await findNextDue(
      database,
      endpoints.map(({ id }) => id),
    );
    for (const endpoint of endpoints) {
      const queue = this.#queueOf(endpoint);
      queue.update(endpoint, readAt);
      if ((due.get(endpoint.id)?.getTime() ?? Infinity) <= now) queue.wake(orderIds.get(endpoint.id));
    }
    this.#isBroken = false;
    return hasMore ? 0 : undefined;
  }

  /** Creates the deliveries of the next events. @throws {DatabaseError} */
  async #read(enabled: readonly WebhookEndpoint[]): Promise<{
    /** The endpoints that are enabled now. */
    readonly endpoints: readonly WebhookEndpoint[];
    /** The orders with new deliveries, by endpoint id. */
    readonly orderIds: ReadonlyMap<string, ReadonlySet<string>>;
    /** Whether there may be more events. */
    readonly hasMore: boolean;
  }> {
    const nothing = { endpoints: enabled, orderIds: new Map(), hasMore: false };
    if (enabled.length === 0) return nothing;
    const { database } = this.#options;
    this.#position ??= (await findPosition(database, "webhooks")) ?? 0;
    // Events from before there was an endpoint are for none.
    const position = Math.max(this.#position, Math.min(...enabled.map(({ afterEventId }) => afterEventId)));
    const events = await this.#events.read({ after: position, limit: BATCH });
    const last = events.at(-1)?.id;
    if (last === undefined) return nothing;
    // Read again: the events may also be for an endpoint created since, and they are not read twice.
    const endpoints = await this.#enabled();
    if (!this.leads) return nothing;
    const orderIds = await makeDeliveries(database, { events, endpoints, position: last });
    this.#position = last;
    return { endpoints, orderIds, hasMore: events.length === BATCH };
  }

  async #enabled(): Promise<WebhookEndpoint[]> {
    const endpoints = await listEndpoints(this.#options.database);
    return endpoints.filter(({ state }) => state === "enabled");
  }

  /** Acquires or renews the lease. @returns whether this process holds it. @throws {DatabaseError} */
  async #hold(): Promise<boolean> {
    const token = await this.#lease.hold();
    if (token === this.#token) return token !== undefined;
    this.#token = token;
    this.#position = undefined;
    if (token !== undefined) {
      this.#options.log.info("sending webhooks");
      return true;
    }
    this.#retire([]);
    this.#subscriber.unsubscribe();
    return false;
  }

  /**
   * Stops the queues of all other endpoints. Each is kept until its requests have ended: if its endpoint is enabled again
   * before, the same queue continues, so that no two queues send an order's events.
   */
  #retire(enabled: readonly WebhookEndpoint[]): void {
    const ids = new Set(enabled.map(({ id }) => id));
    for (const [id, queue] of this.#queues) {
      if (ids.has(id)) continue;
      queue.stop();
      if (queue.isIdle) this.#queues.delete(id);
    }
  }

  #queueOf(endpoint: WebhookEndpoint): EndpointQueue {
    const found = this.#queues.get(endpoint.id);
    if (found) return found;
    const queue = new EndpointQueue(endpoint, {
      ...this.#options,
      sender: this.#sender,
      attempts: this.#attempts,
      maySend: () => this.leads,
      signal: this.#abort.signal,
    });
    this.#queues.set(endpoint.id, queue);
    return queue;
  }

  async #prune(): Promise<void> {
    const { database, keepMs } = this.#options;
    const removed = await pruneWebhooks(database, { before: new Date(nowMs() - keepMs), limit: PRUNED });
    // Again soon while there is something to remove, but without delaying sends.
    this.#prunedAt =
      removed === 0 ? performance.now() : performance.now() - PRUNE_INTERVAL_MS + POLL_INTERVAL_MS;
  }

  #pause(error: unknown): void {
    // Once per outage.
    if (!this.#isBroken) this.#options.log.warn({ error: describeError(error) }, "webhooks are paused");
    this.#isBroken = true;
  }
}
