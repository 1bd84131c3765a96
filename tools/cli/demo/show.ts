import type { ConveyorClient } from "../client.ts";
import type { Terminal } from "../../shared/terminal.ts";
import { printable } from "../../shared/text.ts";
import { drawBoard, goodsOf } from "./board.ts";
import type { Watch, WatchedOrder } from "./watch.ts";

const FRAME_EVERY = 120;

/** Shows the demo's progress. */
export interface Show {
  /** An order was accepted. */
  accepted(order: WatchedOrder): void;
  /** These orders moved. */
  moved(orders: readonly WatchedOrder[]): Promise<void>;
  /** Stops; what was shown stays. */
  end(): void;
}

/** An animated board on a terminal; elsewhere a line for every transition. */
export function openShow(options: ShowOptions): Show {
  return options.terminal.isLive ? new BoardShow(options) : new LineShow(options);
}

interface ShowOptions {
  readonly terminal: Terminal;
  readonly client: ConveyorClient;
  readonly watch: Watch;
  readonly title: string;
  readonly total: number;
}

class BoardShow implements Show {
  readonly #options: ShowOptions;
  readonly #timer: NodeJS.Timeout;
  #frame = 0;

  constructor(options: ShowOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#draw(), FRAME_EVERY);
    this.#draw();
  }

  accepted(): void {
    // The next frame shows it.
  }

  async moved(): Promise<void> {
    // The next frame shows it.
  }

  end(): void {
    clearInterval(this.#timer);
    this.#draw();
    this.#options.terminal.release();
  }

  #draw(): void {
    const { terminal, watch, title, total } = this.#options;
    const { columns, rows, hasColors } = terminal;
    terminal.redraw(drawBoard(watch, { title, total, frame: this.#frame++ }, { columns, rows, hasColors }));
  }
}

class LineShow implements Show {
  readonly #options: ShowOptions;
  /** The last event printed for each order. */
  readonly #printed = new Map<string, number>();

  constructor(options: ShowOptions) {
    this.#options = options;
    options.terminal.say(options.title);
  }

  accepted({ demo, state }: WatchedOrder): void {
    const kind = demo.kind === "fine" ? "" : `  (${demo.kind})`;
    this.#say(state.createdAt, demo.request.reference, `-> ${state.status}  ${goodsOf(demo)}${kind}`);
  }

  async moved(orders: readonly WatchedOrder[]): Promise<void> {
    const lines = await Promise.all(orders.map((order) => this.#linesOf(order)));
    for (const { at, reference, text } of lines.flat().toSorted((a, b) => (a.at < b.at ? -1 : 1)))
      this.#say(at, reference, text);
  }

  end(): void {
    // Printed lines stay.
  }

  /** Reads the order's events: unlike its state, they show every transition, however fast. */
  async #linesOf({ demo, state }: WatchedOrder): Promise<{ at: string; reference: string; text: string }[]> {
    const printed = this.#printed.get(state.id) ?? 0;
    const events = await this.#options.client.events(state.id);
    this.#printed.set(state.id, events.at(-1)?.id ?? printed);
    const { reference } = demo.request;
    const steps = events
      .filter(({ id, type, from }) => id > printed && type === "status" && from !== null)
      .map(({ from, to, reason, at }) => ({
        at,
        reference,
        text: `${from} -> ${to}${reason === null ? "" : `  ${reason}`}`,
      }));
    if (!state.failed) return steps;
    const text = `${state.status}  failed in ${state.failed.stage}: ${state.failed.reason}`;
    return [...steps, { at: state.failed.at, reference, text }];
  }

  /** @param at ISO 8601; prints only the time. */
  #say(at: string, reference: string, text: string): void {
    this.#options.terminal.say(`${at.slice(11, 23)}  ${printable(`${reference}  ${text}`)}`);
  }
}
