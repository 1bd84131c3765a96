import { describe, expect, test } from "@jest/globals";
import { DISPUTE_STATES, PAYMENT_STATES, REFUND_STATES } from "../../../src/order/payment.ts";
import { declareStates, mayBecome, statesBefore } from "../../../src/order/states.ts";

describe("the declared states of what lies below an order", () => {
  test("are refused with all their faults when they are declared, so that nothing starts", () => {
    expect(() => declareStates("parcel", { PLANNED: ["SENT"], LOST: [] })).toThrow(
      "the states of a parcel are invalid: a parcel in PLANNED may become SENT, which is not declared; no parcel ever becomes LOST",
    );
    expect(declareStates("parcel", { PLANNED: ["SENT"], SENT: [] })).toEqual({ PLANNED: ["SENT"], SENT: [] });
  });

  test("say what may follow", () => {
    expect(mayBecome(PAYMENT_STATES, "AUTHORIZED", "CAPTURED")).toBe(true);
    expect(mayBecome(PAYMENT_STATES, "CAPTURED", "AUTHORIZED")).toBe(false);
    expect(mayBecome(REFUND_STATES, "UNKNOWN", "FAILED")).toBe(false);
    // A customer whose card was declined may still pay with another.
    expect(statesBefore(PAYMENT_STATES, "CAPTURED")).toEqual(["PENDING", "AUTHORIZED", "DECLINED"]);
    expect(statesBefore(DISPUTE_STATES, "WON")).toEqual(["INQUIRY", "OPEN", "LOST", "CLOSED"]);
  });
});
