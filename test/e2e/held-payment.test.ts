import { expect, jest, test } from "@jest/globals";
import { call, closeShop, happens, openShop, paymentsOf, place, waitingOf } from "../support/stripe-shop.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

test("a held order that waited for its customer is not cancelled, and has all its time once it is released", async () => {
  const shop = await openShop({
    PAYMENT_DEADLINE: "8s",
    SWEEP_INTERVAL_MS: "100",
    SWEEP_AFTER_MS: "60000",
  });
  try {
    const [held, other] = [
      await place(shop, "pm_card_authenticationRequired"),
      await place(shop, "pm_card_authenticationRequired"),
    ];
    const confirmation = { for: "the customer to confirm the payment" };
    for (const id of [held, other]) await waitFor("the customer", () => waitingOf(shop, id));
    expect(await waitingOf(shop, held)).toMatchObject(confirmation);
    await call(shop, "POST", `/orders/${held}/holds`, { name: "review", reason: "looks odd" });
    await waitFor("the hold to take effect", async () =>
      (await waitingOf(shop, held))?.for.includes("release of the hold review"),
    );
    // Its end shows that the deadline has passed for both.
    await shop.client.orderIn(other, "CANCELLED");
    expect((await call(shop, "GET", `/orders/${held}`)).body).not.toHaveProperty("cancellation");

    await call(shop, "DELETE", `/orders/${held}/holds/review`);
    await waitFor("the customer again", async () => (await waitingOf(shop, held))?.for === confirmation.for);
    await happens(shop, (await paymentsOf(shop, held)).payments[0]?.providerId, "authenticate");
    await shop.client.orderIn(held, "DELIVERED");
  } finally {
    await closeShop(shop);
  }
});
