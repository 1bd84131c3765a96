import { runAsProcess } from "../shared/terminal.ts";
import { bench } from "./command.ts";

/** `npm run bench` */
void runAsProcess(bench);
