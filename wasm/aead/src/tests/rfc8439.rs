//! The vectors of RFC 8439: its sections 2.3 to 2.8, and those of its appendix that test what the others do not.

extern crate std;

use std::vec::Vec;

use super::{open, reference, seal};
use crate::chacha20::{ChaCha20, Rows};
use crate::poly1305::Poly1305;

const SUNSCREEN: &[u8] =
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
    sunscreen would be it.";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn array<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    hex(text).try_into().unwrap()
}

fn counting(from: u8) -> [u8; 32] {
    core::array::from_fn(|index| from + index as u8)
}

/// Keystream of the first `calls` calls, with block 0, which comes another way, before it.
fn keystream(key: &[u8; 32], nonce: &[u8; 12], calls: usize) -> Vec<u8> {
    let words = core::array::from_fn(|word| u32::from_le_bytes(key[4 * word..][..4].try_into().unwrap()));
    let [first] = Rows::blocks::<1>(&words, nonce);
    let mut stream = ChaCha20::new(&words, nonce);
    let others = (0..calls).flat_map(|_| stream.four_blocks(|_| ()));
    first.into_iter().chain(others).flat_map(|lanes| lanes.to_bytes()).collect()
}

#[test]
fn section_2_3_2_block() {
    let nonce = array("000000090000004a00000000");
    let want = hex("10f1e7e4d13b5915500fdd1fa32071c4 c7d1f4c733c068030422aa9ac3d46c4e
                    d2826446079faa0914c2d705d98b02a2 b5129cd1de164eb9cbd083e8a2503c4e");
    assert_eq!(keystream(&counting(0), &nonce, 1)[64..128], want);
    assert_eq!(reference::block(&counting(0), 1, &nonce).as_slice(), want);
}

#[test]
fn section_2_4_2_encryption() {
    let mut text = SUNSCREEN.to_vec();
    let keystream = keystream(&counting(0), &array("000000000000004a00000000"), 1);
    text.iter_mut().zip(&keystream[64..]).for_each(|(byte, mask)| *byte ^= mask);
    let want = hex("6e2e359a2568f98041ba0728dd0d6981 e97e7aec1d4360c20a27afccfd9fae0b
                    f91b65c5524733ab8f593dabcd62b357 1639d624e65152ab8f530c359f0861d8
                    07ca0dbf500d6a6156a38e088a22b65e 52bc514d16ccf806818ce91ab7793736
                    5af90bbf74a35be6b40b8eedf2785e42 874d");
    assert_eq!(text, want);
}

#[test]
fn blocks_of_many_calls_are_numbered_on() {
    let nonce = array("000000000000004a00000000");
    let (ours, mut want) = (keystream(&counting(7), &nonce, 9), Vec::new());
    (0..37).for_each(|counter| want.extend(reference::block(&counting(7), counter, &nonce)));
    assert_eq!(ours, want);
}

#[test]
fn blocks_side_by_side_are_those_of_the_reference() {
    let (key, nonce) = (counting(7), array("000000000000004a00000000"));
    let words = core::array::from_fn(|word| u32::from_le_bytes(key[4 * word..][..4].try_into().unwrap()));
    for (counter, block) in Rows::blocks::<3>(&words, &nonce).into_iter().enumerate() {
        let ours: Vec<u8> = block.into_iter().flat_map(|lanes| lanes.to_bytes()).collect();
        assert_eq!(ours, reference::block(&key, counter as u32, &nonce), "block {counter}");
    }
}

#[test]
fn section_2_5_2_tag() {
    let key = array("85d6be7857556d337f4452fe42d506a8 0103808afb0db2fd4abff6af4149f51b");
    let message = b"Cryptographic Forum Research Group";
    assert_eq!(Poly1305::tag(&key, message), array("a8061dc1305136c6c22b8baf0c0127a9"));
    assert_eq!(reference::tag(&key, message), array("a8061dc1305136c6c22b8baf0c0127a9"));
}

#[test]
fn appendix_a_3_reduction_at_its_edges() {
    let table = [
        ("7: a sum of 2^130-5 or more", "02", "", "ff".repeat(16), "03"),
        ("8: a tag of 2^128 or more", "02", "ff", std::format!("02{}", "00".repeat(15)), "03"),
        (
            "9: a sum that carries",
            "01",
            "",
            "ff".repeat(16) + "f0" + &"ff".repeat(15) + "11" + &"00".repeat(15),
            "05",
        ),
        (
            "10: a sum of exactly p",
            "01",
            "",
            "ff".repeat(16) + "fb" + &"fe".repeat(15) + &"01".repeat(16),
            "00",
        ),
        ("11: a sum just below p", "02", "", std::format!("fd{}", "ff".repeat(15)), "fa"),
    ];
    for (name, r, s, message, first) in table {
        let mut key = [0; 32];
        key[0] = hex(r)[0];
        key[16..].fill(hex(s).first().copied().unwrap_or(0));
        let mut want = [if first == "fa" { 0xff } else { 0 }; 16];
        want[0] = hex(first)[0];
        assert_eq!(Poly1305::tag(&key, &hex(&message)), want, "{name}");
        assert_eq!(reference::tag(&key, &hex(&message)), want, "{name}");
    }
    let key = array("0100000000000000040000000000000000000000000000000000000000000000");
    let message = "e33594d7505e43b90000000000000000 3394d7505e4379cd0100000000000000
                   00000000000000000000000000000000 01000000000000000000000000000000";
    assert_eq!(Poly1305::tag(&key, &hex(message)), array("14000000000000005500000000000000"));
    assert_eq!(Poly1305::tag(&key, &hex(message)[..48]), array("13000000000000000000000000000000"));
}

/// Words and key at their limits: in a debug build a column that overflows is a panic, so this proves the bounds.
#[test]
fn extreme_words_stay_within_their_limbs() {
    let blocks: [[u8; 16]; 3] = [[0xff; 16], [0; 16], array("ffffffff00000000ffffffff00000000")];
    for r in
        [[0xff; 16], array("ffffff0ffcffff0ffcffff0ffcffff0f"), array("ffffffff000000000000000000000000")]
    {
        for pattern in 0..81_usize {
            let chosen = (0..64).map(|index| blocks[pattern / 3_usize.pow(index % 4) % 3]);
            let message: Vec<u8> = chosen.flatten().collect();
            let key: [u8; 32] = [r, [0xff; 16]].concat().try_into().unwrap();
            assert_eq!(Poly1305::tag(&key, &message), reference::tag(&key, &message));
        }
    }
}

#[test]
fn section_2_6_2_one_time_key() {
    let want = hex("8ad5a08b905f81cc815040274ab29471 a833b637e3fd0da508dbb8e2fdd1a646");
    assert_eq!(keystream(&counting(0x80), &array("000000000001020304050607"), 1)[..32], want);
}

#[test]
fn section_2_8_2_aead() {
    let (nonce, aad) = (array("070000004041424344454647"), hex("50515253c0c1c2c3c4c5c6c7"));
    let want = hex("d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6
                    3dbea45e8ca9671282fafb69da92728b 1a71de0a9e060b2905d6a5b67ecd3b36
                    92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc
                    3ff4def08e4b7a9de576d26586cec64b 6116 1ae10b594f09e26a7e902ecbd0600691");
    assert_eq!(seal(&counting(0x80), &nonce, &aad, SUNSCREEN), want);
    assert_eq!(reference::seal(&counting(0x80), &nonce, &aad, SUNSCREEN), want);
    assert_eq!(open(&counting(0x80), &nonce, &aad, &want).0, Ok(SUNSCREEN.to_vec()));
}

#[test]
fn appendix_a_5_opening() {
    let key = hex("1c9240a5eb55d38af333888604f6b5f0 473917c1402b80099dca5cbc207075c0");
    let (nonce, aad) = (array("000000000102030405060708"), hex("f33388860000000000004e91"));
    let sealed = hex("64a0861575861af460f062c79be643bd 5e805cfd345cf389f108670ac76c8cb2
                      4c6cfc18755d43eea09ee94e382d26b0 bdb7b73c321b0100d4f03b7f355894cf
                      332f830e710b97ce98c8a84abd0b9481 14ad176e008d33bd60f982b1ff37c855
                      9797a06ef4f0ef61c186324e2b350638 3606907b6a7c02b0f9f6157b53c867e4
                      b9166c767b804d46a59b5216cde7a4e9 9040c5a40433225ee282a1b0a06c523e
                      af4534d7f83fa1155b0047718cbc546a 0d072b04b3564eea1b422273f548271a
                      0bb2316053fa76991955ebd63159434e cebb4e466dae5a1073a6727627097a10
                      49e617d91d361094fa68f0ff77987130 305beaba2eda04df997b714d6c6f2c29
                      a6ad5cb4022b02709b eead9d67890cbb22392336fea1851f38");
    let text = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, \
        or obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material \
        or to cite them other than as /\u{201c}work in progress./\u{201d}";
    assert_eq!(open(&key, &nonce, &aad, &sealed).0, Ok(text.as_bytes().to_vec()));
}
