import type { Database } from "../../db/database.ts";
import { stageOverrides, type StagesConfig } from "./config.ts";
import { COMMITS, type Commit } from "../platform/group-commit.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Ports } from "../order/ports.ts";
import { settingsOf } from "../order/stage.ts";
import { simulatedCarrier } from "../providers/carrier.ts";
import { httpCarrier } from "../providers/http/carrier.ts";
import { httpPayments } from "../providers/http/payments.ts";
import { httpStages } from "../providers/http/stages.ts";
import { mysqlInventory } from "../providers/inventory.ts";
import { openLedger } from "../providers/ledger.ts";
import { simulatedPayments } from "../providers/payments.ts";
import { Simulation } from "../providers/simulation.ts";

/** Timeout of a call to an outside service: this long, or this share of a shorter attempt's. */
const LONGEST_ANSWER_MS = 5_000;
const PART_OF_ATTEMPT = 0.8;

/**
 * Builds the adapters behind the ports. Nothing is connected before the first call.
 *
 * @param commit group commit; defaults to the configured one.
 */
export function connectPorts(
  config: StagesConfig,
  database: Database,
  commit: Commit = COMMITS[config.GROUP_COMMIT],
): Ports {
  const simulation = new Simulation(database, config.PROVIDER_LATENCY_MS);
  const ledger = openLedger(database, commit);
  const timeoutMs = answerTimeout(config);
  return {
    inventory: mysqlInventory(database, simulation, commit),
    payments:
      config.PAYMENTS_URL === undefined
        ? simulatedPayments(database, simulation, ledger)
        : httpPayments({ url: config.PAYMENTS_URL, timeoutMs }),
    carrier:
      config.CARRIER_URL === undefined
        ? simulatedCarrier(database, simulation, config.CARRIER_TRANSIT_MS, ledger)
        : httpCarrier({ url: config.CARRIER_URL, timeoutMs }),
    httpStages: httpStages(lifecycle.stages, ({ http, ...stage }) => ({
      url: http.url,
      timeoutMs: Math.floor(settingsOf(stage, stageOverrides(config)).timeout * PART_OF_ATTEMPT),
      secrets: http.secret?.split(" ") ?? config.SIGNING_SECRET,
    })),
  };
}

/** The gateway must give up before the attempt does, so that the error names the service. */
function answerTimeout(config: StagesConfig): number {
  const timeouts = lifecycle.stages.map((stage) => settingsOf(stage, stageOverrides(config)).timeout);
  return Math.min(LONGEST_ANSWER_MS, Math.floor(Math.min(...timeouts) * PART_OF_ATTEMPT));
}
