import { afterEach, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { newSecret } from "../../src/events/webhooks/signature.ts";
import { httpPayments } from "../../src/providers/http/payments.ts";
import { startProviders, type Fault, type Providers } from "../../tools/simulators/providers.ts";
import { waitFor } from "../support/wait-for.ts";

/** Longer than any test. */
const FOR_EVER_MS = 3_600_000;

const open: Providers[] = [];
afterEach(async () => void (await Promise.all(open.splice(0).map((providers) => providers.close()))));

async function start(options?: Parameters<typeof startProviders>[0]) {
  const providers = await startProviders(options);
  open.push(providers);
  const post = (url: string, key?: string) => async (body: unknown, signal?: AbortSignal) => {
    const response = await fetch(url, {
      method: "POST",
      headers: key === undefined ? {} : { "webhook-id": key },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
    return [response.status, parsed(await response.text())];
  };
  const { paymentsUrl, carrierUrl } = providers;
  return {
    ...providers,
    charge: (key: string, given: object = {}, signal?: AbortSignal) =>
      post(paymentsUrl, key)({ operation: "charge", ...CHARGE, ...given }, signal),
    refund: (key: string, chargeKey: string, orderId = "o1") =>
      post(paymentsUrl, key)({ operation: "refund", orderId, chargeKey }),
    label: (key: string, orderId = "o1") => post(carrierUrl, key)({ operation: "create-label", orderId }),
    voidLabel: (key: string, labelKey: string) =>
      post(carrierUrl, key)({ operation: "void-label", orderId: "o1", labelKey }),
    track: (trackingNumber: string | undefined) =>
      post(carrierUrl, "o1:deliver")({ operation: "track", orderId: "o1", trackingNumber }),
    post: (path: string, key: string | undefined, body: unknown) => post(paymentsUrl + path, key)(body),
    get: async (url: string) => {
      const response = await fetch(url);
      return [response.status, parsed(await response.text())];
    },
  };
}

const CHARGE = { orderId: "o1", amount: 2500, currency: "EUR", token: "tok_approved" };
const parsed = (text: string): unknown => (text === "" ? undefined : JSON.parse(text));
const failure = expect.objectContaining({ message: expect.stringMatching(/fetch failed|terminated/) });

describe("the simulated payment provider", () => {
  test("charges, and books the charge", async () => {
    const { charge, books } = await start();
    expect(await charge("k", { token: null })).toEqual([200, { done: { chargeId: "ch_1" } }]);
    expect(books.charges).toEqual([
      { key: "k", orderId: "o1", amount: 2500, currency: "EUR", chargeId: "ch_1", at: expect.any(Date) },
    ]);
  });

  test("gives the same answer under the same key, and books nothing twice, also for calls at once", async () => {
    const { charge, books } = await start();
    const answers = await Promise.all(Array.from({ length: 20 }, () => charge("k")));
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(books.charges).toHaveLength(1);
    expect(books.attempts.get("k")).toBe(20);
  });

  test("tells the most calls that it has had before it at the same moment", async () => {
    const { charge, takeMaxInFlight, inFlight } = await start({ latencyMs: 200 });
    await Promise.all(["a", "b", "c"].map((key) => charge(key)));
    await waitFor("all are answered", () => inFlight("payments") === 0);
    await charge("d");
    expect([takeMaxInFlight("payments"), takeMaxInFlight("carrier")]).toEqual([3, 0]);
    await charge("e");
    expect(takeMaxInFlight("payments")).toBe(1);
  });

  test("refuses a key that was used for something else", async () => {
    const { charge, books } = await start();
    await charge("k");
    for (const other of [{ amount: 1 }, { currency: "USD" }, { orderId: "o2" }])
      expect((await charge("k", other))[0]).toBe(422);
    expect(books.charges).toHaveLength(1);
  });

  test("declines, and remembers it", async () => {
    const { charge, books } = await start();
    for (let time = 0; time < 2; time++)
      expect(await charge("k", { token: "tok_declined" })).toEqual([
        200,
        { reject: "the card was declined" },
      ]);
    expect(books.declines).toEqual([{ key: "k", orderId: "o1" }]);
    expect(books.charges).toEqual([]);
  });

  test("stumbles as often as the token says, each charge for itself", async () => {
    const { charge, books } = await start();
    const stumbling = async (key: string) => (await charge(key, { token: "tok_stumbles_2" }))[0];
    expect([await stumbling("k"), await stumbling("k"), await stumbling("other")]).toEqual([503, 503, 503]);
    expect([await stumbling("k"), await stumbling("k")]).toEqual([200, 200]);
    expect(books.charges).toHaveLength(1);
  });

  test("never gets an answer for tok_down, and is healthy all the same", async () => {
    const { charge, get, paymentsUrl, books } = await start();
    for (let time = 0; time < 3; time++) expect((await charge("k", { token: "tok_down" }))[0]).toBe(503);
    expect(await get(paymentsUrl)).toEqual([200, { status: "up" }]);
    expect(books.charges).toEqual([]);
  });

  test("pays back what was charged, once, and charges no more under that key", async () => {
    const { charge, refund, books } = await start();
    await charge("k", { amount: 700 });
    for (let time = 0; time < 2; time++)
      expect(await refund("k:undo", "k")).toEqual([200, { done: { refundId: "re_1" } }]);
    expect(books.refunds).toEqual([
      {
        key: "k:undo",
        orderId: "o1",
        chargeKey: "k",
        refundId: "re_1",
        amount: 700,
        at: expect.any(Date),
      },
    ]);
    expect((await charge("k", { amount: 700 }))[0]).toBe(410);
    expect((await refund("another", "k"))[0]).toBe(409);
    expect(books.refunds).toHaveLength(1);
  });

  test("pays nothing back where nothing was charged, and refuses the charge that comes later", async () => {
    const { charge, refund, books } = await start();
    await charge("stumbling", { token: "tok_stumbles_1" });
    await charge("declined", { token: "tok_declined" });
    for (const key of ["unknown", "stumbling", "declined"])
      expect(await refund(`${key}:undo`, key)).toEqual([204, undefined]);
    expect((await charge("unknown"))[0]).toBe(410);
    expect((await charge("stumbling", { token: "tok_stumbles_1" }))[0]).toBe(410);
    expect(await charge("declined", { token: "tok_declined" })).toEqual([
      200,
      { reject: "the card was declined" },
    ]);
    expect(await refund("unknown:undo", "unknown")).toEqual([204, undefined]);
    expect([books.charges, books.refunds]).toEqual([[], []]);
  });

  test("pays back no other order's charge", async () => {
    const { charge, refund, books } = await start();
    await charge("k");
    expect((await refund("k:undo", "k", "o2"))[0]).toBe(422);
    expect((await refund("k:undo", "k"))[0]).toBe(200);
    expect((await refund("k:undo", "other"))[0]).toBe(422);
    expect(books.refunds).toHaveLength(1);
  });

  test.each([
    ["no key", undefined, { operation: "charge", ...CHARGE }],
    ["no JSON", "k", "charge!"],
    ["no operation", "k", CHARGE],
    ["another's operation", "k", { operation: "create-label", orderId: "o1" }],
    ["nothing to charge", "k", { operation: "charge", ...CHARGE, amount: 0 }],
    ["no currency", "k", { operation: "charge", ...CHARGE, currency: "euro" }],
    ["no token, not even null", "k", { operation: "charge", ...CHARGE, token: undefined }],
    ["no charge to pay back", "k", { operation: "refund", orderId: "o1" }],
  ])("refuses a request with %s", async (_what, key, body) => {
    const { post, books } = await start();
    expect((await post("/", key, body))[0]).toBe(400);
    expect([books.charges, books.refunds]).toEqual([[], []]);
  });

  test("knows no other path", async () => {
    const { post, get, paymentsUrl, books } = await start();
    expect((await post("/charges", "k", { operation: "charge", ...CHARGE }))[0]).toBe(404);
    expect((await get(`${paymentsUrl}/charges`))[0]).toBe(404);
    expect(books.charges).toEqual([]);
  });

  test("refuses what none of its secrets has signed, and answers pings", async () => {
    const [old, current, other] = [newSecret(), newSecret(), newSecret()];
    const { paymentsUrl, charge, books, get } = await start({ secrets: [old, current] });
    const signed = (...secrets: string[]) =>
      httpPayments({ url: paymentsUrl, secrets }).authorize({
        key: "k",
        reference: "k",
        id: null,
        capture: "at once",
        description: "Order o1",
        customer: { id: "c1" },
        metadata: null,
        shipTo: null,
        remember: async () => undefined,
        ...CHARGE,
        signal: new AbortController().signal,
      });
    expect((await charge("k"))[0]).toBe(401);
    await expect(signed(other)).rejects.toMatchObject({ name: "ServiceMisconfiguredError" });
    expect(books.charges).toEqual([]);
    expect(await signed(current)).toMatchObject({ state: "captured" });
    expect(await signed(other, old)).toMatchObject({ state: "captured" });
    expect((await get(paymentsUrl))[0]).toBe(200);
  });
});

describe("the simulated carrier", () => {
  test("makes one label a key", async () => {
    const { label, books } = await start();
    const answers = await Promise.all([label("k"), label("k"), label("other", "o2")]);
    expect(answers[0]).toEqual(answers[1]);
    expect(books.labels.map(({ key, orderId, voided }) => [key, orderId, voided])).toEqual([
      ["k", "o1", false],
      ["other", "o2", false],
    ]);
    expect(new Set(books.labels.map(({ trackingNumber }) => trackingNumber)).size).toBe(2);
    expect((await label("k", "o2"))[0]).toBe(422);
  });

  test("voids a label, whose parcel is then unknown, and makes none under its key again", async () => {
    const { label, voidLabel, track, books } = await start();
    await label("k");
    for (let time = 0; time < 2; time++) expect(await voidLabel("k:undo", "k")).toEqual([200, { done: {} }]);
    expect(books.labels).toMatchObject([{ key: "k", voided: true }]);
    expect((await label("k"))[0]).toBe(410);
    expect((await track(books.labels[0]?.trackingNumber))[0]).toBe(422);
  });

  test("makes no label that was called off before", async () => {
    const { label, voidLabel, books } = await start();
    expect((await voidLabel("k:undo", "k"))[0]).toBe(200);
    expect((await label("k"))[0]).toBe(410);
    expect(books.labels).toEqual([]);
  });

  test("says how long a parcel still is on the road", async () => {
    const { label, track, books } = await start({ transitMs: FOR_EVER_MS });
    await label("k");
    const [status, body] = await track(books.labels[0]?.trackingNumber);
    expect([status, body]).toEqual([200, { snooze: expect.any(Number) }]);
    const { snooze } = z.object({ snooze: z.number() }).parse(body);
    expect(snooze).toBeLessThanOrEqual(FOR_EVER_MS);
    expect(snooze).toBeGreaterThan(FOR_EVER_MS - 60_000);
  });

  test("says when a parcel was handed over", async () => {
    const { label, track, books } = await start({ transitMs: 20 });
    await label("k");
    const [booked] = books.labels;
    const answer = await waitFor("the parcel arrives", async () => {
      const [status, body] = await track(booked?.trackingNumber);
      expect(status).toBe(200);
      return JSON.stringify(body).includes("done") && body;
    });
    const at = new Date((booked?.at.getTime() ?? 0) + 20).toISOString();
    expect(answer).toEqual({ done: { deliveredAt: at } });
  });

  test("knows no parcel that it made no label for", async () => {
    const { track } = await start();
    expect((await track("CV1"))[0]).toBe(422);
  });
});

describe("a fault", () => {
  const health = async (url: string) => (await fetch(url)).status;

  test("of one provider is none of the other's, and ends with the next", async () => {
    const { charge, label, setFault } = await start();
    setFault("payments", { kind: "down" });
    expect((await charge("k"))[0]).toBe(503);
    expect((await label("l"))[0]).toBe(200);
    setFault("payments", { kind: "none" });
    expect((await charge("k"))[0]).toBe(200);
  });

  test("down: nothing is done, and pings say so", async () => {
    const { charge, setFault, books, paymentsUrl } = await start();
    setFault("payments", { kind: "down" });
    expect((await charge("k"))[0]).toBe(503);
    expect(await health(paymentsUrl)).toBe(503);
    expect(books.charges).toEqual([]);
    expect(books.attempts.get("k")).toBe(1);
  });

  test("refuse: every connection is destroyed, those that are open too", async () => {
    const { charge, setFault, books, paymentsUrl } = await start();
    setFault("payments", { kind: "slow", ms: FOR_EVER_MS });
    const waiting = charge("open");
    await waitFor("the call arrives", () => books.attempts.has("open"));
    setFault("payments", { kind: "refuse" });
    await expect(waiting).rejects.toEqual(failure);
    await expect(charge("new")).rejects.toEqual(failure);
    await expect(health(paymentsUrl)).rejects.toEqual(failure);
    expect(books.attempts.has("new")).toBe(false);
    setFault("payments", { kind: "none" });
    expect((await charge("new"))[0]).toBe(200);
  });

  test("hangs: nothing is done or answered until it ends, pings neither", async () => {
    const { setFault, charge, get, paymentsUrl, books, inFlight } = await start();
    setFault("payments", { kind: "hangs" });
    const answers = [charge("k"), get(paymentsUrl)];
    await waitFor("the charge to arrive", () => inFlight("payments") === 1);
    expect(books.charges).toEqual([]);
    setFault("payments", { kind: "none" });
    expect(await Promise.all(answers)).toMatchObject([
      [200, { done: { chargeId: "ch_1" } }],
      [200, {}],
    ]);
  });

  test("slow: done and answered correctly, so much later, pings too", async () => {
    const { charge, setFault, books, paymentsUrl } = await start();
    setFault("payments", { kind: "slow", ms: 100 });
    const startedAt = performance.now();
    expect((await charge("k"))[0]).toBe(200);
    // Timers may fire a millisecond early.
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(99);
    expect(await health(paymentsUrl)).toBe(200);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(198);
    expect(books.charges).toHaveLength(1);
  });

  test("slow: done also when the caller has gone", async () => {
    const { charge, setFault, books } = await start();
    setFault("payments", { kind: "slow", ms: 100 });
    const caller = new AbortController();
    const given = charge("k", {}, caller.signal).catch(() => "gave up");
    await waitFor("the call arrives", () => books.attempts.has("k"));
    caller.abort();
    expect(await given).toBe("gave up");
    await waitFor("the charge is booked", () => books.charges.length === 1);
  });

  test("slow: what was called off in the meantime is refused", async () => {
    const { charge, refund, setFault, books } = await start();
    setFault("payments", { kind: "slow", ms: 1_000 });
    const charged = charge("k");
    await waitFor("the call arrives", () => books.attempts.has("k"));
    setFault("payments", { kind: "none" });
    expect(await refund("k:undo", "k")).toEqual([204, undefined]);
    expect((await charged)[0]).toBe(410);
    expect(books.charges).toEqual([]);
  });

  test("errors: a part of the calls fails with nothing done, and pings are answered", async () => {
    const numbers = [0.1, 0.7, 0.4, 0.5];
    const { charge, setFault, books, paymentsUrl } = await start({ random: () => numbers.shift() ?? 1 });
    setFault("payments", { kind: "errors", rate: 0.5 });
    expect(await health(paymentsUrl)).toBe(200);
    const statuses: unknown[] = [];
    for (const key of ["a", "b", "c", "d"]) statuses.push((await charge(key))[0]);
    expect(statuses).toEqual([500, 200, 500, 200]);
    expect(books.charges.map(({ key }) => key)).toEqual(["b", "d"]);
  });

  test("late: done at once, and answered too late", async () => {
    const { charge, setFault, books } = await start();
    setFault("payments", { kind: "late", ms: FOR_EVER_MS });
    const caller = new AbortController();
    const given = charge("k", {}, caller.signal).catch(() => "gave up");
    await waitFor("the charge is booked", () => books.charges.length === 1);
    caller.abort();
    expect(await given).toBe("gave up");
    setFault("payments", { kind: "late", ms: 20 });
    expect(await charge("k")).toEqual([200, { done: { chargeId: "ch_1" } }]);
    expect(books.charges).toHaveLength(1);
  });

  test("lost-reply: done, and for a part of the calls the connection breaks; pings are answered", async () => {
    const numbers = [0.1, 0.7];
    const { charge, setFault, books, paymentsUrl } = await start({ random: () => numbers.shift() ?? 1 });
    setFault("payments", { kind: "lost-reply", rate: 0.5 });
    expect(await health(paymentsUrl)).toBe(200);
    await expect(charge("a")).rejects.toEqual(failure);
    expect((await charge("b"))[0]).toBe(200);
    expect(books.charges.map(({ key }) => key)).toEqual(["a", "b"]);
  });

  test("poisoned: always the same orders, with nothing done; pings are answered", async () => {
    const { charge, setFault, books, paymentsUrl } = await start();
    setFault("payments", { kind: "poisoned", share: 0.5, treatment: "fails" });
    expect(await health(paymentsUrl)).toBe(200);
    const orders = Array.from({ length: 40 }, (_, index) => `o${index}`);
    const statusOf = async (orderId: string) => (await charge(`k-${orderId}`, { orderId }))[0];
    const first = await Promise.all(orders.map(statusOf));
    expect(new Set(first)).toEqual(new Set([200, 500]));
    expect(await Promise.all(orders.map(statusOf))).toEqual(first);
    expect(books.charges).toHaveLength(first.filter((status) => status === 200).length);
  });

  test.each<Fault>([
    { kind: "slow", ms: FOR_EVER_MS },
    { kind: "late", ms: FOR_EVER_MS },
  ])("does not hold up the end: %p", async (fault) => {
    const { charge, setFault, close, books } = await start();
    setFault("payments", fault);
    const waiting = charge("k");
    await waitFor("the call arrives", () => books.attempts.has("k"));
    await Promise.all([close(), expect(waiting).rejects.toEqual(failure)]);
    expect(books.charges).toHaveLength(fault.kind === "late" ? 1 : 0);
  });
});

test("every answer takes the time that providers take anyway", async () => {
  const { charge } = await start({ latencyMs: 50 });
  const startedAt = performance.now();
  await charge("k");
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(49);
});

describe("an order that can't be served", () => {
  test("fails at the call that its token says, until it is healed, and others are served", async () => {
    const { charge, label, refund, heal } = await start();
    const token = "tok_ship_fails";
    expect((await charge("k", { token }))[0]).toBe(200);
    expect((await label("l"))[0]).toBe(500);
    expect((await label("m", "o2"))[0]).toBe(200);
    expect((await refund("r", "k"))[0]).toBe(200);
    heal();
    expect((await label("l"))[0]).toBe(200);
  });

  test("gets no answer, and books nothing", async () => {
    const { charge, books, takeMaxRepeatedInFlight } = await start();
    for (let time = 0; time < 2; time++) {
      const caller = new AbortController();
      const given = charge("k", { token: "tok_pay_hangs" }, caller.signal).catch(() => "gave up");
      await waitFor("the call arrives", () => books.attempts.get("k") === time + 1);
      caller.abort();
      expect(await given).toBe("gave up");
    }
    expect(books.charges).toEqual([]);
    expect([takeMaxRepeatedInFlight("payments"), takeMaxRepeatedInFlight("carrier")]).toEqual([1, 0]);
  });

  test("stumbles at four calls of five", async () => {
    const numbers = [0.79, 0.81];
    const { charge } = await start({ random: () => numbers.shift() ?? 1 });
    const token = "tok_pay_stumbles";
    expect([(await charge("k", { token }))[0], (await charge("k", { token }))[0]]).toEqual([500, 200]);
  });
});
