// The clock that lanes run on, for whoever has to know what it shows.

export { nowMs as laneClockMs } from 'node-tuntap2';
