import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "../../db/database.ts";
import { findProviderStates, type Provider, type ProviderState } from "../../db/provider-states.ts";
import { ServiceUnavailableError } from "../order/ports.ts";
import { shared } from "../platform/shared.ts";
import { offTheClock } from "../platform/time-limit.ts";

/** How long a worker caches the providers' states. */
const STATES_FRESH_MS = 250;

/** Latency and outages of the simulated providers, which can be slowed down and switched off. */
export class Simulation {
  readonly #latencyMs: number;
  readonly #states: () => Promise<Map<string, ProviderState>>;

  /** @param latencyMs latency of payment provider and carrier; the inventory's is that of MySQL. */
  constructor(database: Database, latencyMs: number) {
    this.#states = shared(STATES_FRESH_MS, () => findProviderStates(database));
    this.#latencyMs = latencyMs;
  }

  /**
   * Waits for the provider's latency.
   *
   * @returns since when the provider has been up, if it was ever switched
   * @throws {ServiceUnavailableError} while it is down
   */
  async reach(provider: Provider, signal?: AbortSignal): Promise<Date | undefined> {
    const latencyMs = await this.#latencyOf(provider, signal);
    if (latencyMs > 0) await sleep(latencyMs, undefined, signal && { signal });
    return this.upSince(provider, signal);
  }

  /** Like {@link reach}, without the latency. @throws {ServiceUnavailableError} while the provider is down */
  async upSince(provider: Provider, signal?: AbortSignal): Promise<Date | undefined> {
    const state = (await offTheClock(signal, this.#states)).get(provider);
    if (state?.switched === "down") throw new ServiceUnavailableError(provider, `${provider} is down`);
    return state?.since;
  }

  async #latencyOf(provider: Provider, signal: AbortSignal | undefined): Promise<number> {
    const switched = (await offTheClock(signal, this.#states)).get(provider)?.switched;
    if (typeof switched === "object") return switched.slowMs;
    return provider === "inventory" ? 0 : this.#latencyMs;
  }
}
