import { messageOf } from "../../shared/text.ts";
import type { LoadAnswer, LoadCommand } from "./messages.ts";
import { run } from "./run.ts";

/** The load generator's process: receives commands and sends results until its parent exits. */
process.on("message", (command: LoadCommand) => {
  void answer(command);
});
process.on("disconnect", () => process.exit());
// The parent handles Ctrl-C.
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
