import { describe, expect, test } from "@jest/globals";
import { parseOrdersCommand } from "../../tools/cli/orders/command.ts";
import { UsageError } from "../../src/platform/startup.ts";

const ID = "01a20691-7a8e-777a-bbfa-0d625ad32c50";
const parse = (...args: string[]) => parseOrdersCommand(args, "ada");

describe("npm run orders", () => {
  test.each([
    ["a command is missing: use cancel, retry, hold, release, resume", []],
    ['there is no command "sell": use cancel, retry, hold, release, resume', ["sell", ID]],
    ['there is no command "toString"', ["toString"]],
    ['"4711" is no order\'s id', ["retry", "4711"]],
    ["cancel needs --reason TEXT", ["cancel", ID]],
    ["cancel needs --reason TEXT", ["cancel", ID, "--reason", "two\nlines"]],
    ["Unknown option '--why'; see npm run orders -- --help", ["cancel", ID, "--why", "late"]],
    ['retry takes only one argument, not also "pay"', ["retry", ID, "pay"]],
    ["resume takes no order: use retry for one", ["resume", ID]],
    ['no stage is named "pack": there are reserve,', ["resume", "--stage", "pack"]],
    ['no stage is named "": there are reserve,', ["pause"]],
    ["limit needs --concurrency N or --rate N/SECONDS", ["limit", "pay"]],
    ["--concurrency must be a whole number from 1 to 100000", ["limit", "pay", "--concurrency", "0"]],
    ["--rate must be JOBS/SECONDS", ["limit", "pay", "--rate", "5"]],
    ["resend needs the number of a delivery", ["resend", "x"]],
  ])("refuses with one line: %s", (message, args) => {
    expect(() => parse(...args)).toThrow(UsageError);
    expect(() => parse(...args)).toThrow(message);
    expect(() => parse(...args)).toThrow(/^[^\n]*$/);
  });

  test.each([[["--help"]], [["help"]], [["cancel", "--help"]]])("explains itself: %p", (args) => {
    expect(parse(...args)).toBe("help");
  });
});
