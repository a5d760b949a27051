import { describe, expect, it } from 'vitest';
import { Cli, Project } from './cli.ts';

const services = `
import { type Scope, Service, service } from 'bosun';
import { z } from 'zod';

class Speaker extends Service.extend({ text: z.string().default('nothing') }) {
  override start({ log }: Scope): void {
    if (this.options.text === 'fail') throw new Error('it will not speak');
    log.info(\`\${this.name} says \${this.options.text}\`);
  }
  override stop(): void {
    console.log(\`\${this.name} is silent\`);
  }
}
export class One extends Speaker {}
export class Two extends Speaker.extend({ one: service(One).optional() }) {}
`;

async function running(
  dir: Project,
  config: string,
  name = 'bosun.yaml',
  modules = services,
): Promise<{ cli: Cli; reload(config: string): Promise<string> }> {
  dir.write('services.ts', modules);
  dir.write(name, config);
  const cli = new Cli(['run'], { cwd: dir.path });
  await cli.seen(/ready in/);
  return {
    cli,
    /** Gives what is written until the reload is over. */
    async reload(next) {
      dir.write(name, next);
      const from = cli.stdout.length;
      cli.kill('SIGHUP');
      await cli.seen(/reload ended/, from);
      return cli.stdout.slice(from);
    },
  };
}

const config = `
services:
  one: { use: ./services.ts#One, text: first }
  two: { use: ./services.ts#Two, one: one }
  bystander: { use: ./services.ts#One }
`;

async function end(cli: Cli): Promise<void> {
  cli.kill('SIGTERM');
  expect(await cli.exited).toBe(0);
}

describe('SIGHUP', () => {
  it('replaces what has changed with what depends on it, adds and removes, and lets the rest run', async () => {
    using dir = new Project();
    const { cli, reload } = await running(dir, `${config}  gone: { use: ./services.ts#One }\n`);
    await using _cli = cli;
    const output = await reload(
      `${config.replace('first', 'second')}  fresh: { use: ./services.ts#One, text: hi }\n`,
    );
    expect(output).toContain('reload: added: fresh; removed: gone; changed: one, two');
    const order = [...output.matchAll(/(\w+) (?:is silent|says \w+)/g)].map(([text]) => text);
    expect(order.slice(0, 3).sort()).toEqual(['gone is silent', 'one is silent', 'two is silent']);
    expect(order.indexOf('two is silent')).toBeLessThan(order.indexOf('one is silent'));
    expect(order.slice(3)).toEqual(['one says second', 'two says nothing', 'fresh says hi']);
    expect(output).not.toContain('bystander');
    await end(cli);
    expect(cli.stdout).toContain('bystander is silent');
  });

  it('logs every problem of a bad config and goes on unchanged', async () => {
    using dir = new Project();
    const { cli, reload } = await running(dir, config);
    await using _cli = cli;
    const output = await reload(config.replace('first', 'second').replace('one: one', 'one: non, txt: x'));
    expect(output).toContain('services.two.one names no service');
    expect(output).toContain('services.two.txt does not exist');
    expect(output).not.toContain('is silent');
    expect(await reload(config)).toContain('nothing has changed');
    await end(cli);
  });

  it('says which settings need a restart', async () => {
    using dir = new Project();
    const { cli, reload } = await running(dir, config);
    await using _cli = cli;
    const output = await reload(`shutdown: { timeout: 5s }\n${config}`);
    expect(output).toContain('reload: settings: shutdown.timeoutMs');
    expect(output).toContain('a change of shutdown.timeoutMs needs a restart');
    await end(cli);
  });

  it('changes the level of the log at once, for the services that run too', async () => {
    using dir = new Project();
    const chatty = services.replace(
      'log.info(',
      "setInterval(() => log.debug('ticks'), 20).unref();\n    log.info(",
    );
    const { cli, reload } = await running(dir, config, 'bosun.yaml', chatty);
    await using _cli = cli;
    expect(cli.stdout).not.toContain('ticks');
    const output = await reload(`log: { level: debug }\n${config}`);
    expect(output).toContain('reload: settings: log.level');
    expect(output).not.toContain('needs a restart');
    await cli.seen(/"service":"bystander".*ticks/);
    expect(cli.stdout).not.toContain('is silent');
    await reload(config);
    const quiet = cli.stdout.length;
    expect(await reload(config.replace('first', 'second'))).toContain('one says second');
    expect(cli.stdout.slice(quiet)).not.toContain('"level":20');
    await end(cli);
  });

  it('goes by the settings in force, not by those that wait for a restart', async () => {
    using dir = new Project();
    const { cli, reload } = await running(dir, config);
    await using _cli = cli;
    expect(await reload(`shutdown: { timeout: 5s }\n${config}`)).toContain('needs a restart');
    expect(await reload(config)).toContain('nothing has changed');
    await end(cli);
  });

  it('leaves out what does not start, keeps the rest, and tries again the next time', async () => {
    using dir = new Project();
    const { cli, reload } = await running(dir, config);
    await using _cli = cli;
    const output = await reload(config.replace('first', 'fail'));
    expect(output).toContain('it will not speak');
    expect(output).toContain('could not be started by the reload');
    expect(output).not.toContain('bystander is silent');
    expect(await reload(config)).toContain('reload: added: one, two');
    await end(cli);
  });

  it('reads a TypeScript config anew', async () => {
    using dir = new Project();
    const module = (text: string) =>
      `const text: string = '${text}';\nexport default { services: { one: { use: './services.ts#One', text } } };\n`;
    const { cli, reload } = await running(dir, module('first'), 'bosun.ts');
    await using _cli = cli;
    expect(await reload(module('second'))).toContain('one says second');
    await end(cli);
  });
});
