import type { IntentState } from "./stripe/state.ts";

export type EntryKind = "charge" | "refund" | "label" | "label-void";
/** Pending: asked for, but not decided. Void: must never be approved. */
export type Outcome = "pending" | "approved" | "declined" | "void";

/** What a provider knows about an idempotency key. */
export interface Entry {
  readonly key: string;
  readonly kind: EntryKind;
  readonly orderId: string;
  /** Minor units; 0 if no money moves. */
  readonly amount: number;
  readonly currency: string | null;
  readonly outcome: Outcome;
  /** The provider's own id, such as a charge's or a tracking number; empty unless approved or held. */
  readonly providerId: string;
  /** The key that a refund or a voided label reverses. */
  readonly reverses: string | null;
  /** How often it was asked for. */
  readonly attempts: number;
  /** When it was asked for first. */
  readonly at: Date;
  /** Minor units that a charge held before it took any. It is pending while they are held. */
  readonly held?: number | undefined;
  /** What the simulated Stripe knows of it; set for its PaymentIntents alone. */
  readonly intent?: IntentState | undefined;
}

/** A key under which nothing may ever be approved. */
export function voided(kind: EntryKind, key: string, orderId: string, at = new Date()): Entry {
  const nothing = { amount: 0, currency: null, providerId: "", reverses: null, attempts: 0 };
  return { key, kind, orderId, outcome: "void", at, ...nothing };
}

/**
 * The providers' books: an entry for each idempotency key. They are in memory; `write` may keep them elsewhere. Synchronous,
 * so that calls can't interleave.
 */
export class Ledger {
  readonly #entries = new Map<string, Entry>();
  /** Reversals by the key that they reverse, and approved entries by the provider's id. */
  readonly #reversals = new Map<string, Entry>();
  readonly #byProviderId = new Map<string, Entry>();
  readonly #issued = new Map<EntryKind, number>();
  readonly #write: (entry: Entry) => void;

  /** @param write called with every new and changed entry, before it counts. */
  constructor(entries: Iterable<Entry> = [], write: (entry: Entry) => void = () => {}) {
    this.#write = () => {};
    for (const entry of entries) this.put(entry);
    this.#write = write;
  }

  /** The entries in the order in which they were decided. */
  get entries(): readonly Entry[] {
    return [...this.#entries.values()];
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** The entry that reverses the one with this key. */
  reversalOf(key: string): Entry | undefined {
    return this.#reversals.get(key);
  }

  /** Minor units that were paid back of the charge with this key. */
  refundedOf(key: string): number {
    if (!this.#reversals.has(key)) return 0;
    const back = this.entries.filter(({ kind, reverses }) => kind === "refund" && reverses === key);
    return back.reduce((sum, { amount }) => sum + amount, 0);
  }

  withProviderId(id: string): Entry | undefined {
    return this.#byProviderId.get(id);
  }

  /** The number of ids that were given to entries of this kind. */
  issued(kind: EntryKind): number {
    return this.#issued.get(kind) ?? 0;
  }

  /** Books a new entry, or what has become of one. */
  put(entry: Entry): Entry {
    this.#write(entry);
    const before = this.#entries.get(entry.key);
    // To the end of the entries.
    if (before?.outcome !== entry.outcome) this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
    if (entry.reverses !== null) this.#reversals.set(entry.reverses, entry);
    if (entry.providerId !== "") {
      if (!before?.providerId) this.#issued.set(entry.kind, this.issued(entry.kind) + 1);
      this.#byProviderId.set(entry.providerId, entry);
    }
    return entry;
  }

  /** Empties the books. */
  clear(): void {
    for (const map of [this.#entries, this.#reversals, this.#byProviderId, this.#issued]) map.clear();
  }
}
