/** Sampling profiles of the thread that asks for them. Loads the native profiler when it is first used. */
export type { CallNode, CallTree, TimedSample } from './call-tree.ts';
export { ProfilerBusyError } from './errors.ts';
export { ProfileFolder } from './files.ts';
export { extensions, Profile, type ProfileFormat } from './profile.ts';
export { profileTable, rowFields } from './table.ts';
export {
  type ContinuousOptions,
  ContinuousProfiler,
  type TakeProfileOptions,
  takeProfile,
} from './take-profile.ts';
