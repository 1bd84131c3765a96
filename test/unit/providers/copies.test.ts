import { expect, test } from "@jest/globals";
import { withCopies } from "../../../src/providers/copies.ts";

test("a provider of a module changes what it is asked in a copy of its own, and gets signals, functions and bodies as they are", async () => {
  const given: unknown[] = [];
  class Provider {
    readonly name = "own";
    readonly #kept = given;
    authorize(request: { lines: { quantity: number }[]; shipTo: { city: string }; orderId: string }) {
      request.orderId = "x";
      request.shipTo.city = "Nowhere";
      request.lines.push({ quantity: 5 });
      this.#kept.push(request);
    }
    parseWebhook(...parts: unknown[]) {
      this.#kept.push(...parts);
    }
  }
  const provider = withCopies(Object.freeze(new Provider()));
  const { signal } = new AbortController();
  const remember = () => undefined;
  const request = {
    orderId: "o",
    shipTo: { city: "Berlin" },
    lines: [{ quantity: 1 }],
    signal,
    remember,
    at: new Date(0),
  };
  provider.authorize(request);
  expect(request).toEqual({
    orderId: "o",
    shipTo: { city: "Berlin" },
    lines: [{ quantity: 1 }],
    signal,
    remember,
    at: new Date(0),
  });
  expect(given.pop()).toMatchObject({ orderId: "x", signal, remember, at: new Date(0) });
  const [body, headers] = [Buffer.from("{}"), { "webhook-id": "w" }];
  provider.parseWebhook(body, headers);
  expect(given[0]).toBe(body);
  expect(given[1]).toEqual(headers);
  expect([provider.name, Reflect.get(provider, "disputeOf")]).toEqual(["own", undefined]);
});
