/** The thread serves the library under this name. */
export { default } from 'uplot';
