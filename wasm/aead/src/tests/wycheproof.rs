//! Project Wycheproof's vectors: valid packets, and every forgery its authors found someone to accept.

extern crate std;

use std::vec::Vec;

use serde_json::Value;

use super::{assert_refused, open, seal};

const VECTORS: &str = include_str!("../../../../test/vectors/chacha20_poly1305_test.json");

fn hex(test: &Value, field: &str) -> Vec<u8> {
    let text = test[field].as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn wycheproof() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let (mut valid, mut refused, mut skipped) = (0, 0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let id = &test["tcId"];
            let [key, iv, aad, text, mut sealed] =
                ["key", "iv", "aad", "msg", "ct"].map(|name| hex(test, name));
            sealed.extend(hex(test, "tag"));
            let Ok(nonce) = <[u8; 12]>::try_from(iv) else {
                // InvalidNonceSize: `Nonce` holds 12 bytes by type, so nobody can ask for another size.
                assert_eq!(test["result"], "invalid", "{id}");
                skipped += 1;
                continue;
            };
            if test["result"] == "valid" {
                assert_eq!(seal(&key, &nonce, &aad, &text), sealed, "{id}");
                assert_eq!(open(&key, &nonce, &aad, &sealed).0, Ok(text), "{id}");
                valid += 1;
            } else {
                assert_refused(&key, &nonce, &aad, &sealed);
                refused += 1;
            }
        }
    }
    assert_eq!(valid + refused + skipped, file["numberOfTests"].as_i64().unwrap());
    assert!(valid > 200 && refused > 50, "{valid} valid, {refused} refused, {skipped} skipped");
}
