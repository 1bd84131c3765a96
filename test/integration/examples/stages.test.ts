import { afterEach, expect, test } from "@jest/globals";
import { newSecret } from "../../../src/events/webhooks/signature.ts";
import { stageRole } from "../../../tools/contract/roles.ts";
import { runSuite } from "../../../tools/contract/suite.ts";
import { isHere, LANGUAGES, startExample, type RunningExample } from "../../support/examples.ts";

let example: RunningExample | undefined;
afterEach(async () => {
  await example?.close();
  example = undefined;
});

async function faultsOf(url: string, secret: string) {
  const { signal } = new AbortController();
  const order = { total: 2_500, lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1_250 }] };
  const findings = await runSuite(
    { url, secret, timeoutMs: 8_000, role: stageRole("fraud"), order, signal },
    { hasUndo: true },
  );
  // They answer at once, and don't call back.
  return findings.filter(
    ({ result, detail }) => result !== "right" && detail !== "the service did not answer 202",
  );
}

for (const [name, language] of Object.entries(LANGUAGES)) {
  const tried = isHere(language) ? test : test.skip;
  if (tried === test.skip)
    process.stderr.write(`NOT TRIED: the example in ${name}, which is not installed here.\n`);
  tried(`the example in ${name} keeps the contract, with either secret`, async () => {
    const secrets = [newSecret(), newSecret()];
    example = await startExample(language, secrets);
    for (const secret of secrets) expect(await faultsOf(example.url, secret)).toEqual([]);
  });
}
