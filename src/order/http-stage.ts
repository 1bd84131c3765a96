import type { Order } from "./order.ts";
import type { StageRequest } from "./ports.ts";
import {
  reject,
  snooze,
  wait,
  type HttpService,
  type Stage,
  type StageContext,
  type StageSettings,
} from "./stage.ts";

/** A field of an order that an HTTP stage may ask for. Its id and the records of earlier stages are always sent. */
export type OrderField = Exclude<keyof Order, "id" | "records">;

/** All of them, for a configuration to be checked against; a new field of an order has to be named here too. */
export const ORDER_FIELDS = [
  "createdAt",
  "customerId",
  "reference",
  "currency",
  "total",
  "lines",
  "adjustments",
  "paymentToken",
  "customer",
  "shipTo",
  "billTo",
  "metadata",
  "note",
  "whenSoldOut",
] as const satisfies readonly OrderField[];

/** What an HTTP stage is told of an order unless it asks for something else. No personal data. */
export const DEFAULT_FIELDS: readonly OrderField[] = [
  "createdAt",
  "customerId",
  "reference",
  "currency",
  "total",
  "lines",
  "adjustments",
];

/** Whether this is a secret as Standard Webhooks writes it: `whsec_` and the base64 of at least 24 bytes. */
export function isSigningSecret(text: string): boolean {
  return /^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(text);
}

/** Whether an HTTP service may have this address. */
export function isServiceUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return (protocol === "http:" || protocol === "https:") && username === "" && password === "";
}

/** An HTTP stage: plain data, so that it can be written as JSON. The settings are those of any stage. */
export interface HttpStageOptions<Name extends string, To extends string>
  extends HttpService, Partial<StageSettings> {
  readonly name: Name;
  readonly to: To;
  /** Whether the service can undo its work. Otherwise it has no effect that must be undone. */
  readonly undo?: boolean;
  readonly pointOfNoReturn?: boolean;
  /** What the service is told of the order: {@link DEFAULT_FIELDS} unless given. Personal data only if it is named here. */
  readonly fields?: readonly OrderField[];
}

/**
 * Declares a stage whose work is done by a service in any language, over HTTP: one signed POST for each attempt.
 * docs/http-stages.md is the contract.
 */
export function httpStage<const Name extends string, const To extends string>(
  options: HttpStageOptions<Name, To>,
): Stage<Name, To> {
  const { name, to, url, secret, undo = false, pointOfNoReturn = false, fields, ...settings } = options;
  const request = (order: Order, context: StageContext): Omit<StageRequest, "operation" | "key"> => {
    const chosen = fields ?? DEFAULT_FIELDS;
    const { deadline } = settings;
    return {
      orderId: order.id,
      stage: name,
      waited: context.waited,
      attempt: context.attempt,
      deadline: deadline === undefined ? null : new Date(order.createdAt.getTime() + deadline),
      order: { id: order.id, ...Object.fromEntries(chosen.map((field) => [field, order[field]])) },
      records: order.records,
      secret: chosen.includes("paymentToken") ? order.paymentToken : null,
      signal: context.signal,
    };
  };
  return {
    name,
    to,
    settings,
    http: { url, secret },
    ...(pointOfNoReturn && { pointOfNoReturn }),

    async run(order, context) {
      const { ports, runKey } = context;
      const answer = await ports.httpStages.call({
        ...request(order, context),
        operation: "run",
        key: runKey,
      });
      if ("reject" in answer) return reject(answer.reject);
      if ("wait" in answer) return wait(answer.wait);
      return "snooze" in answer ? snooze(answer.snooze) : answer.done;
    },

    ...(undo && {
      async undo(order: Order, context: StageContext) {
        const { ports, undoKey } = context;
        const answer = await ports.httpStages.call({
          ...request(order, context),
          operation: "undo",
          key: undoKey,
        });
        return "done" in answer ? answer.done : undefined;
      },
    }),
  };
}
