import { isScalar, parseDocument } from 'yaml';

/** The environment that a config reads. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A string after its substitutions. */
export interface Substituted {
  readonly value: string;
  /** Whether anything came from the environment. */
  readonly changed: boolean;
  /** Whether it is one substitution and nothing else, so that it may stand for a number or a boolean. */
  readonly whole: boolean;
  /** The values that came from the environment. */
  readonly used: readonly string[];
  /** What is wrong with each substitution that could not be made. */
  readonly problems: readonly string[];
}

const variable = /^([A-Za-z_]\w*)(?::-(.*))?$/s;

/**
 * Replaces `${VAR}` and `${VAR:-default}`; the default stands for a variable that is unset or empty, as in
 * the shell. `$${` is a literal `${`.
 */
export function substitute(text: string, env: Environment): Substituted {
  const problems: string[] = [];
  const used: string[] = [];
  let changed = false;
  let whole = false;
  const value = text.replace(/\$\$\{|\$\{([^}]*)(\}?)/gs, (match, body: string | undefined, end: string) => {
    if (body === undefined) return '${';
    const [, name, fallback] = (end === '}' && variable.exec(body)) || [];
    if (name === undefined || fallback?.includes('${')) {
      problems.push(
        `holds "${clip(match)}", which is neither \${NAME} nor \${NAME:-default} (a literal \${ is written $\${)`,
      );
      return '';
    }
    changed = true;
    whole = match === text;
    const set = env[name];
    if (set !== undefined && (set !== '' || fallback === undefined)) {
      used.push(set);
      return set;
    }
    if (fallback === undefined) problems.push(`needs the environment variable ${name}, which is not set`);
    return fallback ?? '';
  });
  return { value, changed, whole, used, problems };
}

/** The number, boolean or null that a text is in YAML; `undefined` when it is but a text. */
export function rereadScalar(text: string): number | boolean | null | undefined {
  const { contents, errors } = parseDocument(text, { prettyErrors: false });
  if (errors.length > 0) return undefined;
  const value = isScalar(contents) ? contents.value : contents;
  return typeof value === 'number' || typeof value === 'boolean' || value === null ? value : undefined;
}

const clip = (text: string) => (text.length > 30 ? `${text.slice(0, 27)}...` : text);
