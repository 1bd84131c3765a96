import { z } from "zod";
import {
  InvalidWebhookError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
  UndeliverableError,
  type CarrierProvider,
  type Voided,
} from "../../order/ports.ts";
import type { Address } from "../../order/order.ts";
import type { Cost, Label, Rate, Tracking } from "../../order/shipment.ts";
import { nowMs, timestamp } from "../../platform/clock.ts";
import { EasyPostCalls, EasyPostRefusal, shorten } from "./client.ts";
import { asked, digitsOf, type StandardParcel } from "./new-shipment.ts";
import { read, shipment, tracker, type EasyPostRate, type EasyPostShipment } from "./objects.ts";

export interface EasyPostOptions {
  readonly apiKey: string;
  /** Of the webhook; two while one is replaced. Without any, webhooks are refused. */
  readonly webhookSecrets: readonly string[];
  readonly url: string;
  readonly timeoutMs: number;
  readonly parcel: StandardParcel;
}

const webhook = z.object({
  result: z.object({
    object: z.string().nullish(),
    id: z.string().nullish(),
    shipment_id: z.string().nullish(),
  }),
});

/** Carriers change their prices; after that a shipment is priced anew before it is bought. Milliseconds. */
const RATES_LAST_MS = 24 * 60 * 60_000;

const STATES: Readonly<Record<string, Tracking["state"]>> = {
  unknown: "BOOKED",
  pre_transit: "BOOKED",
  in_transit: "IN_TRANSIT",
  out_for_delivery: "OUT_FOR_DELIVERY",
  available_for_pickup: "OUT_FOR_DELIVERY",
  delivered: "DELIVERED",
  return_to_sender: "RETURNED",
  failure: "EXCEPTION",
  cancelled: "EXCEPTION",
  error: "EXCEPTION",
};

/**
 * EasyPost, through its own client. It knows no idempotency keys: a shipment is created, which costs nothing, and its label is
 * bought once, since EasyPost sells none twice for one shipment.
 */
export function easypostCarrier(options: EasyPostOptions): CarrierProvider {
  const calls = new EasyPostCalls(options);
  const shipmentOf = async (
    signal: AbortSignal,
    call: Parameters<EasyPostCalls["make"]>[1],
  ): Promise<EasyPostShipment> => read(shipment, await calls.make(signal, call));
  const retrieve = (id: string, signal: AbortSignal) =>
    shipmentOf(signal, (client) => client.Shipment.retrieve(id));

  return {
    name: "easypost",
    tells: true,

    async ping(signal) {
      const answer = await fetch(options.url, { signal, redirect: "manual" }).catch((error: unknown) => {
        throw new ServiceUnavailableError("carrier", "EasyPost could not be reached", { cause: error });
      });
      await answer.body?.cancel();
      if ([502, 503, 504].includes(answer.status))
        throw new ServiceUnavailableError("carrier", `EasyPost answered ${answer.status}`);
    },

    async create(request) {
      const { signal, from, to } = request;
      if (to === null) throw new UndeliverableError("the order has none");
      if (from === null) throw new ServiceMisconfiguredError("carrier", "EasyPost needs SHIP_FROM");
      try {
        const body = asked(request, { from, to }, options.parcel);
        const made = await shipmentOf(signal, (client) => client.Shipment.create(body));
        mustBeDeliverable(made);
        return { carrierId: made.id, rates: ratesOf(made) };
      } catch (error) {
        if (error instanceof EasyPostRefusal && error.code.startsWith("ADDRESS."))
          throw undeliverable(error.faults);
        throw error;
      }
    },

    async buy({ carrierId, service, signal }) {
      const before = await retrieve(carrierId, signal);
      if (isBought(before)) return labelOf(before);
      const chosen = before.rates.find((each) => nameOf(each) === service);
      if (chosen === undefined)
        throw new RequestRefusedError(
          `EasyPost no longer offers ${service ?? "any service"} for this parcel`,
        );
      try {
        return labelOf(await shipmentOf(signal, (client) => client.Shipment.buy(carrierId, chosen.id)));
      } catch (error) {
        // Another attempt was faster.
        if (error instanceof EasyPostRefusal && error.code === "SHIPMENT.POSTAGE.EXISTS")
          return labelOf(await retrieve(carrierId, signal));
        throw error;
      }
    },

    async void({ carrierId, signal }) {
      if (carrierId === null) return { outcome: "voided" };
      const before = await retrieve(carrierId, signal);
      const known = voidedBy(before);
      if (known) return known;
      try {
        const after = await shipmentOf(signal, (client) => client.Shipment.refund(carrierId));
        return voidedBy(after) ?? { outcome: "pending" };
      } catch (error) {
        if (!(error instanceof EasyPostRefusal) || !error.code.startsWith("SHIPMENT.REFUND.")) throw error;
        return voidedBy(await retrieve(carrierId, signal)) ?? { outcome: "refused", reason: error.message };
      }
    },

    async track({ carrierId, trackingNumber, signal }) {
      if (carrierId === null) {
        // A parcel from before EasyPost was the carrier; it tracks those of others too.
        const made = await calls.make(signal, (client) =>
          client.Tracker.create({ tracking_code: trackingNumber ?? "" }),
        );
        return trackingOf(read(tracker, made));
      }
      const { tracker: found } = await retrieve(carrierId, signal);
      if (!found) throw new RequestRefusedError("EasyPost has bought no label for this shipment");
      return trackingOf(found);
    },

    async find({ reference, carrierId, to, signal }) {
      try {
        const found = await retrieve(carrierId ?? reference, signal);
        if (isBought(found)) return { carrierId: found.id, rates: [], label: labelOf(found) };
        if (carrierId === null) {
          const isChecked = Boolean(found.to_address.verifications?.delivery);
          if (!isChecked || !isFor(found, to)) return undefined;
          mustBeDeliverable(found);
        }
        if (!isStale(found)) return { carrierId: found.id, rates: ratesOf(found), label: null };
        await calls.make(signal, (client) => client.Shipment.regenerateRates(found.id));
        return { carrierId: found.id, rates: ratesOf(await retrieve(found.id, signal)), label: null };
      } catch (error) {
        if (error instanceof EasyPostRefusal && error.status === 404) return undefined;
        throw error;
      }
    },

    async parseWebhook(body, headers) {
      for (const secret of options.webhookSecrets) {
        let event: unknown;
        try {
          event = calls.client.Utils.validateWebhook(Buffer.from(body), headers, secret);
        } catch {
          continue;
        }
        const { success, data } = webhook.safeParse(event);
        if (!success) return undefined;
        const { object, id, shipment_id } = data.result;
        const carrierId = shipment_id ?? (object === "Shipment" ? id : undefined);
        return carrierId ? { carrierId } : undefined;
      }
      throw new InvalidWebhookError("the signature is missing or wrong");
    },
  };
}

