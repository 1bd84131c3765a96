import { runAsProcess } from "../shared/terminal.ts";
import { chaos } from "./command.ts";

/** `npm run chaos` */
void runAsProcess(chaos);
