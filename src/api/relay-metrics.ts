import type { RelayLag } from "../../db/relay-positions.ts";
import type { Metrics } from "../platform/metrics.ts";

/**
 * How far those who listen to events are behind. Every API process tells the same, and also when no worker is there to
 * relay anything.
 *
 * @param read a few reads by primary key.
 */
export function watchRelay(metrics: Metrics, read: () => Promise<RelayLag>): void {
  const seconds = metrics.gauge({
    name: "conveyor_relay_lag_seconds",
    help: "Age of the oldest event that the relay has not passed on yet; 0 when there is none.",
    collect: () => tell(),
  });
  const events = metrics.gauge({
    name: "conveyor_relay_lag_events",
    help: "Events that the relay has not passed on yet, at most.",
    collect: () => tell(),
  });

  let asking: Promise<void> | undefined;
  /** Both gauges, and scrapes of the same moment, share a question. */
  function tell(): Promise<void> {
    asking ??= askNow().finally(() => (asking = undefined));
    return asking;
  }

  async function askNow(): Promise<void> {
    try {
      const lag = await read();
      seconds.set(lag.ageMs / 1_000);
      events.set(lag.events);
    } catch {
      // MySQL is away, and nobody knows: a nought would say that all is passed on.
      seconds.remove();
      events.remove();
    }
  }
}
