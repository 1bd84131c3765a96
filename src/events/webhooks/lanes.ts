import type { LoggedEvent } from "../../../db/event-log.ts";
import { wasTried, type DueDelivery } from "../../../db/webhook-sending.ts";
import { nowMs } from "../../platform/clock.ts";

/** Milliseconds after which a waiting message is no longer new. */
const NEW_MS = 5_000;
/** Every fourth turn goes to the oldest message. */
const OLDEST_EVERY = 4;

/** The waiting deliveries of one order, oldest event first, with their events. */
export interface Lane {
  readonly orderId: string;
  readonly deliveries: DueDelivery[];
  readonly events: ReadonlyMap<number, LoggedEvent>;
  /** Whether its first message was tried before, or the previous one failed: the message itself may be at fault. */
  isSuspected: boolean;
}

/** The orders of one endpoint that wait for their turn or have an active request, one lane each. */
export class Lanes {
  readonly #concurrency: number;
  /** Untried deliveries, longest due first. */
  #ready: Lane[] = [];
  #suspects: Lane[] = [];
  /** Active messages, until their results are saved. */
  #suspectsRunning = 0;
  #oldRunning = 0;
  /** Turns since the oldest message was last taken. */
  #turns = 0;
  /** Orders that have a lane. */
  readonly #busy = new Set<string>();
  /** Those of them with new deliveries, which reads leave out while the order has a lane. */
  readonly #passedOver = new Set<string>();

  /** @param concurrency concurrent messages. */
  constructor(concurrency: number) {
    this.#concurrency = concurrency;
  }

  /** The number of waiting lanes that were never tried. */
  get ready(): number {
    return this.#ready.length;
  }

  /** The number of waiting lanes that have failed before. */
  get suspects(): number {
    return this.#suspects.length;
  }

  /** All orders that have a lane. */
  get orderIds(): string[] {
    return [...this.#busy];
  }

  /** A quarter of the places: the limit for suspects, and what is kept free for new messages. */
  get share(): number {
    return Math.max(1, Math.floor(this.#concurrency / 4));
  }

  /** Records that these orders have new deliveries, if they have a lane. */
  passOver(orderIds: Iterable<string>): void {
    for (const id of orderIds) if (this.#busy.has(id)) this.#passedOver.add(id);
  }

  /** Adds waiting lanes, in order. */
  add(lanes: readonly Lane[]): void {
    for (const lane of lanes) {
      this.#busy.add(lane.orderId);
      (lane.isSuspected ? this.#suspects : this.#ready).push(lane);
    }
    this.#ready.sort((a, b) => dueOf(a) - dueOf(b));
  }

  /** The lane to send from next. @param isTroubled whether the endpoint seemed to be down recently. */
  next(isTroubled: boolean): Lane | undefined {
    const concurrency = this.#concurrency;
    const hasMany = concurrency >= 4;
    // Suspects and old messages may hang; keep places free for new ones.
    const isOnlyForNew = hasMany && this.#suspectsRunning + this.#oldRunning >= concurrency - this.share;
    const mayTakeSuspect = this.#suspectsRunning < this.share && !isOnlyForNew;
    // With few places, a quarter is none: send suspects only if nothing else waits.
    if (mayTakeSuspect && (hasMany || this.#ready.length === 0) && this.#suspects.length > 0) {
      return this.#suspects.shift();
    }
    if (isOnlyForNew) {
      const index = this.#ready.findIndex((lane) => !isOld(lane));
      return index < 0 ? undefined : this.#ready.splice(index, 1)[0];
    }
    // After an outage, messages that may hang are at the front: give most turns to newer ones.
    this.#turns = isTroubled ? (this.#turns + 1) % OLDEST_EVERY : 0;
    return this.#turns === 0 ? this.#ready.shift() : this.#ready.pop();
  }

  /** Records that a message of this lane is being sent. @returns what to call afterwards. */
  begin(lane: Lane): () => void {
    this.#busy.add(lane.orderId);
    const [wasSuspected, wasOld] = [lane.isSuspected, !lane.isSuspected && isOld(lane)];
    if (wasSuspected) this.#suspectsRunning += 1;
    if (wasOld) this.#oldRunning += 1;
    return () => {
      if (wasSuspected) this.#suspectsRunning -= 1;
      if (wasOld) this.#oldRunning -= 1;
    };
  }

  /** Makes a lane wait for its next turn. */
  putBack(lane: Lane): void {
    if (lane.isSuspected) this.#suspects.unshift(lane);
    else this.#ready.unshift(lane);
  }

  /** Removes an order's lane. @returns whether it has new deliveries. */
  release({ orderId }: Lane): boolean {
    this.#busy.delete(orderId);
    return this.#passedOver.delete(orderId);
  }

  /** Releases all waiting lanes. */
  clear(): void {
    for (const lane of [...this.#ready, ...this.#suspects]) this.release(lane);
    this.#ready = [];
    this.#suspects = [];
  }
}

function dueOf({ deliveries: [first] }: Lane): number {
  return first?.dueAt.getTime() ?? 0;
}

/** Whether its first message is no longer new. */
export function isOld(lane: Lane): boolean {
  return nowMs() - dueOf(lane) > NEW_MS;
}

/**
 * Merges lanes from both ends of the queue, those whose first message was tried least first. Of those tried equally often:
 * the newest, the oldest, then the others in random order.
 */
export function leastTried(
  oldest: readonly DueDelivery[][],
  newest: readonly DueDelivery[][],
): DueDelivery[][] {
  const lanes = new Map([...newest, ...oldest].map((lane) => [lane[0]?.orderId, lane]));
  const triesOf = ([first]: DueDelivery[]) => (first && wasTried(first) ? Math.max(1, first.attempts) : 0);
  const rankOf = (lane: DueDelivery[]) => {
    if (lane === fewestFirst(newest)) return -2;
    return lane === fewestFirst(oldest) ? -1 : Math.random();
  };
  const fewestFirst = (end: readonly DueDelivery[][]) => {
    const [first] = end.toSorted((a, b) => triesOf(a) - triesOf(b));
    return first && lanes.get(first[0]?.orderId);
  };
  return [...lanes.values()]
    .map((lane) => ({ lane, tries: triesOf(lane), rank: rankOf(lane) }))
    .toSorted((a, b) => a.tries - b.tries || a.rank - b.rank)
    .map(({ lane }) => lane);
}
