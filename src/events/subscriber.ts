import type { Redis } from "ioredis";
import { notificationChannelOf } from "./stream.ts";

/** Is told over Redis that there are new events, when an `EventNotifier` says so. Notifications may get lost. */
export class EventSubscriber {
  readonly #connect: (() => Redis) | undefined;
  readonly #onNotification: () => void;
  #listener: Redis | undefined;

  /** @param connect opens a connection that waits for Redis; without it no notification arrives. */
  constructor(connect: (() => Redis) | undefined, onNotification: () => void) {
    this.#connect = connect;
    this.#onNotification = onNotification;
  }

  /** Receives notifications from now on. */
  subscribe(): void {
    if (this.#listener) return;
    const listener = this.#connect?.();
    listener?.on("error", () => undefined);
    listener?.on("message", this.#onNotification);
    listener?.subscribe(notificationChannelOf(listener)).catch(() => undefined);
    this.#listener = listener;
  }

  /** Receives no more notifications until the next {@link subscribe}. */
  unsubscribe(): void {
    this.#listener?.disconnect();
    this.#listener = undefined;
  }
}
