import { z } from "zod";
import { COLUMN_LENGTHS } from "../../db/column-lengths.ts";
import { LIMITS } from "../order/limits.ts";
import type {
  CarrierProvider,
  Inventory,
  PaymentProvider,
  ProviderPayment,
  Providers,
} from "../order/ports.ts";
import { DISPUTE_STATES } from "../order/payment.ts";
import { statesOf } from "../order/states.ts";
import { redactor } from "../platform/redact.ts";
import { TRACKING_NUMBER } from "./http/carrier.ts";
import { safeLine } from "./http/service-client.ts";

/*
 * What providers return is checked here, before anything is done with it or written down: those of others may return
 * anything, and what MySQL can't store would fail long after a card was charged.
 */

/** Characters of the columns of a provider's name, and of its code for a decline. */
const LONGEST_NAME = 32;
const LONGEST_CODE = 64;
/** Fields of an action, and characters of each: a redirect's URL is long. */
const MOST_FIELDS = 50;
const LONGEST_FIELD = 8_192;
/** The last moment that MySQL can store. */
const LATEST = new Date(Date.UTC(9_999, 11, 31));

const shown = (most: number) => {
  const error = `must be a text of 1 to ${most} characters, without control characters and halves of characters`;
  return z
    .string({ error })
    .max(most, { error })
    .regex(/^[^\p{Cc}\p{Cs}]+$/u, { error });
};
/** For people: made to fit. */
const told = z
  .string({ error: "must be a text" })
  .transform((text) => safeLine(text, { most: LIMITS.reason }));
const maybeText = told.optional();
const amount = z
  .int({ error: "must be a whole number from 0" }) //
  .min(0, { error: "must be a whole number from 0" });
const date = (() => {
  const error = "must be a date, from 1970 to 9999";
  return z.date({ error }).min(new Date(0), { error }).max(LATEST, { error });
})();

const id = shown(COLUMN_LENGTHS.providerId);
const action = z
  .record(shown(LIMITS.metadataName), shown(LONGEST_FIELD), { error: "must be an object of texts" })
  .refine((fields) => Object.keys(fields).length <= MOST_FIELDS, {
    error: `must have at most ${MOST_FIELDS} fields`,
  });
const oneOf = (key: string) => ({ error: `must be an object with a known ${key}` });

const payment = z.discriminatedUnion(
  "state",
  [
    z.object({ state: z.literal("authorized"), id, expiresAt: date.optional() }),
    z.object({ state: z.literal("captured"), id, amount }),
    z.object({
      state: z.literal("declined"),
      reason: told,
      code: shown(LONGEST_CODE).optional(),
      action: action.optional(),
    }),
    z.object({ state: z.literal("pending"), id, action: action.optional(), reason: told.optional() }),
    z.object({ state: z.literal("cancelled"), refundId: id.optional() }),
    z.object({ state: z.literal("created"), id }),
  ],
  oneOf("state"),
);
const maybePayment = payment.optional();
const refund = z.discriminatedUnion(
  "state",
  [
    z.object({ id, state: z.enum(["pending", "succeeded"]) }),
    z.object({ id, state: z.literal("failed"), reason: told }),
  ],
  oneOf("state"),
);
const maybeRefund = refund.optional();
/** What can't be an id of ours is about somebody else's payment. */
const subject = z.object(
  {
    paymentId: id.optional().catch(undefined),
    orderId: z.uuid().optional().catch(undefined),
    isDispute: z.boolean({ error: "must be true or false" }).optional(),
    refundId: id.optional().catch(undefined),
  },
  { error: "must be an object" },
);
const missed = z.object(
  { subjects: z.array(subject), until: z.int({ error: "must be a whole number" }).min(0).optional() },
  { error: "must be an object" },
);
const disputeStates = statesOf(DISPUTE_STATES);
const dispute = z
  .object(
    {
      state: z.enum(disputeStates, { error: `must be one of ${disputeStates.join(", ")}` }),
      amount: amount.nullable(),
    },
    { error: "must be an object, or undefined" },
  )
  .optional();
