import { configJsonSchema } from '../config/json-schema.ts';
import { builtInClasses } from '../config/use.ts';
import { ownPackage } from './own-package.ts';

const service = `import { durationMs, type Scope, Service } from 'bosun';
import { z } from 'zod';

/** Writes a greeting to the log, time and again. */
export class Greeter extends Service.extend({
  message: z.string().min(1),
  intervalMs: durationMs().default(5_000),
}) {
  override start({ spawn, clock, log }: Scope): void {
    const { message, intervalMs } = this.options;
    spawn('greet', async (signal) => {
      while (!signal.aborted) {
        log.info(message);
        await clock.sleep(intervalMs, { signal });
      }
    });
  }
}
`;

const config = `# yaml-language-server: $schema=bosun.schema.json
log: { level: info }
shutdown: { timeout: 10s }
services:
  greeter:
    use: ./greeter.ts
    message: "hello, \${NAME:-world}"
    interval: 5s
`;

/** The files of a small project that runs, by their names. */
export async function projectFiles(name: string): Promise<Record<string, string>> {
  const { version, dependencies } = ownPackage();
  const manifest = {
    name:
      name
        .toLowerCase()
        .replace(/[^a-z\d._~-]+/g, '-')
        .replace(/^[._-]+/, '') || 'daemon',
    private: true,
    type: 'module',
    engines: { node: '>=24' },
    scripts: {
      start: 'bosun run',
      check: 'bosun check',
      schema: 'bosun schema bosun.yaml > bosun.schema.json',
    },
    dependencies: { bosun: `^${version}`, zod: dependencies.zod },
  };
  const schema = configJsonSchema({ uses: await builtInClasses(), services: [] });
  return {
    'package.json': json(manifest),
    'bosun.yaml': config,
    'bosun.schema.json': json(schema),
    'greeter.ts': service,
  };
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
