import type { HttpStageOptions } from "../order/http-stage.ts";
import type { PIPELINE } from "../order/pipeline.ts";
import type { CarrierProvider, Inventory, PaymentProvider } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";

/* What a configuration file may say, as TypeScript, and what is made of it. */

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

export type Environment = Readonly<Record<string, string | undefined>>;
