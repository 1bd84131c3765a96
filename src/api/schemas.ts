import { z } from "zod";
import { LIMITS } from "../order/limits.ts";
import { API_LIMITS } from "./limits.ts";
import { fulfilment } from "./shipment-schemas.ts";
import { COLUMN_LENGTHS } from "../../db/column-lengths.ts";
import { messageType } from "../events/message.ts";
import { EVENT_TYPES } from "../order/event.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { CURRENCIES } from "../order/money.ts";
import { ADJUSTMENT_KINDS, sumsOf } from "../order/order.ts";

/**
 * The API's schemas: the single source of validation, types and `/openapi.json`. Requests are strict, so unknown fields
 * are refused by name; responses are described as they are sent.
 */

const CONTROL_CHARACTERS = /\p{Cc}/u;
/** Other than those that end lines and indent them. */
const CONTROL_CHARACTERS_IN_LINES = /[^\P{Cc}\n\r\t]/u;

/**
 * Single-line (unless other characters are forbidden), well-formed text without surrounding spaces. Its length is counted in code points, as JSON Schema and
 * MySQL do, not in JavaScript's UTF-16 units.
 */
export function text(length: number, forbidden = CONTROL_CHARACTERS) {
  return (
    z
      .string()
      // One check instead of several, because an order has many texts, and each check takes time.
      .check((payload) => {
        const { value } = payload;
        if (value === "") refuse(payload, "Too small: expected string to have >=1 characters");
        if (!hasAtMost(value, length))
          refuse(payload, `Too big: expected string to have <=${length} characters`);
        if (!value.isWellFormed() || forbidden.test(value))
          refuse(payload, "must not contain control characters or lone surrogates");
        if (value.trim() !== value) refuse(payload, "must not begin or end with a space");
      })
      .meta({ minLength: 1, maxLength: length })
  );
}

