import type { Clock } from '../../clock.ts';

/** A turn of the event loop up to this length counts as quiet. */
const QUIET_MS = 0.5;
/** How many turns a quiet one is waited for. */
const MAX_TURNS = 50;
/** The same while connections are accepted: libuv takes one in a turn, and Node lets 511 of them wait. */
const MAX_ACCEPTING_TURNS = 511;

/**
 * Resolves right after a turn of the event loop in which no connection came and little else happened: what had
 * arrived has been read, and next to nothing can have arrived since. Under a load without end it gives up.
 * `accepted` counts connections.
 */
export async function quietTurn(clock: Clock, accepted: () => number): Promise<void> {
  await nextTurn();
  for (let turn = 0; turn < MAX_ACCEPTING_TURNS; turn++) {
    const begun = clock.now();
    const before = accepted();
    await nextTurn();
    const quiet = clock.now() - begun <= QUIET_MS || turn >= MAX_TURNS;
    if (quiet && accepted() === before) return;
  }
}

const nextTurn = () => new Promise<void>((resolve) => void setImmediate(resolve));
