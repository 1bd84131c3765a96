import { linear } from "./scale.ts";
import { bar, line, picture, text, type Color } from "./svg.ts";

const WIDTH = 760;
const LABELS = 210;
const VALUES = 90;
const BAR = 18;
const GAP = 6;
const GROUP_GAP = 14;
const TOP = 44;

/** A segment of a stacked bar. */
export interface Part {
  readonly color: Color;
  readonly value: number;
}

export interface Bar {
  readonly label: string;
  readonly parts: readonly Part[];
  /** The label at the bar's end. */
  readonly value: string;
  /** Minimum and maximum. */
  readonly spread?: readonly [least: number, most: number];
}

export interface BarChart {
  readonly title: string;
  readonly description: string;
  readonly unit: string;
  readonly groups: readonly { readonly label?: string; readonly bars: readonly Bar[] }[];
  /** The meaning of the segments' colors. */
  readonly legend?: readonly { readonly color: Color; readonly label: string }[];
}

/** A horizontal bar chart. */
export function barChart({ title, description, unit, groups, legend = [] }: BarChart): string {
  const bars = groups.flatMap((group) => group.bars);
  const longest = Math.max(...bars.map(({ parts, spread }) => Math.max(sumOf(parts), spread?.[1] ?? 0)));
  const right = WIDTH - VALUES;
  const scale = linear(longest, [LABELS, right]);
  const body: string[] = [];
  let y = TOP;
  if (legend.length > 0) {
    let x = LABELS;
    for (const { color, label } of legend) {
      body.push(
        bar({ x, y: y - 2, width: 12, height: 12 }, color),
        text({ x: x + 18, y: y + 9, value: label }),
      );
      x += 34 + label.length * 7.5;
    }
    y += 26;
  }
  const top = y;
  for (const group of groups) {
    if (group.label !== undefined) {
      body.push(text({ x: 16, y: y + 13, value: group.label, kind: "muted" }));
      y += 22;
    }
    for (const each of group.bars) {
      body.push(text({ x: LABELS - 10, y: y + 13, value: each.label, anchor: "end" }));
      let done = 0;
      for (const { color, value } of each.parts) {
        const x = scale.place(done);
        body.push(bar({ x, y, width: scale.place(done + value) - x, height: BAR }, color));
        done += value;
      }
      const end = Math.max(scale.place(done), each.spread ? scale.place(each.spread[1]) : 0);
      if (each.spread) {
        const [from, to] = each.spread.map((value) => scale.place(value));
        const middle = y + BAR / 2;
        if (from !== undefined && to !== undefined)
          body.push(
            line({ from: [from, middle], to: [to, middle] }, "whisker"),
            line({ from: [from, middle - 4], to: [from, middle + 4] }, "whisker"),
            line({ from: [to, middle - 4], to: [to, middle + 4] }, "whisker"),
          );
      }
      body.push(text({ x: end + 8, y: y + 13, value: each.value, kind: "value" }));
      y += BAR + GAP;
    }
    y += GROUP_GAP;
  }
  const bottom = y - GROUP_GAP;
  const grid = scale.ticks.flatMap((tick) => [
    line({ from: [scale.place(tick), top - 4], to: [scale.place(tick), bottom] }, "grid"),
    text({
      x: scale.place(tick),
      y: bottom + 16,
      value: tick.toLocaleString("en-GB"),
      kind: "muted",
      anchor: "middle",
    }),
  ]);
  const axis = text({ x: LABELS - 10, y: bottom + 16, value: unit, kind: "muted", anchor: "end" });
  return picture({ title, description, width: WIDTH, height: bottom + 30, body: [...grid, axis, ...body] });
}

function sumOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { value }) => sum + value, 0);
}
