// Amounts and ages as people read them.

/** As WireGuard counts: older than Reject-After-Time, a handshake keeps no session alive. */
export const SESSION_SECONDS = 180;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const BIT_UNITS = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'];

export function renderBytes(count: bigint): string {
  let value = Number(count);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

/** Bytes a second → as networks count, in bits and powers of ten. */
export function renderRate(bytesPerSecond: number): string {
  let value = bytesPerSecond * 8;
  let unit = 0;
  while (value >= 1000 && unit < BIT_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${BIT_UNITS[unit]}`;
}

/** How long ago the last handshake was. */
export function renderHandshake(atSeconds: number | null): string {
  if (atSeconds === null) return 'never';
  const age = Math.max(0, Math.floor(Date.now() / 1000) - atSeconds);
  return age < SESSION_SECONDS ? `${age} s ago` : `${renderAge(age)} ago`;
}

/** In its largest unit, hours from two on. */
export function renderAge(seconds: number): string {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}
