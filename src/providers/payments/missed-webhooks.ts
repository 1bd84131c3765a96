import type { Database } from "../../../db/database.ts";
import { findPosition, savePosition } from "../../../db/relay-positions.ts";
import { RequestRefusedError, type PaymentProvider, type WebhookSubject } from "../../order/ports.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Lease } from "../../platform/lease.ts";
import type { Logger } from "../../platform/log.ts";
import { Repeat } from "../../platform/repeat.ts";
import type { Service } from "../../platform/service.ts";

/** How often the provider is asked. Milliseconds. */
const EVERY_MS = 5 * 60_000;

export interface MissedWebhooksOptions {
  readonly provider: Pick<PaymentProvider, "webhooksSince" | "name">;
  readonly database: Database;
  /** Looks at what a webhook is about. */
  readonly look: (subject: WebhookSubject) => Promise<void>;
  readonly lease: Lease;
  readonly everyMs?: number;
  readonly log: Logger;
}

/**
 * Asks the provider every few minutes for what its webhooks should have told: disputes, and refunds that had succeeded and
 * have failed, are looked at by nobody else. One process at a time, the holder of the lease. How far it has come is in MySQL, and
 * moves on once all was looked at, but for what the provider refuses.
 */
export class MissedWebhooks implements Service {
  readonly name = "missed webhooks";
  readonly #options: MissedWebhooksOptions;
  readonly #rounds: Repeat;
  readonly #stopping = new AbortController();

  constructor(options: MissedWebhooksOptions) {
    this.#options = options;
    this.#rounds = new Repeat({
      run: () => this.#run(),
      everyMs: options.everyMs ?? EVERY_MS,
      onError: (error) => {
        if (this.#stopping.signal.aborted) return;
        options.log.warn(
          { error: describeError(error) },
          "could not ask the payment provider for missed webhooks",
        );
      },
    });
  }

  start(): void {
    if (this.#options.provider.webhooksSince) this.#rounds.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#rounds.stop();
    await this.#options.lease.release();
  }

  async #run(): Promise<void> {
    const { provider, database, look, lease, log } = this.#options;
    if ((await lease.hold()) === undefined) return;
    const name = `payments:${provider.name}` as const;
    const since = await findPosition(database, name);
    const { signal } = this.#stopping;
    const missed = await provider.webhooksSince?.({ since, signal });
    if (missed === undefined) return;
    const errors: unknown[] = [];
    for (const subject of missed.subjects) {
      signal.throwIfAborted();
      // One that can't be looked at holds up none of the others, and one that never can be not the next ones either.
      await look(subject).catch((error: unknown) => {
        if (!(error instanceof RequestRefusedError)) errors.push(error);
        else log.error({ ...subject, error: describeError(error) }, "a missed webhook can't be looked at");
      });
    }
    if (errors.length > 0) throw errors[0];
    if (missed.until !== undefined && missed.until !== since)
      await savePosition(database, name, missed.until);
  }
}
