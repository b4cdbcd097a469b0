// A long-lived process by its lines, for tests as for the benchmark.

export { type Exit, LineProcess } from '../../src/bench/line-process.ts';
