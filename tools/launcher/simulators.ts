import path from "node:path";
import type { ConfigFile } from "../../src/composition/configuration.ts";
import { SENDER } from "../simulators/easypost/sender.ts";
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
 * that the environment or the configuration file names are not simulated; if they name payments and carrier, nothing is.
 */
export async function chooseSimulators(
  { variables, providers }: Pick<ConfigFile, "variables" | "providers">,
  environment: NodeJS.ProcessEnv,
  state: StateFile,
): Promise<Simulators> {
  const given = (name: string) => environment[name] || variables[name];
  const wantsEasyPost = given("CARRIER") === "easypost";
  const hasOwn = {
    payments: given("PAYMENTS") === "stripe" || given("PAYMENTS_URL") || providers.payments,
    carrier:
      (wantsEasyPost && (given("EASYPOST_API_KEY") || given("EASYPOST_API_KEY_FILE"))) ||
      given("CARRIER_URL") ||
      providers.carrier,
    inventory: given("INVENTORY_URL") ?? providers.inventory,
  };
  if (hasOwn.payments && hasOwn.carrier) return {};
  const choose = async (provider: keyof Simulators): Promise<string> => {
    const port = await freePort(state.state[`${provider}Port`]);
    state.update((remembered) => (remembered[`${provider}Port`] = port));
    return `http://127.0.0.1:${port}`;
  };
  return {
    ...(hasOwn.payments ? {} : { payments: await choose("payments") }),
    ...(hasOwn.carrier ? {} : { carrier: await choose("carrier") }),
    ...(hasOwn.carrier || !wantsEasyPost ? {} : { easypost: await choose("easypost") }),
    ...(hasOwn.inventory ? {} : { inventory: await choose("inventory") }),
  };
}

/** The simulated Stripe's and EasyPost's. They open nothing else. */
const STRIPE_KEY = "sk_test_simulated";
const EASYPOST_KEY = "EZTKsimulated";
const WEBHOOK_SECRET = "whsec_simulated";
/** Parcels take seconds, so one whose webhook was lost is asked for soon. */
const TRACKED_EVERY = "10s";

/**
 * What has an API or a worker use them. The simulated payment provider is Stripe, unless `PAYMENTS` asks for the one of our
 * own protocol, which listens at the same address. The carrier is the one of our own protocol, which needs no addresses, unless
 * `CARRIER` asks for EasyPost.
 */
export function simulatorVariables(
  { payments, carrier, inventory, easypost }: Simulators,
  { PAYMENTS, SHIP_FROM: sender, TRACKING_INTERVAL }: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  return {
    ...(payments && { PAYMENTS_URL: payments }),
    ...(payments &&
      PAYMENTS !== "http" && {
        PAYMENTS: "stripe",
        STRIPE_API_URL: payments,
        STRIPE_SECRET_KEY: STRIPE_KEY,
        STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
      }),
    ...(carrier && { CARRIER_URL: carrier }),
    ...(easypost && {
      CARRIER: "easypost",
      EASYPOST_API_URL: `${easypost}/v2`,
      EASYPOST_API_KEY: EASYPOST_KEY,
      EASYPOST_WEBHOOK_SECRET: WEBHOOK_SECRET,
      SHIP_FROM: sender || JSON.stringify(SENDER),
      TRACKING_INTERVAL: TRACKING_INTERVAL || TRACKED_EVERY,
    }),
    ...(inventory && { PROVIDERS_MODULE: "tools/simulators/inventory", INVENTORY_SIMULATOR_URL: inventory }),
  };
}

/** What has them listen there, and webhooks sent to the API. One that is not used gets a free port. */
export function simulatorSettings(simulators: Simulators, apiUrl: string): Record<string, string> {
  const portOf = (url = "http://127.0.0.1:0") => new URL(url).port;
  return {
    PAYMENTS_PORT: portOf(simulators.payments),
    CARRIER_PORT: portOf(simulators.carrier),
    INVENTORY_PORT: portOf(simulators.inventory),
    EASYPOST_PORT: portOf(simulators.easypost),
    EASYPOST_WEBHOOK_URL: `${apiUrl}/providers/carrier/webhook`,
    EASYPOST_WEBHOOK_SECRET: WEBHOOK_SECRET,
    STRIPE_WEBHOOK_URL: `${apiUrl}/providers/payments/webhook`,
    STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
  };
}
