import { SmartClient } from './smart-client.ts';

/** Prints what a URL answers, after retries within 3 s if need be; exits with 1 when that is an error. */
const [url] = process.argv.slice(2);
if (url === undefined) {
  process.stderr.write('usage: client.ts <URL>\n');
  process.exit(2);
}
const { status, body } = await new SmartClient(3_000).request(url, { method: 'GET' });
process.stdout.write(`${status} ${body}\n`);
process.exitCode = status < 400 ? 0 : 1;
