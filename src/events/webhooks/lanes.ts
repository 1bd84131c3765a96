import type { LoggedEvent } from "../../../db/event-log.ts";
import { wasTried, type DueDelivery } from "../../../db/webhook-deliveries.ts";

/** Milliseconds after which a message that waits is no new one any more. */
const NEW_MS = 5_000;
/** Every fourth turn is the oldest message's. */
const OLDEST_EVERY = 4;

/** What waits for its turn: the deliveries of one order, oldest event first, with their events. */
export interface Lane {
  readonly orderId: string;
  readonly deliveries: DueDelivery[];
  readonly events: ReadonlyMap<number, LoggedEvent>;
  /** Its first message was tried before, or the one before that was given up: it may fail whatever the endpoint does. */
  isSuspected: boolean;
}

/** The orders of one endpoint that wait for their turn or have a message under way, each in a lane of its own. */
export class Lanes {
  readonly #concurrency: number;
  /** What was never tried, the longest due first. */
  #ready: Lane[] = [];
  #suspects: Lane[] = [];
  /** Of messages under way, until they are written down. */
  #suspectsRunning = 0;
  #oldRunning = 0;
  /** Turns since the oldest was last taken. */
  #turns = 0;
  /** Orders that are ready or under way. */
  readonly #busy = new Set<string>();
  /** Those of them for which more has come, that no look finds while they are busy. */
  readonly #passedOver = new Set<string>();

  /** @param concurrency messages at the same moment. */
  constructor(concurrency: number) {
    this.#concurrency = concurrency;
  }

  /** Those that wait and were never tried. */
  get ready(): number {
    return this.#ready.length;
  }

  /** Those that wait and have failed before. */
  get suspects(): number {
    return this.#suspects.length;
  }

  /** All orders of which there is a lane. */
  get orderIds(): string[] {
    return [...this.#busy];
  }

  /** A quarter of the places: what the suspected may have, and what new messages find free of those that have waited. */
  get share(): number {
    return Math.max(1, Math.floor(this.#concurrency / 4));
  }

  /** Notes that more has come for these orders, if they have a lane. */
  passOver(orderIds: Iterable<string>): void {
    for (const id of orderIds) if (this.#busy.has(id)) this.#passedOver.add(id);
  }

  /** Puts lanes where they belong in the line. */
  add(lanes: readonly Lane[]): void {
    for (const lane of lanes) {
      this.#busy.add(lane.orderId);
      (lane.isSuspected ? this.#suspects : this.#ready).push(lane);
    }
    this.#ready.sort((a, b) => dueOf(a) - dueOf(b));
  }

  /** Which order's message is to be sent next. @param isTroubled whether the endpoint seemed to be down lately. */
  next(isTroubled: boolean): Lane | undefined {
    const concurrency = this.#concurrency;
    const hasMany = concurrency >= 4;
    // What failed before and what has waited may hang, and what has just come is to find a place even so.
    const isOnlyForNew = hasMany && this.#suspectsRunning + this.#oldRunning >= concurrency - this.share;
    const mayTakeSuspect = this.#suspectsRunning < this.share && !isOnlyForNew;
    // With few places, only what nobody else waits for: a quarter of them is none.
    if (mayTakeSuspect && (hasMany || this.#ready.length === 0) && this.#suspects.length > 0) {
      return this.#suspects.shift();
    }
    if (isOnlyForNew) {
      const index = this.#ready.findIndex((lane) => !isOld(lane));
      return index < 0 ? undefined : this.#ready.splice(index, 1)[0];
    }
    // What hung for an endpoint that seemed to be down is at the front: most turns are for what came after it.
    this.#turns = isTroubled ? (this.#turns + 1) % OLDEST_EVERY : 0;
    return this.#turns === 0 ? this.#ready.shift() : this.#ready.pop();
  }

  /** A message of this lane is under way. @returns what to call when that is over. */
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

  /** Has a lane wait for its next turn. */
  putBack(lane: Lane): void {
    if (lane.isSuspected) this.#suspects.unshift(lane);
    else this.#ready.unshift(lane);
  }

  /** The order has no lane any more. @returns whether more has come for it. */
  release({ orderId }: Lane): boolean {
    this.#busy.delete(orderId);
    return this.#passedOver.delete(orderId);
  }

  /** Releases all that wait. */
  clear(): void {
    for (const lane of [...this.#ready, ...this.#suspects]) this.release(lane);
    this.#ready = [];
    this.#suspects = [];
  }
}

function dueOf({ deliveries: [first] }: Lane): number {
  return first?.dueAt.getTime() ?? 0;
}

/** Whether it has waited for some time. */
export function isOld(lane: Lane): boolean {
  return Date.now() - dueOf(lane) > NEW_MS;
}

/**
 * Lanes from both ends of a line: the newest, the oldest, and then any; those before whose first message was tried less
 * often.
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
