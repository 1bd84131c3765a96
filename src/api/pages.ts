import helmet from "helmet";

/**
 * Security headers for pages: they may load only from this process, and no other site may frame them. Inline styles are
 * allowed, since Bull Board and Swagger UI have some; inline scripts are not.
 */
export const pageHeaders = helmet({
  // Browsers ignore both without TLS, the second with an error in the console.
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  contentSecurityPolicy: {
    directives: {
      fontSrc: ["'self'"],
      styleSrc: ["'self'", "'unsafe-inline'"],
      // There may be no TLS to upgrade to.
      upgradeInsecureRequests: null,
    },
  },
});
