import pLimit from "p-limit";
import { Transport } from "../shared/transport.ts";
import { API_KEY } from "./deployment.ts";
import { chance, stream } from "./random.ts";
import type { Scene } from "./run.ts";
import { number, Sql, text, textOrNull, type Row } from "./sql.ts";

/** Of the orders, those that travel in parts; and of the parcels, those that are called off once they are booked. */
const PARTED_SHARE = 0.4;
const CALLED_OFF_SHARE = 0.15;
/** Of the parcels that were lost or returned, those whose pieces are not shipped again. */
const GIVEN_UP_SHARE = 0.25;
/** Of the orders: those whose customer moves house, and those of which a piece is paid back before it is packed. */
const MOVED_SHARE = 0.1;
const REFUNDED_SHARE = 0.1;
/** Of the parcels, those that are planned with a service that nobody offers. */
const WRONG_SERVICE_SHARE = 0.05;
/** An answer that does not come is asked for again when the order is looked at next. */
const PATIENCE_MS = 5_000;
const WITHIN_MS = 5_000;
/** Orders that are worked on at once. */
const CLERKS = 8;

/** Where customers live who have moved, and whose address was wrong. */
export const NEW_HOME = {
  name: "Elizabeth Swan",
  line1: "1 Main St",
  city: "Springfield",
  region: "IL",
  postalCode: "62701",
  country: "US",
};

/**
 * The warehouse and its operators. Again and again they look at the orders in MySQL, and ask for what is missing: parcels, two
 * at once; labels; that a parcel is called off; another address; a refund of a piece. What the carrier does not take back they
 * close, what it does not take at all they call off. What does not arrive they close or ship again.
 */
