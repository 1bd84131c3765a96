import { describeError } from "./describe-error.ts";
import type { Logger } from "./log.ts";

/** A part of a process that runs in the background or holds a resource. */
export interface Service {
  /** For logs: "sweeper". */
  readonly name: string;
  /** Resolves once it is running. */
  start(): Promise<void> | void;
  /** Resolves once it has stopped. Called once, after {@link start}. */
  stop(): Promise<void> | void;
}

/** A resource that is open already and only needs to be closed. */
export function opened(name: string, close: () => Promise<void> | void): Service {
  return { name, start: () => undefined, stop: close };
}

/** A server that listens until the process stops. */
export class Listening implements Service {
  readonly name: string;
  readonly #server: Server;
  readonly #port: number | undefined;
  readonly #host: string;
  #address: string | undefined;

  /** Does not listen without a port; port 0 picks a free one. */
  constructor(
    name: string,
    server: Server,
    { port, host }: { readonly port: number | undefined; readonly host: string },
  ) {
    this.name = name;
    this.#server = server;
    this.#port = port;
    this.#host = host;
  }

  /** The URL; undefined until it listens. */
  get address(): string | undefined {
    return this.#address;
  }

  async start(): Promise<void> {
    if (this.#port !== undefined) this.#address = await this.#server.listen(this.#port, this.#host);
  }

  async stop(): Promise<void> {
    if (this.#address !== undefined) await this.#server.close();
  }
}

interface Server {
  /** @returns the URL */
  listen(port: number, host: string): Promise<string>;
  close(): Promise<void>;
}

/** The services of a process, started one after the other and stopped in reverse. */
export class Services {
  readonly #all: readonly Service[];
  readonly #log: Logger;
  #started = 0;
  #running = false;
  #stopping = false;

  constructor(all: readonly Service[], log: Logger) {
    this.#all = all;
    this.#log = log;
  }

  /** Whether all have started and none is about to stop. */
  get running(): boolean {
    return this.#running;
  }

  /** Starts all, unless stopped in the meantime. @throws what a service throws */
  async start(): Promise<void> {
    for (const service of this.#all) {
      if (this.#stopping) return;
      this.#started++;
      await service.start();
    }
    this.#running = !this.#stopping;
  }

  /** Stops those that were started. A failure is logged and does not stop the others. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#running = false;
    for (const service of this.#all.slice(0, this.#started).toReversed()) {
      try {
        await service.stop();
      } catch (error) {
        this.#log.error({ service: service.name, error: describeError(error) }, "could not stop a service");
      }
    }
  }
}
