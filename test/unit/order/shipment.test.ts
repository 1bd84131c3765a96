import { describe, expect, test } from "@jest/globals";
import { takePieces, TooManyPiecesError, unplanned } from "../../../src/order/pieces.ts";
import { fulfilmentOf, SHIPMENT_STATES } from "../../../src/order/shipment.ts";
import { mayBecome } from "../../../src/order/states.ts";

const LINES = [
  { sku: "MUG", quantity: 2, unitPrice: 100 },
  { sku: "CARD", quantity: 1, unitPrice: 100, requiresShipping: false },
  { sku: "MUG", quantity: 3, unitPrice: 90 },
];
const shipment = (
  state: keyof typeof SHIPMENT_STATES,
  position: number,
  quantity: number,
  closed = false,
) => ({
  state,
  closedAt: closed ? new Date() : null,
  lines: [{ position, sku: "MUG", quantity }],
});

describe("the life of a shipment", () => {
  test("never leads out of VOIDED", () => {
    expect(mayBecome(SHIPMENT_STATES, "VOIDED", "BOOKED")).toBe(false);
  });
});

describe("pieces", () => {
  test("are left until a shipment holds them; those of voided, lost and returned ones are left again", () => {
    expect(unplanned(LINES, [])).toEqual([
      { position: 0, sku: "MUG", quantity: 2 },
      { position: 2, sku: "MUG", quantity: 3 },
    ]);
    expect(
      unplanned(LINES, [shipment("BOOKED", 0, 2), shipment("VOIDED", 2, 3), shipment("LOST", 2, 1)]),
    ).toEqual([{ position: 2, sku: "MUG", quantity: 3 }]);
    expect(unplanned(LINES, [shipment("PLANNED", 0, 2), shipment("RETURNED", 2, 3, true)])).toEqual([]);
  });

  test("are taken from the order's lines of that SKU, in their order, and never more than there are", () => {
    const left = unplanned(LINES, []);
    expect(takePieces(left, [{ sku: "MUG", quantity: 3 }])).toEqual([
      { position: 0, sku: "MUG", quantity: 2 },
      { position: 2, sku: "MUG", quantity: 1 },
    ]);
    expect(
      takePieces(
        left,
        [1, 2, 2].map((quantity) => ({ sku: "MUG", quantity })),
      ),
    ).toEqual(left);
    expect(() => takePieces(left, [{ sku: "MUG", quantity: 6 }])).toThrow(TooManyPiecesError);
    expect(() => takePieces(left, [{ sku: "CARD", quantity: 1 }])).toThrow(
      "no pieces of CARD are left to ship",
    );
  });
});

test("fulfilment counts the parcels that bring something", () => {
  const shipments = [
    shipment("DELIVERED", 0, 1),
    shipment("IN_TRANSIT", 0, 1),
    shipment("PLANNED", 2, 1),
    shipment("VOIDED", 2, 1),
    shipment("LOST", 2, 1),
  ];
  expect(fulfilmentOf(shipments)).toEqual({ shipped: 2, delivered: 1, of: 3 });
});
