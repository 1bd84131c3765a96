import { z } from "zod";
import { API_LIMITS } from "./limits.ts";
import { problemAnswer, TAGS, type Route, type RouteAnswer, type RouteDescription } from "./route.ts";
import { API } from "./routes.ts";

const FAILURES = {
  400: "The request is malformed, or a parameter is invalid",
  401: "The API key is missing or unknown",
  404: "Not found",
  408: "The body took too long to come",
  409: "Not possible in the current state. Nothing was changed",
  410: "Too late: the order no longer waits for it. Nothing was changed",
  412: "The `If-Match` or `If-None-Match` header does not fit what is there now. Nothing was changed",
  413: `The body exceeds ${API_LIMITS.bodyBytes} bytes`,
  415: "The body is not JSON",
  422: "The body is invalid, with every fault listed by path, or the `Idempotency-Key` was used with another body. Nothing was changed",
  503: "MySQL is unavailable. Try again after `Retry-After` seconds. For a request that changes something, `detail` says whether nothing was done or the outcome is unknown",
} as const;

/** A route's failures: those that follow from its scope and request, and its own. */
function failuresOf({ scope, names, request }: Route, own: RouteDescription["failures"] = []) {
  const { params, query, headers, body, raw } = request;
  const guarded = scope !== "public";
  const reads = query ?? headers ?? body ?? (names === undefined ? params : undefined);
  const statuses: readonly (keyof typeof FAILURES | false)[] = [
    reads !== undefined && 400,
    guarded && 401,
    names !== undefined && 404,
    !guarded && (body ?? raw) !== undefined && 408,
    ...own,
    ...(body ? ([413, 415, 422] as const) : []),
    guarded && 503,
  ];
  return Object.fromEntries(
    statuses.flatMap((status) => (status === false ? [] : [[status, problemAnswer(FAILURES[status])]])),
  );
}

/** One operation: the route's description, and what follows from its other fields. */
function operationOf(route: Route, described: RouteDescription) {
  const { summary, description, tag, answers, failures } = described;
  const { scope, request } = route;
  const parameters = [
    ...parametersIn("path", request.params),
    ...parametersIn("query", request.query),
    ...parametersIn("header", request.headers),
  ];
  const all: Record<string, RouteAnswer> = { ...failuresOf(route, failures), ...answers };
  return {
    summary,
    ...(description !== undefined && { description }),
    tags: [tag],
    ...(SECURITY[scope] && { security: SECURITY[scope] }),
    ...(parameters.length > 0 && { parameters }),
    ...(request.body && { requestBody: { required: true, content: content(request.body) } }),
    responses: Object.fromEntries(
      [...Object.entries(all), ["default", problemAnswer("Any other failure")] as const].map(
        ([status, answer]) => [status, response(answer)],
      ),
    ),
  };
}

function response({ description, schema, type, headers }: RouteAnswer) {
  const stream = type === "text/event-stream" && { [type]: { schema: { type: "string" } } };
  const body = schema ? content(schema, type) : stream;
  return { description, ...(body && { content: body }), ...(headers && { headers }) };
}

function parametersIn(place: "path" | "query" | "header", schemas: z.ZodObject | undefined) {
  return Object.entries(schemas?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: place,
    required: place === "path",
    schema: jsonSchema(schema),
  }));
}

/** Content that refers to a named schema. */
function content(schema: z.ZodType, type = "application/json") {
  const id = schema.meta()?.id;
  if (id === undefined) throw new Error("only schemas with an id can be referenced");
  return { [type]: { schema: { $ref: `#/components/schemas/${id}` } } };
}

/** Operations by path and method. */
function paths() {
  const all: Record<string, Record<string, ReturnType<typeof operationOf>>> = {};
  for (const route of API) {
    if (route.description === undefined) continue;
    const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
    (all[path] ??= {})[route.method.toLowerCase()] = operationOf(route, route.description);
  }
  return all;
}

/** Security of each scope, if not an API key. Browsers log in, since they cannot send a key in a header. */
const SECURITY = { public: [], key: undefined, operator: [{ key: [] }, { login: [] }] } as const;

const SCHEMES = {
  key: { type: "http", scheme: "bearer" },
  login: { type: "http", scheme: "basic", description: "Any user name, with an API key as the password" },
};

/** The OpenAPI 3.1 document, generated from the routes and their schemas. @param base the path that they are below */
export function openApiDocument(version: string, base = "") {
  return {
    openapi: "3.1.0",
    info: {
      title: "Conveyor",
      version,
      description:
        "Accepts orders in milliseconds and carries each to DELIVERED or CANCELLED. Operations that do not list the " +
        "`Idempotency-Key` header ignore it.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: `${base}/` }],
    security: [{ key: [] }],
    tags: TAGS.map((name) => ({ name })),
    paths: paths(),
    components: { schemas: namedSchemas(), securitySchemes: SCHEMES },
  };
}

function namedSchemas() {
  const { schemas: named } = z.toJSONSchema(z.globalRegistry, {
    io: "input",
    uri: (id) => `#/components/schemas/${id}`,
  });
  return Object.fromEntries(Object.entries(named).map(([id, schema]) => [id, embedded(schema)]));
}

function jsonSchema(schema: z.ZodType) {
  return embedded(z.toJSONSchema(schema, { io: "input" }));
}

/** Inside a document, the dialect and id are the document's. */
function embedded({ $schema, $id, id, ...schema }: Record<string, unknown>) {
  return schema;
}
