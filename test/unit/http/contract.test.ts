import { expect, test } from "@jest/globals";
import { openApiDocument } from "../../../src/api/openapi.ts";
import { Contract } from "../../support/contract.ts";

/** The tests over HTTP count on this: an answer that it lets through is as described. */
const contract = new Contract(openApiDocument("0"));

const STOCK = { sku: "A", onHand: 2, reserved: 1, available: 1 };
const JSON_TYPE = "application/json; charset=utf-8";
const PROBLEM_TYPE = "application/problem+json; charset=utf-8";
const PROBLEM = { type: "urn:conveyor:problem:not-found", title: "There is nothing here", status: 404 };

function check(method: string, path: string, status: number, body: unknown, type = JSON_TYPE) {
  return () => contract.check(method, path, { status, body, headers: new Headers({ "content-type": type }) });
}

test.each([
  ["as described", check("GET", "/stock/A", 200, STOCK)],
  ["a problem", check("GET", "/stock/A", 404, PROBLEM, PROBLEM_TYPE)],
  ["a problem that any request may have", check("GET", "/stock/A", 500, PROBLEM, PROBLEM_TYPE)],
  ["a problem of a path that does not exist", check("GET", "/nothing", 404, PROBLEM, PROBLEM_TYPE)],
  ["without a body, to HEAD", check("HEAD", "/stock/A", 200, "")],
])("an answer %s is let through", (_, checked) => {
  expect(checked).not.toThrow();
});

test.each([
  ["that tells more than is described", check("GET", "/stock/A", 200, { ...STOCK, secret: 1 }), "additional"],
  [
    "that tells more, deeper",
    check("POST", "/stock", 200, { items: [{ ...STOCK, secret: 1 }] }),
    "additional",
  ],
  ["that tells less", check("GET", "/stock/A", 200, { ...STOCK, reserved: undefined }), "reserved"],
  ["with a value of another kind", check("GET", "/stock/A", 200, { ...STOCK, onHand: "2" }), "integer"],
  ["of another media type", check("GET", "/stock/A", 200, STOCK, "text/html"), "with text/html"],
  ["that is a problem and does not say so", check("GET", "/stock/A", 404, PROBLEM), "with application/json"],
  ["to a request that is not described", check("GET", "/nothing", 200, STOCK), "is not described"],
  ["that no request has", check("GET", "/stock/A", 201, STOCK), "201"],
])("an answer %s is not", (_, checked, message) => {
  expect(checked).toThrow(message);
});
