/** Exit codes after sysexits.h; 128 + n, for a signal, is the shell's. */
export const exitCodes = { ok: 0, failure: 1, unavailable: 69, forced: 70, config: 78 } as const;