/** What nobody sees, or what turns the writing around: two identifiers would look the same. What joins emoji is seen. */
const INVISIBLE =
  /(?!(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d(?=\p{Extended_Pictographic})|(?<=\p{Extended_Pictographic})\ufe0f)[\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

/** A {@link text} that names something, and is compared byte by byte. */
function identifier() {
  return text(LIMITS.identifier).refine((value) => !INVISIBLE.test(value), {
    error: "must not contain invisible characters",
  });
}

function refuse({ value, issues }: z.core.ParsePayload<string>, message: string): void {
  issues.push({ code: "custom", input: value, message });
}

function hasAtMost(value: string, characters: number): boolean {
  if (value.length <= characters) return true;
  return value.length <= 2 * characters && Array.from(value).length <= characters;
}

/** Converts digits, as in a query, to a number; other text is left for the schema to refuse. */
function fromDigits<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess(
    (value) => (typeof value === "string" && /^\d{1,16}$/.test(value) ? Number(value) : value),
    schema,
  );
}

function wholeNumber(min: number, max: number) {
  return z
    .int({ error: `must be a whole number from ${min} to ${max}` })
    .min(min)
    .max(max);
}

/** Items on a page: at most, and unless the query says. */
export function pageLimit(most: number, usual: number) {
  return fromDigits(wholeNumber(1, most).default(usual));
}

export const nextCursor = z
  .string()
  .nullable()
  .meta({ description: "Pass as `cursor` for the next page; null on the last" });

/** `.`, `..` or nothing between slashes. */
const STEP = /(?:^|[/\\])\.{0,2}(?:[/\\]|$)/;

/** An {@link identifier} that stands in paths, where clients and proxies take such steps. */
function identifierInPath() {
  return identifier().refine((value) => !STEP.test(value), {
    error: "must not have ., .. or nothing between slashes",
  });
}

export const sku = identifierInPath().meta({ description: "Stock keeping unit", examples: ["MUG-BLUE"] });
const quantity = z
  .int()
  .min(1)
  .max(LIMITS.quantity)
  .meta({ description: "Number of pieces", examples: [2] });
const unitPrice = z
  .int()
  .min(0)
  .max(LIMITS.unitPrice)
  .meta({ description: "Price of one piece in the currency's minor unit", examples: [1250] });
const currency = z
  .string()
  // One check, since one that aborts would keep the checks of the whole order from running.
  .check((payload) => {
    if (!/^[A-Z]{3}$/.test(payload.value)) refuse(payload, "must be three capital letters, such as EUR");
    else if (!CURRENCIES.has(payload.value))
      refuse(payload, "must be an ISO 4217 currency code, such as EUR");
  })
  .meta({ pattern: "^[A-Z]{3}$", description: "ISO 4217 code", examples: ["EUR"] });
export const customerId = identifier().meta({ examples: ["cust-1"] });
export const reference = identifier().meta({
  description: "Your own name for the order, such as an invoice number",
  examples: ["INV-1001"],
});
export const timestamp = z.iso.datetime({ precision: 3 }).meta({ examples: ["2026-11-23T09:30:00.000Z"] });
const orderId = z.string().meta({
  description: "UUIDv7, which sorts by creation time",
  examples: ["01a20691-7a8e-777a-bbfa-0d625ad32c50"],
});
/** A UUID as `:id` in a path, in any case. */
export const idPath = z.object({ id: z.uuid().toLowerCase() });
/** A number as `:id` in a path. */
export const numberPath = z.object({ id: z.string().regex(/^(0|[1-9]\d{0,14})$/) });
// Read late: a configuration file may have set the pipeline.
const status = z.lazy(() => z.enum(lifecycle.statuses));
const stageName = z.lazy(() => z.enum(lifecycle.steps.map((step) => step.name)));

/** A field that may be missing or null, which is the same: {@link withoutNulls} leaves nulls out. */
export function optional<Schema extends z.ZodType>(schema: Schema) {
  return schema.nullish();
}

type WithoutNulls<Value> = Value extends readonly (infer Item)[]
  ? WithoutNulls<Item>[]
  : Value extends object
    ? { [Key in keyof Value]: WithoutNulls<Exclude<Value[Key], null>> }
    : Value;

/** Leaves out fields that are null, in place, at every depth. */
export function withoutNulls<Value>(value: Value): WithoutNulls<Value>;
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) value.forEach(withoutNulls);
  else if (isObject(value)) {
    // Faster than entries, where nearly nothing is null.
    for (const name of Object.keys(value)) {
      const field: unknown = Reflect.get(value, name);
      if (field === null) Reflect.deleteProperty(value, name);
      else if (typeof field === "object") withoutNulls(field);
    }
  }
  return value;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const orderLine = z
  .strictObject({
    sku,
    quantity,
    unitPrice,
    name: optional(text(LIMITS.name)).meta({ description: "What it is called", examples: ["Blue mug"] }),
    weight: optional(z.int().min(0).max(LIMITS.weight)).meta({
      description: "Weight of one piece, in grams",
    }),
    requiresShipping: optional(z.boolean()).meta({
      default: true,
      description: "Whether it goes into a parcel",
    }),
    taxRate: optional(
      z.number().min(0).max(1, { error: "must be a fraction from 0 to 1, such as 0.19 for 19 %" }),
    ).meta({
      description:
        "Rate at which the price is taxed, as a fraction. Passed to providers, never computed with",
      examples: [0.19],
    }),
    stocked: optional(z.boolean()).meta({
      default: true,
      description:
        "False for what no warehouse holds, such as a service, a gift card or a fee: never sold out",
    }),
    customs: optional(
      z.strictObject({
        description: optional(text(LIMITS.name)).meta({
          description: "What it is, in English; the line's name, or its SKU, unless given",
        }),
        origin: optional(z.string().regex(/^[A-Z]{2}$/, { error: "must be a country code such as DE" })).meta(
          { description: "Where it was made: ISO 3166-1 alpha-2 code" },
        ),
        hsCode: optional(
          z.string().regex(/^\d{6,10}$/, { error: "must be 6 to 10 digits, such as 691110" }),
        ).meta({ description: "Number by the Harmonized System", examples: ["691110"] }),
      }),
    ).meta({ description: "For parcels to other countries" }),
  })
  .meta({ id: "OrderLine" });

