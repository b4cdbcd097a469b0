// Arguments that cannot be meant are refused before a system call, and the addon by itself refuses what memory safety
// hangs on.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BatchIo, type BatchIoOptions, closeDescriptor, openTun, openUdp, tunName, wake } from '../index.ts';
import { requireTestNamespace } from './support/namespace.ts';
import { TestLane } from './support/test-lane.ts';

let lane: TestLane;
let options: BatchIoOptions;

beforeAll(() => {
  requireTestNamespace();
  lane = new TestLane({ slots: 4 });
  options = {
    tun: lane.tun,
    event: lane.event,
    receiveColumn: 0,
    receiveSlots: 4,
    sendColumn: 256,
    sendSlots: 4,
    readColumn: 512,
    readSlots: 4,
    writeColumn: 576,
    writeSlots: 4,
  };
});
afterAll(() => lane.close());

/** The checked TypeScript libraries do not name WebAssembly. */
const { Memory } = (
  globalThis as unknown as {
    WebAssembly: {
      Memory: new (pages: { initial: number }) => { buffer: ArrayBuffer; grow(pages: number): number };
    };
  }
).WebAssembly;

/** A value that the types forbid. */
function wrong<Type>(value: unknown): Type {
  return value as Type;
}

const TYPE = 'ERR_INVALID_ARG_TYPE';
const VALUE = 'ERR_INVALID_ARG_VALUE';
const RANGE = 'ERR_OUT_OF_RANGE';

it.each<[string, string, () => unknown]>([
  ['a name that is no string', TYPE, () => openTun({ name: wrong(5), exclusive: true })],
  ['exclusive that is no boolean', TYPE, () => openTun({ name: 'x0', exclusive: wrong(1) })],
  ['family 5', VALUE, () => openUdp({ family: wrong(5), port: 0 })],
  ['port 65536', RANGE, () => openUdp({ family: 4, port: 65_536 })],
  ['port -1', RANGE, () => openUdp({ family: 4, port: -1 })],
  ['port 1.5', RANGE, () => openUdp({ family: 4, port: 1.5 })],
  ['port "80"', TYPE, () => openUdp({ family: 4, port: wrong('80') })],
  ['a buffer of 2^31 bytes', RANGE, () => openUdp({ family: 4, port: 0, receiveBufferBytes: 2 ** 31 })],
  ['a negative buffer', RANGE, () => openUdp({ family: 4, port: 0, sendBufferBytes: -1 })],
  ['a mark of 33 bit', RANGE, () => openUdp({ family: 4, port: 0, mark: 2 ** 32 })],
  ['descriptor -1', RANGE, () => closeDescriptor(-1)],
  ['descriptor NaN', RANGE, () => tunName(Number.NaN)],
  ['descriptor undefined', TYPE, () => wake(wrong(undefined))],
  ['no slots', RANGE, () => new BatchIo({ ...options, readSlots: 0 })],
  ['too many slots', RANGE, () => new BatchIo({ ...options, sendSlots: 65_537 })],
  ['a column below the memory', RANGE, () => new BatchIo({ ...options, writeColumn: -1 })],
  ['a missing TUN', TYPE, () => new BatchIo({ ...options, tun: wrong(undefined) })],
  ['a timeout of NaN', TYPE, () => lane.io.wait(Number.NaN)],
  ['a count beyond the slots', RANGE, () => lane.io.sendUdp(lane.memory, 5)],
  ['a negative count', RANGE, () => lane.io.writeTun(lane.memory, -1)],
  ['a fraction of a count', RANGE, () => lane.io.writeTun(lane.memory, 0.5)],
  ['a view for memory', TYPE, () => lane.io.readTun(wrong(new Uint8Array(lane.memory)))],
  ['a SharedArrayBuffer', TYPE, () => lane.io.readTun(wrong(new SharedArrayBuffer(lane.memory.byteLength)))],
])('%s is refused with %s', (_, code, action) => {
  expect(action).toThrow(expect.objectContaining({ code }));
});

