import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEasyPost } from "../../../tools/simulators/easypost/server.ts";
import { startProviders, type Providers } from "../../../tools/simulators/providers.ts";
import { startCommand } from "../../support/command.ts";

let providers: Providers;
beforeAll(async () => {
  providers = await startProviders({ transitMs: 0 });
});
afterAll(() => providers.close());

const smoke = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  startCommand("tools/cli/smoke.ts", args, env).ended;
const easypost = (env: Readonly<Record<string, string>>) => smoke(["easypost"], env);
const stripe = (env: Readonly<Record<string, string>> = {}) =>
  smoke(["stripe"], { STRIPE_API_URL: providers.paymentsUrl, ...env });

test("Stripe is tried with a test key, a line for each step", async () => {
  const { code, stdout, stderr } = await stripe({ STRIPE_SECRET_KEY: "sk_test_smoke" });
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout.split("\n").map((line) => line.replace(/ \((pi|re)_\w+\)/, ""))).toEqual([
    "ok  a card is authorized: authorized",
    "ok  it is found: authorized",
    "ok  600 of 1,000 are captured: captured",
    "ok  once, under the same key: captured",
    "ok  200 are refunded: succeeded",
    "ok  the refund is found: succeeded",
    "ok  nobody disputes it",
    "ok  a card is declined: declined",
    "ok  it is found: declined",
    "ok  a customer has to confirm: pending",
    "ok  the payment is cancelled: cancelled",
    "ok  another card is authorized: authorized",
    "ok  and released: cancelled",
    "all is well. Webhooks need an endpoint at Stripe: see docs/providers.md",
    "",
  ]);
  expect(providers.books.charges).toMatchObject([{ amount: 600 }]);
});

test.each<[string, Record<string, string>, RegExp]>([
  ["without a key", {}, /STRIPE_SECRET_KEY.*sk_test_/],
  ["with a key for real money", { STRIPE_SECRET_KEY: "sk_live_1" }, /nothing is tried with real money/],
  [
    "that does not answer",
    { STRIPE_SECRET_KEY: "sk_test_1", STRIPE_API_URL: "http://127.0.0.1:1" },
    /^a card is authorized: payments could not be reached/,
  ],
])("Stripe %s is told in one line", async (_what, env, line) => {
  const { code, stdout, stderr } = await stripe(env);
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr.trim()).toMatch(line);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});

test("EasyPost is tried with a test key, a line for each step", async () => {
  const server = await startEasyPost({ behaviour: { transitMs: 60_000 } });
  const { code, stdout, stderr } = await easypost({
    EASYPOST_API_KEY: "EZTKsmoke",
    EASYPOST_API_URL: `${server.url}/v2`,
  });
  const { bought } = server.easypost;
  await server.close();
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout.split("\n").map((line) => line.replace(/: .*/, ""))).toEqual([
    "ok  a shipment is created",
    "ok  it has rates",
    "ok  its label is bought",
    "ok  once",
    "ok  it is found by its id",
    "ok  it is found by our own name",
    "ok  it is tracked",
    "ok  EZ2000000002 is IN_TRANSIT",
    "ok  EZ3000000003 is OUT_FOR_DELIVERY",
    "ok  EZ4000000004 is DELIVERED",
    "ok  EZ5000000005 is RETURNED",
    "ok  EZ6000000006 is EXCEPTION",
    "ok  the label is given back",
    "ok  an address that does not exist is refused",
    "all is well. Webhooks need one at EasyPost",
    "",
  ]);
  expect(bought).toMatchObject([{ refundStatus: "refunded" }]);
});

test.each<[string, Record<string, string>, RegExp]>([
  ["without a key", {}, /EASYPOST_API_KEY.*EZTK/],
  ["with a key for real money", { EASYPOST_API_KEY: "EZAK1" }, /no label is bought with real money/],
  [
    "that does not answer",
    { EASYPOST_API_KEY: "EZTK1", EASYPOST_API_URL: "http://127.0.0.1:1/v2" },
    /^a shipment is created: EasyPost could not be reached/,
  ],
])("EasyPost %s is told in one line", async (_what, env, line) => {
  const { code, stdout, stderr } = await easypost(env);
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr.trim()).toMatch(line);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});

test("a provider that is unknown is answered with the usage", async () => {
  expect(await smoke(["adyen"])).toEqual({
    code: 1,
    stdout: "",
    stderr: "usage: npm run smoke -- stripe|easypost\n",
  });
});