const amount = z
  .int()
  .min(-LIMITS.adjustment)
  .max(LIMITS.adjustment)
  .meta({
    description:
      "In the currency's minor unit: negative or 0 for a discount, positive or 0 for anything else; rounding may be either",
    examples: [499],
  });

const adjustment = z
  .strictObject({
    kind: z.enum(ADJUSTMENT_KINDS),
    label: optional(text(LIMITS.name)).meta({ examples: ["DHL parcel"] }),
    amount,
    included: optional(z.boolean()).meta({
      default: false,
      description: "Whether the prices contain this tax already: it is reported, and not added to the total",
    }),
  })
  .refine(({ kind, amount: value }) => kind !== "discount" || value <= 0, {
    path: ["amount"],
    error: "must not be above 0 for a discount",
  })
  .refine(({ kind, amount: value }) => kind === "discount" || kind === "rounding" || value >= 0, {
    path: ["amount"],
    error: "must not be below 0, except for a discount and for rounding",
  })
  .refine(({ kind, included }) => included !== true || kind === "tax", {
    path: ["included"],
    error: "only a tax can be contained in the prices",
  })
  .meta({ id: "Adjustment" });

const contact = {
  name: optional(text(LIMITS.name)).meta({ examples: ["Ada Lovelace"] }),
  email: optional(text(LIMITS.name).check(z.regex(/^[^@\s]+@[^@\s]+$/, "must be an e-mail address"))).meta({
    examples: ["ada@example.com"],
  }),
  phone: optional(text(LIMITS.identifier)).meta({ examples: ["+44 20 7946 0018"] }),
};

const customer = z.strictObject({ id: customerId, ...contact }).meta({ id: "Customer" });

const address = z
  .strictObject({
    name: text(LIMITS.addressLine),
    line1: text(LIMITS.addressLine),
    line2: optional(text(LIMITS.addressLine)),
    city: text(LIMITS.addressLine),
    region: optional(text(LIMITS.addressLine)),
    postalCode: optional(text(LIMITS.postalCode)).meta({ description: "Some countries have none" }),
    country: z
      .string()
      .regex(/^[A-Z]{2}$/, "must be an ISO 3166-1 alpha-2 code, such as DE")
      .meta({ examples: ["DE"] }),
  })
  .meta({ id: "Address" });

const metadata = z
  .preprocess(
    // Zod drops such a field without a word.
    (given, context) => {
      if (typeof given === "object" && given !== null && Object.hasOwn(given, "__proto__"))
        context.issues.push({
          code: "custom",
          path: ["__proto__"],
          message: "can't have this name: programs take it for something else",
          input: given,
        });
      // First, since looking at thousands of fields takes time from others.
      if (isObject(given) && Object.keys(given).length > LIMITS.metadata) {
        const message = `must not have more than ${LIMITS.metadata} fields`;
        context.issues.push({ code: "custom", message, input: given });
      }
      return given;
    },
    z.record(text(LIMITS.metadataName), text(LIMITS.metadataValue).nullable()),
  )
  .meta({
    maxProperties: LIMITS.metadata,
    description: "Fields of your own, as text",
    examples: [{ cartId: "4711" }],
  });

const note = text(LIMITS.note, CONTROL_CHARACTERS_IN_LINES).meta({
  description: "What you or the customer has to say",
  examples: ["Please ring twice"],
});

