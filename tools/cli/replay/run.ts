import type { ConveyorClient, OrderState } from "../client.ts";
import type { Progress } from "../progress.ts";
import { counted } from "../../shared/text.ts";
import type { FileContents } from "./file.ts";
import { endingsOf, endToEndRate, reconcileMoney, reconcileStock } from "./reconcile.ts";
import type { ReplayReport } from "./report.ts";
import { oldestOf, readStates, untilSettled } from "./settle.ts";
import { Ledger, sendInvoices } from "./send.ts";
import {
  addToStock,
  lacking,
  quantitiesOf,
  readLevels,
  unneeded,
  type Level,
  type Quantities,
} from "../stock.ts";

export interface RunOptions {
  /** Requests in flight at once. */
  readonly concurrency: number;
  /** Milliseconds without progress after which waiting ends. */
  readonly patience: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Prints a line about the run. */
  readonly note: (line: string) => void;
}

/** One replay of a file. After an error it still knows how far it got. */
export class ReplayRun {
  readonly ledger = new Ledger();
  /** Orders that had settled at the last poll. */
  settled = 0;
  readonly #client: ConveyorClient;
  readonly #file: FileContents;
  readonly #options: RunOptions;

  constructor(client: ConveyorClient, file: FileContents, options: RunOptions) {
    this.#client = client;
    this.#file = file;
    this.#options = options;
  }

  /**
   * Loads stock, sends the orders, waits, and compares. @throws {Failure} if the service is away; the signal's
   * reason
   */
  async toReport(): Promise<Omit<ReplayReport, "path">> {
    const { ledger } = this;
    await this.#client.greet();
    await this.#settle();
    const { before, loaded } = await this.#loadStock();
    await this.#send();
    await this.#wait();
    const states = await this.#readStates();
    const after = await this.#readLevels("counting stock", [...before.keys()]);
    const takenBack = await this.#removeUnneeded(loaded, after);
    return {
      service: this.#client.target.url.href,
      file: this.#file,
      ledger,
      endings: endingsOf(ledger, states),
      endToEnd: endToEndRate(ledger, states),
      money: reconcileMoney(this.#file.invoices, ledger, states),
      stock: reconcileStock({ before, loaded, after }, ledger, states),
      takenBack,
    };
  }

  /** Waits for the orders of an earlier, interrupted run: stock can't be counted while they change it. */
  async #settle(): Promise<void> {
    const numbers = new Set(this.#file.invoices.map(({ number }) => number));
    const isOurs = ({ reference }: OrderState) => reference !== null && numbers.has(reference);
    let hasNoted = false;
    await this.#untilSettled("", isOurs, (moving) => {
      if (moving > 0 && !hasNoted)
        this.#options.note(`waiting for ${counted(moving, "order")} of an earlier run to settle`);
      hasNoted = true;
    });
  }

  async #loadStock(): Promise<{ before: Map<string, Level>; loaded: Quantities }> {
    const needed = quantitiesOf(this.#file.invoices.map(({ order }) => order));
    const before = await this.#readLevels("reading stock", [...needed.keys()]);
    const loaded = lacking(needed, before);
    await this.#addToStock(loaded);
    return { before, loaded };
  }

  async #send(): Promise<void> {
    const { concurrency, progress } = this.#options;
    const { invoices } = this.#file;
    progress.start("sending orders", invoices.length);
    await sendInvoices(this.#client, invoices, concurrency, this.ledger, (done) => progress.to(done));
    progress.stop();
  }

  async #wait(): Promise<void> {
    const { accepted, alreadyThere } = this.ledger;
    const total = accepted.size + alreadyThere.size;
    if (total === 0) return;
    const oldest = oldestOf([...accepted.keys(), ...alreadyThere.keys()]);
    const isOurs = ({ id }: OrderState) => accepted.has(id) || alreadyThere.has(id);
    const { progress } = this.#options;
    progress.start("orders settled", total);
    await this.#untilSettled(oldest, isOurs, (moving) => {
      this.settled = total - moving;
      progress.to(this.settled);
    });
    progress.stop();
  }

  async #untilSettled(
    oldest: string,
    isWanted: (state: OrderState) => boolean,
    onMoving: (count: number) => void,
  ): Promise<void> {
    const { patience, signal, note, progress } = this.#options;
    if (await untilSettled(this.#client, { oldest, isWanted, patience, signal, onMoving })) return;
    progress.stop();
    note(`no progress for ${patience / 1_000} seconds: reporting without the remaining orders`);
  }

  async #readStates(): Promise<Map<string, OrderState>> {
    const { concurrency, progress } = this.#options;
    const { accepted, alreadyThere } = this.ledger;
    const recent = new Set(accepted.keys());
    progress.start("reading orders", accepted.size + alreadyThere.size);
    const states = await readStates(this.#client, recent, alreadyThere.keys(), concurrency, (done) =>
      progress.to(done),
    );
    progress.stop();
    return states;
  }

  async #readLevels(what: string, skus: readonly string[]): Promise<Map<string, Level>> {
    const { concurrency, progress } = this.#options;
    progress.start(what, skus.length);
    const levels = await readLevels(this.#client, skus, concurrency, (done) => progress.to(done));
    progress.stop();
    return levels;
  }

  /** Removes stock loaded for orders that were not placed. Otherwise every run would add more. */
  async #removeUnneeded(loaded: Quantities, levels: ReadonlyMap<string, Level>): Promise<Quantities> {
    const made = new Set(Array.from(this.ledger.accepted.values(), ({ invoice }) => invoice));
    const notMade = this.#file.invoices.filter((invoice) => !made.has(invoice)).map(({ order }) => order);
    const back = unneeded(loaded, quantitiesOf(notMade), levels);
    await this.#addToStock(new Map(Array.from(back, ([sku, count]) => [sku, -count])));
    return back;
  }

  #addToStock(quantities: Quantities): Promise<void> {
    const { concurrency } = this.#options;
    return addToStock(this.#client, quantities, { reason: "npm run replay", concurrency });
  }
}
