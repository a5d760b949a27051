import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, type LoadOptions, loadConfig } from '../../src/config/load.ts';
import { ConfigError, type ConfigProblem } from '../../src/config/problems.ts';

/** A directory with a config in it, and `services.ts` beside it; it goes with the end of the block. */
export class ConfigDir implements Disposable {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), 'bosun-config-')));

  constructor() {
    const services = join(import.meta.dirname, 'fixtures/services.ts');
    this.write('services.ts', `export * from ${JSON.stringify(services)};\n`);
  }

  write(name: string, text: string): string {
    const file = join(this.path, name);
    writeFileSync(file, text);
    return file;
  }

  async load(text: string, options: Partial<LoadOptions> & { readonly name?: string } = {}): Promise<Config> {
    const { name = 'bosun.yaml', env = {}, ...rest } = options;
    return await loadConfig(this.write(name, text), { env, ...rest });
  }

  /** The problems of a config that must not load. */
  async problems(
    text: string,
    options: Parameters<ConfigDir['load']>[1] = {},
  ): Promise<readonly ConfigProblem[]> {
    return await problemsOf(this.load(text, options));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** What a rejected load complains of. */
export async function problemsOf(loading: Promise<unknown>): Promise<readonly ConfigProblem[]> {
  const error = await loading.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ConfigError) return error.problems;
  throw error instanceof Error ? error : new Error('the config was accepted');
}
