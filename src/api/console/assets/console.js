/*
 * Live updates from the event stream, plots, and a warning when the page is stale. Everything else works
 * without this script.
 */
"use strict";

(() => {
  /** Milliseconds between two updates of the plots. */
  const PLOT_INTERVAL_MS = 5_000;
  const SERIES = 6;
  /** The tick labels of each plot, and the round increments between its grid lines. */
  const AXES = {
    done: {
      incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6],
      values: (_plot, values) => values.map(shortCount),
    },
    p95: {
      incrs: [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5,
      ],
      values: (_plot, values) => values.map(shortTime),
    },
  };

  const workerAddress = new URL("stream.js", document.currentScript.src);
  warnWhenStale();
  followStream();
  const found = document.getElementById("plots");
  if (found && window.uPlot) void drawPlots(found);

  /** Warns when a live page can't reach the service and so shows an old state. */
  function warnWhenStale() {
    const note = document.getElementById("stale");
    let fresh = new Date();
    const isLive = () => document.querySelector("[hx-trigger*=every]") !== null;
    const stale = () => {
      if (!note || !isLive()) return;
      const text = `The service does not answer. This page shows its state at ${fresh.toISOString().slice(11, 19)}.`;
      if (note.textContent !== text) note.textContent = text;
      note.hidden = false;
    };
    document.addEventListener("htmx:error", stale);
    document.addEventListener("htmx:response:error", stale);
    document.addEventListener("htmx:after:swap", () => {
      fresh = new Date();
      if (note) note.hidden = true;
    });
  }

  /**
   * Refreshes the page when its order moves. All tabs share one stream, in a worker; a browser that has none for them
   * asks every other second, as the page says. A hidden page follows nothing.
   */
  function followStream() {
    if (!window.SharedWorker) return;
    let worker;
    const follow = () => {
      const follower = document.querySelector("[data-order]");
      const order = document.hidden ? undefined : follower?.dataset.order;
      if (!worker && !order) return;
      worker ??= start();
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port has one receiver
      worker.port.postMessage({ order, stream: follower?.dataset.stream });
    };
    const start = () => {
      const started = new SharedWorker(workerAddress);
      started.port.addEventListener("message", () => {
        const follower = document.querySelector("[data-order]");
        if (follower) window.htmx.trigger(follower, "moved");
      });
      started.port.start();
      return started;
    };
    follow();
    document.addEventListener("visibilitychange", follow);
    document.addEventListener("htmx:after:swap", follow);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- as above
    addEventListener("pagehide", () => worker?.port.postMessage({}));
    addEventListener("pageshow", follow);
  }

  async function drawPlots(section) {
    let history = await load();
    if (!history) return;
    section.hidden = false;
    drawLegend(history);
    let plots = draw(history);
    const again = () => {
      for (const { plot } of plots) plot.destroy();
      plots = draw(history);
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    new ResizeObserver(() => {
      for (const { plot, element } of plots) plot.setSize(sizeOf(element));
    }).observe(section);
    setInterval(async () => {
      if (document.hidden) return;
      const next = await load();
      if (!next) return;
      history = next;
      for (const { plot, name } of plots) plot.setData(dataOf(history, name));
    }, PLOT_INTERVAL_MS);
  }

  async function load() {
    try {
      const answer = await fetch(document.getElementById("plots").dataset.history);
      return answer.ok ? await answer.json() : undefined;
    } catch {
      return undefined;
    }
  }

  function drawLegend({ steps }) {
    const legend = document.getElementById("legend");
    legend.replaceChildren(
      ...steps.map(({ name }, index) => {
        const entry = document.createElement("span");
        entry.className = `series-${(index % SERIES) + 1}`;
        entry.textContent = name;
        return entry;
      }),
    );
  }

  function draw(history) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    return [...document.querySelectorAll("[data-plot]")].map((element) => {
      const name = element.dataset.plot;
      const axis = {
        stroke: color("muted"),
        grid: { stroke: color("line"), width: 1 },
        ticks: { show: false },
        font: "12px system-ui, sans-serif",
      };
      const options = {
        ...sizeOf(element),
        // Times are UTC, as everywhere in the console.
        tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [
          { ...axis, values: "{HH}:{mm}", space: 60, size: 30 },
          { ...axis, size: 60, ...AXES[name] },
        ],
        series: [
          {},
          ...history.steps.map((step, index) => ({
            label: step.name,
            stroke: color(`series-${(index % SERIES) + 1}`),
            width: 1.5,
            points: { show: name === "p95", size: 3 },
          })),
        ],
      };
      return { plot: new window.uPlot(options, dataOf(history, name), element), name, element };
    });
  }

  function dataOf({ minutes, steps }, name) {
    return [minutes, ...steps.map((step) => step[name])];
  }

  function sizeOf(element) {
    return { width: element.clientWidth, height: element.clientHeight };
  }

  /** Formats job counts and durations compactly. */
  function shortCount(value) {
    return new Intl.NumberFormat("en", { notation: "compact" }).format(value);
  }

  function shortTime(value) {
    if (value === 0) return "0";
    if (value < 1_000) return `${value} ms`;
    return value < 60_000 ? `${value / 1_000} s` : `${value / 60_000} min`;
  }
})();
