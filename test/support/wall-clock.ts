// Loaded before a program (`NODE_OPTIONS=--import=…`): its wall clock is off by RINGFENCE_TEST_CLOCK_SHIFT_MS. Its other
// clocks are right, as on a machine whose clock was set.

const hostClock = Date.now;
const shiftMs = Number(process.env['RINGFENCE_TEST_CLOCK_SHIFT_MS']);
Date.now = () => hostClock() + shiftMs;
