import type { RelayLag } from "../../db/relay-positions.ts";
import type { Metrics } from "../platform/metrics.ts";
import { shared } from "../platform/shared.ts";

/**
 * How far the event relay lags. Every API process reports the same values, even when no worker relays.
 *
 * @param read a few reads by primary key.
 */
export function watchRelay(metrics: Metrics, read: () => Promise<RelayLag>): void {
  const seconds = metrics.gauge({
    name: "conveyor_relay_lag_seconds",
    help: "Age of the oldest event not yet relayed; 0 if there is none.",
    collect: () => update(),
  });
  const events = metrics.gauge({
    name: "conveyor_relay_lag_events",
    help: "Upper bound on the events not yet relayed.",
    collect: () => update(),
  });

  /** Both gauges and concurrent scrapes share one read. */
  const update = shared(0, async () => {
    try {
      const lag = await read();
      seconds.set(lag.ageMs / 1_000);
      events.set(lag.events);
    } catch {
      // Unknown without MySQL: a zero would claim that nothing lags.
      seconds.remove();
      events.remove();
    }
  });
}
