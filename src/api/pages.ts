import helmet from "helmet";

/**
 * The headers of what is shown in a browser: a page may load from this process and from nowhere else, and no other
 * site may frame it. Inline styles are allowed, since Bull Board and Swagger UI have some; inline scripts are not.
 */
export const pageHeaders = helmet({
  // Without TLS, browsers ignore these two; the second one with an error in the console.
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  contentSecurityPolicy: {
    directives: {
      fontSrc: ["'self'"],
      styleSrc: ["'self'", "'unsafe-inline'"],
      // Without TLS in front there is nothing to upgrade to.
      upgradeInsecureRequests: null,
    },
  },
});
