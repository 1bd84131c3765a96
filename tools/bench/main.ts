import { runAsProcess } from "../shared/terminal.ts";
import { bench } from "./command.ts";

/** `npm run bench`: the process around the command. */
void runAsProcess(bench);
