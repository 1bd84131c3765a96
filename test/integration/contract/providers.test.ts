import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { z } from "zod";
import { newSecret } from "../../../src/events/webhooks/signature.ts";
import { listen } from "../../../src/platform/listen.ts";
import { contract } from "../../../tools/contract/command.ts";
import { PROVIDER_ROLES } from "../../../tools/contract/roles.ts";
import { runSuite } from "../../../tools/contract/suite.ts";
import { Terminal } from "../../../tools/shared/terminal.ts";
import { startProviders } from "../../../tools/simulators/providers.ts";

const SECRET = newSecret();
const ORDER = {
  customerId: "cust-1",
  currency: "EUR",
  total: 2_500,
  lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1_250 }],
  paymentToken: "tok_approved",
};

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => void (await Promise.all(closing.splice(0).map((close) => close()))));

async function findingsAt(
  url: string,
  role: keyof typeof PROVIDER_ROLES,
  secret: string | undefined = SECRET,
) {
  const { signal } = new AbortController();
  const target = { url, secret, timeoutMs: 5_000, role: PROVIDER_ROLES[role], order: ORDER, signal };
  const findings = await runSuite(target, { hasUndo: true });
  return findings.filter(({ result }) => result !== "right");
}

const asked = z.object({
  operation: z.string(),
  orderId: z.string(),
  chargeKey: z.string().optional(),
  refundKey: z.string().optional(),
  labelKey: z.string().optional(),
  amount: z.number().optional(),
  capture: z.boolean().optional(),
});
type Asked = z.output<typeof asked>;
type Answered = readonly [status: number, body?: object];
/** What was answered, by key. */
class Books extends Map<string, Answered> {
  /** What was taken and paid back, by the charge's key. */
  readonly charges = new Map<string, { readonly held: number; taken: number; back: number }>();
}
type Provider = (request: Asked, key: string, books: Books) => Answered;

const NOTHING: Answered = [204];
const DONE: Answered = [200, { done: {} }];
const CALLED_OFF: Answered = [200, { done: { status: "cancelled" } }];

/** Does nothing twice under one key. */
const once = (books: Books, key: string, make: () => Answered): Answered => {
  const known = books.get(key) ?? make();
  books.set(key, known);
  return known;
};

const inventory: Provider = ({ operation, orderId }, key, books) => {
  if (operation === "release") return once(books, `${orderId}:released`, () => DONE);
  if (books.has(`${orderId}:released`)) return [410];
  return once(books, key, () => DONE);
};

const payments: Provider = (given, key, books) => {
  const { operation, chargeKey = "", refundKey = "", amount = 0 } = given;
  const charge = books.charges.get(chargeKey);
  switch (operation) {
    case "charge":
      if (books.has(`${key}:undo`)) return [410];
      return once(books, key, () => {
        books.charges.set(key, { held: amount, taken: given.capture ? amount : 0, back: 0 });
        return [200, { done: { chargeId: `ch_${key}`, ...(!given.capture && { status: "authorized" }) } }];
      });
    case "capture":
      if (charge === undefined || amount > charge.held) return [409];
      return once(books, key, () => {
        charge.taken = amount;
        return [200, { done: { chargeId: `ch_${chargeKey}`, amount } }];
      });
    case "find-charge": {
      if (charge === undefined) return NOTHING;
      if (books.has(`${chargeKey}:undo`)) return CALLED_OFF;
      const { taken } = charge;
      const state = taken > 0 ? { amount: taken } : { status: "authorized" };
      return [200, { done: { chargeId: `ch_${chargeKey}`, ...state } }];
    }
    case "refund":
      return once(books, key, () => {
        if (given.amount === undefined) return charge ? refunded(key) : NOTHING;
        if (charge === undefined || charge.back + amount > charge.taken) return TOO_MUCH;
        charge.back += amount;
        return refunded(key);
      });
    default:
      return books.get(refundKey) ?? NOTHING;
  }
};

