// Sends a train, a single datagram and the train again to the port given, and prints how that went. Run with
// no-checksum.c in front of the C library.
import { pattern, TestLane } from './test-lane.ts';

const lane = new TestLane({ slotBytes: 65_536, slots: 8 });
const to = { family: 4, remote: '127.0.0.1', port: Number(process.argv[2]) } as const;
const train = { ...to, payload: pattern(2010, 5), segment: 1000 };
const sent = lane.send(train, { ...to, payload: pattern(77, 1) }, train);
const statuses = [0, 1, 2].map((index) => lane.sendStatus(index));
process.stdout.write(
  JSON.stringify({ sent, statuses, gsoWorks: lane.io.gsoWorks, faults: lane.io.faults() }),
);
lane.close();
