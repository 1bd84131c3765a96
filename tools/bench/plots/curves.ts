import type { Scale } from "./scale.ts";
import { band, curve, dot, line, picture, text, type Color } from "./svg.ts";

const WIDTH = 760;
const LEFT = 70;
const RIGHT = 130;
const TOP = 48;
const BETWEEN = 56;
const BOTTOM = 44;

export interface Curve {
  readonly label: string;
  readonly color: Color;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly hasDots?: boolean;
  readonly isIdeal?: boolean;
}

export interface Panel {
  /** Unit of the y axis. */
  readonly unit: string;
  readonly height: number;
  /** The y scale, given the coordinates of bottom and top. */
  readonly scale: (span: readonly [from: number, to: number]) => Scale;
  readonly curves: readonly Curve[];
}

export interface CurveChart {
  readonly title: string;
  readonly description: string;
  /** Unit of the x axis. */
  readonly unit: string;
  readonly scale: (span: readonly [from: number, to: number]) => Scale;
  /** Named spans of the x axis; every second one is shaded. */
  readonly spans?: readonly { readonly label: string; readonly from: number; readonly to: number }[];
  readonly panels: readonly Panel[];
}

/** A line chart: panels stacked over a common x axis, with curves labelled at their ends. */
export function curveChart({ title, description, unit, scale, spans = [], panels }: CurveChart): string {
  const right = WIDTH - RIGHT;
  const x = scale([LEFT, right]);
  const body: string[] = [];
  let top = TOP + (spans.length > 0 ? 18 : 0);
  for (const [index, { label, from, to }] of spans.entries()) {
    const height = panels.reduce((sum, panel) => sum + panel.height, 0) + (panels.length - 1) * BETWEEN;
    const box = { x: x.place(from), y: top, width: x.place(to) - x.place(from), height };
    if (index % 2 === 1) body.push(band(box));
    body.push(text({ x: box.x + box.width / 2, y: top - 8, value: label, kind: "muted", anchor: "middle" }));
  }
  for (const [index, panel] of panels.entries()) {
    if (index > 0) top += BETWEEN;
    const bottom = top + panel.height;
    body.push(...panelOf(panel, x, { top, bottom, right }));
    top = bottom;
  }
  body.push(
    ...x.ticks.map((tick) =>
      text({
        x: x.place(tick),
        y: top + 18,
        value: tick.toLocaleString("en-GB"),
        kind: "muted",
        anchor: "middle",
      }),
    ),
    text({ x: right + 10, y: top + 18, value: unit, kind: "muted" }),
  );
  return picture({ title, description, width: WIDTH, height: top + BOTTOM, body });
}

function panelOf(
  { unit, scale, curves }: Panel,
  x: Scale,
  { top, bottom, right }: { readonly top: number; readonly bottom: number; readonly right: number },
): string[] {
  const y = scale([bottom, top]);
  const grid = y.ticks.flatMap((tick) => [
    line({ from: [LEFT, y.place(tick)], to: [right, y.place(tick)] }, "grid"),
    text({
      x: LEFT - 8,
      y: y.place(tick) + 4,
      value: tick.toLocaleString("en-GB"),
      kind: "muted",
      anchor: "end",
    }),
  ]);
  const drawn = curves.map(({ points, color, hasDots = false, isIdeal = false }) => {
    const places = points.map(([px, py]) => [x.place(px), y.place(py)] as const);
    return [
      curve(places, color, { isIdeal }),
      ...(hasDots ? places.map((place) => dot(place, color)) : []),
    ].join("");
  });
  return [
    ...grid,
    text({ x: LEFT - 54, y: top - 8, value: unit, kind: "muted" }),
    line({ from: [LEFT, bottom], to: [right, bottom] }, "axis"),
    ...drawn,
    ...namesOf(curves, y, right),
  ];
}

/** Labels at the ends of the curves, moved apart where they would overlap. */
function namesOf(curves: readonly Curve[], y: Scale, right: number): string[] {
  const named = curves
    .map((each) => ({ each, place: y.place(each.points.at(-1)?.[1] ?? 0) }))
    .toSorted((a, b) => a.place - b.place);
  let last = -Infinity;
  return named.flatMap(({ each, place }) => {
    last = Math.max(place, last + 16);
    return [dot([right + 12, last], each.color), text({ x: right + 22, y: last + 4, value: each.label })];
  });
}