/** Payments whose charge is changed after each answer that concerns it. */
function thenCharge(change: (charge: { taken: number; back: number }) => void): Provider {
  return (given, key, books) => {
    const charge = books.charges.get(given.chargeKey ?? "");
    const answered = payments(given, key, books);
    if (charge) change(charge);
    return answered;
  };
}
const TOO_MUCH: Answered = [200, { reject: "that is more than was taken" }];
const refunded = (key: string): Answered => [200, { done: { refundId: `re_${key}` } }];

const carrier: Provider = ({ operation, labelKey = "" }, key, books) => {
  if (operation === "track") return [200, { snooze: 60_000, state: "IN_TRANSIT" }];
  if (operation === "void-label") return once(books, `${labelKey}:void`, () => DONE);
  if (books.has(`${key}:void`)) return [410];
  return once(books, key, () => [200, { done: { trackingNumber: `CV-${key}` } }]);
};

async function serve(provider: Provider): Promise<string> {
  const books = new Books();
  const take = async (request: IncomingMessage): Promise<Answered> => {
    const body = await text(request);
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    try {
      new Webhook(SECRET).verify(body, headers, { jsonParse: false });
    } catch {
      return [401];
    }
    try {
      return provider(asked.parse(JSON.parse(body)), headers["webhook-id"] ?? "", books);
    } catch {
      return [400];
    }
  };
  const reply = async (request: IncomingMessage, response: ServerResponse) => {
    const [status, body] = await take(request);
    response.writeHead(status).end(body && JSON.stringify(body));
  };
  const server = createServer((request, response) => void reply(request, response));
  const url = await listen(server, { port: 0, host: "127.0.0.1", variable: "the port" });
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return url;
}

describe("a provider that keeps the contract passes every check:", () => {
  test.each([
    ["inventory", inventory],
    ["payments", payments],
    ["carrier", carrier],
  ] as const)("%s", async (role, provider) => {
    expect(await findingsAt(await serve(provider), role)).toEqual([]);
  });

  test("the simulated payments and carrier", async () => {
    const simulated = await startProviders({ secrets: [SECRET] });
    closing.push(() => simulated.close());
    expect(await findingsAt(simulated.paymentsUrl, "payments")).toEqual([]);
    expect(await findingsAt(simulated.carrierUrl, "carrier")).toEqual([]);
  });
});

const SHIPS = "ships what it has reserved, and takes it back";
const TRACKS = "tracks the parcel that it has booked";
const FINDS = "finds a charge by its key, as it is now";
const FINDS_NONE = "finds no charge that nobody asked for";
const CALLS_OFF = "tells of a refunded charge that it was called off";
const PART = "refunds a part of a charge, once, and finds the refund";
const AFTER_UNDO = "has no effect, and answers 410, when a run comes after its undo";
const NEVER_DONE = "undoes what was never done, and refuses its run for ever";

const HOLDS = "holds the money where capture is false, and takes as much as capture asks for";
const AMOUNT = "charges the amount that is asked for";
const OWN_ID = "gives each order's charge an id of its own";
const ABOVE = "refunds no more than was charged";
const MOVES = "moves the money of a refund of a part";
const BY_ID = "keeps the operations on one order apart by their webhook-ids";

