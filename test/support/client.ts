import type {
  OrderBody,
  OrderEventBody,
  OrderPageBody,
  ProblemBody,
  StockBody,
} from "../../src/api/schemas.ts";
import { TEST_KEY } from "./processes.ts";
import { waitFor } from "./wait-for.ts";

/** What an answer's body may be; tests look at the part that they expect. */
export type AnyBody = OrderBody & OrderPageBody & ProblemBody & StockBody & { items: OrderEventBody[] };

export interface Answer<Body = AnyBody> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
}

/** The API as a plain client sees it: no retries, no schema, every status an answer. */
export class TestClient {
  readonly url: string;
  readonly #headers: Record<string, string>;

  constructor(url: string, headers: Record<string, string> = { authorization: `Bearer ${TEST_KEY}` }) {
    this.url = url;
    this.#headers = headers;
  }

  async request<Body = AnyBody>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<Body>> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        ...this.#headers,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = response.headers.get("content-type")?.includes("json") ?? false;
    return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
  }

  get<Body = AnyBody>(path: string): Promise<Answer<Body>> {
    return this.request("GET", path);
  }

  post<Body = AnyBody>(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer<Body>> {
    return this.request("POST", path, body, headers);
  }

  put<Body = AnyBody>(path: string, body: unknown): Promise<Answer<Body>> {
    return this.request("PUT", path, body);
  }

  /** Posts an order that must be accepted. */
  async order(body: unknown, headers?: Record<string, string>): Promise<OrderBody> {
    const answer = await this.post("/orders", body, headers);
    if (answer.status !== 202)
      throw new Error(`not accepted: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** Waits until the order has one of these statuses. */
  async orderIn(id: string, ...statuses: string[]): Promise<OrderBody> {
    return waitFor(`order ${id} in ${statuses.join(" or ")}`, async () => {
      const { body } = await this.get(`/orders/${id}`);
      return statuses.includes(body.status) && body;
    });
  }

  /** All orders that the query finds, page by page. */
  async orders(query: Record<string, string> = {}): Promise<OrderBody[]> {
    const found: OrderBody[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const search = new URLSearchParams({ limit: "200", ...query, ...(cursor && { cursor }) });
      const { body }: Answer<OrderPageBody> = await this.get(`/orders?${search.toString()}`);
      found.push(...body.items);
      cursor = body.nextCursor;
    }
    return found;
  }
}

/** An order that nobody objects to. */
export const PLAIN_ORDER = {
  customerId: "cust-1",
  currency: "EUR",
  lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 }],
} as const;
