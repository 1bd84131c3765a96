import { defineConfig, deliver, httpStage, pay, reserve, ship } from "conveyor";
import { giftWrap } from "./stages/gift-wrap.ts";

export default defineConfig({
  pipeline: [
    reserve,
    httpStage({ name: "fraud-check", to: "CHECKED", url: "http://fraud:8080/check", undo: true }),
    pay,
    giftWrap,
    ship,
    deliver,
  ],
});
