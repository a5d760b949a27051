/** What users import in their tests. */
export { FakeClock, settle } from './fake-clock.ts';
