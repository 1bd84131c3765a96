import { CANCELLED, lifecycle } from "../../../src/order/lifecycle.ts";
import { isSettled } from "../client.ts";
import { printable } from "../../shared/text.ts";
import type { DemoOrder } from "./orders.ts";
import { FAILED, type Watch, type WatchedOrder } from "./watch.ts";

/** A piece of a line, with its color. */
interface Cell {
  readonly text: string;
  readonly color?: Color;
}

type Color = keyof typeof COLORS;

const COLORS = { dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;

/** The statuses of an order that is not cancelled. */
const path = () => lifecycle.statuses.filter((status) => status !== CANCELLED);
/** Characters between two statuses. */
const STEP = 3;
const statusWidth = () => Math.max(...lifecycle.statuses.map((status) => status.length), FAILED.length);

export interface BoardSize {
  readonly columns: number;
  readonly rows: number;
  readonly hasColors: boolean;
}

/**
 * Renders the demo as lines: a heading, one row per order with the latest at the bottom, and counts. If the
 * terminal is too small, the earliest orders are left out.
 * @param frame the frame's number, which drives the animation.
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
  const { text, color } = statusCell(state);
  return [
    { text: `${printable(demo.request.reference)}  ` },
    { text: pathOf(reached, isSettled(state) ? undefined : frame), ...(color && { color }) },
    { text: `  ${text.padEnd(statusWidth())}`, ...(color && { color }) },
    { text: `  ${printable(detailOf({ demo, state, reached }))}`, color: "dim" },
  ];
}

function statusCell(state: WatchedOrder["state"]): Cell {
  if (state.failed) return { text: FAILED, color: "yellow" };
  if (state.status === CANCELLED) return { text: CANCELLED, color: "red" };
  return { text: state.status, color: isSettled(state) ? "green" : "cyan" };
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

/** `●━━━●━▸─○───○`: the order's way so far, its position, and what is left. */
function pathOf(reached: string, frame: number | undefined): string {
  const stops = path();
  const at = stops.indexOf(reached);
  return stops
    .map((_, index) => {
      const stop = index <= at ? "●" : "○";
      if (index === stops.length - 1) return stop;
      if (index < at) return stop + "━".repeat(STEP);
      if (index > at || frame === undefined) return stop + "─".repeat(STEP);
      const mark = frame % STEP;
      return `${stop}${"━".repeat(mark)}▸${"─".repeat(STEP - 1 - mark)}`;
    })
    .join("");
}

function countsRow(watch: Watch, total: number): Cell[] {
  const counts = watch.counts();
  const known = [...lifecycle.statuses, FAILED].flatMap((status) => {
    const count = counts.get(status);
    return count === undefined ? [] : [`${count} ${status}`];
  });
  return [{ text: [`${watch.size} of ${total} accepted`, ...known].join(" · ") }];
}

/** Cuts a line to fit: a wrapped line can't be redrawn. */
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
