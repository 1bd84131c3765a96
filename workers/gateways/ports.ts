import type { Database } from "../../db/database.ts";
import type { WorkerConfig } from "../../src/config.ts";
import type { Ports } from "../../src/order/ports.ts";
import { simulatedCarrier } from "./carrier.ts";
import { mysqlInventory } from "./inventory.ts";
import { simulatedPayments } from "./payments.ts";
import { Simulation } from "./simulation.ts";

/** What stands behind the ports of this worker, as it is configured. Nothing is connected before the first call. */
export function connectPorts(config: WorkerConfig, database: Database): Ports {
  const simulation = new Simulation(database, config.PROVIDER_LATENCY_MS);
  return {
    inventory: mysqlInventory(database, simulation),
    payments: simulatedPayments(database, simulation),
    carrier: simulatedCarrier(database, simulation, config.CARRIER_TRANSIT_MS),
  };
}
