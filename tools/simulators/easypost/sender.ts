/** An address that parcels may come from: EasyPost's own, of its examples. */
export const SENDER = {
  name: "Conveyor",
  line1: "388 Townsend St",
  city: "San Francisco",
  region: "CA",
  postalCode: "94107",
  country: "US",
  phone: "4155550100",
};
