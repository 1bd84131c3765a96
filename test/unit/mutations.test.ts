import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { MUTATIONS } from "../mutations/mutations.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");

test("every mutation can be made, and names tests that are there", () => {
  const misplaced = MUTATIONS.filter(
    ({ file, find }) => readFileSync(path.join(REPOSITORY, file), "utf8").split(find).length !== 2,
  );
  const tests = [...new Set(MUTATIONS.flatMap((mutation) => mutation.tests))];
  const missing = tests.filter((name) => !existsSync(path.join(REPOSITORY, "test", `${name}.test.ts`)));
  expect({ misplaced, missing }).toEqual({ misplaced: [], missing: [] });
});
