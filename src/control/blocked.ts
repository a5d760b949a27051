/**
 * From when on people are told that the main loop is blocked: one that is late for less is not worth a word. The page
 * has the same number (dashboard/strip.js).
 */
export const BLOCKED_MS = 250;
