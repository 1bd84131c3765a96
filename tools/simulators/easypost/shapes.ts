import { randomBytes } from "node:crypto";

/*
 * EasyPost's objects as its API writes them, after exchanges that its own client's tests recorded (test/unit/easypost.test.ts
 * compares). Money is text, weights are ounces, and addresses have another spelling of times than the rest.
 */

/** JSON as a client sent it. */
export type Json = Readonly<Record<string, unknown>>;

/** An id as EasyPost makes them. @param prefix such as `shp` */
export function newId(prefix: string): string {
  return `${prefix}_${randomBytes(16).toString("hex")}`;
}

/** `2024-07-30T16:12:07Z` */
export function time(at: Date): string {
  return `${at.toISOString().slice(0, 19)}Z`;
}

/** What an object with an id, a mode and times begins with. */
function head(id: string, object: string, at: Date) {
  return { id, object, created_at: time(at), updated_at: time(at), mode: "test" as const };
}

/** A field of a request as text; null if it is missing or empty. */
export function text(given: Json, name: string): string | null {
  const value = given[name];
  return typeof value === "string" && value !== "" ? value : null;
}

export function number(given: Json, name: string): number | null {
  const value = given[name];
  return typeof value === "number" ? value : null;
}

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A nested object; empty if there is none. */
export function part(given: Json, name: string): Json {
  const value = given[name];
  return isJson(value) ? value : {};
}

/** Why an address can't be delivered to. */
export interface FieldFault {
  readonly code: string;
  readonly field: string;
  readonly message: string;
  readonly suggestion: string | null;
}

/** What a check of an address came to. */
export interface Verification {
  readonly success: boolean;
  readonly errors: readonly FieldFault[];
  readonly details: Json | null;
}

export type Address = ReturnType<typeof addressOf>;

/** @param verify checks it, which also spells it as the post does. */
export function addressOf(given: Json, at: Date, verify: boolean) {
  const checked = verify ? verificationOf(given) : undefined;
  const spelled = (name: string): string | null => {
    const value = text(given, name);
    return checked?.success === true ? (value?.toUpperCase() ?? null) : value;
  };
  const iso = `${at.toISOString().slice(0, 19)}+00:00`;
  return {
    id: newId("adr"),
    object: "Address" as const,
    created_at: iso,
    updated_at: iso,
    name: spelled("name"),
    company: spelled("company"),
    street1: spelled("street1"),
    street2: checked?.success === true ? (spelled("street2") ?? "") : spelled("street2"),
    city: spelled("city"),
    state: text(given, "state"),
    zip: text(given, "zip"),
    country: text(given, "country") ?? "US",
    phone: text(given, "phone"),
    email: text(given, "email"),
    mode: "test" as const,
    carrier_facility: null,
    residential: checked?.success === true ? false : null,
    federal_tax_id: null,
    state_tax_id: null,
    verifications: checked === undefined ? {} : { zip4: checked, delivery: checked },
  };
}

/** An address without a number of a house is unknown, as the recorded one. */
export function verificationOf(given: Json): Verification {
  const errors: FieldFault[] = [];
  const fault = (code: string, field: string, message: string) =>
    errors.push({ code, field, message, suggestion: null });
  if (!/\d/.test(text(given, "street1") ?? "")) {
    fault("E.ADDRESS.NOT_FOUND", "address", "Address not found");
    fault("E.HOUSE_NUMBER.MISSING", "street1", "House number is missing");
  }
  if (errors.length > 0) return { success: false, errors, details: null };
  const details = { latitude: 33.8436, longitude: -118.39177, time_zone: "America/Los_Angeles" };
  return { success: true, errors, details };
}

export function parcelOf(given: Json, at: Date) {
  return {
    ...head(newId("prcl"), "Parcel", at),
    length: number(given, "length"),
    width: number(given, "width"),
    height: number(given, "height"),
    predefined_package: text(given, "predefined_package"),
    weight: number(given, "weight"),
  };
}

export function customsOf(given: Json, at: Date) {
  const items = Array.isArray(given["customs_items"]) ? given["customs_items"].filter(isJson) : [];
  return {
    ...head(newId("cstinfo"), "CustomsInfo", at),
    contents_explanation:
      typeof given["contents_explanation"] === "string" ? given["contents_explanation"] : null,
    contents_type: text(given, "contents_type"),
    customs_certify: given["customs_certify"] === true,
    customs_signer: text(given, "customs_signer"),
    eel_pfc: text(given, "eel_pfc"),
    non_delivery_option: text(given, "non_delivery_option"),
    restriction_comments: null,
    restriction_type: text(given, "restriction_type"),
    declaration: null,
    customs_items: items.map((item) => customsItemOf(item, at)),
  };
}

