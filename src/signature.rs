//! Signatures of requests, with a key that only the other side and a Secret hold.
use ring::{digest, hmac};
use std::fmt::Write;

/// Seconds since 1970 at which the request was signed, in decimal.
pub const TIMESTAMP_HEADER: &str = "X-Bellwether-Timestamp";
/// The signature: `v1=` and hexadecimal digits.
pub const SIGNATURE_HEADER: &str = "X-Bellwether-Signature";

/// The value of the signature header: `v1=hex(HMAC-SHA256(key, told + "." + hex(SHA-256(body))))`, where what is told stands
/// with dots in between.
pub fn sign(key: &[u8], told: &[&str], body: &[u8]) -> String {
    let digest = hex(digest::digest(&digest::SHA256, body).as_ref());
    let signed = format!("{}.{digest}", told.join("."));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("v1={}", hex(tag.as_ref()))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
