import { expect, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { newSecret, signedHeaders } from "../../../src/events/webhooks/signature.ts";

const at = new Date();
const message = { id: "4711", at, body: '{"a":"ü"}' };

test("a secret is as Standard Webhooks want it, and another one every time", () => {
  const secret = newSecret();
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  expect(newSecret()).not.toBe(secret);
});

test("what is signed is verified with the secret, and with no other", () => {
  const secret = newSecret();
  const headers = signedHeaders({ secret, previousSecret: null, previousSecretUntil: null }, message);
  expect(headers).toMatchObject({
    "webhook-id": "4711",
    "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
  });
  expect(new Webhook(secret).verify(message.body, headers)).toEqual({ a: "ü" });
  expect(() => new Webhook(newSecret()).verify(message.body, headers)).toThrow("No matching signature");
  expect(() => new Webhook(secret).verify('{"a":"u"}', headers)).toThrow("No matching signature");
});

test("while a secret is being replaced, also twice, all are valid, and then the new one alone", () => {
  const [secret, previousSecret, first] = [newSecret(), newSecret(), newSecret()];
  const until = (ms: number) => ({
    secret,
    previousSecret: `${previousSecret} ${first}`,
    previousSecretUntil: new Date(at.getTime() + ms),
  });
  const during = signedHeaders(until(1), message);
  for (const each of [secret, previousSecret, first])
    expect(new Webhook(each).verify(message.body, during)).toEqual({ a: "ü" });
  const after = signedHeaders(until(0), message);
  expect(new Webhook(secret).verify(message.body, after)).toEqual({ a: "ü" });
  expect(() => new Webhook(previousSecret).verify(message.body, after)).toThrow();
});
