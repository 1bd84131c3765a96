/*
 * A shared worker: one event stream for all tabs of the console, since a browser allows six connections to a host without
 * HTTP/2, over all of its tabs. Each tab tells which order it shows, and is told when that moves.
 */
"use strict";

(() => {
  /** As the API takes them. */
  const MOST_ORDERS = 100;
  const RETRY_MS = 5_000;

  /** The order that each tab shows, the latest last. */
  const shown = new Map();
  let stream;
  let address = "";

  self.addEventListener("connect", ({ ports: [tab] }) => {
    tab.addEventListener("message", ({ data }) => {
      shown.delete(tab);
      if (data.order) shown.set(tab, data);
      follow();
    });
    tab.start();
  });

  function follow() {
    const tabs = [...shown.values()];
    const orders = [...new Set(tabs.map(({ order }) => order))].slice(-MOST_ORDERS);
    const wanted = orders.length === 0 ? "" : `${tabs[0].stream}?orders=${orders.join(",")}`;
    if (wanted === address) return;
    address = wanted;
    stream?.close();
    stream = undefined;
    if (wanted !== "") connect(wanted);
  }

  function connect(wanted) {
    stream = new EventSource(wanted);
    // There may have been events before the stream opened.
    stream.addEventListener("open", () => tell());
    stream.addEventListener("message", ({ data }) => tell(JSON.parse(data).subject));
    stream.addEventListener("error", ({ target }) => {
      // It connects again by itself, unless it was refused.
      if (target === stream && target.readyState === EventSource.CLOSED)
        setTimeout(() => {
          if (target !== stream) return;
          address = "";
          follow();
        }, RETRY_MS);
    });
  }

  function tell(moved) {
    for (const [tab, { order }] of shown)
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port has one receiver
      if (moved === undefined || order === moved) tab.postMessage("moved");
  }
})();
