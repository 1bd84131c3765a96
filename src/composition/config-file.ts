import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { httpStage, ORDER_FIELDS, type HttpStageOptions } from "../order/http-stage.ts";
import { faultsOf } from "../order/lifecycle.ts";
import { PIPELINE } from "../order/pipeline.ts";
import type { Carrier, Inventory, PaymentProvider } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import { describeError } from "../platform/describe-error.ts";
import { faultOfProvider, PROVIDER_NAMES, type ProviderName } from "../providers/checked.ts";
import { loadModule } from "./load-module.ts";

/** Looked for in the working directory where `CONVEYOR_CONFIG` names none. */
const FILES = ["ts", "mts", "js", "mjs", "json"].map((extension) => `conveyor.config.${extension}`);

/** An entry of the pipeline. */
export type PipelineEntry =
  /** One of Conveyor's own: `"reserve"`, `"pay"`, `"ship"` or `"deliver"`. */
  | (typeof PIPELINE)[number]["name"]
  | Stage
  /** A stage over HTTP, as plain data; the secret may be taken from a variable. */
  | { readonly http: Omit<HttpStageOptions<string, string>, "secret"> & { readonly secret?: Secret } }
  /** A module whose default export is a stage. The path is relative to the configuration file. */
  | { readonly module: string };
type Secret = string | { readonly env: string };

/** A provider: its address, the name of one that Conveyor knows, a module whose default export it is, or itself. */
export type ProviderChoice<Provider> = string | { readonly module: string } | Provider;

/** What a configuration file says. Whatever it leaves out stays as it is without one. */
export interface Configuration {
  readonly pipeline?: readonly PipelineEntry[];
  readonly payments?: ProviderChoice<PaymentProvider>;
  readonly carrier?: ProviderChoice<Carrier>;
  readonly inventory?: ProviderChoice<Inventory>;
}

/** Providers that run in the process itself. */
export interface GivenProviders {
  readonly payments?: PaymentProvider;
  readonly carrier?: Carrier;
  readonly inventory?: Inventory;
}

/** Declares a configuration; `conveyor.config.ts` exports it as its default. */
export function defineConfig(configuration: Configuration): Configuration {
  return configuration;
}

