import { hash } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { Request, RequestHandler, Response } from "express";
import { COLUMN_LENGTHS } from "../../db/column-lengths.ts";
import { Problem } from "./problem.ts";

/**
 * Authenticates requests by API key, and answers 401 otherwise. Programs send `Authorization: Bearer KEY`; browsers use
 * HTTP Basic with any name, and the key as password.
 */
export class Keys {
  /** Digests, so that the timing of a lookup reveals nothing about the keys. */
  readonly #digests: ReadonlySet<string>;

  constructor(keys: readonly string[]) {
    this.#digests = new Set(keys.map(digest));
  }

  /** For the API. */
  readonly bearer: RequestHandler = (request, response, next) => {
    const key = bearerKey(request);
    const client = key && digest(key);
    if (client !== undefined && this.#digests.has(client)) {
      clients.set(response, client);
      next();
    } else throw new Problem(401, "unauthorized", challenge("Bearer", "send Authorization: Bearer KEY"));
  };

  /** For pages and what they fetch. */
  readonly basic: RequestHandler = (request, response, next) => {
    const login = basicLogin(request);
    const key = bearerKey(request);
    if (this.#has(login?.password)) {
      actors.set(response, operatorName(login?.name ?? ""));
      next();
    } else if (this.#has(key)) {
      actors.set(response, clientName(digest(key)));
      next();
    } else
      throw new Problem(
        401,
        "unauthorized",
        challenge("Basic", "log in with any name and a key as password"),
      );
  };

  #has(key: string | undefined): key is string {
    return key !== undefined && this.#digests.has(digest(key));
  }
}

const clients = new WeakMap<ServerResponse, string>();

/** The client of this response's request: a digest of its key. */
export function clientOf(response: Response): string {
  const client = clients.get(response);
  if (client === undefined) throw new Error("only requests with a key have a client");
  return client;
}

const actors = new WeakMap<ServerResponse, string>();

/** The actor of this response's request for the event log: the operator's login name, or an alias of the key. */
export function actorOf(response: Response): string {
  return actors.get(response) ?? clientName(clientOf(response));
}

/** Whether this response's request had a valid key. */
export function isKnown(response: ServerResponse): boolean {
  return actors.has(response) || clients.has(response);
}

/** An alias that distinguishes keys without revealing them. */
function clientName(client: string): string {
  return `client-${Buffer.from(client, "base64").toString("hex").slice(0, 8)}`;
}

function operatorName(name: string): string {
  const printable = name.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, " ").trim();
  return Array.from(printable || "operator")
    .slice(0, COLUMN_LENGTHS.actor)
    .join("");
}

function challenge(scheme: "Bearer" | "Basic", detail: string) {
  return { detail, headers: { "WWW-Authenticate": `${scheme} realm="conveyor"` } };
}

function bearerKey(request: Request): string | undefined {
  return /^bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
}

function basicLogin(request: Request): { readonly name: string; readonly password: string } | undefined {
  const credentials = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(request.headers.authorization ?? "")?.[1];
  if (credentials === undefined) return undefined;
  const text = Buffer.from(credentials, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { name: text.slice(0, colon), password: text.slice(colon + 1) };
}

function digest(key: string): string {
  return hash("sha256", key, "base64");
}
