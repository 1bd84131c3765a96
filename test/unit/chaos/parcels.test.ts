import { describe, expect, test } from "@jest/globals";
import { labelsOfMoved } from "../../../tools/chaos/addresses.ts";
import { faultsOfPieces } from "../../../tools/chaos/parcels.ts";

describe("the audit of parcels", () => {
  test("finds a label for an address that was changed before", () => {
    const label = { reference: "o1:ship:2", street: "1 MAIN ST", at: new Date(2_000) };
    const moved = new Map([["o1", 1_000]]);
    const check = (given: Partial<typeof label>) =>
      labelsOfMoved([{ ...label, ...given }], moved, "1 Main St");
    expect(check({})).toMatchObject({ checked: 1, breaches: [] });
    expect(check({ street: "179 N HARBOR DR" })).toMatchObject({
      checked: 1,
      breaches: ["o1:ship:2 was bought for 179 N HARBOR DR, not 1 Main St"],
    });
    expect(check({ street: "179 N HARBOR DR", at: new Date(999) })).toMatchObject({
      checked: 0,
      breaches: [],
    });
    expect(check({ street: "179 N HARBOR DR", reference: "o2:ship" })).toMatchObject({
      checked: 0,
      breaches: [],
    });
  });

  test("misses no piece that was refunded, and finds one that was sent all the same", () => {
    const order = { id: "o1", status: "DELIVERED" };
    const lines = [{ orderId: "o1", sku: "MUG", quantity: 3, cancelled: 1 }];
    const parcel = {
      orderId: "o1",
      reference: "o1:ship",
      number: 1,
      state: "DELIVERED",
      trackingNumber: "1",
    };
    const faults = (quantity: number) =>
      faultsOfPieces(order, lines, [{ ...parcel, pieces: [{ sku: "MUG", quantity }], isClosed: false }]);
    expect(faults(2)).toEqual([]);
    expect(faults(3)).toEqual(["o1: 1 MUG more in parcels than were ordered"]);
    expect(faults(1)).toEqual(["o1 is DELIVERED without 1 MUG"]);
  });
});
