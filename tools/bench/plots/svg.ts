/* Small SVG files that work in light and dark mode, without scripts, since GitHub shows them as images. */

/** Colors by meaning: light mode, dark mode. */
const COLORS = {
  conveyor: ["#0969da", "#58a6ff"],
  bare: ["#6e7781", "#9aa4af"],
  single: ["#bc4c00", "#f0883e"],
  sync: ["#cf222e", "#ff7b72"],
  grouped: ["#8250df", "#bc8cff"],
  mysql: ["#1a7f37", "#3fb950"],
  redis: ["#cf222e", "#ff7b72"],
} as const;
export type Color = keyof typeof COLORS;

const FONT = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif';

export interface Picture {
  readonly title: string;
  /** A text alternative for screen readers. */
  readonly description: string;
  readonly width: number;
  readonly height: number;
  /** SVG elements. */
  readonly body: readonly string[];
}

/** Renders the file, with its own background, since the page may be dark while the reader's system is light. */
export function picture({ title, description, width, height, body }: Picture): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title description">
<title id="title">${escaped(title)}</title>
<desc id="description">${escaped(description)}</desc>
<style>
${style()}
</style>
<rect class="ground" width="${width}" height="${height}" rx="6"/>
${text({ x: 16, y: 26, value: title, kind: "title" })}
${body.join("\n")}
</svg>
`;
}

export interface Text {
  readonly x: number;
  readonly y: number;
  readonly value: string;
  readonly kind?: "title" | "label" | "muted" | "value";
  readonly anchor?: "start" | "middle" | "end";
}

export function text({ x, y, value, kind = "label", anchor = "start" }: Text): string {
  return `<text class="${kind}" x="${at(x)}" y="${at(y)}" text-anchor="${anchor}">${escaped(value)}</text>`;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function bar({ x, y, width, height }: Box, color: Color): string {
  return `<rect class="${color}" x="${at(x)}" y="${at(y)}" width="${at(Math.max(0, width))}" height="${at(height)}" rx="2"/>`;
}

/** A shaded part of the background. */
export function band({ x, y, width, height }: Box): string {
  return `<rect class="band" x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}"/>`;
}

export interface Line {
  readonly from: readonly [x: number, y: number];
  readonly to: readonly [x: number, y: number];
}

export function line({ from, to }: Line, kind: "grid" | "axis" | "whisker"): string {
  return `<line class="${kind}" x1="${at(from[0])}" y1="${at(from[1])}" x2="${at(to[0])}" y2="${at(to[1])}"/>`;
}

/** A curve through points; `isIdeal` dashes it. */
export function curve(
  points: readonly (readonly [x: number, y: number])[],
  color: Color,
  { isIdeal = false } = {},
): string {
  const path = points.map(([x, y], index) => `${index === 0 ? "M" : "L"}${at(x)} ${at(y)}`).join("");
  return `<path class="curve ${color}${isIdeal ? " ideal" : ""}" d="${path}"/>`;
}

export function dot([x, y]: readonly [x: number, y: number], color: Color): string {
  return `<circle class="${color}" cx="${at(x)}" cy="${at(y)}" r="3.5"/>`;
}

function style(): string {
  const rules = (index: 0 | 1) => [
    `.ground { fill: ${["#ffffff", "#0d1117"][index]}; stroke: ${["#d1d9e0", "#3d444d"][index]}; }`,
    `text { fill: ${["#1f2328", "#f0f6fc"][index]}; }`,
    `.muted { fill: ${["#59636e", "#9198a1"][index]}; }`,
    `.grid { stroke: ${["#e4e8ec", "#262c36"][index]}; }`,
    `.axis, .whisker { stroke: ${["#59636e", "#9198a1"][index]}; }`,
    `.band { fill: ${["#f6f8fa", "#151b23"][index]}; }`,
    ...Object.entries(COLORS).flatMap(([name, colors]) => [
      `.${name} { fill: ${colors[index]}; }`,
      `.curve.${name} { stroke: ${colors[index]}; }`,
    ]),
  ];
  return [
    `text { font: 13px ${FONT}; }`,
    ".title { font-size: 15px; font-weight: 600; }",
    ".muted { font-size: 12px; }",
    ".value { font-variant-numeric: tabular-nums; }",
    ...rules(0),
    ".curve { fill: none !important; stroke-width: 2; stroke-linejoin: round; }",
    ".ideal { stroke-dasharray: 5 4; stroke-width: 1.5; }",
    "@media (prefers-color-scheme: dark) {",
    ...rules(1).map((rule) => `  ${rule}`),
    "}",
  ].join("\n");
}

/** A coordinate, rounded to a tenth of a pixel. */
function at(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(value: string): string {
  return value
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
