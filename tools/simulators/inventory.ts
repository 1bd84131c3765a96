import { VARIABLES } from "../../src/composition/variables.ts";
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
  inventory: behind(configured.inventory, process.env),
});
export default withSimulatedFaults;

/** @param environment without `INVENTORY_SIMULATOR_URL`, the inventory stays as it is. */
export function behind(
  inventory: Inventory,
  environment: Readonly<Record<string, string | undefined>>,
): Inventory {
  const url = environment["INVENTORY_SIMULATOR_URL"];
  if (url === undefined || url === "") return inventory;
  const secrets = VARIABLES.SIGNING_SECRET.parse(environment["SIGNING_SECRET"]);
  const simulator = httpInventory({ url, secrets, timeoutMs: TIMEOUT_MS });
  return {
    ...inventory,
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
