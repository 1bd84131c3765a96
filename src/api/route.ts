import {
  raw as readBytes,
  urlencoded,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from "express";
import { z } from "zod";
import { groupBy } from "../platform/group-by.ts";
import { bodyInTime } from "./body-time.ts";
import { methodNotAllowed, notFound, Problem } from "./problem.ts";
import { problem } from "./schemas.ts";
import type { Services } from "./services.ts";
import { onlyUtf8, parseBody, parseForm, parseParameters, readJson } from "./validate.ts";

/** Who may call: anyone, programs with an API key, or operators, who log in with one. */
export type Scope = "public" | "key" | "operator";

/** In the order used in `Allow`. */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
type Method = (typeof METHODS)[number];

/** A body as it came. */
export const rawBody = z.custom<Buffer>((value) => Buffer.isBuffer(value));

/** Schemas of a request's parts. Absent parts are not read. */
interface RequestSchemas {
  /** Path parameters. */
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  /** By their documented names, such as `Idempotency-Key`. */
  readonly headers?: z.ZodObject;
  /** A JSON body. */
  readonly body?: z.ZodType;
  /** A page's form. */
  readonly form?: z.ZodType;
  /** The body's bytes as they came, for signatures. */
  readonly raw?: typeof rawBody;
}

/** For routes that read neither. */
interface NothingRead {
  readonly body?: never;
  readonly form?: never;
}

/** A handler's input: the validated request. */
type Input<Schemas> = {
  readonly [Part in keyof Schemas]: Part extends "raw"
    ? Buffer
    : Schemas[Part] extends z.ZodType
      ? z.output<Schemas[Part]>
      : never;
} & { readonly request: Request; readonly response: Response };

/** An answer, as described in `/openapi.json`. */
export interface RouteAnswer {
  readonly description: string;
  /** Must have an id; absent for an empty answer or a stream. */
  readonly schema?: z.ZodType;
  /** Defaults to JSON. */
  readonly type?: "text/event-stream" | "application/problem+json";
  readonly headers?: Readonly<Record<string, object>>;
}

/** The groups of routes in `/openapi.json`, in its order. */
export const TAGS = ["Orders", "Shipments", "Operations", "Events", "Webhooks", "Stock", "Health"] as const;

/** A route's description in `/openapi.json`. Pages and their assets are not in it. */
export interface RouteDescription {
  readonly tag: (typeof TAGS)[number];
  readonly summary: string;
  readonly description?: string;
  readonly answers: Readonly<Record<number, RouteAnswer>>;
  /** Failures beyond those that follow from its scope and request. */
  readonly failures?: readonly (404 | 409 | 410 | 412)[];
}

interface RouteHead {
  readonly method: Method;
  /** In Express's syntax: `/orders/:id`. */
  readonly path: string;
  readonly scope: Scope;
  /** What the path parameter identifies, such as an order. A value that cannot be an id is answered with 404. */
  readonly names?: string;
}

/** An entry in the table of routes. */
export interface Route extends RouteHead {
  readonly request: RequestSchemas;
  readonly description: RouteDescription | undefined;
  readonly handle: (request: Request, response: Response, services: Services) => unknown;
}

/** Something that serves everything below a path, such as Bull Board. */
export interface Mount {
  readonly mount: string;
  readonly scope: Scope;
  /** Undefined if there is nothing to serve. */
  readonly serve: (services: Services) => RequestHandler | undefined;
}

/** Defines a route. Its handler gets the validated request. */
export function route<Schemas extends RequestSchemas = NothingRead>(
  given: RouteHead &
    (RouteDescription | { readonly summary?: never }) & {
      readonly request?: Schemas & RequestSchemas;
      readonly handler: (input: Input<Schemas>, services: Services) => unknown;
    },
): Route {
  const { method, path, scope, names, handler } = given;
  const request: RequestSchemas = given.request ?? {};
  const readers = readersOf(request, names);
  return {
    method,
    path,
    scope,
    ...(names !== undefined && { names }),
    request,
    description: given.summary === undefined ? undefined : given,
    handle: (incoming, response, services) =>
      handler(inputOf<Schemas>(readers, incoming, response), services),
  };
}

type Reader = readonly [part: keyof RequestSchemas, read: (request: Request) => unknown];

function readersOf(schemas: RequestSchemas, names: string | undefined): readonly Reader[] {
  const { params, query, headers, body, form, raw } = schemas;
  const readers: Reader[] = [];
  if (params)
    readers.push([
      "params",
      (request) => {
        if (names === undefined) return parseParameters(params, request.params);
        const { success, data } = params.safeParse(request.params);
        if (!success) throw noSuch(names, Object.values(request.params).join("/"));
        return data;
      },
    ]);
  if (query) readers.push(["query", (request) => parseParameters(query, request.query)]);
  if (headers) readers.push(["headers", (request) => parseParameters(headers, headersOf(request, headers))]);
  if (body) readers.push(["body", (request) => parseBody(body, request)]);
  if (form) readers.push(["form", (request) => parseForm(form, request)]);
  if (raw)
    readers.push(["raw", (request) => (Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0))]);
  return readers;
}

