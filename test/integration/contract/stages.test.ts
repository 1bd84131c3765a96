import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { newSecret } from "../../../src/events/webhooks/signature.ts";
import { listen } from "../../../src/platform/listen.ts";
import { stageRole } from "../../../tools/contract/roles.ts";
import { runSuite, type Finding } from "../../../tools/contract/suite.ts";

const SECRET = newSecret();
const TIMEOUT_MS = 1_000;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => void (await Promise.all(closing.splice(0).map((close) => close()))));

type Answered = readonly [status: number, body?: unknown];

/** What a service does, step by step, so that each step can be wrong. */
interface Service {
  isSigned(headers: IncomingMessage["headers"], body: string): boolean;
  parse(body: string): unknown;
  /** The key under which an answer is stored. */
  keyOf(id: string): string;
  /** Whether a run comes after its undo. */
  isUndone(key: string): boolean;
  run(callback: string | null): Promise<Answered>;
  undo(key: string): Answered;
  /** Whether this is the first request under the key; the others wait for its answer. */
  locks: boolean;
  ping(): number;
}

/** A service that keeps the contract, but for what is changed. */
async function start(
  change: (answers: Map<string, Answered>) => Partial<Service> = () => ({}),
): Promise<string> {
  const answers = new Map<string, Answered>();
  const pending = new Map<string, Promise<Answered>>();
  const service: Service = {
    isSigned: (headers, body) => verified(headers, body, 300),
    parse: (body) => JSON.parse(body),
    keyOf: (id) => id,
    isUndone: (key) => answers.has(`${key}:undo`),
    run: async () => [200, { done: { score: 12 } }],
    undo: () => [200, { done: {} }],
    locks: true,
    ping: () => 405,
    ...change(answers),
  };
  const take = async (request: IncomingMessage): Promise<Answered> => {
    const body = await text(request);
    if (request.method !== "POST") return [service.ping()];
    if (!service.isSigned(request.headers, body)) return [401];
    let operation: unknown;
    let callback: string | null = null;
    try {
      const given = service.parse(body);
      operation = typeof given === "object" && given !== null && "operation" in given && given.operation;
      if (
        typeof given === "object" &&
        given !== null &&
        "callback" in given &&
        typeof given.callback === "string"
      )
        callback = given.callback;
    } catch {
      return [400];
    }
    const key = service.keyOf(String(request.headers["webhook-id"]));
    if (operation === "run" && service.isUndone(key)) return [410];
    const known = answers.get(key);
    if (known) return known;
    const make = async (): Promise<Answered> => {
      await sleep(1);
      const made = operation === "run" ? await service.run(callback) : service.undo(key);
      answers.set(key, made);
      return made;
    };
    if (!service.locks) return make();
    const underWay = pending.get(key) ?? make();
    pending.set(key, underWay);
    return underWay;
  };
  const reply = async (request: IncomingMessage, response: ServerResponse) => {
    const [status, body] = await take(request);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(typeof body === "string" || body === undefined ? body : JSON.stringify(body));
  };
  const server = createServer((request, response) => void reply(request, response));
  const url = await listen(server, { port: 0, host: "127.0.0.1", variable: "the port" });
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return url;
}

/** Seconds since the time of a request; less than 0 if that is yet to come. */
function ageOf(headers: IncomingMessage["headers"]): number {
  return Date.now() / 1_000 - Number(headers["webhook-timestamp"]);
}

/** @param tolerance of the time, in seconds. */
function verified(given: IncomingMessage["headers"], body: string, tolerance: number): boolean {
  const headers = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]));
  if (!(Math.abs(ageOf(headers)) <= tolerance)) return false;
  return signaturesOf(headers).includes(signatureOf(headers, body));
}

function signaturesOf(headers: IncomingMessage["headers"]): string[] {
  return String(headers["webhook-signature"]).split(" ");
}

/** The right signature. */
function signatureOf(headers: IncomingMessage["headers"], body: string): string {
  const sentAt = new Date(Number(headers["webhook-timestamp"]) * 1_000);
  return new Webhook(SECRET).sign(String(headers["webhook-id"]), sentAt, body);
}

async function faultsOf(url: string, { hasUndo = true, secrets = [SECRET] } = {}) {
  const { signal } = new AbortController();
  const order = { total: 2_500, lines: [] };
  const target = { url, secret: secrets[0], timeoutMs: TIMEOUT_MS, role: stageRole("fraud"), order, signal };
  const findings = await runSuite(target, { hasUndo });
  return { findings, wrong: findings.filter(({ result }) => result === "wrong") };
}

