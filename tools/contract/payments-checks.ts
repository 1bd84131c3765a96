import { z } from "zod";
import { charged, refunded } from "../../src/providers/http/payments.ts";
import { inWords, readWith, type Answer } from "./answers.ts";
import { differs, isDone, isRejected, Skipped, spoken, valueOf, whyWrong, type Check } from "./check.ts";
import { TestOrder, type Response, type Target } from "./requests.ts";

/** What a payment provider must do beside charging and refunding all: docs/providers.md. */
export const PAYMENTS_CHECKS: readonly Check[] = [
  paying("charges the amount that is asked for", async (payment, made) => {
    const found = await payment.find();
    const isOther = [made, found].find(
      (answer) => (chargeOf(answer)?.amount ?? payment.total) !== payment.total,
    );
    return (
      isOther &&
      `answered ${spoken(isOther)} for a charge of ${payment.total}. amount is what was taken, in the currency's minor unit`
    );
  }),
  paying("gives each order's charge an id of its own", async (_payment, made, target) => {
    const other = await new TestPayment(target).charge();
    const { chargeId } = chargeOf(made) ?? {};
    return chargeId !== undefined && chargeOf(other)?.chargeId === chargeId
      ? `answered with the chargeId ${chargeId} to the charges of two orders: a refund could not tell them apart`
      : undefined;
  }),
  paying("finds a charge by its key, as it is now", async (payment, made) => {
    const found = await payment.find();
    const fault = whyWrong(found);
    if (fault !== undefined) return `${fault}, to find-charge`;
    return chargeOf(found)?.chargeId === chargeOf(made)?.chargeId
      ? undefined
      : `answered ${spoken(found)} to find-charge, for a charge that was answered with ${spoken(made)}`;
  }),
  {
    name: "finds no charge that nobody asked for",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const response = await new TestPayment(target).askForCharge();
      return response.status === 204
        ? undefined
        : `answered ${response.status ?? response.error} to find-charge, instead of 204`;
    },
  },
  {
    name: "tells of a refunded charge that it was called off",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const payment = new TestPayment(target);
      await payment.order.undo();
      const response = await payment.askForCharge();
      if (response.status === 204) return undefined;
      const found = readWith(charged, response, target);
      const fault = whyWrong(found);
      if (fault !== undefined) return fault;
      return isRejected(found) || chargeOf(found)?.status === "cancelled"
        ? undefined
        : `answered ${spoken(found)} to find-charge, for a charge that was called off: {"done": {"status": "cancelled"}} or 204`;
    },
  },
  {
    name: "holds the money where capture is false, and takes as much as capture asks for",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const payment = new TestPayment(target);
      const made = await payment.charge({ capture: false });
      const { total } = payment;
      if (isRejected(made)) return new Skipped("the charge was declined");
      if (chargeOf(made)?.status === "pending") return new Skipped("the charge is pending");
      if (chargeOf(made)?.status !== "authorized")
        return `${whyWrong(made) ?? `answered ${spoken(made)}`}, to a charge with "capture": false. Hold the money, answer with the status authorized, and take it when capture asks for it: PAYMENT_CAPTURE=on-shipment relies on it`;
      const held = await payment.find();
      if (chargeOf(held)?.status !== "authorized")
        return `${whyWrong(held) ?? `answered ${spoken(held)}`}, to find-charge, for a charge whose money is held: its status is authorized`;
      const part = Math.floor(total / 2);
      if (part < 1) return new Skipped("the total has no parts");
      const [first, second] = [await payment.capture(part), await payment.capture(part)];
      const fault = whyWrong(first) ?? whyWrong(second);
      const asked = `a capture of ${part} of the ${total} that were held`;
      if (fault !== undefined) return `${fault}, to ${asked}`;
      if (differs(first, second)) return `answered ${spoken(first)} to ${asked}, then ${spoken(second)}`;
      const found = await payment.find();
      for (const [answer, what] of [
        [first, asked],
        [found, `find-charge after ${asked}`],
      ] as const) {
        const told = chargeOf(answer);
        if (told?.status !== "captured")
          return `${whyWrong(answer) ?? `answered ${spoken(answer)}`}, to ${what}: nothing was taken`;
        if ((told.amount ?? part) !== part)
          return `answered ${spoken(answer)} to ${what}: ${told.amount} were taken`;
      }
      const above = await payment.refund("above", part + 1);
      if (isRefunded(above))
        return `refunded ${part + 1} after ${asked}: more was taken, or more is paid back than was taken`;
      const back = await payment.refund("all", part);
      return unlessRefunded(back, `a refund of ${part}, after ${asked}: less was taken`);
    },
  },
  paying("refunds no more than was charged", async (payment) => {
    const above = await payment.refund("above", payment.total + 1);
    return isRefunded(above)
      ? `refunded ${payment.total + 1} of a charge of ${payment.total}, instead of {"reject": "why"}`
      : undefined;
  }),
  paying("moves the money of a refund of a part", async (payment) => {
    const { total } = payment;
    if (total < 2) return new Skipped("the total has no parts");
    const first = unlessRefunded(await payment.refund("first", 1), `a refund of 1 of ${total}`);
    if (first !== undefined) return first;
    if (isRefunded(await payment.refund("above", total)))
      return `refunded 1 of ${total}, and then ${total} more: the first refund moved nothing, or the second too much`;
    const rest = total - 1;
    return unlessRefunded(
      await payment.refund("rest", rest),
      `a refund of the ${rest} that are left after 1 of ${total}`,
    );
  }),
  paying("refunds a part of a charge, once, and finds the refund", async (payment, _made, target) => {
    const [first, second] = [await payment.refund("one", 1), await payment.refund("one", 1)];
    const found = await payment.findRefund("one");
    const fault = [first, second, found].map(whyWrong).find((each) => each !== undefined);
    if (fault !== undefined) return `${fault}, to a refund of a part`;
    if (differs(first, second))
      return `answered ${spoken(first)} to the refund of a part, then ${spoken(second)}`;
    if (refundOf(found) !== refundOf(first))
      return `answered ${spoken(found)} to find-refund, for a refund that was answered with ${spoken(first)}`;
    const none = await payment.askForRefund("never");
    if (none.status !== 204)
      return `answered ${inWords(none)} to find-refund with a refundKey that was never used, instead of 204: a refund would be taken for made`;
    const other = await payment.refund("two", 1);
    if (!isDone(other)) return new Skipped(`a second refund was not made (${inOneWord(other)})`);
    const again = readWith(refunded, await payment.askForRefund("two"), target);
    return refundOf(again) === refundOf(other) && refundOf(other) !== refundOf(first)
      ? undefined
      : `answered ${spoken(again)} to find-refund, for the second refund of a charge, which was answered with ${spoken(other)}; the first with ${spoken(first)}`;
  }),
];

