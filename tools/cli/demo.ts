import { readRunning } from "../launcher/state.ts";
import { demo } from "./demo/command.ts";
import { findTarget } from "./target.ts";
import { runAsProcess } from "../shared/terminal.ts";

/** `npm run demo` */
void runAsProcess((args, terminal, signal) =>
  demo(args, terminal, signal, () => findTarget(process.env, readRunning)),
);
