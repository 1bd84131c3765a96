import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  bookRequests,
  bookReversal,
  listEntries,
  type LedgerDecision,
  type LedgerRequest,
} from "../../../db/provider-ledger.ts";
import { findProviderStates, setProviderState } from "../../../db/provider-states.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

const APPROVED: LedgerDecision = { outcome: "approved", reason: null };
const PENDING: LedgerDecision = { outcome: "pending", reason: null };

let count = 0;
function charge(given: Partial<LedgerRequest> = {}): LedgerRequest {
  const orderId = `order-${++count}`;
  return {
    idempotencyKey: `${orderId}:pay`,
    kind: "charge",
    orderId,
    amount: 2500,
    currency: "EUR",
    providerId: `ch_${count}`,
    createdAt: new Date(),
    decide: () => APPROVED,
    ...given,
  };
}

function refundOf(request: LedgerRequest) {
  return {
    idempotencyKey: `${request.idempotencyKey}:undo`,
    reversedKey: request.idempotencyKey,
    reversedKind: "charge" as const,
    kind: "refund" as const,
    orderId: request.orderId,
    providerId: `re_${request.orderId}`,
    createdAt: new Date(),
  };
}

describe("the ledger", () => {
  test("books a key once, counts how often it was asked for, and keeps the first answer", async () => {
    const request = charge();
    const [first] = await bookRequests(environment.database, [request]);
    const [again] = await bookRequests(environment.database, [
      { ...request, providerId: "ch_other", decide: () => ({ outcome: "declined", reason: "no" }) },
    ]);
    expect(first).toMatchObject({ outcome: "approved", providerId: request.providerId, attempts: 1 });
    expect(again).toMatchObject({ outcome: "approved", providerId: request.providerId, attempts: 2 });
    expect(await listEntries(environment.database, request.orderId)).toHaveLength(1);
  });

  test("decides pending requests again, knowing how often they were made", async () => {
    const request = charge({ decide: ({ attempts }) => (attempts < 3 ? PENDING : APPROVED) });
    const outcomes = [];
    for (let attempt = 0; attempt < 4; attempt++)
      outcomes.push((await bookRequests(environment.database, [request]))[0]?.outcome);
    expect(outcomes).toEqual(["pending", "pending", "approved", "approved"]);
  });

  test("answers a batch in its order, each by its own key", async () => {
    const requests = [
      charge({ idempotencyKey: "z", decide: () => APPROVED }),
      charge({ idempotencyKey: "a", decide: () => ({ outcome: "declined", reason: "no" }) }),
    ];
    expect(await bookRequests(environment.database, requests)).toMatchObject([
      { idempotencyKey: "z", outcome: "approved" },
      { idempotencyKey: "a", outcome: "declined", reason: "no" },
    ]);
  });

  test("books one charge however many ask at the same moment", async () => {
    const request = charge();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        bookRequests(environment.database, [{ ...request, providerId: `ch_race_${index}` }]),
      ),
    );
    expect(new Set(answers.map(([entry]) => entry?.providerId)).size).toBe(1);
  });
});

describe("a reversal", () => {
  test("pays back what was charged, once", async () => {
    const request = charge();
    await bookRequests(environment.database, [request]);
    const refund = refundOf(request);
    const first = await bookReversal(environment.database, refund);
    const again = await bookReversal(environment.database, { ...refund, providerId: "re_other" });
    expect(first).toMatchObject({
      kind: "refund",
      amount: 2500,
      currency: "EUR",
      providerId: refund.providerId,
    });
    expect(again?.providerId).toBe(refund.providerId);
    expect(
      (await listEntries(environment.database, request.orderId)).map((entry) => entry.kind).toSorted(),
    ).toEqual(["charge", "refund"]);
  });

  test.each([
    ["never asked for", undefined],
    ["not answered", PENDING],
  ])("of a charge that was %s keeps it from succeeding later", async (_, before) => {
    const request = charge();
    if (before) await bookRequests(environment.database, [{ ...request, decide: () => before }]);
    expect(await bookReversal(environment.database, refundOf(request))).toBeUndefined();
    expect((await bookRequests(environment.database, [request]))[0]?.outcome).toBe("void");
    expect((await listEntries(environment.database, request.orderId)).map((entry) => entry.kind)).toEqual([
      "charge",
    ]);
  });

  test("of a declined charge does nothing", async () => {
    const request = charge({ decide: () => ({ outcome: "declined", reason: "no" }) });
    await bookRequests(environment.database, [request]);
    expect(await bookReversal(environment.database, refundOf(request))).toBeUndefined();
    expect((await bookRequests(environment.database, [request]))[0]?.outcome).toBe("declined");
  });
});

test("a provider is up until it is switched, and then has the last state that was set", async () => {
  expect(await findProviderStates(environment.database)).toEqual(new Map());
  await setProviderState(environment.database, "payments", "down");
  await setProviderState(environment.database, "payments", "up");
  await setProviderState(environment.database, "carrier", "down");
  await setProviderState(environment.database, "inventory", { slowMs: 200 });
  expect(await findProviderStates(environment.database)).toEqual(
    new Map([
      ["payments", { switched: "up", since: expect.any(Date) }],
      ["carrier", { switched: "down", since: expect.any(Date) }],
      ["inventory", { switched: { slowMs: 200 }, since: expect.any(Date) }],
    ]),
  );
});
