import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type TlsOptions as NodeTlsOptions } from 'node:tls';
import { z } from 'zod';
import { toError } from '../errors.ts';
import type { Scope } from '../service.ts';
import { CertificateError } from './errors.ts';

/** How a server proves who it is, and whom it serves. Files are PEM; relative paths are the process's. */
export const tlsSchema = z.strictObject({
  /** The certificate, followed by those between it and the root. */
  certFile: z.string().min(1),
  /** Its private key, not encrypted. */
  keyFile: z.string().min(1),
  /** The authorities of clients' certificates. Default: those that Node trusts. */
  caFile: z.string().min(1).optional(),
  /** `request` asks clients for a certificate and takes all; `require` takes only those that it can verify. */
  clientCertificates: z.enum(['ignore', 'request', 'require']).default('ignore'),
  minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2'),
});

export type TlsOptions = z.output<typeof tlsSchema>;

/**
 * Reads the files, and checks that they can be served. A certificate that has expired is warned of, not
 * refused: most of what a daemon does goes on without it.
 *
 * @throws {CertificateError} `ERR_CERTIFICATE`
 */
export async function loadTls(
  { certFile, keyFile, caFile, clientCertificates, minVersion }: TlsOptions,
  { log, clock }: Pick<Scope, 'log' | 'clock'>,
): Promise<NodeTlsOptions> {
  const [cert, key, ca] = await Promise.all([
    read(certFile),
    read(keyFile),
    caFile === undefined ? undefined : read(caFile),
  ]);
  const certificate = parse(certFile, 'a certificate in PEM form', () => new X509Certificate(cert));
  const privateKey = parseKey(keyFile, key);
  if (!certificate.checkPrivateKey(privateKey)) {
    const message = `the key in ${keyFile} does not belong to the certificate in ${certFile}`;
    throw new CertificateError(keyFile, 'mismatch', message);
  }
  if (ca !== undefined && caFile !== undefined) {
    parse(caFile, 'a certificate in PEM form', () => new X509Certificate(ca));
  }
  if (certificate.validToDate.getTime() < clock.now()) {
    log.warn({ certFile, expired: certificate.validTo }, `the certificate in ${certFile} has expired`);
  }
  const context = { cert, key, minVersion, ...(ca === undefined ? {} : { ca }) };
  parse(certFile, 'a certificate that TLS can use', () => createSecureContext(context));
  return {
    ...context,
    requestCert: clientCertificates !== 'ignore',
    rejectUnauthorized: clientCertificates === 'require',
  };
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (thrown) {
    const cause = toError(thrown);
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new CertificateError(file, 'missing', `${file} does not exist`, { cause });
    throw new CertificateError(file, 'unreadable', `${file} cannot be read: ${cause.message}`, { cause });
  }
}

function parseKey(file: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (thrown) {
    const cause = toError(thrown);
    if (!pem.includes('ENCRYPTED')) {
      throw new CertificateError(file, 'malformed', `${file} is not a private key in PEM form`, { cause });
    }
    const message = `the key in ${file} is encrypted: store it decrypted, readable by the daemon alone`;
    throw new CertificateError(file, 'encrypted', message, { cause });
  }
}

function parse<Value>(file: string, what: string, make: () => Value): Value {
  try {
    return make();
  } catch (thrown) {
    const cause = toError(thrown);
    throw new CertificateError(file, 'malformed', `${file} is not ${what}: ${cause.message}`, { cause });
  }
}
