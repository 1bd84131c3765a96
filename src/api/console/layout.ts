import { html, type Content, type Html } from "./html.ts";

/** The navigation's pages, in order; `href` is relative to {@link ROOT}. */
const SECTIONS = [
  { name: "Overview", href: "", needsQueues: false },
  { name: "Orders", href: "/orders", needsQueues: false },
  { name: "Failures", href: "/failures", needsQueues: false },
  { name: "Stock", href: "/stock", needsQueues: false },
  { name: "Queues", href: "/queues", needsQueues: true },
  { name: "Webhooks", href: "/webhooks", needsQueues: false },
  { name: "Actions", href: "/actions", needsQueues: false },
] as const;

type Section = (typeof SECTIONS)[number]["name"];

/** Links to pages outside the console. */
const EXTERNAL = [
  { name: "Jobs", href: "/queues", needsQueues: true },
  { name: "API", href: "/docs", needsQueues: false },
] as const;

/** The console's root path. */
export const ROOT = "/console";

/** Seconds between reloads of a live page in browsers without JavaScript. */
const REFRESH_SECONDS = 10;

export interface Page {
  readonly title: string;
  /** The section to highlight in the navigation; undefined if there is none. */
  readonly section: Section | undefined;
  readonly body: Content;
  /** Whether the page updates itself. */
  readonly live?: boolean;
}

/** The section that an address below {@link ROOT} belongs to. */
export function sectionOf(path: string): Section | undefined {
  return SECTIONS.find(({ href }) => path === (href || "/") || (href !== "" && path.startsWith(`${href}/`)))
    ?.name;
}

/** Renders a whole page: head, navigation and body. */
export function layout(page: Page, given: { readonly operator: string; readonly hasQueues: boolean }): Html {
  const { title, section, body, live = false } = page;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta
          name="htmx-config"
          content='{"includeIndicatorCSS": false, "defaultSwap": "innerMorph", "history": false, "noSwap": [204, 304, "4xx", "5xx"]}'
        />
        <title>${title} · Conveyor</title>
        <link rel="icon" href="${ROOT}/assets/icon.svg" />
        <link rel="stylesheet" href="${ROOT}/assets/uplot.css" />
        <link rel="stylesheet" href="${ROOT}/assets/console.css" />
        ${live ? html`<noscript><meta http-equiv="refresh" content="${REFRESH_SECONDS}" /></noscript>` : ""}
        <script src="${ROOT}/assets/htmx.js" defer></script>
        <script src="${ROOT}/assets/uplot.js" defer></script>
        <script src="${ROOT}/assets/console.js" defer></script>
      </head>
      <body>
        <a class="skip" href="#main">Skip to content</a>
        <header>
          <nav aria-label="Console">
            <a class="brand" href="${ROOT}">Conveyor</a>
            <ul>
              ${SECTIONS.filter(({ needsQueues }) => given.hasQueues || !needsQueues).map(
                ({ name, href }) =>
                  html`<li>
                    ${
                      name === section
                        ? html`<a href="${ROOT}${href}" aria-current="page">${name}</a>`
                        : html`<a href="${ROOT}${href}">${name}</a>`
                    }
                  </li>`,
              )}
              ${EXTERNAL.filter(({ needsQueues }) => given.hasQueues || !needsQueues).map(
                ({ name, href }, index) =>
                  html`<li class="${index === 0 && "apart"}"><a href="${href}">${name}</a></li>`,
              )}
            </ul>
          </nav>
        </header>
        <main id="main" tabindex="-1">
          <p id="stale" class="stale" role="status" hidden></p>
          ${body}
        </main>
        <footer>
          <p>Times are UTC. Signed in as <b>${given.operator}</b>; your actions are recorded.</p>
        </footer>
      </body>
    </html> `;
}
