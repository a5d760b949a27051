/** Levels that a line can have. */
export const lineLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

/** Levels that a log can be set to. */
export const logLevels = [...lineLevels, 'silent'] as const;

/** pino's number of a level, as lines of JSON have it: 10 for `trace`, 60 for `fatal`. */
export const levelNumber = (level: (typeof lineLevels)[number]): number =>
  (lineLevels.indexOf(level) + 1) * 10;
