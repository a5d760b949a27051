import { closeSync, openSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogging } from '../../src/logging/logging.ts';
import { logSchema } from '../../src/logging/options.ts';

const fd = openSync('/dev/null', 'w');
afterEach(() => closeSync(fd));

describe('a tap on the log', () => {
  it('gets every line as JSON, without its secrets, until it is ended', async () => {
    const logging = createLogging(logSchema.parse({ format: 'plain' }), { fd });
    const lines: string[] = [];
    const end = logging.tap((line) => lines.push(line));
    logging.logger.child({ service: 'api' }).info({ password: 'hunter2' }, 'hello');
    end();
    logging.logger.info('not seen');
    await logging.close();
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] as string)).toMatchObject({
      service: 'api',
      password: '[Redacted]',
      msg: 'hello',
    });
  });
});
