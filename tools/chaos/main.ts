import { runAsProcess } from "../shared/terminal.ts";
import { chaos } from "./command.ts";

/** `npm run chaos`: the process around the command. */
void runAsProcess(chaos);
