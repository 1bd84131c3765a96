import { describe, expect, test } from "@jest/globals";
import { barChart } from "../../../tools/bench/plots/bars.ts";
import { curveChart } from "../../../tools/bench/plots/curves.ts";
import { linear, logarithmic } from "../../../tools/bench/plots/scale.ts";

describe("a linear scale", () => {
  test.each([
    [0.07, [0, 0.02, 0.04, 0.06, 0.08]],
    [1, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [4_300, [0, 1_000, 2_000, 3_000, 4_000, 5_000]],
    [100, [0, 20, 40, 60, 80, 100]],
  ])("up to %d has round ticks", (most, ticks) => {
    const scale = linear(most, [0, 100]);
    expect(scale.ticks).toHaveLength(ticks.length);
    for (const [index, tick] of ticks.entries()) expect(scale.ticks[index]).toBeCloseTo(tick, 10);
    expect(scale.place(0)).toBe(0);
    expect(scale.place(scale.ticks.at(-1) ?? 0)).toBeCloseTo(100, 10);
  });

  test("can run upwards, as y does in a picture", () => {
    const scale = linear(10, [200, 0]);
    expect([scale.place(0), scale.place(5), scale.place(10)]).toEqual([200, 100, 0]);
  });

  test("of nothing has two ends all the same", () => {
    expect(linear(0, [0, 100]).place(0)).toBe(0);
  });
});

test("a logarithmic scale has equal steps for equal factors, and puts what is too small at its end", () => {
  const scale = logarithmic([1, 1_000], [0, 300]);
  expect(scale.ticks).toEqual([1, 10, 100, 1_000]);
  expect([1, 10, 100, 1_000].map((value) => Math.round(scale.place(value)))).toEqual([0, 100, 200, 300]);
  expect(scale.place(0)).toBe(0);
});

const CHART = {
  title: "Orders & <lines>",
  description: 'Conveyor "10"',
  unit: "orders/s",
  groups: [
    {
      label: "one",
      bars: [
        { label: "half", parts: [{ color: "bare", value: 500 }], value: "500", spread: [400, 600] },
        { label: "all", parts: [{ color: "conveyor", value: 1_000 }], value: "1,000" },
      ],
    },
  ],
} as const;

describe("a plot", () => {
  const svg = barChart(CHART);

  test("has its title and what it shows in words", () => {
    expect(svg).toContain('<title id="title">Orders &amp; &lt;lines&gt;</title>');
    expect(svg).toContain('<desc id="description">Conveyor &quot;10&quot;</desc>');
  });

  test("has colours for dark as well as for light, for everything that has one", () => {
    const [light = "", dark = ""] = svg
      .slice(svg.indexOf("<style>"), svg.indexOf("</style>"))
      .split("@media");
    expect(dark).toContain("(prefers-color-scheme: dark)");
    const colored = (rules: string) =>
      [...rules.matchAll(/^\s*(\S.*) \{ (?:fill|stroke): #/gm)].map(([, name]) => name);
    expect(colored(dark)).toEqual(colored(light));
    for (const [, name = ""] of svg.matchAll(/<(?:rect|path|circle) class="(\w+)/g))
      expect(colored(dark)).toContain(`.${name}`);
  });

  test("needs nothing from elsewhere, and runs nothing", () => {
    expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', "")).not.toMatch(
      /https?:|<script|<image|@import|url\(/,
    );
  });

  test("draws bars as long as their values", () => {
    const widths = [...svg.matchAll(/<rect class="(bare|conveyor)"[^>]* width="([\d.]+)"/g)].map(
      ([, , width]) => Number(width),
    );
    expect(widths).toHaveLength(2);
    expect(widths[1]).toBeCloseTo(2 * (widths[0] ?? 0), 0);
  });

  test("draws curves through their points, and names them without one name on another", () => {
    const curves = curveChart({
      title: "Two",
      description: "",
      unit: "s",
      scale: (span) => linear(10, span),
      spans: [{ label: "down", from: 0, to: 10 }],
      panels: [
        {
          unit: "ms",
          height: 100,
          scale: (span) => linear(100, span),
          curves: [
            {
              label: "first",
              color: "conveyor",
              points: [
                [0, 0],
                [10, 50],
              ],
            },
            {
              label: "second",
              color: "sync",
              points: [
                [0, 0],
                [10, 50],
              ],
            },
          ],
        },
      ],
    });
    const paths = [...curves.matchAll(/ d="(M[^"]*)"/g)].map(([, path]) => path);
    expect(paths).toHaveLength(2);
    expect(paths[0]).toBe(paths[1]);
    const place = (name: string) => Number(new RegExp(`y="([\\d.]+)"[^>]*>${name}<`).exec(curves)?.[1]);
    expect(Math.abs(place("first") - place("second"))).toBeGreaterThanOrEqual(14);
  });
});
