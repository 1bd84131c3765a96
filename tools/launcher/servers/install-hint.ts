import { existsSync } from "node:fs";
import type { ServerName } from "./binaries.ts";

const NAMES: Record<ServerName, string> = { mysql: "MySQL", redis: "Redis" };
const VARIABLES: Record<ServerName, string> = { mysql: "DATABASE_URL", redis: "REDIS_URL" };

/** Package managers, recognized by their program, and their package names. */
const MANAGERS: { program: string; command: string; packages: Record<ServerName, string> }[] = [
  {
    program: "/usr/bin/apt-get",
    command: "sudo apt-get install",
    packages: { mysql: "mariadb-server", redis: "redis-server" },
  },
  {
    program: "/usr/bin/dnf",
    command: "sudo dnf install",
    packages: { mysql: "mariadb-server", redis: "valkey" },
  },
  { program: "/usr/bin/pacman", command: "sudo pacman -S", packages: { mysql: "mariadb", redis: "valkey" } },
  {
    program: "/sbin/apk",
    command: "sudo apk add",
    packages: { mysql: "mariadb mariadb-client", redis: "redis" },
  },
  {
    program: "/usr/bin/zypper",
    command: "sudo zypper install",
    packages: { mysql: "mariadb", redis: "redis" },
  },
];
const HOMEBREW = { command: "brew install", packages: { mysql: "mariadb", redis: "redis" } };

/** One line that says how to install the missing servers on this system. */
export function installHint(missing: ServerName[], reason?: string, platform = process.platform): string {
  const names = missing.map((server) => NAMES[server]).join(" and ");
  const variables = missing.map((server) => VARIABLES[server]).join(" and ");
  const manager = platform === "darwin" ? HOMEBREW : MANAGERS.find(({ program }) => existsSync(program));
  const install = manager
    ? `run: ${manager.command} ${missing.map((server) => manager.packages[server]).join(" ")}`
    : "install MariaDB 10.11 or MySQL 8.4 and Redis 6.2, or newer";
  const cause = reason ? ` (${reason})` : "";
  return `No ${names} on this machine${cause}: ${install} (or start Docker, or set ${variables})`;
}
