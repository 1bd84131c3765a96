import { messageOf } from "../../shared/text.ts";
import type { LoadAnswer, LoadCommand } from "./messages.ts";
import { run } from "./run.ts";

/** The process that the load comes from: commands in, results out, until whoever started it is gone. */
process.on("message", (command: LoadCommand) => {
  void answer(command);
});
process.on("disconnect", () => process.exit());
// A Ctrl-C in the terminal is for whoever started this one to heed.
process.on("SIGINT", () => {});

async function answer({ id, load }: LoadCommand): Promise<void> {
  try {
    send({ id, result: await run(load) });
  } catch (error) {
    send({ id, error: messageOf(error) });
  }
}

function send(message: LoadAnswer): void {
  process.send?.(message);
}

process.send?.("ready");
