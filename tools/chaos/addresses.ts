import type { BoughtLabel } from "../simulators/easypost/easypost.ts";
import type { Check } from "./audit.ts";

/**
 * No label is bought for an address once the service has said that the order goes to another one.
 *
 * @param moved when it had said so, by order, in milliseconds since 1970. @param street of the other address
 */
export function labelsOfMoved(
  bought: readonly Pick<BoughtLabel, "reference" | "street" | "at">[],
  moved: ReadonlyMap<string, number>,
  street: string,
): Check {
  const later = bought.filter(({ reference, at }) => {
    const since = moved.get(reference?.split(":")[0] ?? "");
    return since !== undefined && at.getTime() > since;
  });
  return {
    promise: "no label is for an address that was changed before it was bought",
    checked: later.length,
    of: "labels bought after that",
    breaches: later
      .filter((label) => label.street?.toUpperCase() !== street.toUpperCase())
      .map((label) => `${label.reference} was bought for ${label.street}, not ${street}`),
  };
}