/** A check of a charge that is made. */
function paying(
  name: string,
  check: (payment: TestPayment, made: Answer, target: Target) => Promise<string | Skipped | undefined>,
): Check {
  return {
    name,
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const payment = new TestPayment(target);
      const made = await payment.charge();
      if (isRejected(made)) return new Skipped("the charge was declined");
      const charge = chargeOf(made);
      if (charge?.status === "pending") return new Skipped("the charge is pending");
      return whyWrong(made) ?? check(payment, made, target);
    },
  };
}

/** The payment of an order that does not exist, as Conveyor asks for it. Amounts are in minor units. */
class TestPayment {
  readonly order: TestOrder;
  readonly total: number;
  readonly #target: Target;
  #chargeId: string | undefined;

  constructor(target: Target) {
    this.order = new TestOrder(target);
    this.total = Number(target.order["total"]);
    this.#target = target;
  }

  async charge({ capture = true } = {}): Promise<Answer> {
    const body = JSON.stringify({ ...this.order.body, capture });
    const answer = readWith(charged, await this.order.run({ body }), this.#target);
    this.#chargeId = chargeOf(answer)?.chargeId;
    return answer;
  }

  async capture(amount: number): Promise<Answer> {
    return readWith(charged, await this.#ask("capture", "capture", { ...this.#named, amount }), this.#target);
  }

  askForCharge(): Promise<Response> {
    return this.#ask("find", "find-charge", { chargeKey: this.#key });
  }

  async find(): Promise<Answer> {
    return readWith(charged, await this.askForCharge(), this.#target);
  }

  async refund(name: string, amount: number): Promise<Answer> {
    return readWith(
      refunded,
      await this.#ask(`refund:${name}`, "refund", { ...this.#named, amount }),
      this.#target,
    );
  }

  askForRefund(name: string): Promise<Response> {
    const refundKey = `${this.#key}:refund:${name}`;
    return this.#ask(`refund:${name}:find`, "find-refund", { refundKey });
  }

  async findRefund(name: string): Promise<Answer> {
    return readWith(refunded, await this.askForRefund(name), this.#target);
  }

  get #key(): string {
    return `${this.order.id}:pay`;
  }

  get #named() {
    return { chargeKey: this.#key, chargeId: this.#chargeId };
  }

  #ask(name: string, operation: string, about: object): Promise<Response> {
    return this.order.ask({
      id: `${this.#key}:${name}`,
      body: { operation, orderId: this.order.id, ...about },
    });
  }
}

/** What a provider says of a charge, unless that was declined. */
function chargeOf(answer: Answer) {
  const { data } = CHARGE.safeParse(valueOf(answer));
  return data?.done;
}

const CHARGE = z.object({
  done: z.object({
    chargeId: z.string().optional(),
    status: z.string(),
    amount: z.number().optional(),
  }),
});
const REFUND = z.object({ done: z.object({ refundId: z.string(), status: z.string() }) });

function refundOf(answer: Answer): string | undefined {
  return REFUND.safeParse(valueOf(answer)).data?.done.refundId;
}

/** Whether the money is said to have moved. A bank may still refuse what is pending. */
function isRefunded(answer: Answer): boolean {
  return REFUND.safeParse(valueOf(answer)).data?.done.status === "succeeded";
}

/** What is wrong with the answer to a refund that must be made, if anything. */
function unlessRefunded(answer: Answer, what: string): string | undefined {
  const fault = whyWrong(answer) ?? (isRejected(answer) ? `answered ${spoken(answer)}` : undefined);
  return fault && `${fault}, to ${what}`;
}

function inOneWord(answer: Answer): string {
  return answer.is === "wrong" ? answer.why : spoken(answer);
}
