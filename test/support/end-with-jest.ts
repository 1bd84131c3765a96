import { identify, isAlive } from "../../tools/launcher/lock.js";

const CHECK_MS = 500;

let watching = false;

/**
 * Ends this jest worker when the jest that started it is gone. By itself a worker goes on until its test is done, and
 * with it all that the test has started; a test that hangs would keep it for ever.
 */
export function endWithJest(): void {
  // Only workers have a channel to their parent. (Asking for process.ppid again does not help: jest's is a copy.)
  const jest = process.send && identify(process.ppid);
  if (!jest || watching) return;
  watching = true;
  setInterval(() => {
    if (!isAlive(jest)) process.kill(process.pid, "SIGKILL");
  }, CHECK_MS).unref();
}