let count = 0;
test.each<[keyof typeof PROVIDER_ROLES, string, Provider, string[], RegExp]>([
  [
    "inventory",
    "reserves after a release",
    (given, key, books) => (given.operation === "reserve" ? DONE : inventory(given, key, books)),
    [AFTER_UNDO, NEVER_DONE],
    /instead of 410/,
  ],
  [
    "inventory",
    "finds orders sold out when they ship",
    (given, key, books) =>
      given.operation === "ship" ? [200, { reject: "sold out" }] : inventory(given, key, books),
    [SHIPS],
    /only reserve may find an order sold out/,
  ],
  [
    "inventory",
    "does not know ship",
    (given, key, books) => (given.operation === "ship" ? [404] : inventory(given, key, books)),
    [SHIPS],
    /answered 404.*, to ship after reserve/,
  ],
  [
    "inventory",
    "releases with a text",
    (given, key, books) => {
      const answered = inventory(given, key, books);
      return given.operation === "release" ? [200, { released: true }] : answered;
    },
    ["undoes what it has done, once", NEVER_DONE, SHIPS],
    /sent \{"released":true\}: done Invalid input/,
  ],
  [
    "payments",
    "charges without an id",
    (given, key, books) => (given.operation === "charge" ? DONE : payments(given, key, books)),
    ["answers a run, in time and as the contract says"],
    /sent \{"done":\{\}\}: done/,
  ],
  [
    "payments",
    "answers 202",
    (given, key, books) => (given.operation === "charge" ? [202] : payments(given, key, books)),
    ["answers a run, in time and as the contract says"],
    /answered 202/,
  ],
  [
    "payments",
    "has no find-charge",
    (given, key, books) => (given.operation === "find-charge" ? NOTHING : payments(given, key, books)),
    [FINDS, HOLDS],
    /answered 204/,
  ],
  [
    "payments",
    "finds every charge",
    (given, key, books) =>
      given.operation === "find-charge"
        ? [200, { done: { chargeId: `ch_${given.chargeKey}` } }]
        : payments(given, key, books),
    [FINDS_NONE, CALLS_OFF, HOLDS],
    /for a charge that was called off/,
  ],
  [
    "payments",
    "refunds a part twice",
    (given, key, books) => {
      if (given.operation !== "refund" || given.amount === undefined) return payments(given, key, books);
      const refund = payments(given, `${key}#${++count}`, books);
      books.set(key, refund);
      return refund;
    },
    [PART],
    /to the refund of a part, then/,
  ],
  [
    "payments",
    "forgets refunds",
    (given, key, books) => (given.operation === "find-refund" ? NOTHING : payments(given, key, books)),
    [PART],
    /answered 204.*, to a refund of a part/,
  ],
  [
    "payments",
    "takes at once what it is to hold",
    (given, key, books) => payments({ ...given, capture: true }, key, books),
    [HOLDS],
    /to a charge with "capture": false\. Hold the money/,
  ],
  [
    "payments",
    "captures nothing",
    (given, key, books) =>
      given.operation === "capture"
        ? [200, { done: { chargeId: `ch_${given.chargeKey}` } }]
        : payments(given, key, books),
    [HOLDS],
    /to find-charge after a capture of 1250 of the 2500 that were held: nothing was taken/,
  ],
  [
    "payments",
    "captures nothing, and tells of it as if it had",
    (given, key, books) => {
      const captured: Answered = [200, { done: { chargeId: `ch_${given.chargeKey}` } }];
      if (given.operation === "capture") return once(books, key, () => captured);
      if (given.operation === "find-charge" && books.has(`${given.chargeKey}:capture`)) return captured;
      return payments(given, key, books);
    },
    [HOLDS],
    /answered \{"reject":.*, to a refund of 1250, after a capture of 1250 .*: less was taken/,
  ],
  [
    "payments",
    "captures everything where a part is asked for",
    (given, key, books) =>
      payments(given.operation === "capture" ? { ...given, amount: 2_500 } : given, key, books),
    [HOLDS],
    /to a capture of 1250 of the 2500 that were held: 2500 were taken/,
  ],
  [
    "payments",
    "captures everything, and tells no amounts",
    (given, key, books) => {
      const capturing = given.operation === "capture";
      const answered = payments(capturing ? { ...given, amount: 2_500 } : given, key, books);
      const hasAmount = JSON.stringify(answered).includes('"amount"');
      return hasAmount ? [200, { done: { chargeId: `ch_${given.chargeKey}` } }] : answered;
    },
    [HOLDS],
    /refunded 1251 after a capture of 1250 .*: more was taken/,
  ],
  [
    "payments",
    "charges another amount",
    (given, key, books) => {
      const answered = payments(given, key, books);
      const isTold = given.operation === "charge" && given.capture && answered[0] === 200;
      return isTold ? [200, { done: { chargeId: `ch_${key}`, amount: 25 } }] : answered;
    },
    [AMOUNT],
    /"amount":25,.* for a charge of 2500/,
  ],
  [
    "payments",
    "has one id for all charges",
    (given, key, books) => {
      const [status, body] = payments(given, key, books);
      const json = body && JSON.stringify(body).replace(/"ch_[^"]*"/, '"ch_1"');
      return json === undefined ? [status] : [status, z.looseObject({}).parse(JSON.parse(json))];
    },
    [BY_ID, OWN_ID],
    /answered with the chargeId ch_1 to the charges of two orders/,
  ],
  [
    "payments",
    "has one charge for each order",
    (given, key, books) => payments(given, key.replace(/:2$/, ""), books),
    [BY_ID],
    /to two webhook-ids of one order/,
  ],
  [
    "payments",
    "refunds more than was charged",
    (given, key, books) =>
      (given.amount ?? 0) > 2_500 && given.operation === "refund"
        ? refunded(key)
        : payments(given, key, books),
    [ABOVE],
    /refunded 2501 of a charge of 2500/,
  ],
  [
    "payments",
    "moves nothing for a refund of a part",
    thenCharge((charge) => void (charge.back = 0)),
    [MOVES],
    /refunded 1 of 2500, and then 2500 more/,
  ],
  [
    "payments",
    "refunds everything where a part is asked for",
    thenCharge((charge) => void (charge.back &&= charge.taken)),
    [MOVES],
    /to a refund of the 2499 that are left after 1 of 2500/,
  ],
  [
    "payments",
    "finds the first refund under any key",
    (given, key, books) => {
      const first = [...books].find(([each]) => each.includes(given.orderId) && /:refund:/.test(each));
      return given.operation === "find-refund" ? (first?.[1] ?? NOTHING) : payments(given, key, books);
    },
    [PART],
    /to find-refund with a refundKey that was never used/,
  ],
  [
    "payments",
    "gives all refunds of a charge one id",
    (given, key, books) => {
      const { operation, chargeKey, amount } = given;
      if (operation !== "refund" || amount === undefined) return payments(given, key, books);
      return once(books, `of ${chargeKey} ${key}`, () => {
        const answered = payments(given, key, books);
        if (answered !== TOO_MUCH) books.set(key, refunded(chargeKey ?? ""));
        return books.get(key) ?? answered;
      });
    },
    [PART],
    /for the second refund of a charge/,
  ],
  [
    "carrier",
    "prints a label after it was voided",
    (given, key, books) =>
      given.operation === "create-label"
        ? [200, { done: { trackingNumber: `CV-${key}` } }]
        : carrier(given, key, books),
    [AFTER_UNDO, NEVER_DONE],
    /instead of 410/,
  ],
  [
    "carrier",
    "has one parcel for each order",
    (given, key, books) => carrier(given, key.replace(/:2$/, ""), books),
    [BY_ID],
    /to two webhook-ids of one order/,
  ],
  [
    "carrier",
    "tracks in words of its own",
    (given, key, books) =>
      given.operation === "track" ? [200, { snooze: 1, state: "SOON" }] : carrier(given, key, books),
    [TRACKS],
    /sent \{"snooze":1,"state":"SOON"\}: state .*, to track after create-label/,
  ],
])("an implementation of %s that %s is told so", async (role, _what, provider, checks, detail) => {
  const wrong = (await findingsAt(await serve(provider), role)).filter(({ result }) => result === "wrong");
  expect(wrong.map(({ check }) => check)).toEqual(checks);
  expect(wrong.map(({ detail: found = "" }) => found).join("\n")).toMatch(detail);
});

test("the command takes the role of a provider, and refuses one that it does not know", async () => {
  const url = await serve(inventory);
  const stdout = new PassThrough({ encoding: "utf8" });
  const { signal } = new AbortController();
  const run = (...args: string[]) => contract(args, new Terminal(stdout, stdout), signal);
  process.env["SIGNING_SECRET"] = SECRET;
  closing.push(async () => delete process.env["SIGNING_SECRET"]);
  expect(await run(url, "--as", "inventory")).toBe(0);
  expect(String(stdout.read())).toContain(`  ok       ${SHIPS}\n`);
  await expect(run(url, "--as", "stock")).rejects.toThrow("--as must be inventory, payments, carrier");
});