const whenSoldOut = z.enum(["cancel", "wait"]).meta({
  description:
    "What becomes of the order when goods are sold out: it is cancelled, or waits until all of them are there",
});

const NO_CUSTOMER = "is missing: send customerId, or customer with an id";
const orderFields = z.strictObject({
  customerId: optional(customerId),
  currency,
  lines: z.array(orderLine).min(1).max(LIMITS.lines),
  reference: optional(reference),
  paymentToken: optional(text(LIMITS.paymentToken)).meta({
    description: "Token of the payment provider. Without one, the customer pays on account",
    examples: ["tok_approved"],
  }),
  shipTo: optional(address),
  customer: optional(customer),
  billTo: optional(address),
  adjustments: optional(z.array(adjustment).max(LIMITS.adjustments)).meta({
    description: "What changes the total apart from the lines",
  }),
  total: optional(z.int()).meta({
    description: "The sum of lines and adjustments, if you want it checked",
    examples: [2999],
  }),
  metadata: optional(metadata),
  note: optional(note),
  whenSoldOut: optional(whenSoldOut).meta({ default: "cancel" }),
});

export const orderRequest = orderFields
  .refine(({ customerId: id, customer: whom }) => (id ?? whom ?? null) !== null, {
    path: ["customerId"],
    error: NO_CUSTOMER,
    when: ({ value }) => isObject(value),
  })
  .check(({ value, issues }) => {
    // Only where everything else is right.
    if (issues.length > 0) return;
    for (const { path, message } of contradictions(value))
      issues.push({ code: "custom", input: value, path, message });
  })
  .transform((order) => withoutNulls(order))
  .meta({ id: "OrderRequest" });

/** What does not fit together in an order whose fields are all valid. */
function contradictions(order: z.output<typeof orderFields>): { path: string[]; message: string }[] {
  const { customerId: id, customer: whom, lines, total } = order;
  if (typeof id === "string" && whom && whom.id !== id)
    return [{ path: ["customer", "id"], message: "must be the customerId" }];
  const sums = sumsOf({ lines, adjustments: order.adjustments ?? [] });
  if (sums === undefined)
    return [{ path: ["lines"], message: `the total must not exceed ${Number.MAX_SAFE_INTEGER} minor units` }];
  const parts = `lines of ${sums.lines} and adjustments of ${sums.adjustments} are ${sums.total}`;
  if (sums.total < 0)
    return [{ path: ["adjustments"], message: `must not bring the total below 0: ${parts}` }];
  return typeof total !== "number" || total === sums.total
    ? []
    : [{ path: ["total"], message: `is ${total}, but ${parts}: send that, or leave it out` }];
}

export const idempotencyKey = z
  .string()
  .regex(/^[\x20-\x7e]*$/, "must be printable ASCII characters")
  .min(1)
  .max(COLUMN_LENGTHS.idempotencyKey)
  .meta({ description: "Makes the request safe to repeat: a repeated request returns the first answer" });

export const cancelRequest = z
  .strictObject({
    reason: text(LIMITS.reason).meta({
      description: "Reason, for customer service",
      examples: ["ordered by mistake"],
    }),
  })
  .meta({ id: "CancelRequest" });

/** Why orders failed, as the service tells it: any text, but for what no UTF-8 can say. */
export const failureReason = z
  .string()
  .min(1)
  .max(LIMITS.reason)
  .refine((reason) => reason.isWellFormed(), { error: "must not contain lone surrogates" });

export const resumeRequest = z
  .strictObject({
    stage: stageName.optional().meta({ description: "Only orders that failed in this stage" }),
    reason: failureReason.optional().meta({
      description:
        "Only orders with this `failed.reason`, ignoring ids in it: orders that failed alike share one",
    }),
    before: z.iso
      .datetime({ offset: true })
      .optional()
      .meta({ description: "Only orders that failed before this time" }),
  })
  .meta({ id: "ResumeRequest" });

