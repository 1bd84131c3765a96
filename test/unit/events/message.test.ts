import { readFile } from "node:fs/promises";
import path from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "@jest/globals";
import type { LoggedEvent } from "../../../db/event-log.ts";
import { toMessage } from "../../../src/events/message.ts";
import { EVENT_TYPES } from "../../../src/order/event.ts";

const FILE = path.resolve(import.meta.dirname, "../../../docs/event.schema.json");

const EVENT: LoggedEvent = {
  id: 4711,
  orderId: "01a20691-7a8e-777a-bbfa-0d625ad32c50",
  type: "status",
  from: "RESERVED",
  to: "PAID",
  stage: "pay",
  attempt: 2,
  startedAt: new Date("2026-11-23T09:30:00.012Z"),
  at: new Date("2026-11-23T09:30:00.120Z"),
};
const CREATION: LoggedEvent = {
  ...EVENT,
  from: null,
  to: "CREATED",
  stage: null,
  attempt: null,
  startedAt: null,
};

const schema = async () => JSON.parse(await readFile(FILE, "utf8"));

test("every message is as the schema in docs/ says, and has no field that stands nowhere in it", async () => {
  const described = await schema();
  const validate = new Ajv2020({ validateFormats: false, allowUnionTypes: true }).compile({
    ...described,
    additionalProperties: false,
    properties: {
      ...described.properties,
      data: { ...described.properties.data, additionalProperties: false },
    },
  });
  for (const event of [CREATION, ...EVENT_TYPES.map((type) => ({ ...EVENT, type }))]) {
    const message = toMessage(event);
    expect([validate(message), validate.errors]).toEqual([true, null]);
    expect(Object.keys(message)).toEqual(described.required);
    expect(Object.keys(message.data)).toEqual(described.properties.data.required);
  }
  for (const broken of [{ id: 4711 }, { type: "conveyor.order.status.v2" }, { data: {} }, { customer: "x" }])
    expect(validate({ ...toMessage(EVENT), ...broken })).toBe(false);
});

test("the schema has every type that there is, and no other", async () => {
  expect((await schema()).properties.type.enum).toEqual(
    EVENT_TYPES.map((type) => `conveyor.order.${type}.v1`),
  );
});

test("the example in the documentation is a message", async () => {
  const page = await readFile(path.resolve(path.dirname(FILE), "events.md"), "utf8");
  expect(JSON.parse(/```json\n([^`]*)```/.exec(page)?.[1] ?? "")).toEqual(toMessage(EVENT));
});
