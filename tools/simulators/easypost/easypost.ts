import type { z } from "zod";
import type { Answer, Call } from "../call.ts";
import { fault, HEAVIEST, missing, NO_CUSTOMS, NOT_FOUND, ok, TOO_HEAVY, undeliverable } from "./answers.ts";
import {
  behaviourChange,
  clockChange,
  parcelMove,
  STANDARD,
  type Behaviour,
  type BehaviourChange,
} from "./behaviour.ts";
import { Parcel, TEST_CODES, type Fate, type Scan } from "./parcels.ts";
import {
  addressOf,
  customsOf,
  isJson,
  labelOf,
  newId,
  number,
  parcelOf,
  part,
  ratesOf,
  refundOf,
  text,
  time,
  verificationOf,
  type Address,
  type Json,
} from "./shapes.ts";
import type { Shipment } from "./shipment.ts";
import { shownEndpoint, Webhooks } from "./webhooks.ts";

const LONGEST_TIMER_MS = 24 * 60 * 60 * 1_000;

/** A label that was bought, for an auditor. */
export interface BoughtLabel {
  readonly shipmentId: string;
  readonly reference: string | null;
  readonly trackingCode: string;
  /** Dollars, as text. */
  readonly rate: string;
  readonly refundStatus: string | null;
  readonly at: Date;
  /** The street and number that it is for. */
  readonly street: string | null;
}

export interface EasyPostOptions {
  /** The keys that are accepted; any by default. */
  readonly keys?: readonly string[];
  readonly behaviour?: BehaviourChange;
  /** Returns numbers from 0 to below 1. */
  readonly random?: () => number;
  /** What it knew before, and what keeps it: shipments, each time they change. By default they are only in memory. */
  readonly book?: { readonly entries: readonly Shipment[]; readonly append: (shipment: Shipment) => void };
}

/**
 * Simulates EasyPost: addresses, shipments, trackers, webhooks and events, in test mode. Like EasyPost it knows no
 * idempotency keys: who asks again gets a second shipment, and may buy it too. But a shipment that was bought is not
 * sold again. Unlike EasyPost's test mode, it moves the parcels that it sells, on a clock that can be set.
 */
export class EasyPost {
  readonly webhooks: Webhooks;
  readonly #keys: readonly string[] | undefined;
  readonly #random: () => number;
  readonly #keep: (shipment: Shipment) => void;
  readonly #addresses = new Map<string, Address & { readonly given: Json }>();
  readonly #shipments = new Map<string, Shipment>();
  readonly #byReference = new Map<string, Shipment>();
  readonly #trackers = new Map<string, Parcel>();
  readonly #byCode = new Map<string, Parcel>();
  readonly #timers = new Map<Parcel, NodeJS.Timeout>();
  readonly #refundTimers = new Map<Shipment, NodeJS.Timeout>();
  /** What the clock is ahead of the machine's, in milliseconds. */
  #ahead = 0;
  #behaviour: Behaviour = STANDARD;
  /** Purchases whose answer was lost, and those of shipments that were bought before, which are refused. */
  readonly counts = { unanswered: 0, boughtAgain: 0 };
  /** Where the labels are, without a trailing slash. */
  labelsUrl = "";

  constructor({ keys, behaviour: given = {}, random = Math.random, book }: EasyPostOptions = {}) {
    this.#keep = (shipment) => book?.append(shipment);
    for (const shipment of book?.entries ?? []) this.#add(shipment);
    this.#keys = keys;
    this.#random = random;
    this.webhooks = new Webhooks(random);
    this.behave(given);
    for (const shipment of this.#shipments.values()) {
      if (shipment.purchase) this.#arm(shipment.purchase.parcel);
      this.#tellRefund(shipment);
    }
  }

  /** Its time. */
  now(): Date {
    return new Date(Date.now() + this.#ahead);
  }

  /** Labels in the order in which they were bought. */
  get bought(): readonly BoughtLabel[] {
    return [...this.#shipments.values()].flatMap((shipment) => {
      const { purchase } = shipment;
      if (purchase === undefined) return [];
      return [
        {
          shipmentId: shipment.id,
          reference: shipment.reference,
          trackingCode: purchase.parcel.code,
          rate: purchase.rate.rate,
          refundStatus: this.#refundStatus(shipment),
          at: purchase.at,
          street: shipment.to.street1,
        },
      ];
    });
  }

