import { SIMULATED } from "../../src/composition/variables.ts";
import { runMain, StartupError, UsageError } from "../../src/platform/startup.ts";
import { readRunning } from "../launcher/state.ts";
import { fault as faultSchema, SLOWEST_MS, type Fault } from "../simulators/fault.ts";
import { PROVIDERS, type Provider } from "../simulators/providers.ts";

const USAGE = `usage: npm run providers [-- ${PROVIDERS.join("|")} up|down|slow MILLISECONDS]`;
const TIMEOUT_MS = 5_000;

/** `npm run providers -- payments down`: switches a simulated provider. */
runMain(async () => {
  const [name, ...state] = process.argv.slice(2);
  const provider = PROVIDERS.find((known) => known === name);
  const fault = faultOf(state);
  if (name !== undefined && (provider === undefined || fault === undefined)) throw new UsageError(USAGE);
  const urls = addresses();
  if (provider && fault) await ask(provider, urls[provider], fault);
  for (const known of PROVIDERS) {
    const now = urls[known] === undefined ? "not simulated" : textOf(await ask(known, urls[known]));
    process.stdout.write(`${known} ${now}\n`);
  }
});

/** Those of `npm start`, or of the environment. */
function addresses(): Readonly<Record<Provider, string | undefined>> {
  const { PAYMENTS_URL, CARRIER_URL, INVENTORY_SIMULATOR_URL } = process.env;
  const running = readRunning()?.simulators;
  return {
    inventory: INVENTORY_SIMULATOR_URL || (running ? running.inventory : "http://127.0.0.1:4103"),
    payments: PAYMENTS_URL || (running ? running.payments : SIMULATED.PAYMENTS_URL),
    carrier: CARRIER_URL || (running ? running.carrier : SIMULATED.CARRIER_URL),
  };
}

/** Sets the fault, if there is one. @returns the present one. @throws {StartupError} */
async function ask(provider: Provider, url: string | undefined, fault?: Fault): Promise<Fault> {
  if (url === undefined) throw new StartupError(`${provider} is not simulated`);
  const request = fault && { method: "PUT", body: JSON.stringify(fault) };
  try {
    const response = await fetch(`${url}/fault`, { ...request, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return faultSchema.parse(await response.json());
  } catch (error) {
    throw new StartupError(`no simulated ${provider} answers at ${url}: start it with npm run simulators`, {
      cause: error,
    });
  }
}

function faultOf([state, ms, ...rest]: readonly string[]): Fault | undefined {
  if (rest.length > 0) return undefined;
  if (ms === undefined)
    return state === "up" ? { kind: "none" } : state === "down" ? { kind: "down" } : undefined;
  const isTime = state === "slow" && /^\d{1,9}$/.test(ms) && Number(ms) <= SLOWEST_MS;
  return isTime ? { kind: "slow", ms: Number(ms) } : undefined;
}

function textOf(fault: Fault): string {
  if (fault.kind === "none") return "up";
  return fault.kind === "slow" ? `slow ${fault.ms}` : fault.kind;
}
