import path from "node:path";
import { httpStage } from "../order/http-stage.ts";
import { faultsOf } from "../order/lifecycle.ts";
import { PIPELINE } from "../order/pipeline.ts";
import type { Stage } from "../order/stage.ts";
import { describeError } from "../platform/describe-error.ts";
import { faultOfProvider, PROVIDER_NAMES, type ProviderName } from "../providers/checked.ts";
import { faultsBy, httpOptions, stageShape } from "./config-checks.ts";
import type { ConfigFile, Environment } from "./configuration.ts";
import { isObject, isStage, ownOrder, standIn } from "./given-stages.ts";
import { loadModule } from "./load-module.ts";
import { loadedWithin } from "./load-time.ts";

/** Reads the content of a configuration file, and collects its faults. */
export class ConfigReader {
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
      const made: unknown = await loadedWithin(this.#loadWithinMs, Promise.resolve(make(this.#environment)));
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
      const { default: found } = await loadedWithin(this.#loadWithinMs, module);
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
