// Waiting with an end, for tests as for the benchmark.

export { until, within } from '../../src/bench/deadline.ts';
