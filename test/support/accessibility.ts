import axe, { type AxeResults, type RunOptions } from "axe-core";
import type { Page } from "playwright-core";

/** WCAG 2.2 A and AA, and what axe thinks good beside them. */
const OPTIONS: RunOptions = {
  resultTypes: ["violations"],
  rules: { "target-size": { enabled: true } },
  // The page's policy allows it to load its styles again, and axe needs no more of them than the browser has.
  preload: false,
};

/**
 * What keeps people from using a page by axe-core's rules: the rule, and each place with what is wrong there.
 *
 * @param options.coloursOnly for a page that was looked at in other colours.
 */
export async function barriersOf(page: Page, { coloursOnly = false } = {}): Promise<string[]> {
  if (await page.evaluate<boolean>("window.axe === undefined")) await page.evaluate(axe.source);
  const options: RunOptions = coloursOnly ? { ...OPTIONS, runOnly: ["color-contrast"] } : OPTIONS;
  const { violations } = await page.evaluate<AxeResults>(`axe.run(document, ${JSON.stringify(options)})`);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary = "" }) => `${id} at ${target.join(" ")}: ${failureSummary}`),
  );
}
