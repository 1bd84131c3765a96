import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";

/** A request that an endpoint got. */
export interface ReceivedWebhook {
  /** As `Date.now()` has it. */
  readonly at: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** The order's id; undefined for a test message. */
  readonly orderId: string | undefined;
  /** The event's id. */
  readonly id: string;
  /** Whether it was answered with 2xx. */
  accepted: boolean;
}

/** What an endpoint does with a request, which is the one with this number, from 1; nothing said is 204. */
export type Behaviour = (
  response: ServerResponse,
  received: ReceivedWebhook,
  number: number,
) => void | Promise<void>;

/** A webhook endpoint, as others run them: a real HTTP server that keeps what it gets. */
export class WebhookReceiver {
  readonly received: ReceivedWebhook[] = [];
  behave: Behaviour | undefined;
  readonly #server: Server;

  private constructor(server: Server, behave: Behaviour | undefined) {
    this.#server = server;
    this.behave = behave;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      void this.#take(request, response);
    });
  }

  static async start(behave?: Behaviour): Promise<WebhookReceiver> {
    const server = createServer();
    const receiver = new WebhookReceiver(server, behave);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return receiver;
  }

  get port(): number {
    const address: AddressInfo | string | null = this.#server.address();
    if (typeof address !== "object" || address === null) throw new Error("the receiver does not listen");
    return address.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  /** The requests that it took, in their order. */
  get accepted(): ReceivedWebhook[] {
    return this.received.filter(({ accepted }) => accepted);
  }

  /** The ids of the events of each order that it took, in the order in which it took them. */
  get acceptedByOrder(): Map<string, number[]> {
    const orders = new Map<string, number[]>();
    for (const { orderId = "", id } of this.accepted)
      orders.set(orderId, [...(orders.get(orderId) ?? []), Number(id)]);
    return orders;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    const message: { readonly subject?: string } = JSON.parse(body);
    const received: ReceivedWebhook = {
      at: Date.now(),
      headers,
      body,
      orderId: message.subject,
      id: headers["webhook-id"] ?? "",
      accepted: false,
    };
    this.received.push(received);
    response.on("finish", () => {
      received.accepted = response.statusCode >= 200 && response.statusCode < 300;
    });
    if (this.behave) await this.behave(response, received, this.received.length);
    else response.writeHead(204).end();
  }
}

/** Whether a request was signed with this secret. @throws {Error} when it was not. */
export function verify(secret: string, { body, headers }: ReceivedWebhook): unknown {
  return new Webhook(secret).verify(body, headers);
}
