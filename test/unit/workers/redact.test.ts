import { describe, expect, test } from "@jest/globals";
import { ServiceUnavailableError } from "../../../src/order/ports.ts";
import { withoutSecrets } from "../../../src/engine/redact.ts";

const order = {
  paymentToken: "tok_secret_42",
  shipTo: {
    name: "Ada Lovelace",
    line1: "12 St James's Square",
    city: "London",
    postalCode: "SW1",
    country: "GB",
  },
};

describe("an error without secrets", () => {
  test("is the same error when it tells none", () => {
    const error = new TypeError("the provider answered 500");
    expect(withoutSecrets(error, order)).toBe(error);
    expect(withoutSecrets("not an error", order)).toBe("not an error");
  });

  test("has neither the payment token nor the address in its text or stack", () => {
    const error = new TypeError("cannot charge tok_secret_42 of Ada Lovelace, 12 St James's Square, London");
    const told = withoutSecrets(error, order);
    expect(told).toMatchObject({
      name: "TypeError",
      message: "cannot charge [redacted] of [redacted], [redacted], [redacted]",
    });
    expect(JSON.stringify([told instanceof Error && told.stack])).not.toMatch(/secret_42|Lovelace|London/);
  });

  test("is still of its class, which says what becomes of the job", () => {
    const told = withoutSecrets(
      new ServiceUnavailableError("payments", "no answer for tok_secret_42"),
      order,
    );
    expect(told).toBeInstanceOf(ServiceUnavailableError);
    expect(told).toMatchObject({ service: "payments", message: "no answer for [redacted]" });
  });

  test("keeps words that only look like a short part of an address", () => {
    const error = new Error("GB and SW1 are not secrets");
    expect(withoutSecrets(error, order)).toBe(error);
  });

  test("has no secret in what it was caused by", () => {
    const told = withoutSecrets(new Error("tok_secret_42", { cause: new Error("tok_secret_42") }), order);
    expect(told).not.toHaveProperty("cause");
  });
});
