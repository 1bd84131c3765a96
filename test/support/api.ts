import { afterAll, beforeAll } from "@jest/globals";
import { ContractClient } from "./contract.ts";
import { createTestEnvironment, type TestEnvironment } from "./environment.ts";
import { startApi, TEST_KEY, type TestProcess } from "./processes.ts";

/** What the tests of one file share. */
export interface ApiUnderTest {
  readonly environment: TestEnvironment;
  readonly process: TestProcess;
  readonly client: ContractClient;
}

/** The API's key as a header. */
export const BEARER = { authorization: `Bearer ${TEST_KEY}` } as const;
/** The same, as a browser sends it after its user has logged in. */
export const BASIC = { authorization: `Basic ${btoa(`operator:${TEST_KEY}`)}` } as const;

/** Starts an API over databases of its own before the tests of the file, and ends it after them. */
export function useApi(env: Readonly<Record<string, string>> = {}): ApiUnderTest {
  let environment: TestEnvironment;
  let process: TestProcess;
  let client: ContractClient;

  beforeAll(async () => {
    environment = await createTestEnvironment();
    const started = await startApi({ ...environment, env });
    process = started;
    client = await ContractClient.of(started.url);
  });

  afterAll(async () => {
    await process?.stop();
    await environment?.close();
  });

  return {
    get environment() {
      return environment;
    },
    get process() {
      return process;
    },
    get client() {
      return client;
    },
  };
}
