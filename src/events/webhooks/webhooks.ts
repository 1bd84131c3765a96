import { setMaxListeners } from "node:events";
import type { Redis } from "ioredis";
import type { Database } from "../../../db/database.ts";
import { failureKindOf } from "../../platform/storage-error.ts";
import { EventLog } from "../../../db/event-log.ts";
import { DatabaseLease } from "../../../db/leases.ts";
import { findPosition } from "../../../db/relay-positions.ts";
import {
  attemptLocks,
  findNextDue,
  makeDeliveries,
  pruneWebhooks,
  saveAttempts,
  type AttemptResult,
} from "../../../db/webhook-deliveries.ts";
import { listEndpoints, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import { EventSubscriber } from "../subscriber.ts";
import { GroupCommit, withoutResults, type Committer } from "../../platform/group-commit.ts";
import type { Logger } from "../../platform/log.ts";
import type { Service } from "../../platform/service.ts";
import { describeError } from "../../platform/describe-error.ts";
import { Repeat } from "../../platform/repeat.ts";
import type { Networks } from "./networks.ts";
import { EndpointQueue, type EndpointQueueOptions } from "./endpoint-queue.ts";
import type { Resolve } from "./resolve.ts";
import { Sender } from "./sender.ts";

/** Milliseconds between two looks when nobody says that there is something. */
const LOOK_INTERVAL_MS = 1_000;
/** Events of one go. */
const BATCH = 500;
const PRUNE_INTERVAL_MS = 60_000;
const PRUNED = 1_000;
/** Milliseconds that requests under way have when the process ends. */
const GRACE_MS = 5_000;

export interface WebhooksOptions {
  readonly database: Database;
  readonly networks: Networks;
  /** Opens a connection to listen on for new events; without one, they are looked for once a second. */
  readonly connectListener?: (() => Redis) | undefined;
  /** Milliseconds that an endpoint may take to answer. */
  readonly timeoutMs: number;
  /** Messages that one endpoint is sent at the same moment. */
  readonly concurrency: number;
  /** Milliseconds of nothing but failures after which an endpoint is disabled. */
  readonly disableAfterMs: number;
  /** Milliseconds for which deliveries that are settled are kept, and their attempts. */
  readonly keepMs: number;
  readonly log: Logger;
  readonly events?: EventLog;
  readonly resolve?: Resolve;
  readonly delaysMs?: EndpointQueueOptions["delaysMs"];
  readonly firstPauseMs?: EndpointQueueOptions["firstPauseMs"];
  /** Milliseconds between two looks when nobody says that there is something, and for what is due again. */
  readonly lookIntervalMs?: number;
}

/**
 * Sends events to the endpoints that want them, in one process at a time. MySQL has all that it goes by: who sends (a
 * lease), how far the log has been read, and each delivery with its attempts. So what dies in the middle is found there
 * by the next one, and Redis does no more than say that there are new events.
 *
 * Two halves: events are read from the log and become deliveries, in batches, for the endpoints that want them; and each
 * endpoint has an {@link EndpointQueue} that sends them. Where there is no endpoint, nothing is read and nothing written.
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
  /** The lease's, under which the position was read. */
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
      everyMs: options.lookIntervalMs ?? LOOK_INTERVAL_MS,
      onError: (error) => this.#pause(error),
    });
    this.#subscriber = new EventSubscriber(connectListener, () => this.#rounds.wake());
    this.#lease = new DatabaseLease(database, "webhooks");
    // Each request under way listens to it.
    setMaxListeners(0, this.#abort.signal);
    this.#events = options.events ?? new EventLog(database);
    this.#sender = new Sender({ networks, timeoutMs, ...(resolve && { resolve }) });
    this.#attempts = new GroupCommit({
      name: "webhook_attempts",
      flush: withoutResults((results) => saveAttempts(database, results)),
      kindOf: failureKindOf,
      locks: attemptLocks(database),
    });
  }

  /** Whether this process is the one that sends, as far as it can be sure. */
  get leads(): boolean {
    return !this.#stopped && this.#lease.token !== undefined;
  }

  /** Begins to look for events. */
  start(): void {
    this.#rounds.start();
  }

  /** Ends after the requests under way, or gives them up, and lets another process go on. */
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
    await this.#release();
  }

  /** @returns 0 when there may be more events to read. @throws {DatabaseError} */
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
    const now = Date.now();
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

  /** Makes deliveries of the next events. @throws {DatabaseError} */
  async #read(enabled: readonly WebhookEndpoint[]): Promise<{
    /** Those that are enabled now. */
    readonly endpoints: readonly WebhookEndpoint[];
    /** What the deliveries are about, by the id of their endpoint. */
    readonly orderIds: ReadonlyMap<string, ReadonlySet<string>>;
    /** Whether there may be more events. */
    readonly hasMore: boolean;
  }> {
    const nothing = { endpoints: enabled, orderIds: new Map(), hasMore: false };
    if (enabled.length === 0) return nothing;
    const { database } = this.#options;
    this.#position ??= (await findPosition(database, "webhooks")) ?? 0;
    // What happened before there was an endpoint is for none.
    const position = Math.max(this.#position, Math.min(...enabled.map(({ afterEventId }) => afterEventId)));
    const events = await this.#events.read({ after: position, limit: BATCH });
    const last = events.at(-1)?.id;
    if (last === undefined) return nothing;
    // Asked again after the events were read: for an endpoint that was made meanwhile they may be, and don't come again.
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

  /** @returns whether this process is the one that sends. @throws {DatabaseError} */
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
   * Ends the queues of endpoints that are not among these. Each stays until its requests have ended: should its endpoint be
   * enabled again before, it goes on, so that an order's events are not sent by two.
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
    const { database, concurrency, disableAfterMs, delaysMs, firstPauseMs, log } = this.#options;
    const queue = new EndpointQueue(endpoint, {
      database,
      sender: this.#sender,
      attempts: this.#attempts,
      maySend: () => this.leads,
      concurrency,
      disableAfterMs,
      delaysMs,
      firstPauseMs,
      signal: this.#abort.signal,
      log,
    });
    this.#queues.set(endpoint.id, queue);
    return queue;
  }

  async #prune(): Promise<void> {
    const { database, keepMs } = this.#options;
    const removed = await pruneWebhooks(database, { before: new Date(Date.now() - keepMs), limit: PRUNED });
    // Soon again while there is something to remove, but not at the cost of sending.
    this.#prunedAt =
      removed === 0 ? performance.now() : performance.now() - PRUNE_INTERVAL_MS + LOOK_INTERVAL_MS;
  }

  async #release(): Promise<void> {
    await this.#lease.release().catch((error: unknown) => {
      this.#options.log.warn(
        { error: describeError(error) },
        "could not release the lease: another process sends webhooks once it expires",
      );
    });
  }

  #pause(error: unknown): void {
    // Once for each outage.
    if (!this.#isBroken) this.#options.log.warn({ error: describeError(error) }, "webhooks are paused");
    this.#isBroken = true;
  }
}
