import { join } from 'node:path';
import { bosun, Cli, type CliOptions, Project } from './cli.ts';

const services = `
import { existsSync } from 'node:fs';
import { type Scope, Service } from 'bosun';
import { z } from 'zod';

/** Says something at each level. */
export class Talker extends Service {
  override start({ log }: Scope): void {
    log.info({ password: 'geheim' }, 'hello');
    log.warn('careful');
    log.error('trouble');
  }
}
/** Starts once. */
export class Once extends Service {
  #started = false;
  override start(): void {
    if (this.#started) throw new Error('the disk is full\\u001b[31m\\u009b1m\\u202e');
    this.#started = true;
  }
}
export class Broken extends Service {
  override start(): void {
    throw new Error('it is broken');
  }
}
/** Blocks the main loop when it starts again. */
export class Blocker extends Service.extend({ blockMs: z.number() }) {
  #started = false;
  override start({ spawn }: Scope): void {
    if (!this.#started) {
      this.#started = true;
      return;
    }
    spawn('block', async () => {
      const end = Date.now() + this.options.blockMs;
      while (Date.now() < end);
    });
  }
}
/** Starts when there is no file of the name \`closed\`. */
export class Gate extends Service {
  override async start({ clock, signal }: Scope): Promise<void> {
    while (existsSync('closed')) await clock.sleep(20, { signal });
  }
}
/** Logs without end. */
export class Chatty extends Service {
  override start({ spawn, clock, log }: Scope): void {
    spawn('chat', async (signal) => {
      for (;;) {
        log.info('and another thing');
        await clock.sleep(20, { signal });
      }
    });
  }
}
/** Takes its time over its stop, until it is forced. */
export class Slow extends Service {
  override start(): void {}
  override stop({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
}
`;

/** A daemon that runs in a process of its own, with an admin service on a Unix socket. */
export class Operated implements AsyncDisposable {
  readonly project: Project;
  readonly cli: Cli;

  private constructor(project: Project, env: Readonly<Record<string, string>>) {
    this.project = project;
    // What it leaves among the temporary files goes with the project.
    const own = { BOSUN_LOG_FORMAT: 'json', TMPDIR: project.path };
    this.cli = new Cli(['run'], { cwd: project.path, env: { ...own, ...env } });
  }

  /** `others`: the services beside the admin one, as lines of YAML. */
  static async start(
    others: readonly string[] = [],
    {
      admin = 'path: ./admin.sock',
      env = {},
    }: { readonly admin?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<Operated> {
    const project = new Project();
    project.write('services.ts', services);
    const lines = [`admin: { use: admin, ${admin} }`, ...others].map((line) => `  ${line}\n`);
    project.write('bosun.yaml', `services:\n${lines.join('')}`);
    const daemon = new Operated(project, env);
    try {
      await daemon.cli.seen(/ready in/);
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
    return daemon;
  }

  get directory(): string {
    return this.project.path;
  }

  get socket(): string {
    return join(this.directory, 'admin.sock');
  }

  /** Runs `bosun` beside the daemon's config. */
  async bosun(args: readonly string[], options: Partial<CliOptions> = {}) {
    return await bosun(args, { cwd: this.directory, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cli[Symbol.asyncDispose]();
    this.project[Symbol.dispose]();
  }
}
