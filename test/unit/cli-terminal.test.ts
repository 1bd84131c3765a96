import { PassThrough } from "node:stream";
import { describe, expect, it } from "@jest/globals";
import { concurrently } from "../../tools/cli/concurrently.ts";
import { showProgress } from "../../tools/cli/progress.ts";
import { Terminal } from "../../tools/shared/terminal.ts";

function terminal({ isTTY = false } = {}) {
  const stdout = Object.assign(new PassThrough(), { isTTY, columns: 100, rows: 30 });
  const stderr = Object.assign(new PassThrough(), { isTTY });
  const written = (stream: PassThrough) => String(stream.read() ?? "");
  return {
    made: new Terminal(stdout, stderr),
    stdout: () => written(stdout),
    stderr: () => written(stderr),
  };
}

describe("Terminal", () => {
  it("keeps results and remarks apart", () => {
    const { made, stdout, stderr } = terminal();
    made.say("result");
    made.note("remark");
    expect([stdout(), stderr()]).toEqual(["result\n", "remark\n"]);
  });

  it("draws over what it drew, and gives the cursor back", () => {
    const { made, stdout } = terminal({ isTTY: true });
    made.redraw(["a", "b"]);
    expect(stdout()).toBe("\u001B[?25l\r\u001B[Ja\nb\n");
    made.redraw(["c"]);
    expect(stdout()).toBe("\u001B[2A\r\u001B[Jc\n");
    made.release();
    made.release();
    expect(stdout()).toBe("\u001B[?25h");
  });

  it("is live only when both streams are terminals", () => {
    expect(terminal({ isTTY: true }).made.isLive).toBe(true);
    expect(terminal().made.isLive).toBe(false);
    expect(terminal().made.hasColors).toBe(false);
  });
});

describe("showProgress, without a terminal", () => {
  it("says when a piece of work is done, and nothing of one that broke off", () => {
    const { made, stdout, stderr } = terminal();
    const progress = showProgress(made);
    progress.start("sending", 2_000);
    progress.to(1_000);
    progress.to(2_000);
    progress.start("counting", 5);
    progress.to(4);
    progress.stop();
    progress.stop();
    expect([stdout(), stderr()]).toEqual(["", "sending: 2,000 of 2,000\n"]);
  });
});

describe("concurrently", () => {
  it("does all items, never more than the limit at once", async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await concurrently([1, 2, 3, 4, 5], 2, async (item) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise(setImmediate);
      running -= 1;
      done.push(item);
    });
    expect(most).toBe(2);
    expect(new Set(done)).toEqual(new Set([1, 2, 3, 4, 5]));
  });

  it("begins nothing more after an error", async () => {
    const begun: number[] = [];
    const all = concurrently([1, 2, 3, 4, 5, 6], 2, async (item) => {
      begun.push(item);
      await new Promise(setImmediate);
      if (item === 1) throw new Error("one");
    });
    await expect(all).rejects.toThrow("one");
    await new Promise(setImmediate);
    expect(begun.length).toBeLessThanOrEqual(3);
  });
});
