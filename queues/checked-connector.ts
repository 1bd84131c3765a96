import { createConnection, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { AbstractConnector, SentinelConnector, type RedisOptions } from "ioredis";
import type { Guard } from "./connection.ts";

/** Milliseconds for the other side to close a connection. */
const DISCONNECT_TIMEOUT_MS = 2_000;

export type NetStream = Awaited<ReturnType<AbstractConnector["connect"]>>;
type Emit = Parameters<AbstractConnector["connect"]>[0];

export interface Checks {
  /** @throws {Error} if no connection may be used. */
  readonly check: () => Promise<void>;
  /** The open ones. */
  readonly connected: Set<NetStream>;
}

/** Has each connection, also those to a cluster's nodes, wait until Redis is known to be usable. */
export function guardedBy(checks: Checks): Guard {
  return {
    Connector: class extends CheckedConnector {
      // ioredis passes the connection's own options.
      constructor(options: unknown) {
        super(isOptions(options) ? options : {}, checks);
      }
    },
  };
}

function isOptions(options: unknown): options is RedisOptions {
  return typeof options === "object" && options !== null;
}

/** Connects once the server is known to be usable. */
class CheckedConnector extends AbstractConnector {
  readonly #options: RedisOptions;
  readonly #checks: Checks;
  /** Finds the master. */
  readonly #sentinels: SentinelConnector | undefined;

  constructor(options: RedisOptions, checks: Checks) {
    super(options.disconnectTimeout ?? DISCONNECT_TIMEOUT_MS);
    this.#options = options;
    this.#checks = checks;
    this.#sentinels = options.sentinels ? new SentinelConnector(options) : undefined;
  }

  async connect(emit: Emit): Promise<NetStream> {
    this.connecting = true;
    const refusal = await this.#checks.check().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
    );
    if (!this.connecting) throw new Error("Connection is closed.");
    delete this.firstError;
    if (refusal) {
      // ioredis retries, as after every failed connection.
      this.firstError = refusal;
      return (this.stream = new Socket().destroy());
    }
    const stream = (await this.#sentinels?.connect(emit)) ?? this.#open();
    const { connected } = this.#checks;
    connected.add(stream);
    stream.once("close", () => connected.delete(stream));
    stream.once("error", (error) => (this.firstError = error));
    return (this.stream = stream);
  }

  override check(info: { readonly role?: string }): boolean {
    return this.#sentinels?.check(info) ?? true;
  }

  override disconnect(): void {
    super.disconnect();
    // It may still be asking.
    this.#sentinels?.disconnect();
  }

  #open(): NetStream {
    const { host = "localhost", port = 6379, path, family = 0, tls } = this.#options;
    if (path) return createConnection({ path });
    const address = { host, port, family };
    return tls ? connectTls({ ...address, ...tls }) : createConnection(address);
  }
}
