/** A name or an address; not several, and not the socket that some clients take in its place. */
const HOST = /^(?:[\w.-]+|\[[\da-f:.]+\])$/i;

/**
 * What is wrong with where the URL of a server leads, as a phrase to follow its name; undefined if it names one host.
 *
 * @param example of a right one
 */
export function faultOfHost(url: string, example: string): string | undefined {
  // First, for a password with # ends the host before it begins.
  if (url.includes("#")) return "must not contain #; in a password it is written as %23";
  // Parsers of URLs leave them out without a word.
  if (/[\t\r\n]/.test(url.trim())) return "must not contain tabs or line breaks";
  if (!URL.canParse(url)) return `must be an address of one host, such as ${example}`;
  const { hostname, port } = new URL(url);
  if (!HOST.test(hostname))
    return `must name one host, such as ${example}${hostname === "" ? ", and names none" : ""}`;
  return port === "0" ? "must have a port from 1 to 65535" : undefined;
}
