import { unknownVariables } from '../config/settings.ts';

/** Says on stderr which variables are probably misspelt: they are ignored. */
export function warnOfUnknownVariables(env: NodeJS.ProcessEnv): void {
  for (const { name, suggestion } of unknownVariables(env)) {
    const hint = suggestion === undefined ? '' : ` (did you mean ${suggestion}?)`;
    process.stderr.write(`bosun: warning: ${name} is ignored: there is no such setting${hint}\n`);
  }
}
