import * as fc from "fast-check";
import type { Contract } from "../contract.ts";
import { faultOf } from "./judge.ts";
import { summary, type Attack, type HostileRequest } from "./request.ts";
import type { HostileClient } from "./send.ts";

/** With so many, nothing is learnt from more. */
const ENOUGH_FAULTS = 100;

export interface CampaignOptions {
  /** The same one gives the same requests. */
  readonly seed: number;
  /** Requests that are under way together. */
  readonly atOnce: number;
  readonly contract: Contract;
  /** What no answer may contain. */
  readonly secret: string;
}

/** Sends the requests of many attacks, and keeps what came of it. */
export class Campaign {
  readonly faults: string[] = [];
  /** What was not refused, and may have written something. */
  readonly accepted: string[] = [];
  /** "POST /orders 422" */
  readonly statuses = new Set<string>();
  sent = 0;
  #round = 0;
  readonly #client: HostileClient;
  readonly #attacks: readonly Attack[];
  readonly #options: CampaignOptions;

  constructor(client: HostileClient, attacks: readonly Attack[], options: CampaignOptions) {
    this.#client = client;
    this.#attacks = attacks;
    this.#options = options;
  }

  /** At least so many, in rounds of one request of each attack: every part of a campaign has all of them. */
  async send(count: number): Promise<void> {
    const { seed, atOnce } = this.#options;
    const end = this.sent + count;
    while (this.sent < end && this.faults.length < ENOUGH_FAULTS) {
      const [requests = []] = fc.sample(fc.tuple(...this.#attacks.map(({ request }) => request)), {
        seed: seed + this.#round++,
        numRuns: 1,
      });
      const waiting = requests.map((request, index) => ({ request, attack: this.#attacks[index]! }));
      const send = async () => {
        for (let next = waiting.pop(); next; next = waiting.pop())
          await this.#send(next.attack, next.request);
      };
      await Promise.all(Array.from({ length: atOnce }, send));
    }
  }

  async #send({ kind, target }: Attack, request: HostileRequest): Promise<void> {
    this.sent++;
    let fault: string | undefined;
    try {
      const replies = await this.#client.send(request);
      fault = faultOf(request, replies, this.#options);
      for (const { status } of replies) {
        this.statuses.add(`${target} ${status}`);
        if (status < 400 && !isRead(request))
          this.accepted.push(`${kind} of ${target}: ${status}\n  ${summary(request)}`);
      }
    } catch (error) {
      fault = String(error);
    }
    if (fault !== undefined) this.faults.push(`${kind} of ${target}: ${fault}\n  ${summary(request)}`);
  }
}

function isRead(request: HostileRequest): boolean {
  if (request.via === "http") return request.method === "GET" || request.method === "HEAD";
  return Buffer.concat(request.pieces).subarray(0, 4).toString() === "GET ";
}