export class Warehouse {
  readonly counts = { asked: 0, refused: 0, settled: 0, notOffered: 0, refunds: 0 };
  /** When the service had said that orders go to the new address, milliseconds since 1970. */
  readonly moved = new Map<string, number>();
  readonly #scene: Scene;
  readonly #sql: Sql;
  readonly #transports: readonly Transport[];
  /** Parcels that were called off, or are not going to be. */
  readonly #decided = new Set<string>();
  #turn = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#sql = new Sql(scene.deployment.databaseUrl);
    this.#transports = scene.deployment.apiUrls.map((url) => new Transport(url, CLERKS));
  }

  /** Works on every order once. @throws {Error} of the driver while MySQL is away */
  async lookAround(): Promise<void> {
    const orders = await this.#sql.rows(
      "SELECT id, status, cancel_requested_at, failed_stage, waiting_for FROM orders WHERE status IN ('PAID', 'SHIPPED')",
      [],
      WITHIN_MS,
    );
    if (orders.length === 0) return;
    const ids = orders.map(({ id }) => id);
    const shipments = await this.#sql.rows(
      "SELECT order_id, number, state, voiding, book_requested_at, closed_at, reason FROM shipments WHERE order_id IN (?)",
      [ids],
      WITHIN_MS,
    );
    const limit = pLimit(CLERKS);
    const settled = await Promise.all(
      orders.map((order) =>
        limit(() =>
          this.#workOn(
            order,
            shipments.filter((each) => each["order_id"] === order["id"]),
          ),
        ),
      ),
    );
    if (settled.some(Boolean)) await this.#post("/orders/resume", { stage: "cancel" });
  }

  close(): void {
    this.#sql.close();
    for (const transport of this.#transports) transport.close();
  }

  /** @returns whether what kept it from being cancelled was settled */
  async #workOn(order: Row, shipments: readonly Row[]): Promise<boolean> {
    const id = text(order["id"]);
    const path = `/orders/${id}/shipments`;
    const { seed } = this.#scene.options;
    if (order["cancel_requested_at"] !== null) {
      if (order["failed_stage"] === null) return false;
      for (const each of shipments.filter(isRefused)) await this.#settle(`${path}/${number(each["number"])}`);
      return true;
    }
    const waitsFor = textOrNull(order["waiting_for"]) ?? "";
    const mayMove = order["status"] === "PAID" || shipments.some(isGone);
    if (waitsFor.startsWith("an address") || (mayMove && chance(stream(seed, `${id} moves`), MOVED_SHARE)))
      await this.#readdress(id);
    if (order["status"] === "PAID") await this.#refund(id);
    const random = stream(seed, `${id} ${shipments.length}`);
    for (const each of shipments.filter(isGone)) {
      const one = `${path}/${number(each["number"])}`;
      if (chance(stream(seed, one), GIVEN_UP_SHARE)) await this.#settle(one);
    }
    if (/^(the warehouse|an operator): \d/.test(waitsFor) && shipments.length < 8) {
      const part = chance(random, PARTED_SHARE) ? await this.#part(id) : {};
      const service = chance(random, WRONG_SERVICE_SHARE) ? { service: "Pigeon" } : {};
      // Two clerks at the same moment: no piece may get into both parcels.
      await Promise.all([this.#post(path, { ...part, ...service }), this.#post(path, {})]);
    }
    for (const each of shipments) {
      const one = `${path}/${number(each["number"])}`;
      const state = text(each["state"]);
      const isPlanned = state === "PLANNED" && each["book_requested_at"] === null && each["voiding"] === null;
      if (isPlanned && each["reason"] !== null) {
        if ((await this.#post(`${one}/void`)) === 202) this.counts.notOffered += 1;
      } else if (isPlanned) await Promise.all([this.#post(`${one}/book`), this.#post(`${one}/book`)]);
      if (state === "BOOKED" && !this.#decided.has(one)) {
        this.#decided.add(one);
        if (chance(stream(seed, one), CALLED_OFF_SHARE)) await this.#post(`${one}/void`);
      }
    }
    return false;
  }

  /** Once, until the service has taken it. */
  async #readdress(id: string): Promise<void> {
    if (this.moved.has(id)) return;
    const status = await this.#ask("PATCH", `/orders/${id}`, { shipTo: NEW_HOME });
    if (status === 200) this.moved.set(id, Date.now());
  }

  /** One piece, once, of some orders that have more. */
  async #refund(id: string): Promise<void> {
    const name = `${id} refund`;
    const { options, customers } = this.#scene;
    if (this.#decided.has(name)) return;
    this.#decided.add(name);
    if (!chance(stream(options.seed, name), REFUNDED_SHARE)) return;
    const [line] = await this.#sql.rows(
      "SELECT sku, unit_price FROM order_lines WHERE order_id = ? AND quantity > 1 AND unit_price > 0 LIMIT 1",
      [id],
      WITHIN_MS,
    );
    if (line === undefined) return;
    this.counts.refunds += 1;
    customers.refund(id, number(line["unit_price"]), name, [{ sku: text(line["sku"]), quantity: 1 }]);
  }

  async #part(id: string): Promise<object> {
    const [line] = await this.#sql.rows(
      "SELECT sku FROM order_lines WHERE order_id = ? LIMIT 1",
      [id],
      WITHIN_MS,
    );
    return line ? { lines: [{ sku: text(line["sku"]), quantity: 1 }] } : {};
  }

  async #settle(path: string): Promise<void> {
    if ((await this.#post(`${path}/close`, { reason: "it is on its way" })) === 200) this.counts.settled += 1;
  }

  #post(path: string, body: object = {}): Promise<number | undefined> {
    return this.#ask("POST", path, body);
  }

  /** @returns the status; undefined without an answer */
  async #ask(method: "POST" | "PATCH", path: string, body: object): Promise<number | undefined> {
    this.counts.asked += 1;
    const transport = this.#transports[this.#turn++ % this.#transports.length];
    const answer = await transport
      ?.send(
        {
          method,
          path,
          body: JSON.stringify(body),
          headers: { authorization: `Bearer ${API_KEY}` },
        },
        AbortSignal.timeout(PATIENCE_MS),
      )
      .catch(() => undefined);
    if (answer === undefined) return undefined;
    const { status } = answer;
    if (status === 409) this.counts.refused += 1;
    else if (status >= 400 && ![500, 502, 503, 504].includes(status))
      this.#scene.ledger.surprises.push(`${method} ${path}: ${status} ${answer.text.slice(0, 200)}`);
    return status;
  }
}

/** Whether it does not arrive. */
function isGone({ state, closed_at }: Row): boolean {
  return ["LOST", "RETURNED"].includes(text(state)) && closed_at === null;
}

function isRefused(shipment: Row): boolean {
  return shipment["voiding"] === "refused" && shipment["closed_at"] === null;
}
