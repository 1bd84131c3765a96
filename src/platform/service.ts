import { describeError } from "./describe-error.ts";
import type { Logger } from "./log.ts";

/** A part of a process that runs in the background, or that holds something open. */
export interface Service {
  /** For logs: "sweeper". */
  readonly name: string;
  /** Resolves when it is at work. */
  start(): Promise<void> | void;
  /** Resolves when nothing of it is under way any more. Called once, and after {@link start} was. */
  stop(): Promise<void> | void;
}

/** What was open before it could be started, and only has to be closed. */
export function opened(name: string, close: () => Promise<void> | void): Service {
  return { name, start: () => undefined, stop: close };
}

/** A server that listens for as long as the process runs. */
export class Listening implements Service {
  readonly name: string;
  readonly #server: Server;
  readonly #port: number | undefined;
  readonly #host: string;
  #address: string | undefined;

  /** @param where without a port it does not listen; with port 0, on one that is free. */
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

  /** Where it listens. */
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
  /** @returns its address. */
  listen(port: number, host: string): Promise<string>;
  close(): Promise<void>;
}

/** The services of a process: started in order, each when the one before is at work, and stopped in reverse. */
export class Services {
  readonly #all: readonly Service[];
  readonly #log: Logger;
  #started = 0;
  #stopping = false;

  constructor(all: readonly Service[], log: Logger) {
    this.#all = all;
    this.#log = log;
  }

  /** Starts all, unless they are stopped meanwhile. @throws what a service throws. */
  async start(): Promise<void> {
    for (const service of this.#all) {
      if (this.#stopping) return;
      this.#started++;
      await service.start();
    }
  }

  /** Stops those that were started. One that fails is logged, and does not keep the others. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const service of this.#all.slice(0, this.#started).toReversed()) {
      try {
        await service.stop();
      } catch (error) {
        this.#log.error({ service: service.name, error: describeError(error) }, "could not stop a service");
      }
    }
  }
}
