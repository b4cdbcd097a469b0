// The initiator of the handshake measurement, against another implementation of the paper: test/support/attacker/noise.ts.

import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { generateKeyPair } from '../../../src/bench/implementation.ts';
import { Identity, Initiation, Responder } from '../../../src/bench/initiator.ts';
import {
  hasMac1,
  hasMac2,
  makeCookieReply,
  ReceivedInitiation,
  rawKeyPair,
  timestamp,
} from '../../support/attacker/noise.ts';

const SECONDS = 1_800_000_000;
const SENDER = 0x01020304;

function scene() {
  const keys = rawKeyPair();
  const responder = new Responder(Buffer.from(keys.publicKey).toString('base64'));
  const own = generateKeyPair();
  const initiation = new Initiation(new Identity(own.privateKey, responder), SENDER, SECONDS);
  return { keys, responder, own, initiation };
}

describe('an initiation', () => {
  test('is one that the responder opens, with our key, index and timestamp', () => {
    const { keys, own, initiation } = scene();
    const received = new ReceivedInitiation(initiation.message, keys);
    expect(Buffer.from(received.staticKey).toString('base64')).toBe(own.publicKey);
    expect(received.sender).toBe(SENDER);
    expect(Buffer.from(received.timestamp)).toEqual(Buffer.from(timestamp(SECONDS * 1000)));
    expect(hasMac1(initiation.message, keys.publicKey)).toBe(true);
  });

  test('carries the cookie that the responder asks for', () => {
    const { keys, responder, initiation } = scene();
    const cookie = randomBytes(16);
    const reply = makeCookieReply(SENDER, keys.publicKey, initiation.mac1, cookie, randomBytes(24));
    expect(hasMac2(initiation.message, cookie)).toBe(false);
    initiation.setCookie(responder.openCookieReply(reply, initiation.mac1));
    expect(hasMac2(initiation.message, cookie)).toBe(true);
  });

  test('takes no cookie from somebody else', () => {
    const { responder, initiation } = scene();
    const forged = makeCookieReply(
      SENDER,
      rawKeyPair().publicKey,
      initiation.mac1,
      randomBytes(16),
      randomBytes(24),
    );
    expect(() => responder.openCookieReply(forged, initiation.mac1)).toThrow();
  });
});

describe('a response', () => {
  const respond = () => {
    const { keys, initiation } = scene();
    const { message } = new ReceivedInitiation(initiation.message, keys).answer({ own: keys, sender: 7 });
    return { initiation, message: Buffer.from(message) };
  };

  test('of the responder verifies', () => {
    const { initiation, message } = respond();
    expect(() => initiation.verify(message)).not.toThrow();
  });

  test.each([
    ['the ephemeral key', 20],
    ['the tag', 50],
  ])('with one bit of %s changed does not', (_, index) => {
    const { initiation, message } = respond();
    message[index] = (message[index] ?? 0) ^ 1;
    expect(() => initiation.verify(message)).toThrow();
  });

  test('to another initiation does not', () => {
    expect(() => respond().initiation.verify(respond().message)).toThrow();
  });
});
