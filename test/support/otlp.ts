import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { z } from "zod";

/** A span as it came over OTLP. */
export interface ReceivedSpan {
  readonly service: string;
  /** What the process tells of itself. */
  readonly resource: Readonly<Record<string, unknown>>;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly failed: boolean;
}

/** A server that takes traces by OTLP over HTTP, as a collector does. */
export interface OtlpReceiver {
  readonly url: string;
  /** All that came so far, of those in JSON. */
  readonly spans: readonly ReceivedSpan[];
  /** The media type of each request. */
  readonly types: readonly string[];
  close(): Promise<void>;
}

const attribute = z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) });
const attributes = z
  .array(attribute)
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]])));
const exported = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().default(""),
              name: z.string(),
              kind: z.number(),
              attributes,
              links: z.array(z.object({ traceId: z.string(), spanId: z.string() })).default([]),
              status: z.object({ code: z.number().default(0) }).default({ code: 0 }),
            }),
          ),
        }),
      ),
    }),
  ),
});

const KEEP_ALIVE_MS = 120_000;

/** Starts one on a free port. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const types: string[] = [];
  const server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      const type = request.headers["content-type"] ?? "";
      types.push(type);
      if (request.url !== "/v1/traces" || request.method !== "POST") return response.writeHead(404).end();
      if (type === "application/json") spans.push(...parse(body));
      return response.writeHead(200, { "Content-Type": type }).end(type === "application/json" ? "{}" : "");
    });
  });
  // Exporters send every few seconds: a connection that is just being closed would cost them a batch.
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the receiver does not listen");
  return {
    url: `http://127.0.0.1:${address.port}`,
    spans,
    types,
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function parse(body: string): ReceivedSpan[] {
  return exported.parse(JSON.parse(body)).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(({ status, ...span }) => ({
        ...span,
        service: String(resource.attributes["service.name"]),
        resource: resource.attributes,
        failed: status.code === 2,
      })),
    ),
  );
}
