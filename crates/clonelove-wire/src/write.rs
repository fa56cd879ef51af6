//! [`PutExt`]: the protocol's basic types, appended to a [`BytesMut`]. The other half of [`crate::read`].

use bytes::{BufMut, BytesMut};

/// What the protocol writes and `bytes` does not know.
pub trait PutExt {
    /// A three-byte integer; the upper byte is dropped.
    fn put_u24(&mut self, value: u32);
    /// A length-encoded integer, in its shortest form.
    fn put_lenenc_int(&mut self, value: u64);
    /// A string with its length before it.
    fn put_lenenc_bytes(&mut self, value: &[u8]);
    /// A string and a NUL byte. A NUL inside would end the string early for whoever reads it, so it is cut there.
    fn put_nul(&mut self, value: &[u8]);
}

impl PutExt for BytesMut {
    fn put_u24(&mut self, value: u32) {
        let [a, b, c, _] = value.to_le_bytes();
        self.put_slice(&[a, b, c]);
    }

    fn put_lenenc_int(&mut self, value: u64) {
        let [a, b, c, ..] = value.to_le_bytes();
        match value {
            0..=0xFA => self.put_u8(a),
            0xFB..=0xFFFF => self.put_slice(&[0xFC, a, b]),
            0x1_0000..=0xFF_FFFF => self.put_slice(&[0xFD, a, b, c]),
            _ => {
                self.put_u8(0xFE);
                self.put_u64_le(value);
            }
        }
    }

    fn put_lenenc_bytes(&mut self, value: &[u8]) {
        self.put_lenenc_int(value.len() as u64);
        self.put_slice(value);
    }

    fn put_nul(&mut self, value: &[u8]) {
        let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
        self.put_slice(text);
        self.put_u8(0);
    }
}
