import { v7 as uuidv7 } from "uuid";
import { UndeliverableError, type CarrierRequest } from "../../../src/order/ports.ts";
import type { Label, Tracking } from "../../../src/order/shipment.ts";
import { StartupError } from "../../../src/platform/startup.ts";
import { chooseRate } from "../../../src/providers/shipping/services.ts";
import { easypostCarrier } from "../../../src/providers/easypost/carrier.ts";

const TIMEOUT_MS = 20_000;
const IN_ALL_MS = 120_000;

/** Two addresses of EasyPost's own examples. */
const FROM = {
  name: "Conveyor's smoke test",
  line1: "417 Montgomery Street",
  line2: "5th Floor",
  city: "San Francisco",
  region: "CA",
  postalCode: "94104",
  country: "US",
  phone: "4151234567",
};
const TO = {
  name: "Dr. Steve Brule",
  line1: "179 N Harbor Dr",
  city: "Redondo Beach",
  region: "CA",
  postalCode: "90277",
  country: "US",
};

/** EasyPost's tracking codes for tests, and what they stand for. */
const CODES: readonly (readonly [code: string, state: Tracking["state"]])[] = [
  ["EZ2000000002", "IN_TRANSIT"],
  ["EZ3000000003", "OUT_FOR_DELIVERY"],
  ["EZ4000000004", "DELIVERED"],
  ["EZ5000000005", "RETURNED"],
  ["EZ6000000006", "EXCEPTION"],
];

/**
 * Tries all that Conveyor asks of EasyPost but webhooks, in test mode: a label is bought once, found by its id and by our
 * own name, and given back; parcels are tracked, and an address that does not exist is refused.
 *
 * @throws {StartupError} at the first step that does not come out as it should
 */
export async function smokeEasypost(
  { apiKey, url }: { readonly apiKey: string; readonly url: string },
  print: (line: string) => void,
): Promise<void> {
  const carrier = easypostCarrier({
    apiKey,
    url,
    webhookSecrets: [],
    timeoutMs: TIMEOUT_MS,
    parcel: { weight: 500, length: 300, width: 200, height: 100 },
  });
  const step = async <T>(what: string, ask: () => Promise<T>, told: (answer: T) => string): Promise<T> => {
    try {
      const answer = await ask();
      print(`ok  ${what}: ${told(answer)}`);
      return answer;
    } catch (error) {
      throw new StartupError(`${what}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  };
  const orderId = uuidv7();
  const request: CarrierRequest = {
    orderId,
    reference: `${orderId}:ship`,
    from: FROM,
    to: TO,
    parcel: null,
    items: [{ sku: "SMOKE", quantity: 1, unitPrice: 1_000, weight: 400 }],
    currency: "USD",
    signal: AbortSignal.timeout(IN_ALL_MS),
  };
  const { carrierId, rates } = await step(
    "a shipment is created",
    () => carrier.create(request),
    (made) => made.carrierId,
  );
  const { service } = await step(
    "it has rates",
    async () => chooseRate(rates ?? [], "cheapest"),
    (rate) => `${rate.service} is the cheapest of ${rates?.length ?? 0}`,
  );
  const named = { ...request, carrierId, trackingNumber: null };
  const label = await step(
    "its label is bought",
    () => carrier.buy({ ...request, carrierId, service }),
    labelText,
  );
  const same = (found: Label | null | undefined) => {
    if (found?.trackingNumber !== label.trackingNumber)
      throw new StartupError(`expected ${label.trackingNumber}, and got ${found?.trackingNumber ?? "none"}`);
    return found;
  };
  await step("once", async () => same(await carrier.buy({ ...request, carrierId, service })), labelText);
  await step("it is found by its id", async () => same((await carrier.find(named))?.label), labelText);
  await step(
    "it is found by our own name",
    async () => same((await carrier.find({ ...named, carrierId: null }))?.label),
    labelText,
  );
  await step("it is tracked", () => carrier.track(named), stateText);
  for (const [trackingNumber, state] of CODES)
    await step(
      `${trackingNumber} is ${state}`,
      async () => {
        const found = await carrier.track({ ...named, carrierId: null, trackingNumber });
        if (found.state !== state) throw new StartupError(`it is ${found.state}`);
        return found;
      },
      stateText,
    );
  await step(
    "the label is given back",
    async () => {
      const voided = await carrier.void(named);
      if (voided.outcome === "refused") throw new StartupError(voided.reason);
      return voided;
    },
    ({ outcome }) => outcome,
  );
  await step(
    "an address that does not exist is refused",
    async () => {
      const wrong = { ...request, reference: `${orderId}:ship:2`, to: { ...TO, line1: "nowhere" } };
      const fault: unknown = await carrier.create(wrong).catch((error: unknown) => error);
      if (!(fault instanceof UndeliverableError)) throw new StartupError("EasyPost took it");
      return fault;
    },
    ({ message }) => message,
  );
  print("all is well. Webhooks need one at EasyPost: see docs/shipping.md");
}

function labelText({ trackingNumber, service }: Label): string {
  return `${trackingNumber}${service === null ? "" : `, ${service}`}`;
}

function stateText({ state, reason }: Tracking): string {
  return reason ?? state;
}
