import { randomBytes } from 'node:crypto';

/** What is taken over from a client: short, and harmless in logs and headers. */
const acceptable = /^[\w.:+/=@-]{1,128}$/;

const prefix = `${randomBytes(6).toString('base64url')}-`;
let count = 0;

/** The id that the client gave its request, if it can be used; otherwise a new one, unique across processes. */
export function newRequestId(given: string | string[] | undefined): string {
  if (typeof given === 'string' && acceptable.test(given)) return given;
  count += 1;
  return prefix + count.toString(36);
}