export const resumed = z
  .object({
    resumed: z.int().meta({ description: "Number of orders resumed" }),
    more: z.literal(true).optional().meta({
      description: "Whether more orders match than one request can resume. Repeat the request for the rest",
    }),
  })
  .meta({ id: "Resumed" });

export const order = z
  .object({
    id: orderId,
    status: status.meta({ description: "Status of the order" }),
    reference: reference.nullable(),
    customerId,
    currency,
    total: z.int().meta({ description: "In the currency's minor unit", examples: [2500] }),
    lines: z.array(
      orderLine
        .extend({
          cancelled: z.int().optional().meta({
            description: "Pieces that were refunded before they were in a parcel: they are not shipped",
          }),
        })
        .meta({ id: "OrderedLine" }),
    ),
    adjustments: z.array(adjustment).optional().meta({ description: "Absent if there are none" }),
    customer: customer.optional().meta({ description: "Absent if only the id is known" }),
    shipTo: address.optional(),
    billTo: address.optional(),
    metadata: metadata.optional(),
    note: note.optional(),
    whenSoldOut: whenSoldOut.optional().meta({ description: "`wait`, or absent" }),
    holds: z
      .array(
        z.object({
          name: z.string(),
          reason: z.string(),
          at: timestamp,
          actor: z.string().nullable().meta({ description: "Who holds it; null for the service itself" }),
        }),
      )
      .optional()
      .meta({ description: "Present while the order is held" }),
    failed: z
      .object({ stage: stageName, reason: z.string(), at: timestamp })
      .optional()
      .meta({ description: "Present while the order has failed in a stage and waits to be resumed" }),
    waiting: z
      .object({
        stage: stageName,
        for: z.string().meta({ description: "What it waits for" }),
        since: timestamp,
        until: timestamp
          .nullable()
          .meta({ description: "When the stage runs once more, and decides; null for a hold or for stock" }),
      })
      .optional()
      .meta({ description: "Present while the order waits for somebody else to act" }),
    fulfilment: fulfilment.optional().meta({
      description: "How many of its parcels were shipped, and have arrived; absent before there are any",
    }),
    cancellation: z
      .object({ reason: z.string(), requestedAt: timestamp })
      .optional()
      .meta({ description: "Present if the order is cancelled or about to be" }),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: "Order" });

const holdName = identifierInPath().meta({
  description: "One hold of each name per order",
  examples: ["fraud review"],
});

export const holdRequest = z
  .strictObject({
    name: holdName,
    reason: text(LIMITS.reason).meta({
      description: "Why, for people",
      examples: ["two cards, one address"],
    }),
  })
  .meta({ id: "HoldRequest" });

/** A hold of an order in a path. */
export const holdPath = idPath.extend({ name: holdName });

export const orderPatch = z
  .strictObject({
    shipTo: optional(address),
    billTo: optional(address),
    customer: optional(z.strictObject(contact)),
    metadata: optional(metadata),
    note: optional(note),
  })
  .transform((patch) => ({
    ...patch,
    // Within an address, null is the same as nothing.
    shipTo: withoutNulls(patch.shipTo),
    billTo: withoutNulls(patch.billTo),
  }))
  .meta({ id: "OrderPatch" });

export const orderPage = z
  .object({
    items: z.array(order),
    nextCursor,
  })
  .meta({ id: "OrderPage" });

export const orderQuery = z.strictObject({
  status: status.optional(),
  customerId: customerId.optional(),
  reference: reference.optional(),
  failed: z
    .enum(["true", "false"])
    .optional()
    .meta({ description: "Only orders that have failed and wait to be resumed, or only the others" }),
  waiting: z
    .enum(["true", "false"])
    .optional()
    .meta({ description: "Only orders that wait for somebody else to act, or only the others" }),
  limit: pageLimit(API_LIMITS.pageSize, 50),
  cursor: z.string().max(200).optional().meta({ description: "`nextCursor` of the previous page" }),
});