describe('memory', () => {
  it('that was detached by growing is refused, and what it has become is taken', () => {
    const memory = new Memory({ initial: 1 });
    const io = new BatchIo(options);
    const old = memory.buffer;
    expect(io.sendUdp(old, 0)).toBe(0);
    memory.grow(1);
    for (const call of [
      () => io.receiveUdp(old),
      () => io.sendUdp(old, 0),
      () => io.readTun(old),
      () => io.writeTun(old, 0),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_INVALID_STATE' }));
    }
    expect(io.sendUdp(memory.buffer, 0)).toBe(0);
    io.close();
  });

  it.each([
    ['receive', (io: BatchIo, memory: ArrayBuffer) => io.receiveUdp(memory), 256],
    ['send', (io: BatchIo, memory: ArrayBuffer) => io.sendUdp(memory, 0), 512],
    ['read', (io: BatchIo, memory: ArrayBuffer) => io.readTun(memory), 576],
    ['write', (io: BatchIo, memory: ArrayBuffer) => io.writeTun(memory, 0), 640],
  ] as const)('that ends within the %s column is refused', (_, call, end) => {
    const io = new BatchIo(options);
    expect(() => call(io, new ArrayBuffer(end - 1))).toThrow(expect.objectContaining({ code: RANGE }));
    expect(call(io, new ArrayBuffer(end))).toBe(0);
    io.close();
  });

  it('is not reached by a column whose end wraps in 32 bit', () => {
    const io = new BatchIo({ ...options, sendColumn: 0xffff_ffc0 });
    expect(() => io.sendUdp(lane.memory, 1)).toThrow(expect.objectContaining({ code: RANGE }));
    io.close();
  });

  it('outside which a frame or its slot lies is EFAULT', () => {
    const view = new DataView(lane.memory);
    const { offset, bytes } = { offset: lane.column.write, bytes: lane.memory.byteLength };
    for (const [at, length] of [
      [bytes, 1],
      [bytes - 1, 2],
      [0xffff_ffff, 0xffff_ffff],
    ] as const) {
      view.setUint32(offset, at, true);
      view.setUint32(offset + 4, length, true);
      expect(lane.io.writeTun(lane.memory, 1)).toBe(0);
      expect(lane.writeStatus(0)).toBe(-14);
    }
    view.setUint32(lane.column.read + 8, 0xffff_ffff, true);
    expect(lane.io.readTun(lane.memory)).toBe(-14);
    expect(lane.io.faults()).toEqual([
      { call: 'write', code: 'EFAULT', count: 3 },
      { call: 'read', code: 'EFAULT', count: 1 },
    ]);
  });
});

it('the addon alone throws a TypeError for what index.ts would have refused', () => {
  const load = createRequire(import.meta.url)('node-gyp-build');
  const addon = load(fileURLToPath(new URL('..', import.meta.url)));
  const io = new addon.BatchIo();
  const all = { ...options, addsHeader: false, udp4: -1, udp6: -1, report: new Float64Array(4) };
  const exchange = io.open(all);
  expect(exchange).toBeTypeOf('function');
  const unopened = new addon.BatchIo();
  const calls: [string, () => unknown][] = [
    ['openTun', () => addon.openTun('sixteen-letters-', true, true, true, true)],
    ['openTun without a name', () => addon.openTun()],
    ['openTun without exclusive', () => addon.openTun('x0')],
    ['openUdp', () => addon.openUdp(4, 65_536, -1, -1, -1)],
    ['openUdp without arguments', () => addon.openUdp()],
    ['tunName', () => addon.tunName({})],
    ['wake', () => addon.wake('3')],
    ['setMark', () => addon.setMark(3, -1)],
    ['setLinkMtu', () => addon.setLinkMtu(3, 0)],
    ['adoptTun without offloads', () => addon.adoptTun(3)],
    ['setSockets', () => io.setSockets('3', -1)],
    ['closeDescriptor', () => addon.closeDescriptor(-1)],
    ['BatchIo without new', () => addon.BatchIo()],
    ['open without options', () => unopened.open()],
    ['open with a bad column', () => unopened.open({ ...all, sendColumn: 2 ** 32 })],
    ['open without a report', () => unopened.open({ ...all, report: undefined })],
    ['open with a short report', () => unopened.open({ ...all, report: new Float64Array(3) })],
    ['open with a report of another kind', () => unopened.open({ ...all, report: new Uint32Array(4) })],
    ['exchange without arguments', () => exchange()],
    ['exchange with a detached memory', () => exchange(detached(), 0, 0, 0)],
    ['exchange with a column behind the memory', () => exchange(new ArrayBuffer(575), 0, 0, 0)],
    ['exchange of too many frames', () => exchange(new ArrayBuffer(4096), 5, 0, 0)],
    ['exchange of too many messages', () => exchange(new ArrayBuffer(4096), 0, 5, 0)],
    ['exchange until NaN', () => exchange(new ArrayBuffer(4096), 0, 0, Number.NaN)],
    ['wait', () => io.wait(Number.NaN)],
    ['no memory', () => io.readTun()],
    ['a view', () => io.readTun(new Uint8Array(4096))],
    ['a shared memory', () => io.readTun(new SharedArrayBuffer(4096))],
    ['a detached memory', () => io.readTun(detached())],
    ['a column behind the memory', () => io.readTun(new ArrayBuffer(575))],
    ['a count beyond the slots', () => io.sendUdp(new ArrayBuffer(4096), 5)],
    ['a count of NaN', () => io.writeTun(new ArrayBuffer(4096), Number.NaN)],
    ['a method on something else', () => io.readTun.call({}, new ArrayBuffer(4096))],
  ];
  for (const [what, call] of calls) expect(call, what).toThrow(TypeError);
  expect(() => io.readTun(detached())).toThrow(/detached/);
  expect(() => io.open(all)).toThrow(TypeError); // once only
  const thrower = {
    get tun() {
      throw new Error('the getter throws');
    },
  };
  expect(() => unopened.open(thrower)).toThrow('the getter throws');
  io.close();
});

function detached(): ArrayBuffer {
  const buffer = new ArrayBuffer(4096);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
}