  /** Changes what is named of its behaviour. */
  behave(change: BehaviourChange): void {
    this.#behaviour = Object.assign({}, this.#behaviour, change);
    this.webhooks.delivery = this.#behaviour.webhooks;
    for (const parcel of Array.from(this.#timers.keys())) this.#arm(parcel);
  }

  /** Moves the clock forward; parcels follow. @param ms milliseconds */
  advance(ms: number): void {
    const before = this.now();
    this.#ahead += ms;
    for (const parcel of Array.from(this.#timers.keys())) this.#tellMoves(parcel, before);
    for (const shipment of Array.from(this.#refundTimers.keys())) this.#tellRefund(shipment);
  }

  /** Says where a parcel is. From then on it is only moved by hand. @returns whether there is such a parcel */
  move(code: string, status: Scan["status"], detail: string): boolean {
    const parcel = this.#byCode.get(code);
    if (parcel === undefined) return false;
    const before = parcel.tracker(this.now(), this.#behaviour.transitMs);
    parcel.said.push({ status, detail, at: this.now() });
    const shipment = this.#shipments.get(parcel.shipmentId ?? "");
    if (shipment) this.#keep(shipment);
    this.#disarm(parcel);
    this.#tell(parcel, before);
    return true;
  }

  close(): Promise<unknown> {
    for (const timer of [...this.#timers.values(), ...this.#refundTimers.values()]) clearTimeout(timer);
    return this.webhooks.close();
  }

  /** Whether the answer to this call is lost. */
  isUnanswered({ method, path }: Pick<Call, "method" | "path">): boolean {
    if (method !== "POST" || !path.endsWith("/buy") || !this.#draws(this.#behaviour.purchasesUnanswered))
      return false;
    this.counts.unanswered += 1;
    return true;
  }

  /** The order that a call is about, as our references tell: `<order id>:ship:2`. */
  orderOf({ path, body }: Pick<Call, "path" | "body">): string | undefined {
    const id = /^\/v2\/shipments\/([^/?]+)/.exec(path)?.[1];
    const reference =
      id === undefined
        ? text(part(isJson(body) ? body : {}, "shipment"), "reference")
        : (this.#find(decodeURIComponent(id))?.reference ?? id);
    return reference?.split(":")[0];
  }

  handle(call: Call): Answer {
    const url = new URL(call.path, "http://easypost");
    const route = `${call.method} ${url.pathname}`;
    const control = this.#control(route, call.body);
    if (control !== undefined) return control;
    if (url.pathname.startsWith("/labels/")) return { status: 200, body: { label: url.pathname } };
    const refused = this.#authorize(call.authorization);
    if (refused !== undefined) return refused;
    const body = isJson(call.body) ? call.body : {};
    for (const [pattern, answer] of this.#routes) {
      const found = pattern.exec(route);
      if (found) return answer.call(this, decodeURIComponent(found[1] ?? ""), body, url.searchParams);
    }
    return NOT_FOUND;
  }

  readonly #routes: readonly (readonly [
    RegExp,
    (id: string, body: Json, query: URLSearchParams) => Answer,
  ])[] = [
    [/^POST \/v2\/addresses$/, (_, body) => this.#createAddress(body)],
    [/^POST \/v2\/addresses\/create_and_verify$/, (_, body) => this.#createVerified(body)],
    [/^GET \/v2\/addresses\/([^/]+)\/verify$/, (id) => this.#verify(id)],
    [/^POST \/v2\/shipments$/, (_, body) => this.#create(body)],
    [/^GET \/v2\/shipments$/, (_, __, query) => this.#list(query)],
    [/^GET \/v2\/shipments\/([^/]+)$/, (id) => this.#with(id, (shipment) => this.#shown(shipment))],
    [/^POST \/v2\/shipments\/([^/]+)\/buy$/, (id, body) => this.#with(id, (each) => this.#buy(each, body))],
    [/^POST \/v2\/shipments\/([^/]+)\/rerate$/, (id) => this.#with(id, (each) => this.#rerate(each))],
    [/^POST \/v2\/shipments\/([^/]+)\/refund$/, (id) => this.#with(id, (each) => this.#refund(each))],
    [/^POST \/v2\/trackers$/, (_, body) => this.#track(body)],
    [/^GET \/v2\/trackers\/([^/]+)$/, (id) => this.#tracker(id)],
    [/^POST \/v2\/webhooks$/, (_, body) => this.#register(body)],
    [
      /^GET \/v2\/webhooks$/,
      () => ok({ webhooks: [...this.webhooks.endpoints.values()].map(shownEndpoint) }),
    ],
    [/^DELETE \/v2\/webhooks\/([^/]+)$/, (id) => (this.webhooks.endpoints.delete(id) ? ok({}) : NOT_FOUND)],
    [/^GET \/v2\/events$/, (_, __, query) => this.#events(query)],
    [/^GET \/v2\/events\/([^/]+)$/, (id) => this.#event(id)],
  ];

  /** Answers operators and tests; undefined for all other requests. */
  #control(route: string, body: unknown): Answer | undefined {
    const setting = <Schema extends z.ZodType>(schema: Schema, set: (value: z.output<Schema>) => boolean) => {
      const wanted = schema.safeParse(body);
      if (!wanted.success) return { status: 400, body: { error: wanted.error.message } };
      return set(wanted.data) ? { status: 200, body: { now: this.now().toISOString() } } : NOT_FOUND;
    };
    const code = /^PUT \/parcels\/([^/]+)$/.exec(route)?.[1];
    if (code !== undefined)
      return setting(parcelMove, ({ status, detail }) => this.move(decodeURIComponent(code), status, detail));
    if (route === "PUT /behaviour")
      return setting(behaviourChange, (wanted) => {
        this.behave(wanted);
        return true;
      });
    if (route === "PUT /clock")
      return setting(clockChange, (wanted) => {
        this.advance("now" in wanted ? Date.parse(wanted.now) - this.now().getTime() : wanted.advanceMs);
        return true;
      });
    return undefined;
  }

  #authorize(authorization: string | undefined): Answer | undefined {
    const [scheme, value = ""] = authorization?.split(" ") ?? [];
    const key = scheme === "Basic" ? Buffer.from(value, "base64").toString().replace(/:.*$/, "") : value;
    if (key === "") return fault(401, "UNAUTHORIZED", "Authentication required.");
    if (this.#keys === undefined || this.#keys.includes(key)) return undefined;
    return fault(
      403,
      "APIKEY.INACTIVE",
      "This api key is no longer active. Please use a different api key or reactivate this key.",
    );
  }

  #createAddress(body: Json): Answer {
    if (!isJson(body["address"])) return missing("address");
    const given = body["address"];
    const verified = wantsVerification(given) || wantsVerification(body);
    const strict = Boolean(given["verify_strict"] ?? body["verify_strict"]);
    const checked = verificationOf(given);
    if (strict && !checked.success) return undeliverable(checked.errors);
    const address = addressOf(given, this.now(), verified);
    this.#addresses.set(address.id, { ...address, given });
    return { status: 201, body: address };
  }

  #createVerified(body: Json): Answer {
    if (!isJson(body["address"])) return missing("address");
    const checked = verificationOf(body["address"]);
    if (!checked.success) return undeliverable(checked.errors);
    const address = addressOf(body["address"], this.now(), true);
    this.#addresses.set(address.id, { ...address, given: body["address"] });
    // Created and verified by one request: the times are spelled as those of other objects.
    return ok({ address: { ...address, created_at: time(this.now()), updated_at: time(this.now()) } });
  }

  #verify(id: string): Answer {
    const address = this.#addresses.get(id);
    if (address === undefined) return NOT_FOUND;
    const checked = verificationOf(address.given);
    return checked.success
      ? ok({ address: addressOf(address.given, this.now(), true) })
      : undeliverable(checked.errors);
  }

  #create(body: Json): Answer {
    if (!isJson(body["shipment"])) return missing("shipment");
    const given = body["shipment"];
    for (const name of ["from_address", "to_address", "parcel"])
      if (!isJson(given[name])) return missing(name);
    const to = part(given, "to_address");
    if (Boolean(to["verify_strict"]) && !verificationOf(to).success)
      return undeliverable(verificationOf(to).errors);
    const now = this.now();
    const id = newId("shp");
    const from = addressOf(part(given, "from_address"), now, false);
    const destination = addressOf(to, now, wantsVerification(to));
    const customs = isJson(given["customs_info"]) ? customsOf(given["customs_info"], now) : null;
    const isAbroad = destination.country !== from.country;
    const ounces = number(part(given, "parcel"), "weight") ?? 0;
    const messages = [
      ...(isAbroad && customs === null ? [NO_CUSTOMS] : []),
      ...(ounces > HEAVIEST ? [TOO_HEAVY] : []),
    ];
    const shipment: Shipment = {
      id,
      created: now,
      reference: text(given, "reference"),
      options: { ...part(given, "options"), currency: "USD", payment: { type: "SENDER" }, date_advance: 0 },
      from,
      to: destination,
      parcel: parcelOf(part(given, "parcel"), now),
      customs,
      rates: messages.length > 0 || ounces <= 0 ? [] : ratesOf(id, ounces, now),
      messages,
    };
    this.#add(shipment);
    this.#keep(shipment);
    return { ...this.#shown(shipment), status: 201 };
  }

  #add(shipment: Shipment): void {
    const { id, reference, purchase } = shipment;
    this.#shipments.set(id, shipment);
    if (reference !== null && (this.#byReference.get(reference)?.id ?? id) === id)
      this.#byReference.set(reference, shipment);
    if (purchase === undefined) return;
    this.#trackers.set(purchase.parcel.trackerId, purchase.parcel);
    this.#byCode.set(purchase.parcel.code, purchase.parcel);
  }

  #buy(shipment: Shipment, body: Json): Answer {
    if (shipment.purchase) this.counts.boughtAgain += 1;
    if (shipment.purchase)
      return fault(422, "SHIPMENT.POSTAGE.EXISTS", "Postage already exists for this shipment.");
    const rateId = text(part(body, "rate"), "id");
    if (rateId === null) return missing("rate");
    const rate = shipment.rates.find((each) => each.id === rateId);
    if (rate === undefined) return NOT_FOUND;
    const now = this.now();
    const code = `94${String(this.#shipments.size).padStart(8, "0")}${Math.floor(this.#random() * 1e12)
      .toString()
      .padStart(12, "0")}`;
    const parcel = new Parcel({ code, shipmentId: shipment.id, bought: now, fate: this.#fate() });
    shipment.purchase = {
      at: now,
      rate,
      label: labelOf(`${this.labelsUrl}/labels/${code}.png`, now),
      parcel,
    };
    // Whoever buys has the address checked, and spelled as the post does.
    shipment.to = { ...addressOf(shipment.to, now, true), id: shipment.to.id };
    this.#add(shipment);
    this.#keep(shipment);
    const answer = this.#shown(shipment);
    this.#tell(parcel, undefined);
    this.#arm(parcel);
    return answer;
  }

  /** Prices it anew. The rates of before can't be bought any more. */
  #rerate(shipment: Shipment): Answer {
    const ounces = number(shipment.parcel, "weight") ?? 0;
    if (shipment.rates.length > 0) shipment.rates = ratesOf(shipment.id, ounces, this.now());
    this.#keep(shipment);
    return ok({ rates: shipment.rates });
  }

  #fate(): Fate {
    if (this.#draws(this.#behaviour.parcelsLost)) return "lost";
    return this.#draws(this.#behaviour.parcelsReturned) ? "returned" : "delivered";
  }

  #draws(share: number): boolean {
    return share > 0 && this.#random() < share;
  }

  #refund(shipment: Shipment): Answer {
    const { purchase, refund } = shipment;
    if (purchase === undefined)
      return fault(422, "SHIPMENT.POSTAGE.REQUIRED", "A postage label is required to request a refund.");
    const { status } = purchase.parcel.tracker(this.now(), this.#behaviour.transitMs);
    const isUsed = status !== "unknown" && status !== "pre_transit";
    if (refund || isUsed || this.#random() < this.#behaviour.refundsRefused)
      return fault(
        422,
        "SHIPMENT.REFUND.UNAVAILABLE",
        refund
          ? "Unable to request refund. A refund was already requested."
          : "Unable to request refund. The parcel has been shipped.",
      );
    const now = this.now();
    shipment.refund = {
      at: now,
      rejected: this.#random() < this.#behaviour.refundsRejected,
      decidedAt: new Date(now.getTime() + this.#behaviour.refundMs),
      isTold: false,
    };
    this.#keep(shipment);
    // What is rejected later was used, and its parcel is on its way.
    if (!shipment.refund.rejected) {
      this.move(purchase.parcel.code, "cancelled", "cancelled");
      this.#tellRefund(shipment);
    }
    return this.#shown(shipment);
  }

  /** EasyPost tells of refunds that were granted, once they are; of others it says nothing. */
  #tellRefund(shipment: Shipment): void {
    const { purchase, refund } = shipment;
    if (!purchase || !refund || refund.isTold) return;
    const now = this.now();
    const timer = this.#refundTimers.get(shipment);
    clearTimeout(timer);
    this.#refundTimers.delete(shipment);
    const ms = refund.decidedAt.getTime() - now.getTime();
    if (ms > 0) {
      // At most: timers can't wait for more than some weeks, and the clock may be set.
      const again = setTimeout(() => this.#tellRefund(shipment), Math.min(ms, LONGEST_TIMER_MS));
      this.#refundTimers.set(shipment, again);
      return;
    }
    refund.isTold = true;
    this.#keep(shipment);
    const result = refundOf(shipment.id, purchase.parcel.code, refund.at);
    this.webhooks.tell("refund.successful", result, { status: "submitted" }, now);
  }

  #list(query: URLSearchParams): Answer {
    const size = Number(query.get("page_size") ?? 20);
    const purchased = query.get("purchased") !== "false";
    const all = [...this.#shipments.values()].toReversed().filter((each) => !purchased || each.purchase);
    const after = query.get("before_id");
    const from = after === null ? 0 : all.findIndex(({ id }) => id === after) + 1;
    const page = all.slice(from, from + size);
    return ok({ shipments: page.map((each) => this.#shown(each).body), has_more: all.length > from + size });
  }

  #track(body: Json): Answer {
    const given = part(body, "tracker");
    const code = text(given, "tracking_code");
    if (code === null) return missing("tracking_code");
    const known = this.#byCode.get(code);
    if (known === undefined && !(code in TEST_CODES))
      return fault(
        422,
        "TRACKER.CREATE.ERROR",
        "In test mode, only test tracking numbers are valid. Test tracking numbers are EZ1000000001, EZ2000000002, ... , EZ7000000007",
      );
    const parcel = known ?? new Parcel({ code, shipmentId: null, bought: this.now() });
    this.#trackers.set(parcel.trackerId, parcel);
    this.#byCode.set(code, parcel);
    const { fees, ...tracker } = parcel.tracker(this.now(), this.#behaviour.transitMs);
    if (known === undefined) this.webhooks.tell("tracker.created", { ...tracker, fees }, {}, this.now());
    return ok({ ...tracker, finalized: true, is_return: false });
  }

  #tracker(id: string): Answer {
    const parcel = this.#trackers.get(id);
    return parcel === undefined ? NOT_FOUND : ok(parcel.tracker(this.now(), this.#behaviour.transitMs));
  }

  #register(body: Json): Answer {
    const given = part(body, "webhook");
    const url = text(given, "url");
    if (url === null) return missing("url");
    const headers = Array.isArray(given["custom_headers"]) ? given["custom_headers"].filter(isJson) : [];
    const endpoint = {
      id: newId("hook"),
      url,
      secret: text(given, "webhook_secret"),
      at: this.now(),
      headers,
    };
    this.webhooks.endpoints.set(endpoint.id, endpoint);
    return { status: 201, body: shownEndpoint(endpoint) };
  }

  #events(query: URLSearchParams): Answer {
    const size = Number(query.get("page_size") ?? 20);
    const { events } = this.webhooks;
    const page = events.slice(0, size).map((event) => {
      const { description, id, user_id, status, created_at, mode, object } = event;
      return { description, id, user_id, status, created_at, mode, object };
    });
    return ok({ events: page, has_more: events.length > size });
  }

  #event(id: string): Answer {
    const event = this.webhooks.events.find((each) => each["id"] === id);
    return event === undefined ? NOT_FOUND : ok(event);
  }

  /** By id or, as EasyPost allows, by the first reference. */
  #with(id: string, answer: (shipment: Shipment) => Answer): Answer {
    const shipment = this.#find(id);
    return shipment === undefined ? NOT_FOUND : answer(shipment);
  }

  #find(id: string): Shipment | undefined {
    return this.#shipments.get(id) ?? this.#byReference.get(id);
  }

  #refundStatus({ refund }: Shipment): string | null {
    if (refund === undefined) return null;
    if (this.now() < refund.decidedAt) return "submitted";
    return refund.rejected ? "rejected" : "refunded";
  }

  #shown(shipment: Shipment): { readonly status: number; readonly body: Json } {
    const { purchase, from, to } = shipment;
    const tracker = purchase?.parcel.tracker(this.now(), this.#behaviour.transitMs) ?? null;
    return ok({
      created_at: time(shipment.created),
      is_return: false,
      messages: shipment.messages,
      mode: "test",
      options: shipment.options,
      reference: shipment.reference,
      status: tracker?.["status"] ?? "unknown",
      tracking_code: purchase?.parcel.code ?? null,
      updated_at: time(purchase?.at ?? shipment.created),
      batch_id: null,
      batch_status: null,
      batch_message: null,
      customs_info: shipment.customs,
      from_address: from,
      insurance: purchase ? "50.00" : null,
      order_id: null,
      parcel: shipment.parcel,
      postage_label: purchase?.label ?? null,
      rates: shipment.rates,
      refund_status: this.#refundStatus(shipment),
      scan_form: null,
      selected_rate: purchase?.rate ?? null,
      tracker,
      to_address: to,
      usps_zone: 4,
      return_address: from,
      buyer_address: to,
      forms: [],
      fees: purchase
        ? [
            {
              object: "Fee",
              type: "PostageFee",
              amount: `${purchase.rate.rate}000`,
              charged: true,
              refunded: false,
            },
          ]
        : [],
      id: shipment.id,
      object: "Shipment",
    });
  }

  /** Waits for the parcel's next status. */
  #arm(parcel: Parcel): void {
    this.#disarm(parcel);
    const now = this.now();
    const next = parcel.next(now, this.#behaviour.transitMs);
    if (next === undefined) return;
    const timer = setTimeout(() => this.#tellMoves(parcel, now), Math.max(1, next.getTime() - now.getTime()));
    this.#timers.set(parcel, timer);
  }

  #disarm(parcel: Parcel): void {
    clearTimeout(this.#timers.get(parcel));
    this.#timers.delete(parcel);
  }

  /** Tells each status that the parcel has reached since then. */
  #tellMoves(parcel: Parcel, since: Date): void {
    const { transitMs } = this.#behaviour;
    let before = parcel.tracker(since, transitMs);
    for (const { at } of parcel.scans(this.now(), transitMs).filter((scan) => scan.at > since)) {
      const after = parcel.tracker(at, transitMs);
      this.webhooks.tell("tracker.updated", after, { status: before["status"] }, at);
      before = after;
    }
    this.#arm(parcel);
  }

  #tell(parcel: Parcel, before: Json | undefined): void {
    const after = parcel.tracker(this.now(), this.#behaviour.transitMs);
    const description = before === undefined ? "tracker.created" : "tracker.updated";
    this.webhooks.tell(
      description,
      after,
      before === undefined ? {} : { status: before["status"] },
      this.now(),
    );
  }
}

function wantsVerification(given: Json): boolean {
  return [given["verify"], given["verify_strict"]].some(
    (wish) => wish === true || wish === "true" || (Array.isArray(wish) && wish.length > 0),
  );
}