export const orderEvent = z
  .object({
    id: z.int().meta({ description: "Increases with every event of an order" }),
    type: z.enum(EVENT_TYPES).meta({
      description:
        "`status` for a transition. All other types leave the status unchanged: `from` equals `to`",
    }),
    from: status.nullable(),
    to: status,
    stage: z
      .string()
      .nullable()
      .meta({ description: "The stage that caused it; null for the order's creation" }),
    reason: z.string().nullable(),
    record: z.record(z.string(), z.unknown()).nullable().meta({
      description: "The stage's result; for the creation, the `traceparent` if the order is traced",
    }),
    at: timestamp,
    actor: z.string().nullable().meta({
      description: "Who asked for it: an operator's name, or a client. Null if the service did it on its own",
    }),
    attempt: z.int().nullable().meta({ description: "Attempt at the stage that led to it" }),
    startedAt: timestamp.nullable().meta({ description: "Start of that attempt" }),
  })
  .meta({ id: "OrderEvent" });

export const orderEvents = z.object({ items: z.array(orderEvent) }).meta({ id: "OrderEvents" });

/** An event's position in the log, as text, up to what JavaScript can count exactly. */
export const eventId = fromDigits(wholeNumber(0, Number.MAX_SAFE_INTEGER));

export const eventQuery = z.strictObject({
  after: z
    .preprocess((value) => value ?? 0, eventId)
    .meta({
      default: 0,
      description: "Only events after this one: `next` of the previous page, or 0 for all",
    }),
  status: status.optional().meta({ description: "Only transitions to this status" }),
  limit: pageLimit(API_LIMITS.eventPageSize, 100),
});

const UUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";

export const streamQuery = z.strictObject({
  orders: z
    .string()
    .regex(new RegExp(`^${UUID}(?:,${UUID}){0,${API_LIMITS.streamedOrders - 1}}$`), {
      error: `must be the ids of 1 to ${API_LIMITS.streamedOrders} orders, separated by commas`,
    })
    .optional()
    .meta({
      description: `Only the events of these orders: up to ${API_LIMITS.streamedOrders} ids, separated by commas`,
    }),
});

export const eventType = z.enum(EVENT_TYPES.map(messageType));

const eventMessage = z
  .object({
    specversion: z.literal("1.0"),
    id: z.string().meta({ description: "Position in the log", examples: ["4711"] }),
    source: z.string().meta({ examples: ["/conveyor/orders"] }),
    type: eventType,
    subject: orderId,
    time: timestamp,
    datacontenttype: z.literal("application/json"),
    data: z.object({
      from: status.nullable().meta({
        description: "Null for the order's creation. Equals `to` if the status did not change",
      }),
      to: status,
      stage: z.string().nullable().meta({ description: "Null if no stage was involved" }),
      attempt: z.int().nullable().meta({ description: "Attempt at the stage that led to it" }),
      startedAt: timestamp.nullable().meta({ description: "Start of that attempt" }),
      details: z.record(z.string(), z.string()).optional().meta({
        description: "What was changed (`fields`) or held (`hold`), by name; absent for all other types",
      }),
    }),
  })
  .meta({ id: "EventMessage", description: "A CloudEvent 1.0" });

export const eventPage = z
  .object({
    items: z.array(eventMessage),
    next: z.int().meta({ description: "Pass as `after` to continue, now or later" }),
    more: z.boolean().meta({
      description: "Whether more events are available now. With `status`, a page may still be empty",
    }),
  })
  .meta({ id: "EventPage" });

const onHand = z
  .int()
  .min(0)
  .max(LIMITS.onHand)
  .meta({ description: "Pieces in stock, including reserved ones", examples: [100] });

export const stockLevel = z.strictObject({ onHand }).meta({ id: "StockLevel" });

