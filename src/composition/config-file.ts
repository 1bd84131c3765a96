import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { httpStage, type HttpStageOptions } from "../order/http-stage.ts";
import { faultsOf } from "../order/lifecycle.ts";
import type { Order } from "../order/order.ts";
import { PIPELINE } from "../order/pipeline.ts";
import type { CarrierProvider, Inventory, PaymentProvider } from "../order/ports.ts";
import type { Stage, StageContext } from "../order/stage.ts";
import { describeError } from "../platform/describe-error.ts";
import { repeatedNames } from "../platform/json.ts";
import { faultOfProvider, PROVIDER_NAMES, type ProviderName } from "../providers/checked.ts";
import { faultsBy, httpOptions, stageShape } from "./config-checks.ts";
import { loadModule } from "./load-module.ts";

/** Looked for in the working directory, and in its folder `config`, where `CONVEYOR_CONFIG` names none. */
const FILES = ["ts", "mts", "js", "mjs", "json"]
  .map((extension) => `conveyor.config.${extension}`)
  .flatMap((name) => [name, path.join("config", name)]);

const READABLE = /\.([mc]?js|m?ts|json)$/;

/** A module that waits for what never comes would keep its process from starting, and Node from saying so. */
const LOAD_WITHIN_MS = 30_000;

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
  readonly carrier?: ProviderChoice<CarrierProvider>;
  readonly inventory?: ProviderChoice<Inventory>;
}

/** Providers that run in the process itself. */
export interface GivenProviders {
  readonly payments?: PaymentProvider;
  readonly carrier?: CarrierProvider;
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

/**
 * Reads and checks the configuration file, if there is one, with all stages and providers that it names.
 *
 * @param loadWithinMs how long it, and each module that it names, may take to load
 */
export async function readConfigFile(
  environment: Environment,
  folder = process.cwd(),
  loadWithinMs = LOAD_WITHIN_MS,
): Promise<ConfigFile> {
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
      faults: [
        `${path.relative(folder, file)} and ${path.relative(folder, another)}: keep one of them, or name it in CONVEYOR_CONFIG`,
      ],
    };
  const reader = new Reader(file, environment, loadWithinMs);
  try {
    if (statSync(file).isDirectory())
      return { ...none, file, faults: [`${at} is a folder: name the file in it`] };
    if (!READABLE.test(file))
      return { ...none, file, faults: [`${at} must end in .ts, .mts, .js, .mjs, .cjs or .json`] };
    if (!file.endsWith(".json"))
      return await reader.read((await settledWithin(loadWithinMs, loadModule(file))).default);
    // Editors on Windows put a byte order mark before it.
    const json = readFileSync(file, "utf8").replace(/^\uFEFF/, "");
    const content: unknown = JSON.parse(json);
    return await reader.read(content, repeatedNames(json));
  } catch (error) {
    return { ...none, file, faults: [`${at} can't be read: ${describeError(error)}`] };
  }
}

/** Reads the content of a configuration file, and collects its faults. */
class Reader {
  readonly #file: string;
  readonly #environment: Environment;
  readonly #loadWithinMs: number;
  readonly #faults: string[] = [];
  readonly #variables: Record<string, string> = {};
  readonly #providers: Record<string, unknown> = {};

  constructor(file: string, environment: Environment, loadWithinMs: number) {
    this.#file = file;
    this.#loadWithinMs = loadWithinMs;
    this.#environment = environment;
  }

  /** @param repeated names that its JSON has more than once */
  async read(content: unknown, repeated: readonly string[] = []): Promise<ConfigFile> {
    for (const name of repeated) this.#fault(name, "is there twice");
    if (!isObject(content))
      this.#fault("", 'must be an object such as {"pipeline": [...]}, as the default export');
    else {
      const known = ["pipeline", ...PROVIDER_NAMES];
      for (const key of Object.keys(content))
        if (!known.includes(key)) this.#fault(key, `is not known; known are ${known.join(", ")}`);
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
    for (const [index, entry] of given.entries())
      stages.push(await this.#readStage(entry, `pipeline[${index}]`, index));
    for (const fault of faultsOf(stages)) this.#fault("pipeline", fault);
    return stages;
  }

  async #readStage(entry: unknown, at: string, index: number): Promise<Stage> {
    if (typeof entry === "string") {
      const known = PIPELINE.find(({ name }) => name === entry);
      if (known) return known;
      this.#fault(
        at,
        `"${entry}" is no stage of Conveyor's own (${PIPELINE.map(({ name }) => name).join(", ")}): one of yours is {"http": {...}} or {"module": "./stage.ts"}`,
      );
      return standIn({}, index);
    }
    const [kind, ...more] = isObject(entry) ? Object.keys(entry) : [];
    if (isObject(entry) && more.length === 0 && kind === "http")
      return this.#readHttpStage(entry["http"], `${at}.http`, index);
    if (isObject(entry) && more.length === 0 && kind === "module") {
      const found = await this.#readModule(entry["module"], at);
      const what = `${String(entry["module"])} has no stage as its default export: defineStage({ name, to, run })`;
      return found === undefined ? standIn({}, index) : this.#checkStage(found, at, what, index);
    }
    const what = 'must be the name of a stage, a stage, {"http": {...}} or {"module": "./stage.ts"}';
    return this.#checkStage(entry, at, what, index);
  }

