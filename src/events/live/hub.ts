import { setTimeout as sleep } from "node:timers/promises";
import pLimit from "p-limit";
import { listEventsAfter, type EventLog } from "../../../db/event-log.ts";
import type { Database } from "../../../db/database.ts";
import type { Logger } from "../../platform/log.ts";
import { describeError } from "../../platform/describe-error.ts";
import { frameOfLogged, type Frame } from "./frame.ts";
import type { Listener } from "./listener.ts";
import type { LiveSource } from "./sources.ts";

/** How many of the newest frames to keep for clients that reconnect soon: less than a megabyte. */
const KEPT = 1_000;
/** Events per page when a client catches up from the log. */
const PAGE = 500;
/** Events per page when a client catches up from kept frames: well below a listener's buffer. */
const KEPT_PAGE = 250;
/** Clients that may read the log at once, to spare MySQL. */
const CATCHING_UP = 4;
const HEARTBEAT_MS = 15_000;
/** Milliseconds before the source is read again after an error. */
const RETRY_MS = 500;

export interface HubOptions {
  readonly database: Database;
  readonly log: EventLog;
  readonly source: LiveSource;
  readonly logger: Logger;
  readonly heartbeatMs?: number;
}

/**
 * Passes new events on to all listeners. It reads the source once for all of them, and only while somebody
 * listens. A client that reconnects gets what it missed from the kept frames or, page by page, from the log
 * until it has caught up with the kept frames, without gaps or duplicates.
 */
export class Hub {
  readonly #options: HubOptions;
  readonly #all = new Set<Listener>();
  readonly #byOrder = new Map<string, Set<Listener>>();
  readonly #catchingUp = new Set<Listener>();
  readonly #reads = pLimit(CATCHING_UP);
  readonly #closing = new AbortController();
  /** Every event after `#keptAfter`, up to `#end`. */
  #kept: Frame[] = [];
  #keptAfter = 0;
  #end = 0;
  #starting: Promise<void> | undefined;
  #size = 0;
  #running = false;
  #isAway = false;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(options: HubOptions) {
    this.#options = options;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Number of connected clients. */
  get size(): number {
    return this.#size;
  }

  /** The latest event, after which a new listener starts. @throws {DatabaseError} */
  async begin(): Promise<number> {
    if (!this.#running) {
      this.#starting ??= this.#start().finally(() => (this.#starting = undefined));
      await this.#starting;
    }
    return this.#end;
  }

