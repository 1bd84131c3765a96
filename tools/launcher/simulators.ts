import path from "node:path";
import { LOCAL } from "./local-folder.ts";
import { freePort } from "./ports.ts";
import type { Simulators, StateFile } from "./state.ts";

/** The file with the simulated providers' books. Where the orders stay, after `npm run reset`, these do too. */
export function ledgerFile(areOrdersOurs: boolean): string {
  const folder = areOrdersOurs ? LOCAL.data : path.dirname(LOCAL.data);
  return path.join(folder, "simulators/ledger.jsonl");
}

/**
 * Chooses where the simulated providers listen: on the ports of the last run, or on others if those are in use. Those
 * that the environment names are not simulated; if it names both, nothing is.
 */
export async function chooseSimulators(
  environment: NodeJS.ProcessEnv,
  state: StateFile,
): Promise<Simulators> {
  const hasOwn = { payments: environment["PAYMENTS_URL"], carrier: environment["CARRIER_URL"] };
  if (hasOwn.payments && hasOwn.carrier) return {};
  const choose = async (provider: keyof Simulators): Promise<string> => {
    const port = await freePort(state.state[`${provider}Port`]);
    state.update((remembered) => (remembered[`${provider}Port`] = port));
    return `http://127.0.0.1:${port}`;
  };
  return {
    ...(hasOwn.payments ? {} : { payments: await choose("payments") }),
    ...(hasOwn.carrier ? {} : { carrier: await choose("carrier") }),
    inventory: await choose("inventory"),
  };
}

/** What has an API or a worker use them. */
export function simulatorVariables({ payments, carrier, inventory }: Simulators): Record<string, string> {
  return {
    ...(payments && { PAYMENTS_URL: payments }),
    ...(carrier && { CARRIER_URL: carrier }),
    ...(inventory && { PROVIDERS_MODULE: "tools/simulators/inventory", INVENTORY_SIMULATOR_URL: inventory }),
  };
}

/** What has them listen there. One that is not used gets a free port. */
export function simulatorPorts(simulators: Simulators): Record<string, string> {
  const portOf = (url = "http://127.0.0.1:0") => new URL(url).port;
  return {
    PAYMENTS_PORT: portOf(simulators.payments),
    CARRIER_PORT: portOf(simulators.carrier),
    INVENTORY_PORT: portOf(simulators.inventory),
  };
}
