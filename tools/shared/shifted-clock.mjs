// Preloaded (`node --import`) into a process whose clock shall be wrong: shifts Date by the milliseconds in the file that
// CLOCK_SHIFT_FILE names, which may change at any time. Timers and performance.now() go on as they did, as they do when a
// machine's clock is set.
import { readFileSync } from "node:fs";

const LOOK_EVERY_MS = 50;
const RealDate = globalThis.Date;
const file = process.env["CLOCK_SHIFT_FILE"];
let shiftMs = 0;

function look() {
  try {
    shiftMs = Number(readFileSync(file, "utf8")) || 0;
  } catch {
    shiftMs = 0;
  }
}

globalThis.Date = class Date extends RealDate {
  constructor(...given) {
    if (given.length === 0) super(RealDate.now() + shiftMs);
    else super(...given);
  }
  static now() {
    return RealDate.now() + shiftMs;
  }
};

if (file !== undefined) {
  look();
  setInterval(look, LOOK_EVERY_MS).unref();
}
