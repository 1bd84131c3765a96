import type { Call } from "./call.ts";

/** How a poisoned call fails; pings are answered. */
export type Treatment =
  /** Gets no answer, and nothing is done. */
  | "hangs"
  /** Gets a 500, and nothing is done. */
  | "fails"
  /** Like "fails", but for four calls out of five, at random. */
  | "stumbles";

/** The operations that can be poisoned. */
const CALLS = {
  pay: "charge",
  refund: "refund",
  ship: "create-label",
  void: "void-label",
  track: "track",
} as const;

type CallName = keyof typeof CALLS;
const CALL_NAMES = Object.keys(CALLS).filter((name): name is CallName => name in CALLS);

/** What a call is about. */
export interface Subject {
  readonly orderId: string | undefined;
  /** The payment token, if the call has it. */
  readonly token: string | undefined;
  readonly call: CallName | undefined;
}

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
  readonly #subjectOf: (call: Call) => Subject | undefined;
  #isHealed = false;

  /** @param subjectOf what a call of another protocol is about; undefined for a call of this one. */
  constructor(subjectOf: (call: Call) => Subject | undefined) {
    this.#subjectOf = subjectOf;
  }

  /** Ends the poisoning: every call succeeds from now on. */
  heal(): void {
    this.#isHealed = true;
  }

  /** How a call is to fail; undefined if it is not. */
  of(given: Call): Treatment | undefined {
    const { orderId, token, call: made } = this.#subjectOf(given) ?? plainSubjectOf(given);
    if (orderId === undefined) return undefined;
    if (token !== undefined && TOKEN.test(token)) this.#tokens.set(orderId, token);
    if (this.#isHealed) return undefined;
    const [, call, treatment] = TOKEN.exec(this.#tokens.get(orderId) ?? "") ?? [];
    return isTreatment(treatment) && call === made ? treatment : undefined;
  }
}

function plainSubjectOf({ body }: Call): Subject {
  const operation = operationOf({ body });
  const call = CALL_NAMES.find((name) => CALLS[name] === operation);
  return { orderId: text(body, "orderId"), token: text(body, "token"), call };
}

/** What a call asks for; undefined if it is of another protocol. */
export function operationOf({ body }: Pick<Call, "body">): string | undefined {
  return text(body, "operation");
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

function isTreatment(name: string | undefined): name is Treatment {
  return name === "hangs" || name === "fails" || name === "stumbles";
}
