import path from "node:path";
import type { Database } from "../../db/database.ts";
import { publicUrl, SIMULATED, stageOverrides, type StagesConfig } from "./config.ts";
import { loadModule } from "./load-module.ts";
import { COMMITS, type Commit } from "../platform/group-commit.ts";
import { StartupError } from "../platform/startup.ts";
import { describeError } from "../platform/describe-error.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Ports } from "../order/ports.ts";
import { settingsOf } from "../order/stage.ts";
import { Callbacks } from "../providers/http/callbacks.ts";
import { httpCarrier } from "../providers/http/carrier.ts";
import { httpInventory } from "../providers/http/inventory.ts";
import { httpPayments } from "../providers/http/payments.ts";
import { httpStages } from "../providers/http/stages.ts";
import { mysqlInventory } from "../providers/inventory.ts";

/** Timeout of a call to an outside service: this long, or this share of a shorter attempt's. */
const LONGEST_ANSWER_MS = 5_000;
const PART_OF_ATTEMPT = 0.8;
/** The folder of the sources, or of the compiled ones. */
const CODE_FOLDER = path.resolve(import.meta.dirname, "../..");

/** The default export of the module in `PROVIDERS_MODULE`: gets the configured ports and returns those to use. */
export type ChoosePorts = (configured: Ports) => Ports;

/**
 * Builds the adapters behind the ports. Nothing is connected before the first call.
 *
 * @param commit group commit; defaults to the configured one.
 * @throws {StartupError} if `PROVIDERS_MODULE` can't be loaded
 */
export async function connectPorts(
  config: StagesConfig,
  database: Database,
  commit: Commit = COMMITS[config.GROUP_COMMIT],
): Promise<Ports> {
  const at = (url: string) => ({ url, timeoutMs: answerTimeout(config), secrets: config.SIGNING_SECRET });
  const { INVENTORY_URL, PAYMENTS_URL, CARRIER_URL } = config;
  const ports: Ports = {
    inventory:
      INVENTORY_URL === undefined ? mysqlInventory(database, commit) : httpInventory(at(INVENTORY_URL)),
    payments: httpPayments(at(PAYMENTS_URL ?? SIMULATED.PAYMENTS_URL)),
    carrier: httpCarrier(at(CARRIER_URL ?? SIMULATED.CARRIER_URL)),
    httpStages: httpStages(
      lifecycle.stages,
      ({ http, ...stage }) => ({
        url: http.url,
        timeoutMs: Math.floor(settingsOf(stage, stageOverrides(config)).timeout * PART_OF_ATTEMPT),
        secrets: http.secret?.split(" ") ?? config.SIGNING_SECRET,
      }),
      new Callbacks({ database, lifecycle, publicUrl: publicUrl(config) }),
    ),
  };
  const configured = { ...ports, ...config.providers };
  if (config.PROVIDERS_MODULE === undefined) return configured;
  const choose = await load(config.PROVIDERS_MODULE);
  return choose(configured);
}

/** @param name a path, relative to the code and without an extension, or absolute. @throws {StartupError} */
async function load(name: string): Promise<ChoosePorts> {
  const file = path.isAbsolute(name)
    ? name
    : path.join(CODE_FOLDER, name + path.extname(import.meta.filename));
  let module: { readonly default?: unknown };
  try {
    module = await loadModule(file);
  } catch (error) {
    throw new StartupError(`PROVIDERS_MODULE ${name} can't be loaded: ${describeError(error)}`, {
      cause: error,
    });
  }
  if (!isChoice(module.default))
    throw new StartupError(`PROVIDERS_MODULE ${name} has no function as its default export`);
  return module.default;
}

function isChoice(value: unknown): value is ChoosePorts {
  return typeof value === "function";
}

/** The gateway must give up before the attempt does, so that the error names the service. */
function answerTimeout(config: StagesConfig): number {
  const timeouts = lifecycle.stages.map((stage) => settingsOf(stage, stageOverrides(config)).timeout);
  return Math.min(LONGEST_ANSWER_MS, Math.floor(Math.min(...timeouts) * PART_OF_ATTEMPT));
}
