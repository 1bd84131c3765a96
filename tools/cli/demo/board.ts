import { CANCELLED, lifecycle } from "../../../src/order/lifecycle.ts";
import { isAtRest } from "../client.ts";
import { printable } from "../../shared/text.ts";
import type { DemoOrder } from "./orders.ts";
import { FAILED, type Watch, type WatchedOrder } from "./watch.ts";

/** A piece of a line, and the colour it has where there are colours. */
interface Cell {
  readonly text: string;
  readonly color?: Color;
}

type Color = keyof typeof COLORS;

const COLORS = { dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;

/** The statuses on the way to the customer's door. */
const WAY = lifecycle.statuses.filter((status) => status !== CANCELLED);
/** Characters between two of them. */
const STEP = 3;
const STATUS_WIDTH = Math.max(...lifecycle.statuses.map((status) => status.length), FAILED.length);

export interface BoardSize {
  readonly columns: number;
  readonly rows: number;
  readonly hasColors: boolean;
}

/**
 * The demo as lines to draw: a heading, a row an order with the latest at the bottom, and counts. Earlier orders make
 * room when the terminal is too low.
 * @param frame counts up from one drawing to the next: it moves what is under way.
 */
export function drawBoard(
  watch: Watch,
  { title, total, frame }: { title: string; total: number; frame: number },
  { columns, rows, hasColors }: BoardSize,
): string[] {
  const room = Math.max(1, rows - 5);
  const lines: Cell[][] = [
    [{ text: title }],
    [],
    ...watch.orders.slice(-room).map((order) => orderRow(order, frame)),
    [],
    countsRow(watch, total),
  ];
  return lines.map((cells) => painted(cut(cells, columns), hasColors));
}

function orderRow({ demo, state, reached }: WatchedOrder, frame: number): Cell[] {
  const { text, color } = saying(state);
  return [
    { text: `${printable(demo.request.reference)}  ` },
    { text: wayOf(reached, isAtRest(state) ? undefined : frame), ...(color && { color }) },
    { text: `  ${text.padEnd(STATUS_WIDTH)}`, ...(color && { color }) },
    { text: `  ${printable(detailOf({ demo, state, reached }))}`, color: "dim" },
  ];
}

function saying(state: WatchedOrder["state"]): Cell {
  if (state.failed) return { text: FAILED, color: "yellow" };
  if (state.status === CANCELLED) return { text: CANCELLED, color: "red" };
  return { text: state.status, color: isAtRest(state) ? "green" : "cyan" };
}

function detailOf({ demo, state }: WatchedOrder): string {
  const reason = state.failed?.reason ?? state.cancellation?.reason;
  return reason ?? (demo.kind === "fine" ? goodsOf(demo) : `${goodsOf(demo)}  (${demo.kind})`);
}

/** `2 x MUG-BLUE and 1 more` */
export function goodsOf({ request }: DemoOrder): string {
  const [first, ...more] = request.lines;
  const others = more.length > 0 ? ` and ${more.length} more` : "";
  return first ? `${first.quantity} x ${first.sku}${others}` : "nothing";
}

/** `●━━━●━▸─○───○`: what is behind the order, where it is, and what is before it. */
function wayOf(reached: string, frame: number | undefined): string {
  const at = WAY.indexOf(reached);
  return WAY.map((_, index) => {
    const stop = index <= at ? "●" : "○";
    if (index === WAY.length - 1) return stop;
    if (index < at) return stop + "━".repeat(STEP);
    if (index > at || frame === undefined) return stop + "─".repeat(STEP);
    const mark = frame % STEP;
    return `${stop}${"━".repeat(mark)}▸${"─".repeat(STEP - 1 - mark)}`;
  }).join("");
}

function countsRow(watch: Watch, total: number): Cell[] {
  const counts = watch.counts();
  const known = [...lifecycle.statuses, FAILED].flatMap((status) => {
    const count = counts.get(status);
    return count === undefined ? [] : [`${count} ${status}`];
  });
  return [{ text: [`${watch.size} of ${total} accepted`, ...known].join(" · ") }];
}

/** As many characters as fit: a line that wraps can't be drawn over. */
function cut(cells: readonly Cell[], columns: number): Cell[] {
  let room = columns;
  return cells.map((cell) => {
    const text = cell.text.slice(0, Math.max(0, room));
    room -= text.length;
    return { ...cell, text };
  });
}

function painted(cells: readonly Cell[], hasColors: boolean): string {
  return cells
    .map(({ text, color }) =>
      hasColors && color && text !== "" ? `\u001B[${COLORS[color]}m${text}\u001B[0m` : text,
    )
    .join("")
    .trimEnd();
}
