import { describe, expect, test } from "@jest/globals";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";

describe("a refund", () => {
  const api = useApi({ INVENTORY_URL: "http://127.0.0.1:1" });

  test("that asks for pieces to go back to an inventory elsewhere is refused", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    const pieces = { reason: "arrived broken", lines: [{ sku: "MUG-BLUE", quantity: 1 }] };
    const { status, body } = await api.client.post(`/orders/${id}/refunds`, { ...pieces, restock: true });
    expect([status, body]).toEqual([
      409,
      expect.objectContaining({
        type: "urn:conveyor:problem:not-refundable",
        detail:
          "the stock is with an inventory that is not told of refunds: put the pieces back there, and refund them without restock",
      }),
    ]);
    // Without restock, it is the missing payment that is told.
    expect((await api.client.post(`/orders/${id}/refunds`, pieces)).body).toMatchObject({
      detail: "nothing was paid that could be refunded",
    });
  });
});