/** What was read from a configuration file. */
export interface ConfigFile {
  /** Undefined without a file. */
  readonly file: string | undefined;
  readonly stages: readonly Stage[];
  /** Defaults of environment variables. */
  readonly variables: Readonly<Record<string, string>>;
  readonly providers: GivenProviders;
  /** A line each; nothing of the rest is usable if there are any. */
  readonly faults: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads and checks the configuration file, if there is one, with all stages and providers that it names. */
export async function readConfigFile(environment: Environment, folder = process.cwd()): Promise<ConfigFile> {
  const none = { file: undefined, stages: PIPELINE, variables: {}, providers: {}, faults: [] };
  const named = environment["CONVEYOR_CONFIG"];
  const found = named
    ? [path.resolve(folder, named)]
    : FILES.map((name) => path.join(folder, name)).filter(existsSync);
  const [file, another] = found;
  if (file === undefined) return none;
  const at = path.basename(file);
  if (another !== undefined)
    return {
      ...none,
      file,
      faults: [`${at} and ${path.basename(another)}: keep one of them, or name it in CONVEYOR_CONFIG`],
    };
  try {
    const content = file.endsWith(".json")
      ? JSON.parse(readFileSync(file, "utf8"))
      : (await loadModule(file)).default;
    return await new Reader(file, environment).read(content);
  } catch (error) {
    return { ...none, file, faults: [`${at} can't be read: ${describeError(error)}`] };
  }
}

const wholeNumber = (least: number, most: number) => {
  const error = `must be a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};
const truth = z.boolean({ error: "must be true or false" });
const text = z.string({ error: "must be a text" });
const DAY_MS = 86_400_000;
const object = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject(shape, { error: ({ code }) => (code === "invalid_type" ? "must be an object" : undefined) });

/** `http` of an entry. Names, statuses, addresses and secrets are checked with the whole pipeline. */
const httpOptions = object({
  name: text,
  to: text,
  url: text,
  secret: text.exactOptional(),
  undo: truth.exactOptional(),
  pointOfNoReturn: truth.exactOptional(),
  fields: z
    .array(z.enum(ORDER_FIELDS, { error: `must be one of ${ORDER_FIELDS.join(", ")}` }), {
      error: "must be a list",
    })
    .exactOptional(),
  concurrency: wholeNumber(1, 10_000).exactOptional(),
  attempts: wholeNumber(1, 100).exactOptional(),
  backoff: object({
    delay: wholeNumber(1, 3_600_000),
    jitter: z.number({ error: "must be a number from 0 to 1" }).min(0).max(1),
  }).exactOptional(),
  timeout: wholeNumber(10, 600_000).exactOptional(),
  rateLimit: object({ max: wholeNumber(1, 1_000_000), duration: wholeNumber(1, DAY_MS) }).exactOptional(),
  deadline: wholeNumber(1_000, 365 * DAY_MS).exactOptional(),
});

/** Reads the content of a configuration file, and collects its faults. */
class Reader {
  readonly #file: string;
  readonly #environment: Environment;
  readonly #faults: string[] = [];
  readonly #variables: Record<string, string> = {};
  readonly #providers: Record<string, unknown> = {};

  constructor(file: string, environment: Environment) {
    this.#file = file;
    this.#environment = environment;
  }

  async read(content: unknown): Promise<ConfigFile> {
    if (!isObject(content))
      this.#fault("", 'must be an object such as {"pipeline": [...]}, as the default export');
    else {
      for (const key of Object.keys(content))
        if (key !== "pipeline" && !isProviderName(key))
          this.#fault(key, `is not known; known are pipeline, ${PROVIDER_NAMES.join(", ")}`);
      for (const name of PROVIDER_NAMES) await this.#readProvider(name, content[name]);
    }
    const stages = isObject(content) ? await this.#readPipeline(content["pipeline"]) : PIPELINE;
    return {
      file: this.#file,
      stages,
      variables: this.#variables,
      providers: this.#providers,
      faults: this.#faults,
    };
  }

  async #readPipeline(given: unknown): Promise<readonly Stage[]> {
    if (given === undefined) return PIPELINE;
    if (!Array.isArray(given)) {
      this.#fault("pipeline", "must be a list of stages");
      return PIPELINE;
    }
    const stages: Stage[] = [];
    for (const [index, entry] of given.entries()) {
      const stage = await this.#readStage(entry, `pipeline[${index}]`);
      if (stage !== undefined) stages.push(stage);
    }
    // Without those that can't be read, the rest may look wrong that is not: an empty pipeline, for one.
    if (stages.length > 0 || given.length === 0)
      for (const fault of faultsOf(stages)) this.#fault("pipeline", fault);
    return stages;
  }

  async #readStage(entry: unknown, at: string): Promise<Stage | undefined> {
    if (typeof entry === "string") {
      const known = PIPELINE.find(({ name }) => name === entry);
      if (known === undefined)
        this.#fault(
          at,
          `"${entry}" is no stage of Conveyor's own (${PIPELINE.map(({ name }) => name).join(", ")}): one of yours is {"http": {...}} or {"module": "./stage.ts"}`,
        );
      return known;
    }
    if (isStage(entry)) return entry;
    const [kind, ...more] = isObject(entry) ? Object.keys(entry) : [];
    if (isObject(entry) && more.length === 0 && kind === "http")
      return this.#readHttpStage(entry["http"], `${at}.http`);
    if (isObject(entry) && more.length === 0 && kind === "module") {
      const found = await this.#readModule(entry["module"], at);
      if (found === undefined || isStage(found)) return found;
      this.#fault(
        at,
        `${String(entry["module"])} has no stage as its default export: defineStage({ name, to, run })`,
      );
      return undefined;
    }
    this.#fault(at, 'must be the name of a stage, a stage, {"http": {...}} or {"module": "./stage.ts"}');
    return undefined;
  }

  #readHttpStage(given: unknown, at: string): Stage | undefined {
    const parsed = httpOptions.safeParse(this.#withSecret(given, `${at}.secret`));
    if (parsed.success) return httpStage(parsed.data);
    for (const { code, path: parts, message, ...issue } of parsed.error.issues) {
      const place =
        at + parts.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
      if (code === "unrecognized_keys" && "keys" in issue)
        for (const key of issue.keys) this.#fault(`${place}.${key}`, "is not an option of an HTTP stage");
      else this.#fault(place, message);
    }
    return undefined;
  }

  /** Replaces `{"env": "NAME"}` by what stands there. */
  #withSecret(given: unknown, at: string): unknown {
    if (!isObject(given) || !isObject(given["secret"])) return given;
    const { secret, ...rest } = given;
    const name = Object.keys(secret).join() === "env" ? secret["env"] : undefined;
    if (typeof name !== "string") return given;
    const value = this.#environment[name];
    if (!value) this.#fault(at, `is in ${name}, which is not set`);
    return value ? { ...rest, secret: value } : rest;
  }

  async #readProvider(name: ProviderName, given: unknown): Promise<void> {
    if (given === undefined) return;
    if (typeof given === "string") {
      // What a variable would say. The variables' own checks tell what is wrong with it.
      this.#variables[`${name.toUpperCase()}${given.includes("://") || name === "inventory" ? "_URL" : ""}`] =
        given;
      return;
    }
    const isNamed = isObject(given) && Object.keys(given).join() === "module";
    const found = isNamed ? await this.#readModule(given["module"], name) : given;
    if (found === undefined) return;
    const provider: unknown = typeof found === "function" ? await found(this.#environment) : found;
    const fault = faultOfProvider(name, provider);
    if (fault === undefined) this.#providers[name] = provider;
    else if (isObject(provider) && typeof provider["ping"] === "function") this.#fault(name, fault);
    else if (isNamed) this.#fault(name, `${String(given["module"])} has no provider as its default export`);
    else this.#fault(name, 'must be an address, {"module": "./provider.ts"} or a provider');
  }

  /** @returns the default export; undefined, and a fault, if it can't be had. */
  async #readModule(given: unknown, at: string): Promise<unknown> {
    if (typeof given !== "string") {
      this.#fault(`${at}.module`, "must be a path");
      return undefined;
    }
    try {
      const { default: found } = await loadModule(path.resolve(path.dirname(this.#file), given));
      if (found === undefined) this.#fault(at, `${given} has no default export`);
      return found;
    } catch (error) {
      this.#fault(at, `${given} can't be loaded: ${describeError(error)}`);
      return undefined;
    }
  }

  #fault(at: string, what: string): void {
    this.#faults.push([path.basename(this.#file), at, what].filter((part) => part !== "").join(" "));
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStage(value: unknown): value is Stage {
  return (
    isObject(value) &&
    typeof value["name"] === "string" &&
    typeof value["to"] === "string" &&
    typeof value["run"] === "function"
  );
}

function isProviderName(name: string): name is ProviderName {
  return PROVIDER_NAMES.some((known) => known === name);
}
