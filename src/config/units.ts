const durationUnits = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

/** SI's decimal units and IEC's binary ones; a bare `K`, `M`, `G` is ambiguous and not taken. */
const sizeUnits = {
  B: 1,
  kB: 1_000,
  MB: 1_000 ** 2,
  GB: 1_000 ** 3,
  KiB: 1_024,
  MiB: 1_024 ** 2,
  GiB: 1_024 ** 3,
  TiB: 1_024 ** 4,
} as const;

/** How an option whose name in code carries a unit is written in a config file. */
export interface Unit {
  /** What follows the option's name in code. */
  readonly suffix: 'Ms' | 'Bytes';
  /** The rule that a value must keep, for people. */
  readonly rule: string;
  /** As a regular expression (for the JSON schema): what `parse` takes. */
  readonly pattern: string;
  /** The number that code uses; `undefined` for a text that is no such amount. */
  parse(text: string): number | undefined;
  /** The shortest exact spelling of a number. */
  format(amount: number): string;
}

const number = '\\d+(?:\\.\\d+)?';
const plainNumber = new RegExp(`^${number}$`);

/** Milliseconds: `250ms`, `30s`, `5m`, `1h30m`, `2d`, `infinity`; a plain number is milliseconds. */
export const duration: Unit = {
  suffix: 'Ms',
  rule: 'must be a duration such as 250ms, 30s, 5m, 1h30m, 2d or infinity (a plain number is milliseconds)',
  pattern: `^(?:infinity|${number}|(?=.)(?:${number}d)?(?:${number}h)?(?:${number}m)?(?:${number}s)?(?:${number}ms)?)$`,
  parse(text) {
    if (text === 'infinity') return Number.POSITIVE_INFINITY;
    if (plainNumber.test(text)) return Number(text);
    if (!new RegExp(this.pattern).test(text)) return undefined;
    let sum = 0;
    for (const [, amount, unit] of text.matchAll(/([\d.]+)([a-z]+)/g)) {
      sum += Number(amount) * durationUnits[unit as keyof typeof durationUnits];
    }
    return sum;
  },
  format(amount) {
    if (!Number.isFinite(amount)) return 'infinity';
    const parts: string[] = [];
    let left = amount;
    for (const [unit, size] of Object.entries(durationUnits)) {
      const count = unit === 'ms' ? left : Math.floor(left / size);
      if (count > 0) parts.push(`${count}${unit}`);
      left -= count * size;
    }
    return parts.join('') || '0s';
  },
};

/** Bytes: `512`, `10kB`, `64MiB`, `infinity`; a plain number is bytes. */
export const size: Unit = {
  suffix: 'Bytes',
  rule: `must be a size such as 512, 10kB, 64MiB or infinity (units: ${Object.keys(sizeUnits).join(', ')}; a plain number is bytes)`,
  pattern: `^(?:infinity|${number}(?: ?(?:${Object.keys(sizeUnits).join('|')}))?)$`,
  parse(text) {
    if (text === 'infinity') return Number.POSITIVE_INFINITY;
    if (!new RegExp(this.pattern).test(text)) return undefined;
    const [, amount, unit = 'B'] = /^([\d.]+) ?([A-Za-z]+)?$/.exec(text) ?? [];
    return Math.round(Number(amount) * sizeUnits[unit as keyof typeof sizeUnits]);
  },
  format(amount) {
    if (!Number.isFinite(amount)) return 'infinity';
    if (amount === 0) return '0';
    const units = Object.entries(sizeUnits).filter(([, factor]) => factor > 1 && amount % factor === 0);
    const best = units.reduce((a, b) => (b[1] > a[1] ? b : a), ['', 1]);
    return `${amount / best[1]}${best[0]}`;
  },
};

/** The unit that an option's name in code ends in. */
export function unitOf(key: string): Unit | undefined {
  return [duration, size].find(({ suffix }) => key.endsWith(suffix) && key.length > suffix.length);
}
