import { readRunning } from "../launcher/state.ts";
import { replay } from "./replay/command.ts";
import { findTarget } from "./target.ts";
import { runAsProcess } from "../shared/terminal.ts";

/** `npm run replay -- FILE.csv` */
void runAsProcess((args, terminal, signal) =>
  replay(args, terminal, signal, () => findTarget(process.env, readRunning)),
);