function customsItemOf(item: Json, at: Date) {
  return {
    ...head(newId("cstitem"), "CustomsItem", at),
    description: text(item, "description"),
    hs_tariff_number: text(item, "hs_tariff_number"),
    origin_country: text(item, "origin_country"),
    quantity: number(item, "quantity"),
    value: number(item, "value")?.toFixed(2) ?? text(item, "value"),
    weight: number(item, "weight"),
    code: text(item, "code"),
    manufacturer: null,
    currency: text(item, "currency"),
    eccn: null,
    printed_commodity_identifier: null,
  };
}

export type Rate = ReturnType<typeof rateOf>;

/** Services of the simulated carrier: the price of the first 16 ounces, of each further one, and days. */
const SERVICES = [
  { service: "Express", price: 33.1, ounce: 0.4, days: 2 },
  { service: "Priority", price: 6.9, ounce: 0.15, days: 2 },
  { service: "GroundAdvantage", price: 5.93, ounce: 0.1, days: 3 },
] as const;

/** @param ounces the parcel's weight */
export function ratesOf(shipmentId: string, ounces: number, at: Date): Rate[] {
  return SERVICES.map((each) => rateOf(shipmentId, each, ounces, at));
}

function rateOf(shipmentId: string, given: (typeof SERVICES)[number], ounces: number, at: Date) {
  const price = given.price + given.ounce * Math.max(0, ounces - 16);
  return {
    ...head(newId("rate"), "Rate", at),
    service: given.service,
    carrier: "USPS",
    rate: price.toFixed(2),
    currency: "USD",
    retail_rate: (price * 1.4).toFixed(2),
    retail_currency: "USD",
    list_rate: (price * 1.1).toFixed(2),
    list_currency: "USD",
    billing_type: "easypost",
    delivery_days: given.days,
    delivery_date: null,
    delivery_date_guaranteed: false,
    est_delivery_days: given.days,
    shipment_id: shipmentId,
    carrier_account_id: "ca_5ba7ca3632c54adeb17ad4bcac13c890",
  };
}

/** @param labelUrl where the label can be fetched */
export function labelOf(labelUrl: string, at: Date) {
  return {
    object: "PostageLabel" as const,
    id: newId("pl"),
    created_at: time(at),
    updated_at: time(at),
    date_advance: 0,
    integrated_form: "none",
    label_date: time(at),
    label_resolution: 300,
    label_size: "4x6",
    label_type: "default",
    label_file_type: "image/png",
    label_url: labelUrl,
    label_pdf_url: null,
    label_zpl_url: null,
    label_epl2_url: null,
    label_file: null,
  };
}

/** A refund that was granted, after EasyPost's documentation. */
export function refundOf(shipmentId: string, trackingCode: string, at: Date) {
  return {
    ...head(newId("rfnd"), "Refund", at),
    tracking_code: trackingCode,
    confirmation_number: null,
    status: "refunded",
    carrier: "USPS",
    shipment_id: shipmentId,
  };
}

/** The statuses of EasyPost's trackers. */
export const TRACKER_STATUSES = [
  "unknown",
  "pre_transit",
  "in_transit",
  "out_for_delivery",
  "delivered",
  "available_for_pickup",
  "return_to_sender",
  "failure",
  "cancelled",
  "error",
] as const;
export type TrackerStatus = (typeof TRACKER_STATUSES)[number];

const MESSAGES: Readonly<Record<TrackerStatus, string>> = {
  unknown: "No information",
  pre_transit: "Shipping Label Created",
  in_transit: "Arrived at USPS Origin Facility",
  out_for_delivery: "Out for Delivery",
  delivered: "Delivered",
  available_for_pickup: "Available for Pickup",
  return_to_sender: "Returned to Sender",
  failure: "Delivery failed",
  cancelled: "Label Cancelled",
  error: "Carrier error",
};

/** A scan of the parcel. */
export function scanOf(status: TrackerStatus, detail: string, at: Date) {
  return {
    object: "TrackingDetail" as const,
    message: MESSAGES[status],
    description: "",
    status,
    status_detail: detail,
    datetime: time(at),
    source: "USPS",
    carrier_code: "",
    tracking_location: { object: "TrackingLocation", city: null, state: null, country: null, zip: null },
  };
}

const PLACE = { object: "TrackingLocation", city: "HOUSTON", state: "TX", country: null, zip: "77063" };

/** What the carrier tells of a parcel. EasyPost has it only for trackers of its own test codes. */
export const CARRIER_DETAIL = {
  object: "CarrierDetail",
  service: "First-Class Package Service",
  container_type: null,
  est_delivery_date_local: null,
  est_delivery_time_local: null,
  origin_location: "HOUSTON TX, 77001",
  origin_tracking_location: PLACE,
  destination_location: "CHARLESTON SC, 29401",
  destination_tracking_location: null,
  guaranteed_delivery_date: null,
  alternate_identifier: null,
  initial_delivery_attempt: null,
} as const;

/** Where a customer can follow the parcel. */
export function publicUrl(trackerId: string): string {
  return `https://track.easypost.com/${Buffer.from(`v1:${trackerId}`).toString("base64url")}`;
}
