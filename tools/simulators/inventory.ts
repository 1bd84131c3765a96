import type { ChoosePorts } from "../../src/composition/providers.ts";
import type { Inventory } from "../../src/order/ports.ts";
import { httpInventory } from "../../src/providers/http/inventory.ts";

/** Less than a stage's attempt may take, so that the inventory gets the blame. */
const TIMEOUT_MS = 5_000;

/**
 * A `PROVIDERS_MODULE`: the inventory fails and dawdles as the simulators say, which every call asks first, at
 * `INVENTORY_SIMULATOR_URL`. The stock itself stays in MySQL.
 */
const withSimulatedFaults: ChoosePorts = (configured) => ({
  ...configured,
  inventory: behind(configured.inventory, process.env["INVENTORY_SIMULATOR_URL"]),
});
export default withSimulatedFaults;

/** @param url without one, the inventory stays as it is. */
export function behind(inventory: Inventory, url: string | undefined): Inventory {
  if (url === undefined || url === "") return inventory;
  const simulator = httpInventory({ url, timeoutMs: TIMEOUT_MS });
  return {
    async ping(signal) {
      await simulator.ping(signal);
      await inventory.ping(signal);
    },
    async move(operation, request) {
      await simulator.move(operation, request);
      return inventory.move(operation, request);
    },
    async release(request) {
      await simulator.release(request);
      await inventory.release(request);
    },
  };
}