export const stockLevels = z
  .strictObject({
    items: z
      .array(z.strictObject({ sku, onHand }))
      .min(1)
      .max(API_LIMITS.stockItems)
      .superRefine((items, context) => {
        const first = new Map<string, number>();
        items.forEach((item, index) => {
          const earlier = first.get(item.sku);
          if (earlier === undefined) first.set(item.sku, index);
          else
            context.addIssue({
              code: "custom",
              path: [index, "sku"],
              message: `is already at items[${earlier}]`,
            });
        });
      }),
  })
  .meta({ id: "StockLevels" });

export const stock = z
  .object({
    sku,
    onHand,
    reserved: z.int().meta({ description: "Pieces reserved for orders that have not shipped" }),
    available: z.int().meta({ description: "onHand - reserved" }),
  })
  .meta({ id: "Stock" });

export const stockList = z.object({ items: z.array(stock) }).meta({ id: "StockList" });

export const stockPage = z.object({ items: z.array(stock), nextCursor }).meta({ id: "StockPage" });

export const stockQuery = z.strictObject({
  limit: pageLimit(API_LIMITS.pageSize, 50),
  cursor: z.string().max(500).optional().meta({ description: "`nextCursor` of the previous page" }),
});

export const stockAdjustment = z
  .strictObject({
    delta: z
      .int()
      .min(-LIMITS.onHand)
      .max(LIMITS.onHand)
      .refine((delta) => delta !== 0, { error: "must not be 0" })
      .meta({ description: "Pieces that came, or negative: that went", examples: [12, -1] }),
    reason: text(LIMITS.reason).meta({ description: "Why, for people", examples: ["delivery", "broken"] }),
    reference: optional(reference).meta({ description: "Your own name for it, such as a delivery note" }),
  })
  .transform((given) => withoutNulls(given))
  .meta({ id: "StockAdjustment" });

const stockMovement = z
  .object({
    id: z.int(),
    at: timestamp,
    kind: z.enum(["adjustment", "count", "shipment", "return"]).meta({
      description:
        "`count` for a request that set the total, `shipment` for goods of an order that left, `return` for those that came back",
    }),
    delta: z.int().meta({ description: "Change of the stock on hand" }),
    orderId: orderId.nullable().meta({ description: "The order whose goods moved" }),
    reason: z.string().nullable(),
    reference: z.string().nullable(),
    actor: z.string().nullable().meta({ description: "Who changed it; null if an order did" }),
  })
  .meta({ id: "StockMovement" });

export const stockMovements = z
  .object({ items: z.array(stockMovement), nextCursor })
  .meta({ id: "StockMovements" });

export const stockPath = z.strictObject({ sku });

const check = z.object({ ready: z.boolean(), detail: z.string() });

export const readiness = z
  .object({ ready: z.boolean(), checks: z.record(z.string(), check) })
  .meta({ id: "Readiness" });

export const acceptance = z.object({ accepting: z.boolean() }).meta({ id: "Acceptance" });

export const liveness = z.object({ live: z.literal(true) }).meta({ id: "Liveness" });

/** RFC 9457, with every input fault by path. */
export const problem = z
  .object({
    type: z.string().meta({ examples: ["urn:conveyor:problem:invalid-input"] }),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    errors: z
      .array(z.object({ path: z.string().meta({ examples: ["lines[0].quantity"] }), message: z.string() }))
      .optional(),
    orderId: orderId.optional(),
    orderStatus: status.optional().meta({ description: "Status of the order, when that is the problem" }),
  })
  .meta({ id: "Problem" });

export type OrderRequestBody = z.output<typeof orderRequest>;
export type OrderBody = z.output<typeof order>;
export type OrderPageBody = z.output<typeof orderPage>;
export type OrderEventBody = z.output<typeof orderEvent>;
export type StockBody = z.output<typeof stock>;
export type StockMovementBody = z.output<typeof stockMovement>;
export type ProblemBody = z.output<typeof problem>;
