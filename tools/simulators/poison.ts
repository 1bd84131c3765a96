import type { Call } from "./call.ts";

/** How a poisoned call fails; `/health` stays up. */
export type Treatment =
  /** Gets no answer, and nothing is done. */
  | "hangs"
  /** Gets a 500, and nothing is done. */
  | "fails"
  /** Like "fails", but for four calls out of five, at random. */
  | "stumbles";

/** The requests that can be poisoned. */
const CALLS = {
  pay: "POST /charges",
  refund: "POST /refunds",
  ship: "POST /labels",
  void: "POST /labels/void",
  track: "GET /parcels/",
} as const;

const TOKEN = /^tok_(pay|refund|ship|void|track)_(hangs|fails|stumbles)$/;

/** The share of a stumbling order's calls that fail. */
export const STUMBLE_RATE = 0.8;

/**
 * Makes single orders fail while all others succeed. The payment token says which call fails and how:
 * `tok_pay_hangs`, `tok_ship_fails`, `tok_refund_stumbles`. The carrier receives no tokens, so it uses the one
 * that the payment provider saw for the same order.
 */
export class Poison {
  readonly #tokens = new Map<string, string>();
  readonly #orderOf: (trackingNumber: string) => string | undefined;
  #isHealed = false;

  /** @param orderOf the order a parcel belongs to. */
  constructor(orderOf: (trackingNumber: string) => string | undefined) {
    this.#orderOf = orderOf;
  }

  /** Ends the poisoning: every call succeeds from now on. */
  heal(): void {
    this.#isHealed = true;
  }

  /** How a call is to fail; undefined if it is not. */
  of({ method, path, body }: Call): Treatment | undefined {
    const route = `${method} ${path}`;
    const orderId = path.startsWith("/parcels/")
      ? this.#orderOf(path.slice("/parcels/".length))
      : text(body, "orderId");
    if (orderId === undefined) return undefined;
    const token = text(body, "token");
    if (token !== undefined && TOKEN.test(token)) this.#tokens.set(orderId, token);
    if (this.#isHealed) return undefined;
    const [, call, treatment] = TOKEN.exec(this.#tokens.get(orderId) ?? "") ?? [];
    if (!isCall(call) || !isTreatment(treatment)) return undefined;
    const isMeant = call === "track" ? route.startsWith(CALLS.track) : route === CALLS[call];
    return isMeant ? treatment : undefined;
  }
}

/** The order a call is about; undefined if it names none. */
export function orderOfCall({ body }: Call): string | undefined {
  return text(body, "orderId");
}

function text(body: unknown, name: string): string | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const value: unknown = Object.getOwnPropertyDescriptor(body, name)?.value;
  return typeof value === "string" ? value : undefined;
}

function isCall(name: string | undefined): name is keyof typeof CALLS {
  return name !== undefined && name in CALLS;
}

function isTreatment(name: string | undefined): name is Treatment {
  return name === "hangs" || name === "fails" || name === "stumbles";
}
