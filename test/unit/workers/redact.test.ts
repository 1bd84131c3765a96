import { describe, expect, test } from "@jest/globals";
import { ServiceUnavailableError } from "../../../src/order/ports.ts";
import { redacted, withoutSecrets } from "../../../src/engine/redact.ts";
import { NOTHING_MORE } from "../../support/orders.ts";

const order = {
  ...NOTHING_MORE,
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

  test("has nothing of what else is said of the customer", () => {
    const about = {
      ...order,
      customer: { name: "Ada King", email: "ada@example.com", phone: "+44 20 7946 0018" },
      billTo: {
        name: "Lord Byron",
        line1: "Newstead",
        city: "Ravenshead",
        postalCode: "NG15",
        country: "GB",
      },
      metadata: { nickname: "Enchantress" },
      note: "Ring twice",
    };
    const all = "Ada King, ada@example.com, +44 20 7946 0018, Lord Byron, Newstead, Enchantress, Ring twice";
    const words = Array.from({ length: 7 }, () => "[redacted]").join(", ");
    expect(withoutSecrets(new Error(all), about)).toMatchObject({ message: words });
    expect(redacted(`rejected: ${all}`, about)).toBe(`rejected: ${words}`);
  });

  test("has no part of a value that contains another one", () => {
    const about = { ...order, customer: { name: "Ada Lovelace of London" } };
    expect(redacted("Ada Lovelace of London", about)).toBe("[redacted]");
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
