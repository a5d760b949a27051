/** What users import in their tests. */
export { type ContractCase, type ContractSubject, contractCases } from './contract.ts';
export { FakeClock, settle } from './fake-clock.ts';
export {
  type Cut,
  type CutOptions,
  type Direction,
  type DirectionOptions,
  FaultProxy,
  type FaultProxyOptions,
} from './fault-proxy.ts';
export { freePort } from './free-port.ts';
