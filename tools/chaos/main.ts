import { runAsProcess } from "../cli/terminal.ts";
import { chaos } from "./command.ts";

/** `npm run chaos`: the process around the command. */
void runAsProcess(chaos);
