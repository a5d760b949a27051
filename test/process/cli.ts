import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { vi } from 'vitest';
import { owned } from '../support/owned.ts';

// Each test starts processes; a busy machine takes its time over that.
vi.setConfig({ testTimeout: 60_000 });

const root = resolve(import.meta.dirname, '../..');
const main = join(root, 'src/cli/main.ts');

/** A directory that has `bosun` and `zod` installed, as a user's project has. */
export class Project implements Disposable {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), 'bosun-project-')));

  constructor() {
    mkdirSync(join(this.path, 'node_modules'));
    symlinkSync(root, join(this.path, 'node_modules/bosun'));
    symlinkSync(join(root, 'node_modules/zod'), join(this.path, 'node_modules/zod'));
    this.write('package.json', '{ "type": "module" }');
  }

  write(name: string, text: string): string {
    const file = join(this.path, name);
    writeFileSync(file, text);
    return file;
  }

  /** Installs a package. */
  package(name: string, manifest: object, files: Readonly<Record<string, string>>): void {
    const directory = join('node_modules', name);
    mkdirSync(join(this.path, directory));
    this.write(join(directory, 'package.json'), JSON.stringify({ name, ...manifest }));
    for (const [file, text] of Object.entries(files)) this.write(join(directory, file), text);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export interface CliOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeOptions?: readonly string[];
}

/** A `bosun` that runs as a process of its own. It is killed at the end of the block. */
export class Cli implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | string>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], { cwd, env = {}, nodeOptions = [] }: CliOptions) {
    this.#child = owned(
      spawn(process.execPath, ['--conditions=bosun-source', ...nodeOptions, main, ...args], {
        cwd,
        env: { PATH: process.env.PATH, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stdout += chunk;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderr += chunk;
    });
    this.#exited = once(this.#child, 'close').then(([code, signal]) => code ?? signal);
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Waits until the standard output has, from an offset on, what is looked for; gives the offset after it. */
  async seen(pattern: RegExp, from = 0): Promise<number> {
    return await this.#wait(this.#child.stdout, () => this.#stdout, pattern, from);
  }

  /** Waits until the standard error has what is looked for. */
  async complained(pattern: RegExp): Promise<void> {
    await this.#wait(this.#child.stderr, () => this.#stderr, pattern, 0);
  }

  async #wait(
    stream: NodeJS.ReadableStream | null,
    written: () => string,
    pattern: RegExp,
    from: number,
  ): Promise<number> {
    for (;;) {
      const match = pattern.exec(written().slice(from));
      if (match !== null) return from + match.index + match[0].length;
      const ended = await Promise.race([
        once(stream as NodeJS.ReadableStream, 'data').then(() => undefined),
        this.#exited,
      ]);
      if (ended !== undefined && !pattern.test(written().slice(from))) {
        throw new Error(`it ended with ${ended} before ${pattern}:\n${this.#stdout}${this.#stderr}`);
      }
    }
  }

  /** Reads no more of the standard output, as `head -1` does when it has its line. */
  closeStdout(): void {
    this.#child.stdout?.destroy();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit code, or the signal that ended it. */
  get exited(): Promise<number | string> {
    return this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** Runs `bosun` to its end. */
export async function bosun(
  args: readonly string[],
  options: CliOptions,
): Promise<{ readonly code: number | string; readonly stdout: string; readonly stderr: string }> {
  await using cli = new Cli(args, options);
  const code = await cli.exited;
  return { code, stdout: cli.stdout, stderr: cli.stderr };
}
