import type { z } from "zod";
import { pathOf } from "../../platform/json.ts";

type Issue = z.core.$ZodIssue;

/** What is wrong with a service's answer, in one line: of several that it may be, with the one that it comes nearest to. */
export function mismatch({ issues }: { readonly issues: readonly Issue[] }): string {
  return issues.map((issue) => inWords(issue, [])).join("; ");
}

function inWords(issue: Issue, around: readonly PropertyKey[]): string {
  const path = [...around, ...issue.path];
  // Nearest is what has the parts that there are, and the least wrong in them.
  const [nearest, next] =
    issue.code === "invalid_union"
      ? issue.errors
          .filter((each) => each.every((inner) => inner.path.length > 0))
          .toSorted((one, other) => one.length - other.length)
      : [];
  if (nearest && nearest.length !== next?.length)
    return nearest.map((inner) => inWords(inner, path)).join("; ");
  return `${pathOf(path).slice(1)} ${issue.message}`.trim();
}
