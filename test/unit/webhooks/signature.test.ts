import { expect, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { afterRotation } from "../../../db/previous-secrets.ts";
import { newSecret, signedHeaders, type Secrets } from "../../../src/events/webhooks/signature.ts";

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

test("replacing a secret again makes those before valid for no longer than they were, and keeps the last two", () => {
  const DAY_MS = 24 * 3_600_000;
  const [first, second, third, fourth] = [newSecret(), newSecret(), newSecret(), newSecret()];
  const after = (hours: number) => new Date(at.getTime() + hours * 3_600_000);
  const rotate = (secrets: Secrets, secret: string, hours: number): Secrets => ({
    secret,
    ...afterRotation(secrets, { at: after(hours), until: new Date(after(hours).getTime() + DAY_MS) }),
  });
  const valid = (secrets: Secrets, hours: number) => {
    const signed = signedHeaders(secrets, { ...message, at: after(hours) })["webhook-signature"];
    const own = (secret: string) =>
      signedHeaders(
        { secret, previousSecret: null, previousSecretUntil: null },
        { ...message, at: after(hours) },
      );
    return [first, second, third, fourth].map((secret) => signed.includes(own(secret)["webhook-signature"]));
  };
  const original = { secret: first, previousSecret: null, previousSecretUntil: null };
  const once = rotate(original, second, 0);
  const twice = rotate(once, third, 20);
  expect(valid(twice, 23)).toEqual([true, true, true, false]);
  // A day after the first was replaced.
  expect(valid(twice, 25)).toEqual([false, true, true, false]);
  expect(valid(twice, 45)).toEqual([false, false, true, false]);
  const thrice = rotate(twice, fourth, 22);
  expect(valid(thrice, 23)).toEqual([false, true, true, true]);
  expect(valid(thrice, 45)).toEqual([false, false, true, true]);
  expect(valid(rotate(twice, fourth, 45), 46)).toEqual([false, false, true, true]);
  // As earlier versions wrote it.
  const old = { secret: third, previousSecret: `${second} ${first}`, previousSecretUntil: after(24) };
  expect(valid(rotate(old, fourth, 20), 25)).toEqual([false, false, true, true]);
});
