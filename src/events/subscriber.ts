import type { Connection } from "../../queues/connection.ts";
import { notificationChannelOf } from "./stream.ts";

/** Receives an `EventNotifier`'s notifications of new events over Redis. Notifications may get lost. */
export class EventSubscriber {
  readonly #connect: (() => Connection) | undefined;
  readonly #onNotification: () => void;
  #listener: Connection | undefined;

  /** @param connect opens a connection that waits for Redis; without it, no notifications arrive. */
  constructor(connect: (() => Connection) | undefined, onNotification: () => void) {
    this.#connect = connect;
    this.#onNotification = onNotification;
  }

  /** Starts receiving notifications. */
  subscribe(): void {
    if (this.#listener) return;
    const listener = this.#connect?.();
    listener?.on("error", () => undefined);
    listener?.on("message", this.#onNotification);
    listener?.subscribe(notificationChannelOf(listener)).catch(() => undefined);
    this.#listener = listener;
  }

  /** Stops receiving notifications until the next {@link subscribe}. */
  unsubscribe(): void {
    this.#listener?.disconnect();
    this.#listener = undefined;
  }
}