  /** @param otherwise the fault if it is nothing like a stage */
  #checkStage(given: unknown, at: string, otherwise: string, index: number): Stage {
    const isLikeStage = isObject(given) && ["name", "to", "run"].some((part) => part in given);
    const faults = isLikeStage ? faultsBy(stageShape, given, at) : [`${at} ${otherwise}`];
    for (const fault of faults) this.#fault("", fault);
    return faults.length === 0 && isStage(given) ? ownOrder(given) : standIn(given, index);
  }

  #readHttpStage(given: unknown, at: string, index: number): Stage {
    const options = this.#withSecret(given, `${at}.secret`);
    const parsed = httpOptions.safeParse(options);
    if (parsed.success) return httpStage(parsed.data);
    for (const fault of faultsBy(httpOptions, options, at)) this.#fault("", fault);
    return standIn(options, index);
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
    if (typeof given === "string" && given !== "") {
      // What a variable would say. The variables' own checks tell what is wrong with it.
      this.#variables[`${name.toUpperCase()}${given.includes("://") || name === "inventory" ? "_URL" : ""}`] =
        given;
      return;
    }
    const isNamed = isObject(given) && Object.keys(given).join() === "module";
    const isData = isObject(given) && Object.values(given).every((value) => typeof value !== "function");
    const strange = isData ? Object.keys(given).filter((key) => key !== "module") : [];
    if (isData && Object.getPrototypeOf(given) === Object.prototype && strange.length > 0) {
      this.#fault(
        name,
        `must be an address, {"module": "./provider.ts"} or a provider: ${strange.join(", ")} is not known`,
      );
      return;
    }
    const found = isNamed ? await this.#readModule(given["module"], name) : given;
    if (found === undefined) return;
    const provider = typeof found === "function" ? await this.#make(found, name) : found;
    if (provider === undefined) return;
    const fault = faultOfProvider(name, provider);
    if (fault === undefined) this.#providers[name] = provider;
    else if (isObject(provider) && !("module" in provider)) this.#fault(name, fault);
    else if (isNamed) this.#fault(name, `${String(given["module"])} has no provider as its default export`);
    else this.#fault(name, 'must be an address, {"module": "./provider.ts"} or a provider');
  }

  /** Calls a function that makes a provider. @returns undefined, and a fault, if that fails */
  async #make(make: Function, at: string): Promise<unknown> {
    try {
      const made: unknown = await settledWithin(this.#loadWithinMs, Promise.resolve(make(this.#environment)));
      return made ?? null;
    } catch (error) {
      this.#fault(at, `can't be made: ${describeError(error)}`);
      return undefined;
    }
  }

  /** @returns the default export; undefined, and a fault, if it can't be had. */
  async #readModule(given: unknown, at: string): Promise<unknown> {
    if (typeof given !== "string" || given === "") {
      this.#fault(`${at}.module`, "must be a path");
      return undefined;
    }
    try {
      const module = loadModule(path.resolve(path.dirname(this.#file), given));
      const { default: found } = await settledWithin(this.#loadWithinMs, module);
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

/** The timer keeps the process alive, which would otherwise end without a word. @throws {Error} when the time is up */
async function settledWithin<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new Error(
      `it was not ready within ${milliseconds / 1_000} s: does it await what never comes?`,
    );
    timer = setTimeout(() => reject(error), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStage(value: unknown): value is Stage {
  return stageShape.safeParse(value).success;
}

/**
 * The stage with an order of its own, unless it is one of Conveyor's: what somebody else's changes there would change what
 * later stages do in the same process, and what is written down.
 */
function ownOrder(stage: Stage): Stage {
  if (PIPELINE.some((own) => own === stage)) return stage;
  const { name, to, http, stock, pointOfNoReturn, settings } = stage;
  const own = (context: StageContext) => ({ ...context, waited: structuredClone(context.waited) });
  return {
    name,
    to,
    ...(http && { http }),
    ...(stock && { stock }),
    ...(pointOfNoReturn && { pointOfNoReturn }),
    ...(settings && { settings }),
    run: async (order, context) => stage.run(structuredClone(order), own(context)),
    ...(stage.undo && {
      undo: async (order: Order, context: StageContext) => stage.undo?.(structuredClone(order), own(context)),
    }),
  };
}

/** For an entry that is wrong, so that what is wrong between it and others shows too: what is right of it. */
function standIn(entry: unknown, index: number): Stage {
  const { name, to, url, secret } = isObject(entry) ? entry : {};
  return {
    name: typeof name === "string" ? name : `entry-${index}`,
    to: typeof to === "string" ? to : `ENTRY_${index}`,
    ...(typeof url === "string" && { http: { url, ...(typeof secret === "string" && { secret }) } }),
    run: () => Promise.reject(new Error("it stands in for a stage that is wrong")),
  };
}
