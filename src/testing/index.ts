/** What users import in their tests. */
export { type ContractCase, type ContractSubject, contractCases } from './contract.ts';
export { FakeClock, settle } from './fake-clock.ts';
export { freePort } from './free-port.ts';
