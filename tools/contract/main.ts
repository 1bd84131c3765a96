import { runAsProcess } from "../shared/terminal.ts";
import { contract } from "./command.ts";

await runAsProcess(contract);
