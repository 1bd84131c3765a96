import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { listActions } from "../../../db/operator-actions.ts";
import { jobId } from "../../../queues/job.ts";
import { BASIC, useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { startTestRedis } from "../../support/servers.ts";
import { startApi } from "../../support/processes.ts";
import { stateOf } from "../../support/hostile/state.ts";
import { waitFor } from "../../support/wait-for.ts";

const api = useApi();

let job: string;
beforeAll(async () => {
  const { id } = await api.client.order(PLAIN_ORDER);
  job = jobId(id, { from: "CREATED", to: "RESERVED" });
  await waitFor("the job", async () => (await ask("GET", `/queues/reserve/${job}`)).status === 200);
});

let before: Record<string, string>;
beforeEach(async () => {
  before = await stateOf(api.environment);
});

/** What the board's page would be told. */
async function ask(method: string, path: string, body?: string, url = api.client.url) {
  const answer = await fetch(`${url}/queues/api${path}`, {
    method,
    headers: { ...BASIC, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body }),
  });
  return { status: answer.status, text: await answer.text() };
}

test.each([
  ["a parameter that cannot be decoded", "GET", "/queues?activeQueue=%25", 400],
  ["another one", "GET", "/job-schedulers?queueName=%25", 400],
  ["one that breaks the board's own message", "GET", "/queues?status=a%00b", 400],
  ["a page beyond what Redis can count", "GET", "/queues?activeQueue=reserve&status=failed&page=1e30", 400],
  ["a page as long as a queue", "GET", "/queues?activeQueue=reserve&jobsPerPage=1001", 400],
  ["a part of the queue for a job", "GET", "/queues/reserve/wait", 404],
  ["a part of the queue for a job to be removed", "PUT", "/queues/reserve/meta/clean", 404],
  ["what belongs to a job for a job", "GET", "/queues/reserve/metrics:completed", 404],
  ["a part of the queue for a status", "PUT", "/queues/reserve/clean/meta", 400],
  ["a path that cannot be decoded", "GET", "/queues/reserve/%zz", 400],
])("%s is refused, and changes nothing", async (_, method, path, status) => {
  const answer = await ask(method, path);
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.text)).toEqual({ error: { key: expect.stringMatching(/^ERRORS\./) } });
  expect(await stateOf(api.environment)).toEqual(before);
});

test.each([
  ["that is not JSON", '{"name":"tok_secret', 400],
  ["with a number that is none", '{"options":{"delay":1e400}}', 400],
  ["with the id of a part of the queue", '{"options":{"jobId":"failed"}}', 400],
  ["with an id that is no text", '{"options":{"jobId":["failed"]}}', 400],
  ["with an id that BullMQ does not take", '{"options":{"jobId":"123"}}', 400],
  ["with a priority that BullMQ does not take", '{"options":{"priority":1.5}}', 400],
  ["of a parent that does not exist", '{"options":{"parent":{"id":"x","queue":"y"}}}', 400],
  ["that is too large", JSON.stringify({ data: "x".repeat(200_000) }), 413],
])("a job %s is refused, and changes nothing", async (_, body, status) => {
  const answer = await ask("POST", "/queues/reserve/add", body);
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.text)).toMatchObject({ error: { key: "ERRORS.INVALID_REQUEST_BODY" } });
  expect(answer.text).not.toContain("tok_secret");
  expect(await stateOf(api.environment)).toEqual(before);
});

test("what the page itself asks for is answered", async () => {
  expect(
    (await ask("GET", "/queues?activeQueue=reserve&status=waiting&page=1&jobsPerPage=100")).text,
  ).toContain(job);
  expect((await ask("GET", `/queues/reserve/${job}`)).text).toContain('"status":"waiting"');
  expect((await ask("PUT", "/queues/reserve/clean/completed")).status).toBe(200);
  expect((await ask("POST", "/queues/reserve/add", '{"name":"x","options":{"jobId":"mine"}}')).status).toBe(
    200,
  );
  expect((await ask("PUT", "/queues/reserve/mine/clean")).status).toBe(204);
});

test("a job that is not in the state for it is told so", async () => {
  const answer = await ask("PUT", `/queues/reserve/${job}/promote`);
  expect(answer.status).toBe(400);
  expect(answer.text).toContain("not in the delayed state");
});

afterAll(() => {
  // What is wrong with a request is no fault of the service.
  expect(api.process.logs().filter(({ level }) => level !== "info")).toEqual([]);
});

test("without Redis, the board says so", async () => {
  const redis = await startTestRedis();
  const lonely = await startApi({ ...api.environment, redisUrl: redis.url });
  redis.kill("SIGKILL");
  try {
    const answer = await waitFor("the board to miss Redis", async () => {
      const asked = await ask("GET", "/queues", undefined, lonely.url);
      return asked.status !== 200 && asked;
    });
    expect(answer).toEqual({ status: 503, text: '{"error":{"key":"ERRORS.REDIS_UNAVAILABLE"}}' });
  } finally {
    await lonely.stop();
    await redis.stop();
  }
});

test.each([
  ["POST", "/queues/reserve/add", '{"name":"reserve","data":{"orderId":"x"},"options":{"delay":60000}}'],
  ["PUT", "/queues/ship/empty", undefined],
  ["PUT", "/queues/ship/clean/completed", undefined],
  ["PUT", "/queues/ship/clean/failed", undefined],
  ["PUT", "/queues/ship/clean/wait", undefined],
  ["PUT", "/queues/ship/retry/completed", undefined],
  ["PUT", "/queues/ship/promote", undefined],
  ["PUT", "/queues/ship/pause", undefined],
  ["PUT", "/queues/ship/resume", undefined],
] as const)("%s %s is written to the operators' actions, with who did it", async (method, path, body) => {
  const { items: earlier } = await listActions(api.environment.database, { limit: 100 });
  const answer = await ask(method, path, body);
  expect(answer.status).toBeLessThan(300);
  const { items } = await listActions(api.environment.database, { limit: 100 });
  expect(items).toHaveLength(earlier.length + 1);
  const [, , queue, action = "", status] = path.split("/");
  expect(items[0]).toMatchObject({ actor: "operator", target: queue });
  if (status !== undefined) expect(items[0]).toMatchObject({ details: { status } });
  // Pausing is an operation of the engine's, which is done only together with its record.
  if (!["pause", "resume"].includes(action))
    expect(api.process.logs()).toContainEqual(
      expect.objectContaining({ msg: "changed in Bull Board", actor: "operator", queue }),
    );
});
