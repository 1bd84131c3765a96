import type { eventOf } from "./objects.ts";

type Event = ReturnType<typeof eventOf>;

/** Stripe keeps thirty days; these are of this run, and so many at most. */
const MOST = 20_000;
const PAGE = 10;

/** What has happened, whether or not a webhook told it: `GET /v1/events`. */
export class Events {
  /** Oldest first. */
  readonly #all: Event[] = [];

  add(event: Event): void {
    this.#all.push(event);
    if (this.#all.length > MOST) this.#all.splice(0, MOST / 10);
  }

  /** Newest first: by `types[…]`, from `created[gte]` on, after the event `starting_after`. */
  list(query: URLSearchParams): object {
    const types = [...query].flatMap(([name, value]) => (name.startsWith("types[") ? [value] : []));
    const from = Number(query.get("created[gte]") ?? 0);
    const matching = this.#all
      .filter(({ type, created }) => created >= from && (types.length === 0 || types.includes(type)))
      .toReversed();
    const after = query.get("starting_after");
    const start = after === null ? 0 : matching.findIndex(({ id }) => id === after) + 1;
    const end = start + Number(query.get("limit") ?? PAGE);
    return {
      object: "list",
      data: matching.slice(start, end),
      has_more: end < matching.length,
      url: "/v1/events",
    };
  }
}