const moved = z.union([z.literal(["at commit", "moved"]), z.object({ reject: told })], {
  error: 'must be "moved" or an object with a reason to reject',
});
const lacking = z.array(shown(LIMITS.identifier), { error: "must be an array of SKUs" });
const ASCII = { error: "must be 1 to 100 printable characters of ASCII" };
const carrierId = shown(COLUMN_LENGTHS.carrierId);
const link = z
  .url({ protocol: /^https?$/, error: "must be an address of the web, or null" })
  .max(COLUMN_LENGTHS.parcelUrl, { error: `must have at most ${COLUMN_LENGTHS.parcelUrl} characters` })
  .nullable();
const cost = z.object({ amount, currency: z.string().regex(/^[A-Z]{3}$/) });
const label = z.object(
  {
    trackingNumber: z.string(ASCII).regex(TRACKING_NUMBER, ASCII),
    carrierId: carrierId.nullable(),
    service: shown(COLUMN_LENGTHS.service).nullable(),
    cost: cost.nullable(),
    trackingUrl: link,
    labelUrl: link,
  },
  { error: "must be an object" },
);
const rates = z
  .array(
    z.object({
      service: shown(COLUMN_LENGTHS.service),
      cost,
      days: z.number({ error: "must be a number of days, or null" }).min(0).nullable(),
    }),
    { error: "must be an array, or null" },
  )
  .nullish()
  .transform((given) => given ?? null);
const announced = z.object({ carrierId, rates }, { error: "must be an object" });
const found = z
  .object({ carrierId, rates, label: label.nullable() }, { error: "must be an object, or undefined" })
  .optional();
const voided = z.discriminatedUnion(
  "outcome",
  [
    z.object({ outcome: z.literal("voided") }),
    z.object({ outcome: z.literal("pending") }),
    z.object({ outcome: z.literal("refused"), reason: told }),
  ],
  oneOf("outcome"),
);
const tracking = z.object(
  {
    state: z.enum(["BOOKED", "IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED", "EXCEPTION", "RETURNED", "LOST"]),
    at: date,
    expectedAt: date.nullable(),
    reason: told.nullable(),
    askAgainIn: z
      .number({ error: "must be a number of milliseconds" })
      .min(0, { error: "must be a number of milliseconds from 0" })
      .max(LIMITS.snoozeMs, { error: "must be a year at most" })
      .nullable(),
  },
  { error: "must be an object" },
);
/** What can't be an id of a carrier is about somebody else's parcel. */
const parcel = z.object({ carrierId }).optional().catch(undefined);

/** The providers, with everything that they return checked. */
export function checkedProviders({ payments, inventory, carrier, httpStages }: Providers): Providers {
  return {
    payments: checkedPayments(payments),
    inventory: checkedInventory(inventory),
    carrier: checkedCarrier(carrier),
    httpStages,
  };
}

function checkedPayments(provider: PaymentProvider): PaymentProvider {
  const service = `payments (${provider.name})`;
  const answer = answerOf(service);
  /** @param asked the amount that was asked for: nobody takes more. */
  const paid = <Payment extends ProviderPayment | undefined>(given: Payment, asked: number): Payment => {
    if (given?.state === "captured" && given.amount > asked)
      throw new Error(`${service} returned what can't be used: amount is more than the ${asked} asked for`);
    return given;
  };
  return {
    name: provider.name,
    ...(provider.keepsKeys && { keepsKeys: true }),
    ...(provider.faultOfAmount && {
      faultOfAmount: (...asked) => maybeText.parse(provider.faultOfAmount?.(...asked)),
    }),
    ping: (signal) => provider.ping(signal),
    async authorize(request) {
      const remember = async (given: string) => request.remember(await answer(id, () => given));
      const given = await answer(payment, () => provider.authorize({ ...request, remember }));
      // It is stored, and the token never is.
      if ("reason" in given && given.reason !== undefined)
        return { ...given, reason: redactor(request.token ? [request.token] : [])(given.reason) };
      return paid(given, request.amount);
    },
    capture: async (request) => paid(await answer(payment, () => provider.capture(request)), request.amount),
    cancel: async (request) => paid(await answer(payment, () => provider.cancel(request)), request.amount),
    find: async (request) => paid(await answer(maybePayment, () => provider.find(request)), request.amount),
    refund: (request) => answer(refund, () => provider.refund(request)),
    findRefund: (request) => answer(maybeRefund, () => provider.findRefund(request)),
    ...(provider.parseWebhook && {
      parseWebhook: (body, headers) => answer(subject, () => provider.parseWebhook?.(body, headers)),
    }),
    ...(provider.webhooksSince && {
      async webhooksSince(request) {
        const { subjects, until } = await answer(missed, () => provider.webhooksSince?.(request));
        return { subjects, until };
      },
    }),
    ...(provider.disputeOf && {
      disputeOf: (request) => answer(dispute, () => provider.disputeOf?.(request)),
    }),
  };
}

