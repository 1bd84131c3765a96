import { expect, test } from "@jest/globals";
import { closeShop, dispute, openShop, paymentsOf, place, refund, typesOf } from "../support/stripe-shop.ts";
import { waitFor } from "../support/wait-for.ts";

test("a dispute, its end, and a refund that fails late are found though all their webhooks are lost", async () => {
  let shop = await openShop({});
  try {
    const { providers } = shop.environment;
    providers.setWebhooks({ lost: 1 });
    const [refunded, disputed] = [await place(shop, "pm_card_refundFail"), await place(shop, "pm_card_visa")];
    for (const id of [refunded, disputed]) await shop.client.orderIn(id, "DELIVERED");
    await refund(shop, refunded, { amount: 1_000 });
    await waitFor("it to succeed", async () => (await typesOf(shop, refunded)).includes("refund.succeeded"));
    await waitFor("it to fail at Stripe", () =>
      providers.entriesOf(refunded).some(({ kind, outcome }) => kind === "refund" && outcome === "declined"),
    );
    const [payment] = (await paymentsOf(shop, disputed)).payments;
    const end = await dispute(shop, payment?.providerId);
    // Every process asks when it starts, and then every few minutes.
    shop = await shop.withNewApi();
    await waitFor("the refund's end", async () => (await typesOf(shop, refunded)).includes("refund.failed"));
    await waitFor("the dispute", async () => (await typesOf(shop, disputed)).includes("dispute.opened"));
    await end("losing");
    shop = await shop.withNewApi();
    await waitFor("the dispute's end", async () => (await typesOf(shop, disputed)).includes("dispute.lost"));
    const told = [...(await typesOf(shop, refunded)), ...(await typesOf(shop, disputed))];
    expect(told.filter((type) => type.startsWith("refund.") || type.startsWith("dispute."))).toEqual([
      "refund.created",
      "refund.succeeded",
      "refund.failed",
      "dispute.opened",
      "dispute.lost",
    ]);
  } finally {
    await closeShop(shop);
  }
});
