import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { Command } from 'commander';
import { BosunError } from '../errors.ts';
import { projectFiles } from './project.ts';

/** `bosun init` would overwrite files. */
export class FilesExistError extends BosunError {
  readonly code = 'ERR_FILES_EXIST';
  readonly files: readonly string[];

  constructor(files: readonly string[]) {
    super(`nothing was written, as these files exist already: ${files.join(', ')}`);
    this.files = files;
  }
}

export function initCommand(): Command {
  return new Command('init')
    .description('Write a small project that runs.')
    .argument('[dir]', 'where; it is made when it does not exist', '.')
    .addHelpText(
      'after',
      `
Writes an HTTP service (hello.ts), bosun.yaml with its schema for editors, package.json, README.md and
.gitignore. When one of them exists, nothing is written.

Examples:
  $ bosun init my-daemon
  $ cd my-daemon && npm install && npm start
  $ curl localhost:8080`,
    )
    .action(async (dir: string) => {
      const directory = resolve(dir);
      const files = await projectFiles(basename(directory));
      const taken = Object.keys(files).filter((name) => existsSync(join(directory, name)));
      if (taken.length > 0) throw new FilesExistError(taken.map((name) => join(dir, name)));
      mkdirSync(directory, { recursive: true });
      for (const [name, text] of Object.entries(files)) {
        writeFileSync(join(directory, name), text, { flag: 'wx' });
        process.stdout.write(`wrote ${join(dir, name)}\n`);
      }
      const enter = directory === process.cwd() ? '' : `cd ${dir} && `;
      process.stdout.write(`\nnow: ${enter}npm install && npm start\n`);
    });
}
