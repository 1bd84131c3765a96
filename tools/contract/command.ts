import { readFileSync } from "node:fs";
import { z } from "zod";
import { isServiceUrl, isSigningSecret } from "../../src/order/http-stage.ts";
import { Failure } from "../shared/failure.ts";
import { numberOption, readArguments } from "../shared/options.ts";
import type { Command } from "../shared/terminal.ts";
import { messageOf } from "../shared/text.ts";
import type { Target } from "./requests.ts";
import { PROVIDER_ROLES, stageRole, type Role } from "./roles.ts";
import { runSuite, type Finding } from "./suite.ts";

const HELP = `npm run contract -- URL [options]

Finds out what the service of an HTTP stage gets wrong of the contract in docs/http-stages.md, or a provider of that in
docs/providers.md. It runs and undoes the stage, or charges and reserves, for orders that do not exist: point it at a service
for tests.

  --as ROLE        a provider instead of a stage: inventory, payments or carrier
  --no-undo        the stage has no undo
  --stage NAME     the stage's name (default: the last part of the URL's path, or "stage")
  --timeout MS     how long an answer may take (default 8000)
  --order FILE     fields of the orders as JSON, if the service needs certain ones
  --help           show this

SIGNING_SECRET is the secret that the service knows; without it, signatures are not tested.`;

const SIGNS: Readonly<Record<Finding["result"], string>> = {
  right: "ok     ",
  wrong: "WRONG  ",
  skipped: "skipped",
};

/** An order like those of the demo. */
const ORDER = {
  customerId: "cust-1",
  reference: "INV-1",
  currency: "EUR",
  total: 2_500,
  lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1_250 }],
  paymentToken: "tok_approved",
  shipTo: { name: "Zoë Müller", line1: "1 Main St", city: "Ely", postalCode: "CB7 4AA", country: "GB" },
};

/** `npm run contract`. Exits with 1 if something is wrong. */
export const contract: Command = async (args, terminal, signal) => {
  const given = read(args, signal);
  if (given === undefined) {
    terminal.say(HELP);
    return 0;
  }
  const { target, hasUndo } = given;
  terminal.say(target.url);
  const findings = await runSuite(target, {
    hasUndo,
    onFinding: ({ check, result, detail }) => {
      terminal.say(`  ${SIGNS[result]}  ${check}${result === "skipped" ? `: ${detail}` : ""}`);
      if (result === "wrong") terminal.say(`           ${detail}`);
    },
  });
  const wrong = findings.filter(({ result }) => result === "wrong").length;
  const made = findings.filter(({ result }) => result !== "skipped").length;
  terminal.say(wrong === 0 ? `All ${made} checks passed.` : `${wrong} of ${made} checks failed.`);
  return wrong === 0 ? 0 : 1;
};

/** @returns undefined if the command line asks for help. @throws {Failure} */
function read(
  args: readonly string[],
  signal: AbortSignal,
): { readonly target: Target; readonly hasUndo: boolean } | undefined {
  const { values, positionals } = readArguments("contract", {
    args: [...args],
    allowPositionals: true,
    options: {
      as: { type: "string" },
      "no-undo": { type: "boolean", default: false },
      stage: { type: "string" },
      timeout: { type: "string", default: "8000" },
      order: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  const [url, ...rest] = positionals;
  if (url === undefined || rest.length > 0) throw new Failure("give one URL; see npm run contract -- --help");
  if (!isServiceUrl(url))
    throw new Failure(`${url} is not an http or https address without user and password`);
  const [secret] = (process.env["SIGNING_SECRET"] ?? "").split(" ");
  if (secret && !isSigningSecret(secret)) throw new Failure("SIGNING_SECRET must be whsec_ and base64");
  const lastPart = new URL(url).pathname.split("/").findLast((part) => part !== "");
  return {
    hasUndo: !values["no-undo"],
    target: {
      url,
      secret: secret || undefined,
      timeoutMs: numberOption("timeout", values.timeout, { least: 1, most: 600_000 }),
      role:
        values.as === undefined ? stageRole(values.stage ?? lastPart ?? "stage") : providerRole(values.as),
      order: { createdAt: new Date().toISOString(), ...ORDER, ...(values.order && readOrder(values.order)) },
      signal,
    },
  };
}

function providerRole(name: string): Role {
  const role = Object.values(PROVIDER_ROLES).find((each) => each.name === name);
  if (role) return role;
  throw new Failure(`--as must be ${Object.keys(PROVIDER_ROLES).join(", ")}`);
}

function readOrder(file: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    throw new Failure(`${file} has no JSON object: ${messageOf(error)}`);
  }
}