  /** Adds a listener, and resolves when it has caught up. Call {@link begin} first. */
  async join(listener: Listener): Promise<void> {
    this.#catchingUp.add(listener);
    this.#size++;
    listener.onClose(() => this.#leave(listener));
    this.#run();
    try {
      while (listener.isOpen && !this.isClosed && this.#isBehind(listener)) await this.#catchUp(listener);
    } catch (error) {
      this.#options.logger.warn(
        { error: describeError(error) },
        "a listener could not catch up: disconnecting it",
      );
      listener.end();
    }
    this.#catchingUp.delete(listener);
    if (!listener.isOpen || this.isClosed) {
      listener.end();
      return;
    }
    // From here on everything is synchronous.
    listener.send(this.#kept);
    this.#add(listener);
  }

  /** Disconnects all listeners, and accepts no more. */
  close(): void {
    this.#closing.abort();
    clearInterval(this.#heartbeat);
    for (const listener of this.#listeners()) listener.end();
    this.#options.source.close();
  }

  async #start(): Promise<void> {
    this.#end = await this.#options.source.end();
    this.#keptAfter = this.#end;
    this.#kept = [];
  }

  /** Reads the source as long as somebody listens. */
  #run(): void {
    if (this.#running || this.isClosed) return;
    this.#running = true;
    const { heartbeatMs = HEARTBEAT_MS } = this.#options;
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs);
    const run = async () => {
      while (this.size > 0 && !this.isClosed) await this.#readNext();
      // Synchronously, so that a listener that joins now starts a new loop.
      this.#running = false;
      clearInterval(this.#heartbeat);
    };
    void run();
  }

  async #readNext(): Promise<void> {
    const { source, logger } = this.#options;
    const { signal } = this.#closing;
    try {
      this.#passOn(await source.next(this.#end, signal));
      this.#isAway = false;
    } catch (error) {
      if (signal.aborted) return;
      if (!this.#isAway) logger.warn({ error: describeError(error) }, "live updates are paused");
      this.#isAway = true;
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  #passOn(frames: readonly Frame[]): void {
    const last = frames.at(-1);
    if (last === undefined) return;
    const end = this.#end;
    this.#end = last.id;
    this.#kept.push(...frames);
    this.#keptAfter = this.#kept.splice(0, this.#kept.length - KEPT).at(-1)?.id ?? this.#keptAfter;
    const bytes = Buffer.concat(frames.map((frame) => frame.bytes));
    for (const listener of this.#all) {
      if (listener.after <= end) listener.write(bytes, last.id);
      else listener.send(frames);
    }
    const orders = new Set(this.#byOrder.size === 0 ? [] : frames.map(({ orderId }) => orderId));
    for (const orderId of orders)
      for (const listener of this.#byOrder.get(orderId) ?? []) listener.send(frames);
  }

  /** Whether a client is too far behind to catch up in one go. */
  #isBehind(listener: Listener): boolean {
    return listener.after < this.#keptAfter || listener.missing(this.#kept).length > KEPT_PAGE;
  }

  /** Sends the next page of missed events, and waits until the client has read it. */
  async #catchUp(listener: Listener): Promise<void> {
    if (listener.after < this.#keptAfter) await this.#catchUpFromLog(listener);
    else listener.send(listener.missing(this.#kept).slice(0, KEPT_PAGE));
    await listener.drained();
  }

  async #catchUpFromLog(listener: Listener): Promise<void> {
    const { log, database } = this.#options;
    const { after, orders } = listener;
    const [orderId] = orders?.size === 1 ? orders : [];
    const end = this.#end;
    const events = await this.#reads(() =>
      orderId === undefined
        ? log.read({ after, limit: PAGE, settled: end })
        : listEventsAfter(database, orderId, { after, upTo: end, limit: PAGE }),
    );
    const frames = events.filter(({ id }) => id <= end).map(frameOfLogged);
    listener.send(frames);
    // Those at the end may be of other orders.
    listener.after = Math.max(listener.after, frames.at(-1)?.id ?? 0);
    // Later events come from the source.
    if (events.length < PAGE || (events.at(-1)?.id ?? 0) >= end)
      listener.after = Math.max(listener.after, end);
  }

  #add(listener: Listener): void {
    if (listener.orders === undefined) this.#all.add(listener);
    for (const orderId of listener.orders ?? []) {
      const others = this.#byOrder.get(orderId);
      if (others) others.add(listener);
      else this.#byOrder.set(orderId, new Set([listener]));
    }
  }

  #leave(listener: Listener): void {
    this.#size--;
    this.#all.delete(listener);
    this.#catchingUp.delete(listener);
    for (const orderId of listener.orders ?? []) {
      const others = this.#byOrder.get(orderId);
      others?.delete(listener);
      if (others?.size === 0) this.#byOrder.delete(orderId);
    }
  }

  *#listeners(): Generator<Listener> {
    yield* this.#all;
    yield* this.#catchingUp;
    for (const listeners of this.#byOrder.values()) yield* listeners;
  }

  /** Sends a heartbeat, with the current position for clients that are up to date. */
  #beat(): void {
    const alive = Buffer.from(":\n\n");
    const upToHere = Buffer.from(`id: ${this.#end}\n:\n\n`);
    for (const listener of this.#listeners()) {
      const knows = !this.#catchingUp.has(listener) && listener.after <= this.#end;
      listener.write(knows ? upToHere : alive, knows ? this.#end : listener.after);
    }
  }
}
