import { describe, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { applyTransitions } from "../../../db/transitions.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { TEST_KEY } from "../../support/processes.ts";

/** What undoing does is the workers' business; here nobody works, so that orders stay where they are. */
const api = useApi();

const REASON = "ordered by mistake";

async function orderIn(status: string): Promise<string> {
  const { id } = await api.client.order(PLAIN_ORDER);
  if (status === "CREATED") return id;
  await applyTransitions(api.environment.database, [
    {
      orderId: id,
      from: "CREATED",
      to: status,
      stage: null,
      reason: null,
      record: null,
      unlessCancelled: false,
      at: new Date(),
    },
  ]);
  return id;
}

function cancel(id: string, body: unknown = { reason: REASON }) {
  return api.client.post(`/orders/${id}/cancel`, body);
}

test.each(["CREATED", "RESERVED", "PAID"])(
  "an order in %s takes a cancellation request, and shows it",
  async (status) => {
    const id = await orderIn(status);
    const answer = await cancel(id);
    expect(answer.status).toBe(202);
    expect(answer.headers.get("location")).toBe(`/orders/${id}`);
    expect(answer.body).toMatchObject({ id, status, cancellation: { reason: REASON } });
    expect((await api.client.get(`/orders/${id}`)).body).toEqual(answer.body);
  },
);

test.each(["SHIPPED", "DELIVERED"])(
  "an order in %s is too late to cancel, and stays as it was",
  async (status) => {
    const id = await orderIn(status);
    const before = (await api.client.get(`/orders/${id}`)).body;
    const answer = await cancel(id);
    expect(answer.status).toBe(409);
    expect(answer.body).toMatchObject({
      type: "urn:conveyor:problem:too-late-to-cancel",
      orderStatus: status,
    });
    expect((await api.client.get(`/orders/${id}`)).body).toEqual(before);
  },
);

test("a second request changes nothing: the first reason stands", async () => {
  const id = await orderIn("PAID");
  const [first, ...others] = await Promise.all([cancel(id), cancel(id), cancel(id)]);
  expect(first?.status).toBe(202);
  for (const answer of others) expect(answer).toMatchObject({ status: 202, body: first?.body });
  expect((await cancel(id, { reason: "another reason" })).body).toEqual(first?.body);
});

test("an order that is already CANCELLED is returned as it is", async () => {
  const id = await orderIn("CANCELLED");
  expect(await cancel(id)).toMatchObject({ status: 202, body: { id, status: "CANCELLED" } });
});

test("an order is found by its id in capital letters", async () => {
  const id = await orderIn("CREATED");
  expect(await cancel(id.toUpperCase())).toMatchObject({ status: 202, body: { id } });
});

test.each([
  ["that nobody has", uuidv7()],
  ["that is none", "17"],
])("an id %s is not found", async (_, id) => {
  expect(await cancel(id)).toMatchObject({ status: 404, body: { detail: `there is no order ${id}` } });
});

describe("a reason", () => {
  test("may be as long as its column, in any characters", async () => {
    const reason = "😀".repeat(LIMITS.reason);
    const { status, body } = await cancel(await orderIn("CREATED"), { reason });
    expect(status).toBe(202);
    expect(body.cancellation?.reason).toBe(reason);
  });

  test.each<[string, unknown, string]>([
    ["must be there", {}, "reason"],
    ["must be text", { reason: 5 }, "reason"],
    ["must not be empty", { reason: "" }, "reason"],
    ["must not be longer", { reason: "x".repeat(LIMITS.reason + 1) }, "reason"],
    ["must have no control characters", { reason: "a\u0000b" }, "reason"],
    ["must stand alone", { reason: REASON, refund: false }, "refund"],
  ])("%s", async (_, body, path) => {
    const id = await orderIn("CREATED");
    const answer = await cancel(id, body);
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual([{ path, message: expect.any(String) }]);
    expect((await api.client.get(`/orders/${id}`)).body).not.toHaveProperty("cancellation");
  });
});

test("the order's events say who asked, without the key", async () => {
  const id = await orderIn("PAID");
  await cancel(id);
  const { body } = await api.client.get(`/orders/${id}/events`);
  expect(body).toMatchObject({
    items: [
      { type: "status", to: "CREATED", actor: null },
      { type: "status", to: "PAID", actor: null },
      {
        type: "cancel-requested",
        from: "PAID",
        to: "PAID",
        reason: REASON,
        actor: expect.stringMatching(/^client-[0-9a-f]{8}$/),
      },
    ],
  });
  expect(JSON.stringify(body)).not.toContain(TEST_KEY);
});
