import { expect, test } from "@jest/globals";
import { chooseRate } from "../../../src/providers/shipping/services.ts";

const rate = (service: string, amount: number, days: number | null = null) => ({
  service,
  cost: { amount, currency: "USD" },
  days,
});
const RATES = [
  rate("USPS Express", 3_310, 2),
  rate("USPS Priority", 690, 2),
  rate("UPS Priority", 800, 1),
  rate("USPS Ground", 593),
];

test.each([
  ["cheapest" as const, "USPS Ground"],
  ["fastest" as const, "UPS Priority"],
  [["USPS Priority"], "USPS Priority"],
  [["priority"], "USPS Priority"],
  [["DHL", "UPS PRIORITY", "Ground"], "UPS Priority"],
])("%j is %s", (choice, service) => {
  expect(chooseRate(RATES, choice).service).toBe(service);
});

test("the fastest of equally fast ones is the cheapest, and one that tells no days is the slowest", () => {
  expect(chooseRate(RATES.slice(0, 2), "fastest").service).toBe("USPS Priority");
  expect(chooseRate([rate("A", 1), rate("B", 2, 9)], "fastest").service).toBe("B");
  expect(chooseRate([rate("A", 2), rate("B", 1)], "fastest").service).toBe("B");
});

test.each([[["Prior"]], [["SPS Ground"]], [["USPS"]]])("a part of a name is none: %j", (choice) => {
  expect(() => chooseRate(RATES, choice)).toThrow(
    `the carrier does not offer ${choice.join()}, but USPS Ground, USPS Priority, UPS Priority, USPS Express`,
  );
});

test("nothing is chosen of nothing", () => {
  expect(() => chooseRate([], "cheapest")).toThrow("the carrier offers no service for this parcel");
});
