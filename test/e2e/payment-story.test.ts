import { expect, test } from "@jest/globals";
import { z } from "zod";
import {
  CAPTURED_ON_SHIPMENT,
  call,
  dispute,
  happens,
  paymentsOf,
  place,
  refund,
  typesOf,
  useShop,
  waitingOf,
} from "../support/stripe-shop.ts";
import { TEST_KEY } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

const shop = useShop({ PAYMENT_CAPTURE: "on-shipment" });

/** The order's page in the console, as its text. */
async function page(id: string): Promise<string> {
  const login = { authorization: `Basic ${btoa(`ada:${TEST_KEY}`)}` };
  const text = await (await fetch(`${shop.url}/console/orders/${id}`, { headers: login })).text();
  return text
    .replaceAll(/<[^>]*>/g, " ")
    .replaceAll("\u00a0", " ")
    .replaceAll("&#39;", "'")
    .replaceAll(/\s+/g, " ");
}

test("an order is authorized, confirmed, captured when it ships, refunded in part, and disputed: all tell the same", async () => {
  const shipTo = { name: "Ada", line1: "1 Secret Lane", city: "York", postalCode: "Y1", country: "GB" };
  const customer = { id: "cust-1", email: "ada@secret.example" };
  const id = await place(shop, "pm_card_authenticationRequired", { shipTo, customer });

  await waitFor("the order to wait", () => waitingOf(shop, id));
  const [pending] = (await paymentsOf(shop, id)).payments;
  const intent = pending?.providerId ?? "";
  expect(pending).toMatchObject({ state: "PENDING", captured: 0, action: { type: "stripe" } });
  const waits = "waits for the customer to confirm the payment";
  await waitFor("the console to say so", async () => (await page(id)).includes(waits));

  await happens(shop, intent, "authenticate");
  await shop.client.orderIn(id, "DELIVERED");
  expect((await paymentsOf(shop, id)).payments).toMatchObject([
    { state: "CAPTURED", amount: 3_000, captured: 3_000, refunded: 0, providerId: intent },
  ]);

  const asked = await refund(shop, id, { amount: 1_000 });
  expect(asked).toMatchObject({ status: 202, body: { state: "PENDING", amount: 1_000 } });
  await waitFor("a third to be paid back", async () =>
    (await paymentsOf(shop, id)).refunds.some(({ state }) => state === "SUCCEEDED"),
  );

  const end = await dispute(shop, intent);
  await waitFor("the dispute to be told", async () => (await typesOf(shop, id)).includes("dispute.opened"));
  expect(shop.environment.providers.entriesOf(id)[0]?.intent?.dispute).toMatchObject({
    status: "needs_response",
  });
  const told = await paymentsOf(shop, id);
  expect(told).toMatchObject({
    payments: [{ state: "CAPTURED", captured: 3_000, refunded: 1_000, dispute: "OPEN", disputed: 2_000 }],
    refunds: [{ state: "SUCCEEDED", amount: 1_000, providerId: expect.stringMatching(/^re_/) }],
  });
  const shown = await page(id);
  for (const text of [
    `State CAPTURED Amount EUR 30.00 Taken EUR 30.00 Provider's id ${intent} Remarks at stripe; dispute OPEN of EUR 20.00`,
    "State SUCCEEDED Amount EUR 10.00 Reason arrived broken",
    "Dispute opened",
    "Payment captured",
    "Refund succeeded",
  ])
    expect(shown).toContain(text);

  expect(shown).not.toContain("Refund…");

  await end("losing");
  await waitFor("its end", async () => (await typesOf(shop, id)).includes("dispute.lost"));
  expect((await typesOf(shop, id)).filter((type) => !type.startsWith("wait"))).toEqual([
    ...CAPTURED_ON_SHIPMENT,
    "refund.created",
    "refund.succeeded",
    "dispute.opened",
    "dispute.lost",
  ]);
  const events = z.object({ items: z.array(z.looseObject({ type: z.string() })) });
  const { items } = events.parse((await call(shop, "GET", `/events?limit=100`)).body);
  expect(items.map(({ type }) => type)).toEqual(
    expect.arrayContaining(["conveyor.order.dispute.opened.v1", "conveyor.order.refund.succeeded.v1"]),
  );

  // Neither the secret nor the customer is in what others read.
  const logged = shop.processes.flatMap(({ lines }) => lines).join("\n");
  for (const secret of ["_secret_", "ada@secret", "Secret Lane"]) {
    expect(logged).not.toContain(secret);
    expect(JSON.stringify(items)).not.toContain(secret);
  }
});
