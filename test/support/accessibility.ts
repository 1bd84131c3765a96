import axe, { type AxeResults, type RunOptions } from "axe-core";
import type { Page } from "playwright-core";

/** WCAG 2.2 A and AA, and what axe thinks good beside them. */
const OPTIONS: RunOptions = {
  resultTypes: ["violations"],
  rules: { "target-size": { enabled: true } },
  // The page's policy allows it to load its styles again, and axe needs no more of them than the browser has.
  preload: false,
};

/** What keeps people from using a page by axe-core's rules: the rule, and each place with what is wrong there. */
export async function barriersOf(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<AxeResults>(`axe.run(document, ${JSON.stringify(OPTIONS)})`);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary = "" }) => `${id} at ${target.join(" ")}: ${failureSummary}`),
  );
}