/** An overload, since TypeScript cannot see that the readers return what the schemas say. */
function inputOf<Schemas>(readers: readonly Reader[], request: Request, response: Response): Input<Schemas>;
function inputOf(readers: readonly Reader[], request: Request, response: Response): object {
  const input: Record<string, unknown> = { request, response };
  for (const [part, read] of readers) input[part] = read(request);
  return input;
}

function headersOf(request: Request, { shape }: z.ZodObject): Record<string, string | undefined> {
  return Object.fromEntries(Object.keys(shape).map((name) => [name, request.get(name)]));
}

/** 404 for an order, SKU, ... that does not exist. */
export function noSuch(what: string, id: string | number): Problem {
  return new Problem(404, "not-found", { detail: `there is no ${what} ${id}` });
}

/** The description of a failure. */
export function problemAnswer(description: string): RouteAnswer {
  return { description, schema: problem, type: "application/problem+json" };
}

/** Maximum size of a form in bytes. */
const LARGEST_FORM = 16 * 1024;
const readForm = urlencoded({ extended: false, limit: LARGEST_FORM, verify: onlyUtf8 });
/** Maximum size of a body that is read as it is, in bytes. */
const LARGEST_RAW = 256 * 1024;
const readRaw = readBytes({ type: () => true, limit: LARGEST_RAW });

/** The middleware that authorizes each scope, and throws for everyone else. */
export type Guards = Readonly<Record<Scope, readonly RequestHandler[]>>;

/** Adds tables of routes to an app. Each path has its own guard, so the order of entries can never leave one open. */
export class RouteTables {
  readonly #app: Express;
  readonly #guards: Guards;
  readonly #services: Services;
  /** Every path of every table, mounts included. */
  readonly #answered: Answered[] = [];

  constructor(app: Express, { guards, services }: { readonly guards: Guards; readonly services: Services }) {
    this.#app = app;
    this.#guards = guards;
    this.#services = services;
  }

  /** @throws {Error} for a table that contradicts itself or an earlier one. */
  add(table: readonly (Route | Mount)[]): void {
    for (const [path, routes] of groupBy(table.filter(isRoute), (each) => each.path)) {
      check(path, routes);
      this.#answer({ path });
      this.#route(path, routes);
    }
    for (const entry of table) if (!isRoute(entry)) this.#mount(entry);
  }

  #route(path: string, routes: readonly [Route, ...Route[]]): void {
    const answering = this.#app.route(path);
    for (const guard of this.#guards[routes[0].scope]) answering.all(guard);
    for (const { method, request, handle, scope } of routes) {
      const answer: RequestHandler = async (incoming, response) => {
        await handle(incoming, response, this.#services);
      };
      const readers = [
        ...(scope === "public" && (request.body ?? request.raw) ? [bodyInTime] : []),
        ...(request.body ? [readJson] : []),
        ...(request.form ? [readForm] : []),
        ...(request.raw ? [readRaw] : []),
      ];
      answering[verb(method)](...readers, answer);
    }
    answering.all(
      methodNotAllowed(...METHODS.filter((each) => routes.some(({ method }) => method === each))),
    );
  }

  #mount({ mount, scope, serve }: Mount): void {
    this.#answer({ path: mount, withAllBelow: true });
    const handler = serve(this.#services);
    if (handler) this.#app.use(mount, ...this.#guards[scope], handler, notFound);
  }

  #answer(later: Answered): void {
    const shadow = this.#answered.find((earlier) => covers(earlier, later.path));
    if (shadow) throw new Error(`${later.path} is shadowed by ${shadow.path}`);
    this.#answered.push(later);
  }
}

interface Answered {
  /** As Express has it. */
  readonly path: string;
  readonly withAllBelow?: boolean;
}

export function isRoute(entry: Route | Mount): entry is Route {
  return "path" in entry;
}

function verb(method: Method) {
  switch (method) {
    case "GET":
      return "get";
    case "POST":
      return "post";
    case "PUT":
      return "put";
    case "PATCH":
      return "patch";
    case "DELETE":
      return "delete";
  }
}

/** @throws {Error} for a path with two scopes, or with two routes for one method. */
function check(path: string, routes: readonly Route[]): void {
  const scopes = new Set(routes.map(({ scope }) => scope));
  if (scopes.size > 1) throw new Error(`${path} has two scopes: ${[...scopes].join(" and ")}`);
  const methods = new Set(routes.map(({ method }) => method));
  if (methods.size < routes.length) throw new Error(`${path} has two routes for one method`);
}

/** Whether a request for the later path would be answered by the earlier one. */
function covers({ path, withAllBelow = false }: Answered, later: string): boolean {
  const patterns = segmentsOf(path);
  const names = segmentsOf(later);
  return (
    (withAllBelow ? patterns.length <= names.length : patterns.length === names.length) &&
    patterns.every((pattern, index) => pattern.startsWith(":") || pattern === names[index])
  );
}

/** To Express, paths that differ only in letter case or by a slash at the end are the same. */
function segmentsOf(path: string): string[] {
  return path.toLowerCase().replace(/\/$/, "").split("/");
}