function checkedInventory(inventory: Inventory): Inventory {
  const answer = answerOf("inventory");
  return {
    ...(inventory.inDatabase && { inDatabase: true }),
    ping: (signal) => inventory.ping(signal),
    move: (operation, request) => answer(moved, () => inventory.move(operation, request)),
    ...(inventory.lacking && {
      lacking: (request) => answer(lacking, () => inventory.lacking?.(request)),
    }),
    release: (request) => inventory.release(request),
  };
}

function checkedCarrier(carrier: CarrierProvider): CarrierProvider {
  const answer = answerOf(`carrier (${carrier.name})`);
  return {
    name: carrier.name,
    ...(carrier.keepsKeys && { keepsKeys: true }),
    ...(carrier.tells && { tells: true }),
    ping: (signal) => carrier.ping(signal),
    create: (request) => answer(announced, () => carrier.create(request)),
    buy: (request) => answer(label, () => carrier.buy(request)),
    void: (request) => answer(voided, () => carrier.void(request)),
    track: (request) => answer(tracking, () => carrier.track(request)),
    find: (request) => answer(found, () => carrier.find(request)),
    ...(carrier.parseWebhook && {
      parseWebhook: (body, headers) => answer(parcel, () => carrier.parseWebhook?.(body, headers)),
    }),
  };
}

/** @returns the answer, without what nobody asked for. Its error names what is wrong, and quotes nothing. */
function answerOf(service: string) {
  return async <Schema extends z.ZodType>(schema: Schema, ask: () => unknown): Promise<z.output<Schema>> => {
    const { data, error } = schema.safeParse(await ask());
    if (error === undefined) return data;
    const [issue] = error.issues;
    const what = [issue?.path.join("."), issue?.message].filter(Boolean).join(" ");
    throw new Error(`${service} returned what can't be used: ${what}`);
  };
}

export const PROVIDER_NAMES = ["payments", "carrier", "inventory"] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];

const METHODS = {
  payments: ["ping", "authorize", "capture", "cancel", "find", "refund", "findRefund"],
  inventory: ["ping", "move", "release"],
  carrier: ["ping", "create", "buy", "void", "track", "find"],
} as const satisfies { readonly [Name in ProviderName]: readonly (keyof Providers[Name])[] };

const OPTIONAL = {
  payments: ["faultOfAmount", "parseWebhook", "disputeOf", "webhooksSince"],
  inventory: ["lacking"],
  carrier: ["parseWebhook"],
} as const satisfies { readonly [Name in ProviderName]: readonly (keyof Providers[Name])[] };

/** What keeps a value from being such a provider; undefined if nothing does. */
export function faultOfProvider(name: ProviderName, value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return "is no object";
  const missing = METHODS[name].filter((method) => typeof Reflect.get(value, method) !== "function");
  if (missing.length > 0) return `lacks ${missing.map((method) => `${method}()`).join(", ")}`;
  const other = OPTIONAL[name].map((method) => [method, Reflect.get(value, method)] as const);
  const wrong = other.filter(([, given]) => given !== undefined && typeof given !== "function");
  if (wrong.length > 0) return `has no method as ${wrong.map(([method]) => method).join(", ")}`;
  if (name !== "inventory" && !shown(LONGEST_NAME).safeParse(Reflect.get(value, "name")).success)
    return `needs a name of 1 to ${LONGEST_NAME} characters`;
  return undefined;
}
