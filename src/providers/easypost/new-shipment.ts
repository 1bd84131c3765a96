import { CURRENCIES } from "../../order/money.ts";
import type { Address, OrderLine } from "../../order/order.ts";
import { RequestRefusedError, type CarrierRequest } from "../../order/ports.ts";
import type { Parcel, Sender } from "../../order/shipment.ts";

const GRAMS_PER_OUNCE = 28.349_523_125;
const MILLIMETRES_PER_INCH = 25.4;

/** What a parcel is without a word about it: grams and millimetres. */
export type StandardParcel = Parcel & { readonly weight: number };

/** What may leave the US without an export declaration, of goods of one kind: less than that, in dollars. To Canada, anything. */
const DECLARED_FROM = 2_500;

/** The body of a new shipment. @throws {RequestRefusedError} if customs want what Conveyor does not have */
export function asked(
  request: CarrierRequest,
  { from, to }: { readonly from: Sender; readonly to: Address },
  standard: StandardParcel,
): object {
  const parcel = { ...standard, ...request.parcel };
  const grams = request.parcel?.weight ?? weightOf(request.items, standard.weight);
  return {
    reference: request.reference,
    to_address: { ...addressOf(to), phone: request.phone ?? undefined, verify: ["delivery"] },
    from_address: { ...addressOf(from), phone: from.phone, company: from.company },
    parcel: {
      weight: Math.max(0.1, Math.ceil((grams / GRAMS_PER_OUNCE) * 10) / 10),
      ...(parcel.length && parcel.width && parcel.height
        ? { length: inches(parcel.length), width: inches(parcel.width), height: inches(parcel.height) }
        : {}),
    },
    ...(to.country !== from.country && { customs_info: customsOf(request, { from, to }, grams) }),
  };
}

function customsOf(
  { items, currency }: CarrierRequest,
  { from, to }: { readonly from: Address; readonly to: Address },
  grams: number,
): object {
  const weights = weightsOf(items, grams);
  return {
    contents_type: "merchandise",
    customs_certify: true,
    customs_signer: from.name,
    non_delivery_option: "return",
    restriction_type: "none",
    ...(from.country === "US" && { eel_pfc: exemptionOf(items, currency, to) }),
    customs_items: items.map(({ sku, quantity, unitPrice, name, customs }, index) => ({
      description: customs?.description ?? name ?? sku,
      quantity,
      // EasyPost wants the value of all pieces of the line.
      value: (quantity * unitPrice) / 10 ** digitsOf(currency),
      currency,
      weight: weights[index],
      origin_country: customs?.origin ?? from.country,
      ...(customs?.hsCode !== undefined && { hs_tariff_number: customs.hsCode }),
      code: sku,
    })),
  };
}

/**
 * Why goods leave the US without an export declaration, which Conveyor does not make (15 CFR 30.36 and 30.37(a)).
 *
 * @throws {RequestRefusedError} if they need one. Values in other currencies are not converted, so they are left to the carrier.
 */
function exemptionOf(items: readonly OrderLine[], currency: string, to: Address): string {
  if (to.country === "CA") return "NOEEI 30.36";
  const values = new Map<string, number>();
  for (const { sku, quantity, unitPrice, customs } of items) {
    const kind = customs?.hsCode ?? sku;
    values.set(kind, (values.get(kind) ?? 0) + (quantity * unitPrice) / 10 ** digitsOf(currency));
  }
  const dear = [...values].find(([, value]) => value > DECLARED_FROM);
  if (dear && currency === "USD")
    throw new RequestRefusedError(
      `${dear[0]} is worth more than USD ${DECLARED_FROM} and needs an export declaration (AES ITN): send it by other means`,
    );
  return "NOEEI 30.37(a)";
}

/** The weight of these goods in grams. What some lines do not say is in the standard weight, which a parcel has at least then. */
function weightOf(items: readonly OrderLine[], standard: number): number {
  const known = items.reduce((sum, { weight = 0, quantity }) => sum + weight * quantity, 0);
  const isKnown = known > 0 && items.every(({ weight }) => weight !== undefined);
  return isKnown ? known : Math.max(known, standard);
}

/**
 * The weight of each line in ounces: together no more than the parcel. Lines that say nothing share what the others leave, by
 * pieces; if that is nothing, all are taken to weigh less than they say.
 */
function weightsOf(items: readonly OrderLine[], grams: number): number[] {
  const known = items.map(({ weight, quantity }) => (weight === undefined ? 0 : weight * quantity));
  const sum = known.reduce((a, b) => a + b, 0);
  const silent = items.reduce(
    (count, { weight, quantity }) => count + (weight === undefined ? quantity : 0),
    0,
  );
  const each = silent > 0 ? Math.max(grams - sum, grams / 10) / silent : 0;
  const raw = items.map(({ weight, quantity }, index) =>
    weight === undefined ? each * quantity : (known[index] ?? 0),
  );
  const scale = Math.min(1, grams / raw.reduce((a, b) => a + b, 0));
  // EasyPost keeps three digits, and takes no less.
  return raw.map((weight) =>
    Math.max(0.001, Math.floor(((weight * scale) / GRAMS_PER_OUNCE) * 1_000) / 1_000),
  );
}

function addressOf({ name, line1, line2, city, region, postalCode, country }: Address): object {
  return { name, street1: line1, street2: line2, city, state: region, zip: postalCode, country };
}

function inches(millimetres: number): number {
  return Math.ceil((millimetres / MILLIMETRES_PER_INCH) * 10) / 10;
}

/** Digits of a currency's minor unit. */
export function digitsOf(currency: string): number {
  return CURRENCIES.get(currency) ?? 2;
}
