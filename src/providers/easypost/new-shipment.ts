import { CURRENCIES } from "../../order/money.ts";
import type { Address, OrderLine } from "../../order/order.ts";
import type { CarrierRequest } from "../../order/ports.ts";
import type { Parcel, Sender } from "../../order/shipment.ts";

const GRAMS_PER_OUNCE = 28.349_523_125;
const MILLIMETRES_PER_INCH = 25.4;

/** What a parcel is without a word about it: grams and millimetres. */
export type StandardParcel = Parcel & { readonly weight: number };

/** The body of a new shipment. */
export function asked(
  request: CarrierRequest,
  { from, to }: { readonly from: Sender; readonly to: Address },
  standard: StandardParcel,
): object {
  const parcel = { ...standard, ...request.parcel };
  const weighed = weightOf(request.items);
  const grams = request.parcel?.weight ?? (weighed > 0 ? weighed : standard.weight);
  return {
    reference: request.reference,
    to_address: { ...addressOf(to), verify: ["delivery"] },
    from_address: { ...addressOf(from), phone: from.phone, company: from.company },
    parcel: {
      weight: Math.max(0.1, Math.ceil((grams / GRAMS_PER_OUNCE) * 10) / 10),
      ...(parcel.length && parcel.width && parcel.height
        ? { length: inches(parcel.length), width: inches(parcel.width), height: inches(parcel.height) }
        : {}),
    },
    ...(to.country !== from.country && { customs_info: customsOf(request, from, grams) }),
  };
}

function customsOf({ items, currency }: CarrierRequest, from: Address, grams: number): object {
  const share = grams / Math.max(1, items.length);
  return {
    contents_type: "merchandise",
    customs_certify: true,
    customs_signer: from.name,
    non_delivery_option: "return",
    restriction_type: "none",
    eel_pfc: "NOEEI 30.37(a)",
    customs_items: items.map(({ sku, quantity, unitPrice, name, weight, customs }) => ({
      description: customs?.description ?? name ?? sku,
      quantity,
      // EasyPost wants the value of all pieces of the line.
      value: (quantity * unitPrice) / 10 ** digitsOf(currency),
      currency,
      weight: Math.max(0.1, (weight === undefined ? share : weight * quantity) / GRAMS_PER_OUNCE),
      origin_country: customs?.origin ?? from.country,
      ...(customs?.hsCode !== undefined && { hs_tariff_number: customs.hsCode }),
      code: sku,
    })),
  };
}

function weightOf(items: readonly OrderLine[]): number {
  return items.reduce((sum, { weight = 0, quantity }) => sum + weight * quantity, 0);
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
