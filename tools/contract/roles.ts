import type { z } from "zod";
import { runAnswer, undoAnswer } from "../../src/providers/http/answers.ts";
import { label, voided } from "../../src/providers/http/carrier.ts";
import { moved, released } from "../../src/providers/http/inventory.ts";
import { cancelled, charged } from "../../src/providers/http/payments.ts";

/** A request, before it is signed. */
export interface Asked {
  /** The idempotency key. */
  readonly id: string;
  readonly body: object;
}

/** What a role makes of an order and of what is unusual about a request. */
interface Given {
  readonly id: string;
  /** Its fields, besides its id. */
  readonly order: Readonly<Record<string, unknown>>;
  readonly attempt: number;
  readonly callback: string | null;
}

/** What a service is to Conveyor: the work that it is asked for, and how that is undone. */
export interface Role {
  readonly name: "stage" | "inventory" | "payments" | "carrier";
  run(given: Given): Asked;
  undo(given: Given): Asked;
  /** The same work once more for the same order, as an operation of its own. */
  another?(given: Given): Asked;
  readonly runAnswer: z.ZodType;
  readonly undoAnswer: z.ZodType;
}

/** The service of an HTTP stage: docs/http-stages.md. */
export function stageRole(stage: string): Role {
  const body = (operation: "run" | "undo", { id, order, attempt, callback }: Given) => ({
    operation,
    stage,
    attempt,
    deadline: null,
    callback,
    waited: null,
    order: { id, ...order },
    records: {},
  });
  return {
    name: "stage",
    run: (given) => ({ id: `${given.id}:${stage}`, body: body("run", given) }),
    undo: (given) => ({ id: `${given.id}:${stage}:undo`, body: body("undo", given) }),
    another: (given) => ({
      id: `${given.id}:${stage}-2`,
      body: { ...body("run", given), stage: `${stage}-2` },
    }),
    runAnswer,
    undoAnswer,
  };
}

/* Providers: docs/providers.md. */

/** What is asked of an inventory. */
export const ofInventory = (
  operation: "reserve" | "ship" | "release",
  { id, order }: Pick<Given, "id" | "order">,
) => ({
  id: `${id}:${operation === "release" ? "reserve:undo" : operation}`,
  body: { operation, orderId: id, lines: order["lines"] },
});

const inventory: Role = {
  name: "inventory",
  run: (given) => ofInventory("reserve", given),
  undo: (given) => ofInventory("release", given),
  runAnswer: moved,
  undoAnswer: released,
};

/** A charge of the order's total. */
const charge = (key: "pay" | "pay:2", { id, order }: Given) => ({
  id: `${id}:${key}`,
  body: {
    operation: "charge",
    orderId: id,
    amount: order["total"],
    currency: order["currency"],
    token: order["paymentToken"],
    capture: true,
    description: `Order ${id}`,
    customer: { id: order["customerId"] },
    shipTo: order["shipTo"] ?? null,
  },
});

const payments: Role = {
  name: "payments",
  run: (given) => charge("pay", given),
  another: (given) => charge("pay:2", given),
  undo: ({ id }) => ({
    id: `${id}:pay:undo`,
    body: { operation: "refund", orderId: id, chargeKey: `${id}:pay` },
  }),
  runAnswer: charged,
  undoAnswer: cancelled,
};

/** A parcel with all of the order. */
const createLabel = (key: "ship" | "ship:2", { id, order }: Given) => ({
  id: `${id}:${key}`,
  body: {
    operation: "create-label",
    orderId: id,
    shipTo: order["shipTo"] ?? null,
    parcel: null,
    lines: order["lines"],
    currency: order["currency"],
    service: null,
  },
});

const carrier: Role = {
  name: "carrier",
  run: (given) => createLabel("ship", given),
  another: (given) => createLabel("ship:2", given),
  undo: ({ id }) => ({
    id: `${id}:ship:undo`,
    body: { operation: "void-label", orderId: id, labelKey: `${id}:ship` },
  }),
  runAnswer: label,
  undoAnswer: voided,
};

export const PROVIDER_ROLES = { inventory, payments, carrier } as const;
