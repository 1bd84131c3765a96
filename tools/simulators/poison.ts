import type { Call } from "./call.ts";

/** How a call that nobody can serve is treated; `/health` stays up. */
export type Treatment =
  /** It gets no answer, and nothing is done. */
  | "hangs"
  /** 500, and nothing is done. */
  | "fails"
  /** The same for four calls of five, at random. */
  | "stumbles";

/** What is asked for when the trouble begins. */
const CALLS = {
  pay: "POST /charges",
  refund: "POST /refunds",
  ship: "POST /labels",
  void: "POST /labels/void",
  track: "GET /parcels/",
} as const;

const TOKEN = /^tok_(pay|refund|ship|void|track)_(hangs|fails|stumbles)$/;

/** The part of the calls that fail of an order that stumbles. */
export const STUMBLE_RATE = 0.8;

/**
 * Orders that nobody can serve, while everybody else's are served as ever. The payment token says which call it is that
 * goes wrong, and how: `tok_pay_hangs`, `tok_ship_fails`, `tok_refund_stumbles`. The carrier is told no tokens; it goes by
 * those that the payment provider was told of the same order.
 */
export class Poison {
  readonly #tokens = new Map<string, string>();
  readonly #orderOf: (trackingNumber: string) => string | undefined;
  #isHealed = false;

  /** @param orderOf whose parcel it is. */
  constructor(orderOf: (trackingNumber: string) => string | undefined) {
    this.#orderOf = orderOf;
  }

  /** From now on all are served. */
  heal(): void {
    this.#isHealed = true;
  }

  /** What is done to a call. */
  of({ method, path, body }: Call): Treatment | undefined {
    const route = `${method} ${path}`;
    const orderId = path.startsWith("/parcels/")
      ? this.#orderOf(path.slice("/parcels/".length))
      : text(body, "orderId");
    if (orderId === undefined) return undefined;
    const told = text(body, "token");
    if (told !== undefined && TOKEN.test(told)) this.#tokens.set(orderId, told);
    if (this.#isHealed) return undefined;
    const [, call, treatment] = TOKEN.exec(this.#tokens.get(orderId) ?? "") ?? [];
    if (!isCall(call) || !isTreatment(treatment)) return undefined;
    const isMeant = call === "track" ? route.startsWith(CALLS.track) : route === CALLS[call];
    return isMeant ? treatment : undefined;
  }
}

/** The order that a call is about; undefined when it names none. */
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