const CALLS_BACK = "posts the result to the callback after a 202, and again if it is not taken";
const names = (findings: readonly Finding[]) => findings.map(({ check }) => check);
let count = 0;

test("a service that keeps the contract passes every check", async () => {
  const { findings, wrong } = await faultsOf(await start());
  expect(wrong).toEqual([]);
  expect(findings.length).toBeGreaterThan(12);
  // It answers at once.
  expect(names(findings.filter(({ result }) => result === "skipped"))).toEqual([CALLS_BACK]);
});

/** Posts a result until it is taken, as often as that takes. */
async function callBack(url: string, result: object): Promise<void> {
  for (let isTaken = false; !isTaken;) {
    isTaken = (await fetch(url, { method: "POST", body: JSON.stringify(result) })).ok;
    await sleep(10);
  }
}

test.each<[string, (url: string) => Promise<unknown>, RegExp | undefined]>([
  [
    "repeats a callback until it is taken keeps the contract",
    (url) => callBack(url, { done: {} }),
    undefined,
  ],
  [
    "calls back once is told so",
    (url) => fetch(url, { method: "POST", body: '{"done":{}}' }),
    /sent its result once, and not again after a 503/,
  ],
  [
    "calls back with what is no result is told so",
    (url) => callBack(url, { approved: true }),
    /sent \{"approved":true\}: must have exactly one of done, reject, snooze and wait/,
  ],
])(
  "a service that answers 202 and %s",
  async (_what, later, detail) => {
    const url = await start(() => ({
      run: async (callback) => {
        if (callback !== null) void later(callback);
        return [202];
      },
    }));
    const { wrong } = await faultsOf(url);
    expect(names(wrong)).toEqual(detail ? [CALLS_BACK] : []);
    if (detail) expect(wrong[0]?.detail).toMatch(detail);
  },
  60_000,
);

const NEVER_SIGNED = [
  "refuses what is not signed",
  "refuses what another secret has signed",
  "refuses what was signed long ago",
  "refuses what is dated in the future",
  "compares the whole signature",
];
const ANY_RUN = "answers a run, in time and as the contract says";
const AFTER_UNDO = "has no effect, and answers 410, when a run comes after its undo";
const NEVER_DONE = "undoes what was never done, and refuses its run for ever";
const SAME_ANSWER = "gives the same answer to the same webhook-id";
const AT_ONCE = "gives one answer to the same webhook-id twice at once";
const BYTES = "verifies the signature over the bytes as they came";

