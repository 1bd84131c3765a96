import type { Database } from "../../db/database.ts";
import { stageOverrides, type StagesConfig } from "./config.ts";
import { COMMITS, type Commit } from "../platform/group-commit.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Ports } from "../order/ports.ts";
import { settingsOf } from "../order/stage.ts";
import { simulatedCarrier } from "../providers/carrier.ts";
import { httpCarrier } from "../providers/http/carrier.ts";
import { httpPayments } from "../providers/http/payments.ts";
import { mysqlInventory } from "../providers/inventory.ts";
import { openLedger } from "../providers/ledger.ts";
import { simulatedPayments } from "../providers/payments.ts";
import { Simulation } from "../providers/simulation.ts";

/** The longest that an outside service may take to answer, and the part of an attempt's time when that is short. */
const LONGEST_ANSWER_MS = 5_000;
const PART_OF_ATTEMPT = 0.8;

/**
 * What stands behind the ports of this process, as it is configured. Nothing is connected before the first call.
 *
 * @param commit how callers of the same moment share work; as configured, if nobody else has a say.
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
  };
}

/** An attempt that times out can't say why: the gateway must give up first, and blame the service. */
function answerTimeout(config: StagesConfig): number {
  const timeouts = lifecycle.stages.map((stage) => settingsOf(stage, stageOverrides(config)).timeout);
  return Math.min(LONGEST_ANSWER_MS, Math.floor(Math.min(...timeouts) * PART_OF_ATTEMPT));
}
