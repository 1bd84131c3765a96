import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** Certificates that are made for a test, in a folder of their own. */
export class Certificates {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "conveyor-tls-"));

  /** The path of a certificate, or of the key to it. */
  file(name: `${string}.${"pem" | "key"}`): string {
    return path.join(this.#folder, name);
  }

  /** An authority that nobody knows unless told. */
  makeAuthority(name: string): void {
    const subject = ["-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.pem`];
    this.#openssl("req", "-x509", ...NEW_KEY, "-days", "2", ...subject);
  }

  /** A certificate for a host, which the authority "ca" has signed. */
  make(name: string, host: string): void {
    const subject = ["-subj", `/CN=${host}`, "-addext", `subjectAltName=DNS:${host}`];
    this.#openssl("req", ...NEW_KEY, ...subject, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    const signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-copy_extensions", "copy"];
    this.#openssl("x509", "-req", "-in", `${name}.csr`, ...signing, "-out", `${name}.pem`);
  }

  /** Removes them. */
  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #openssl(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.#folder, stdio: "ignore" });
  }
}

const NEW_KEY = ["-newkey", "rsa:2048", "-nodes"];

/** An authority, "ca", and what it has signed for "localhost", "server"; another authority, "stranger". */
export function makeCertificates(): Certificates {
  const made = new Certificates();
  made.makeAuthority("ca");
  made.makeAuthority("stranger");
  made.make("server", "localhost");
  return made;
}

/** The arguments with which Redis takes TLS at a further port, and asks its clients for no certificate. */
export function redisTlsArgs(certificates: Certificates, tlsPort: number): string[] {
  return [
    ["--tls-port", String(tlsPort)],
    ["--tls-auth-clients", "no"],
    ["--tls-ca-cert-file", certificates.file("ca.pem")],
    ["--tls-cert-file", certificates.file("server.pem")],
    ["--tls-key-file", certificates.file("server.key")],
  ].flat();
}
