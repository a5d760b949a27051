import { BosunError } from '../errors.ts';

/** What kept a server from listening. */
export type ListenFailure =
  | 'in-use'
  | 'permission-denied'
  | 'not-available'
  | 'host-not-found'
  | 'path-taken'
  | 'no-directory'
  | 'other';

/** A server could not listen. */
export class ListenError extends BosunError {
  readonly code = 'ERR_LISTEN';
  /** `127.0.0.1:8080`, or the path of a Unix socket. */
  readonly address: string;
  readonly reason: ListenFailure;

  constructor(address: string, reason: ListenFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.address = address;
    this.reason = reason;
  }
}

/** What is wrong with a certificate or a key. */
export type CertificateFailure = 'missing' | 'unreadable' | 'malformed' | 'encrypted' | 'mismatch';

/** A server's certificate or key cannot be used. */
export class CertificateError extends BosunError {
  readonly code = 'ERR_CERTIFICATE';
  readonly file: string;
  readonly reason: CertificateFailure;

  constructor(file: string, reason: CertificateFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.file = file;
    this.reason = reason;
  }
}
