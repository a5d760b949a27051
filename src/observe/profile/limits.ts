/** The least rate, in samples per second: ending a capture waits for up to two samples, on the event loop. */
export const MIN_HERTZ = 50;

export const MAX_HERTZ = 10_000;

/** Of one profile: a hundred bytes each, and V8 needs about 1 ms to give up 6 000, on the event loop. */
export const MAX_SAMPLES = 150_000;
