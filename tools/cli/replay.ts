import { z } from "zod";
import { configure } from "../../src/composition/config.ts";
import { readRunning } from "../launcher/state.ts";
import { replay } from "./replay/command.ts";
import { findTarget } from "./target.ts";
import { runAsProcess } from "../shared/terminal.ts";

/** `npm run replay -- FILE.csv` */
void runAsProcess(async (args, terminal, signal) => {
  // The statuses are those of the configuration file.
  await configure(z.object({}), process.env);
  return replay(args, terminal, signal, () => findTarget(process.env, readRunning));
});
