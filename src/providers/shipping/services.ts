import { RequestRefusedError } from "../../order/ports.ts";
import type { Rate } from "../../order/shipment.ts";

/** How a service is chosen: by price, by days, or the first of these that is offered, such as `USPS Priority`. */
export type ServiceChoice = "cheapest" | "fastest" | readonly string[];

/** Services to name in an error. */
const NAMED = 10;

/**
 * Chooses among a carrier's offers. Names are those of the offers, without regard to case; the last word of one is enough:
 * `Priority` for `USPS Priority`. Of equally good ones it takes the cheapest.
 *
 * @throws {RequestRefusedError} if none of those that are wanted is offered.
 */
export function chooseRate(rates: readonly Rate[], choice: ServiceChoice): Rate {
  const byPrice = rates.toSorted((a, b) => a.cost.amount - b.cost.amount);
  const [cheapest] = byPrice;
  if (cheapest === undefined) throw new RequestRefusedError("the carrier offers no service for this parcel");
  if (choice === "cheapest") return cheapest;
  if (choice === "fastest") {
    const days = (rate: Rate) => rate.days ?? Infinity;
    return byPrice.reduce((best, each) => (days(each) < days(best) ? each : best));
  }
  for (const wanted of choice) {
    const found = byPrice.find(({ service }) => isCalled(service, wanted));
    if (found) return found;
  }
  const offered = byPrice.slice(0, NAMED).map(({ service }) => service);
  throw new RequestRefusedError(
    `the carrier does not offer ${choice.slice(0, NAMED).join(", ")}, but ${offered.join(", ")}`,
  );
}

function isCalled(service: string, wanted: string): boolean {
  const [name, word] = [service.toLowerCase(), wanted.toLowerCase()];
  return name === word || name.endsWith(` ${word}`);
}
