import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { TestClient, type AnyBody, type Answer } from "./client.ts";

/** The part of an OpenAPI document that says which answers a client may expect. */
export interface ApiDescription {
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

interface Described {
  readonly description?: string;
  /** Absent for an answer without a body. */
  readonly content?: Readonly<Record<string, object>>;
}

interface Operation {
  readonly tags: readonly string[];
  readonly responses: Readonly<Record<string, Described>>;
}

/** Holds answers to what the API's own description says of them. */
export class Contract {
  readonly #description: ApiDescription;
  readonly #ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false });
  readonly #validators = new Map<string, ValidateFunction>();

  constructor(description: ApiDescription) {
    this.#description = description;
    this.#ajv.addSchema({ $id: "api", components: closed(description.components) });
  }

  /** @throws {Error} when the answer is none that the description names for this request. */
  check(method: string, path: string, { status, headers, body }: Answer<unknown>): void {
    const what = `${method} ${path} answered ${status}`;
    const responses = this.#operation(method, path)?.responses;
    if (responses === undefined && status < 400) throw new Error(`${what}, and is not described`);
    const response = responses && (responses[String(status)] ?? responses["default"]);
    const type = headers.get("content-type")?.replace(/;.*/, "") ?? "nothing";
    const content = response
      ? Object.keys(response.content ?? { nothing: {} })
      : ["application/problem+json"];
    if (!content.includes(type)) throw new Error(`${what} with ${type}, not with ${content.join(" or ")}`);
    // Nobody reads a body after HEAD.
    if (method === "HEAD") return;
    if (type === "nothing") return;
    // One that goes on for as long as the client likes has no end to look at.
    if (type === "text/event-stream") return;
    const schema = response ? schemaName(response.content?.[type]) : "Problem";
    const validate = this.#validator(schema);
    if (!validate(body))
      throw new Error(
        `${what}, which is no ${schema}: ${this.#ajv.errorsText(validate.errors)}\n${JSON.stringify(body)}`,
      );
  }

  #operation(method: string, path: string): Operation | undefined {
    const { pathname } = new URL(path, "http://api");
    const template = Object.keys(this.#description.paths).find((known) =>
      new RegExp(`^${known.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(pathname),
    );
    const operations = template === undefined ? undefined : this.#description.paths[template];
    return operations?.[method === "HEAD" ? "get" : method.toLowerCase()];
  }

  #validator(schema: string): ValidateFunction {
    const known = this.#validators.get(schema);
    if (known) return known;
    const made = this.#ajv.compile({ $ref: `api#/components/schemas/${schema}` });
    this.#validators.set(schema, made);
    return made;
  }
}

/** A client that takes no answer which the API's description does not name. */
export class ContractClient extends TestClient {
  readonly #contract: Contract;

  constructor(url: string, contract: Contract, headers?: Record<string, string>) {
    super(url, headers);
    this.#contract = contract;
  }

  /** Asks the API for its description first. */
  static async of(url: string): Promise<ContractClient> {
    return new ContractClient(url, new Contract(await describeApi(url)));
  }

  /** The same API, as somebody with other headers sees it. */
  as(headers: Record<string, string>): ContractClient {
    return new ContractClient(this.url, this.#contract, headers);
  }

  override async request<Body = AnyBody>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer<Body>> {
    const answer = await super.request<Body>(method, path, body, headers);
    this.#contract.check(method, path, answer);
    return answer;
  }

  /** Sends what fetch would not: any bytes as a body, any path as it stands, any method and headers, and no key. */
  async raw<Body = AnyBody>(method: string, path: string, sent: RawRequest = {}): Promise<Answer<Body>> {
    const answer: Answer<Body> = await exchange(this.url, method, path, sent);
    this.#contract.check(method, path, answer);
    return answer;
  }
}

export interface RawRequest {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

async function exchange<Body>(
  url: string,
  method: string,
  path: string,
  { headers, body }: RawRequest,
): Promise<Answer<Body>> {
  const sending = request(url, { method, path, headers });
  const answered: Promise<IncomingMessage[]> = once(sending, "response");
  sending.end(body);
  const [response] = await answered;
  // The server may answer, and close, before it has read everything.
  sending.on("error", () => {});
  const received = await text(response!);
  const found = new Headers();
  for (const [name, value] of Object.entries(response!.headers)) found.set(name, String(value));
  const json = found.get("content-type")?.includes("json") && received !== "";
  return {
    status: response!.statusCode ?? 0,
    headers: found,
    body: json ? JSON.parse(received) : received,
  };
}

/** What an API says of itself. */
export async function describeApi(url: string): Promise<ApiDescription> {
  const { body } = await new TestClient(url).get<ApiDescription>("/openapi.json");
  return body;
}

/** Clients must expect more than is described; a test must not, or a secret that slips into an answer stays unseen. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== "object" || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  return "properties" in inner ? { additionalProperties: false, ...inner } : inner;
}

function schemaName(content: object | undefined): string {
  const name = /#\/components\/schemas\/(\w+)/.exec(JSON.stringify(content))?.[1];
  if (name === undefined) throw new Error(`no schema is named in ${JSON.stringify(content)}`);
  return name;
}