/** @throws {UndeliverableError} */
function mustBeDeliverable({ to_address: { verifications } }: EasyPostShipment): void {
  const checked = verifications?.delivery;
  if (checked?.success === false) throw undeliverable(checked.errors?.map(({ message }) => message));
}

/** Whether its rates may not be those of today. */
function isStale({ rates, created_at }: EasyPostShipment): boolean {
  const since = dateOf(rates[0]?.created_at ?? created_at);
  return since !== null && since.getTime() + RATES_LAST_MS < nowMs();
}

function isBought({ tracking_code, postage_label }: EasyPostShipment): boolean {
  return Boolean(tracking_code) && Boolean(postage_label);
}

/** Whether it was announced for this address; in doubt not, since another one costs nothing. */
function isFor({ to_address: known }: EasyPostShipment, to: Address | null): boolean {
  const plain = (text: string | null | undefined) =>
    (text ?? "").toUpperCase().replaceAll(/\s+/g, " ").trim();
  return (
    to !== null &&
    plain(known.name) === plain(to.name) &&
    plain(known.street1) === plain(to.line1) &&
    plain(known.street2) === plain(to.line2) &&
    plain(known.city) === plain(to.city) &&
    plain(known.state) === plain(to.region) &&
    plain(known.zip).startsWith(plain(to.postalCode)) &&
    plain(known.country) === to.country
  );
}

function labelOf(bought: EasyPostShipment): Label {
  const { id, tracking_code, selected_rate, postage_label } = bought;
  if (!tracking_code)
    throw new ServiceUnavailableError("carrier", "EasyPost sold a label without a tracking code");
  return {
    trackingNumber: shorten(tracking_code).slice(0, 100),
    carrierId: id,
    service: selected_rate ? nameOf(selected_rate) : null,
    cost: selected_rate ? costOf(selected_rate) : null,
    trackingUrl: linkOf(bought.tracker?.public_url),
    labelUrl: linkOf(postage_label?.label_url),
  };
}

/** A price as EasyPost writes it, a decimal, in minor units. */
function costOf({ rate: price, currency }: EasyPostRate): Cost {
  const [whole = "0", fraction = ""] = price.split(".");
  const digits = digitsOf(currency);
  return { amount: Number(whole + fraction.padEnd(digits, "0").slice(0, digits)), currency };
}

function linkOf(text: string | null | undefined): string | null {
  if (!text || text.length > 1_000 || !URL.canParse(text)) return null;
  return /^https?:$/.test(new URL(text).protocol) ? text : null;
}

/** @throws {RequestRefusedError} if it offers none. */
function ratesOf({ rates, messages }: EasyPostShipment): Rate[] {
  if (rates.length > 0)
    return rates.map((each) => ({
      service: nameOf(each),
      cost: costOf(each),
      days: each.delivery_days ?? null,
    }));
  const why = (messages ?? []).map(({ message }) => (typeof message === "string" ? message : "")).join("; ");
  throw new RequestRefusedError(
    `EasyPost offers no service for this parcel: ${shorten(why) || "no reason given"}`,
  );
}

function nameOf({ carrier, service }: EasyPostRate): string {
  return shorten(`${carrier} ${service}`).slice(0, 64);
}

function voidedBy(given: EasyPostShipment): Voided | undefined {
  if (!isBought(given)) return { outcome: "voided" };
  switch (given.refund_status) {
    case null:
    case undefined:
      return undefined;
    case "refunded":
    case "not_applicable":
      return { outcome: "voided" };
    case "rejected":
      return { outcome: "refused", reason: "the carrier has rejected the refund" };
    default:
      return { outcome: "pending" };
  }
}

function trackingOf(given: z.output<typeof tracker>): Tracking {
  const { status, status_detail, est_delivery_date, updated_at, tracking_details } = given;
  const state = status_detail === "lost" ? "LOST" : (STATES[status] ?? "BOOKED");
  const isTrouble = state === "EXCEPTION" || state === "RETURNED" || state === "LOST";
  const words = [status, status_detail].filter((each) => each && each !== "unknown").join(": ");
  return {
    state,
    at: dateOf(tracking_details?.at(-1)?.datetime) ?? dateOf(updated_at) ?? timestamp(),
    expectedAt: dateOf(est_delivery_date),
    reason: isTrouble ? shorten(words.replaceAll("_", " ")) : null,
    askAgainIn: null,
  };
}

function dateOf(text: string | null | undefined): Date | null {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? null : new Date(time);
}

function undeliverable(faults: readonly string[] = []): UndeliverableError {
  return new UndeliverableError(
    faults.length > 0 ? faults.map(shorten).join(", ") : "the carrier does not know it",
  );
}