test.each<[string, (answers: Map<string, Answered>) => Partial<Service>, string[], RegExp]>([
  [
    "does not check signatures",
    () => ({ isSigned: () => true }),
    NEVER_SIGNED,
    /answered 200 .* to a request without a signature/,
  ],
  [
    "verifies JSON that it has written again",
    () => ({ isSigned: (headers, body) => verified(headers, again(body), 300) }),
    [BYTES],
    /Verify the raw body, before it is parsed/,
  ],
  [
    "takes old requests",
    () => ({ isSigned: (headers, body) => verified(headers, body, Infinity) && ageOf(headers) >= -300 }),
    ["refuses what was signed long ago"],
    /to a signature of ten minutes ago/,
  ],
  [
    "takes requests of the future",
    () => ({ isSigned: (headers, body) => verified(headers, body, Infinity) && ageOf(headers) <= 300 }),
    ["refuses what is dated in the future"],
    /to a signature that is dated ten minutes ahead/,
  ],
  [
    "looks at the beginning of the signature alone",
    () => ({
      isSigned: (headers, body) =>
        Math.abs(ageOf(headers)) <= 300 &&
        signaturesOf(headers).some((each) => each.slice(0, 9) === signatureOf(headers, body).slice(0, 9)),
    }),
    ["compares the whole signature"],
    /to a signature whose last byte is wrong/,
  ],
  [
    "compares as much of the signature as it is given",
    () => ({
      isSigned: (headers, body) =>
        Math.abs(ageOf(headers)) <= 300 &&
        signaturesOf(headers).some((each) => each !== "" && signatureOf(headers, body).startsWith(each)),
    }),
    ["compares the whole signature"],
    /to the first 9 characters of the right signature/,
  ],
  [
    "keeps what it did under the order's id",
    () => ({ keyOf: (id) => `${id.split(":")[0]}${id.endsWith(":undo") ? ":undo" : ""}` }),
    ["keeps the operations on one order apart by their webhook-ids"],
    /another operation on the order was undone\. Store effects and undos under webhook-id/,
  ],
  [
    "looks at the first signature alone",
    () => ({
      isSigned: (headers, body) => {
        const [first = ""] = String(headers["webhook-signature"]).split(" ");
        return verified({ ...headers, "webhook-signature": first }, body, 300);
      },
    }),
    ["takes any of several signatures, so that secrets can be replaced"],
    /whose second signature is right/,
  ],
  [
    "decides anew each time",
    () => ({
      keyOf: (id) => (id.endsWith(":undo") ? id : `${id}#${++count}`),
      run: async () => [200, { done: { score: ++count } }],
      isUndone: () => false,
    }),
    [SAME_ANSWER, AT_ONCE, AFTER_UNDO, NEVER_DONE],
    /Store the answer under webhook-id/,
  ],
  [
    "works twice on requests at once",
    () => ({ locks: false, run: async () => (await sleep(20), [200, { done: { score: ++count } }]) }),
    [AT_ONCE],
    /to requests at the same time/,
  ],
  [
    "can't undo",
    () => ({ undo: () => [500] }),
    ["undoes what it has done, once", NEVER_DONE],
    /answered 500 to an undo/,
  ],
  ["runs after the undo", () => ({ isUndone: () => false }), [AFTER_UNDO, NEVER_DONE], /instead of 410/],
  [
    "does not know what was never done",
    (answers) => ({ undo: (key) => (answers.has(key.replace(/:undo$/, "")) ? [200, { done: {} }] : [404]) }),
    [NEVER_DONE],
    /There is nothing to undo, which is success/,
  ],
  [
    "is slow",
    () => ({ run: async () => (await sleep(TIMEOUT_MS * 1.2), [200, { done: {} }]) }),
    [ANY_RUN],
    /conveyor-timeout-ms said 1000/,
  ],
  ["never answers", () => ({ run: () => new Promise(() => undefined) }), [ANY_RUN], /no answer after/],
  [
    "answers with wrong types",
    () => ({ run: async () => [200, { done: { score: { value: 1 } } }] }),
    [ANY_RUN],
    /done\.score must be a text of at most 500 characters, a number, a boolean or null/,
  ],
  [
    "answers something else",
    () => ({ run: async () => [200, { ok: true }] }),
    [ANY_RUN],
    /exactly one of done, reject, snooze and wait/,
  ],
  ["answers with text", () => ({ run: async () => [200, "fine"] }), [ANY_RUN], /which is not JSON/],
  [
    "answers without end",
    () => ({ run: async () => [200, { done: { note: "x".repeat(100_000) } }] }),
    [ANY_RUN],
    /more than 65536 bytes/,
  ],
  [
    "says a business no with 402",
    () => ({ run: async () => [402, { reason: "no" }] }),
    [ANY_RUN],
    /a business "no" is 200/,
  ],
  [
    "undoes all orders at once",
    (answers) => ({ isUndone: () => [...answers.keys()].some((key) => key.endsWith(":undo")) }),
    ["keeps orders apart", "keeps the operations on one order apart by their webhook-ids"],
    /because another one was undone/,
  ],
  [
    "fails at garbage",
    () => ({ parse: () => ({ operation: "run" }) }),
    ["refuses a body that is not JSON with 400 or 422"],
    /to a signed body that is not JSON/,
  ],
  [
    "is behind a gateway that knows no GET",
    () => ({ ping: () => 503 }),
    ["answers a ping"],
    /takes the service for away/,
  ],
])("a service that %s is told so", async (_what, change, checks, detail) => {
  const { wrong } = await faultsOf(await start(change));
  expect(names(wrong)).toEqual(checks);
  expect(wrong.map(({ detail: found = "" }) => found).join("\n")).toMatch(detail);
});

test("a stage without undo, and a service without a secret, are tested for the rest", async () => {
  const url = await start(() => ({ isSigned: () => true, undo: () => [500] }));
  const { findings, wrong } = await faultsOf(url, { hasUndo: false, secrets: [] });
  expect(wrong).toEqual([]);
  expect(findings.filter(({ result }) => result === "skipped").map(({ detail }) => detail)).toEqual(
    expect.arrayContaining(["no secret is given", "the stage has no undo"]),
  );
});

/** JSON as JSON.stringify writes it; what is not JSON as it is. */
function again(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return body;
  }
}
