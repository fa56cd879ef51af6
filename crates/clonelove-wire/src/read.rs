//! [`Reader`]: the protocol's basic types, read from a borrowed slice.
//!
//! Owns the wire's integers and strings (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>);
//! knows no packet. It never panics: what is not there is [`Malformed`].

use crate::Malformed;

/// A cursor over the payload of one packet.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    packet: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads from `buf`; `packet` is the name that errors carry.
    #[must_use]
    pub fn new(buf: &'a [u8], packet: &'static str) -> Self {
        Reader { rest: buf, packet }
    }

    /// The error this reader would give, for faults that the caller finds.
    #[must_use]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { packet: self.packet, what }
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next byte, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Everything that is left; the reader is empty then.
    #[must_use]
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(n).ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A one-byte integer.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A two-byte integer.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// A three-byte integer.
    pub fn u24(&mut self) -> Result<u32, Malformed> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// A four-byte integer.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// An eight-byte integer.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-encoded integer (1, 3, 4 or 9 bytes). 0xFB (NULL) and 0xFF are not integers.
    pub fn lenenc_int(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            byte @ 0..=0xFA => Ok(byte.into()),
            0xFC => self.u16().map(u64::from),
            0xFD => self.u24().map(u64::from),
            0xFE => self.u64(),
            0xFB | 0xFF => Err(self.malformed("a length begins with 0xFB or 0xFF")),
        }
    }

    /// A string with its length before it.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.lenenc_int()?;
        let len = usize::try_from(len).map_err(|_| self.malformed("a length does not fit in memory"))?;
        self.bytes(len)
    }

    /// A string up to a NUL byte, which is taken too but not returned.
    pub fn nul_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|&byte| byte == 0);
        let taken = self.bytes(end.ok_or_else(|| self.malformed("a string has no terminating NUL"))?)?;
        self.u8()?;
        Ok(taken)
    }

    /// A string up to a NUL byte or, where a sender left that out, up to the end.
    #[must_use]
    pub fn nul_or_rest(&mut self) -> &'a [u8] {
        match self.nul_bytes() {
            Ok(taken) => taken,
            Err(_) => self.rest(),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::write::PutExt;

    #[test]
    fn integers_are_little_endian_and_never_beyond_the_end() {
        let mut reader = Reader::new(&[1, 2, 0, 3, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9], "x");
        assert_eq!((reader.u8(), reader.u16(), reader.u24()), (Ok(1), Ok(2), Ok(3)));
        assert_eq!((reader.u32(), reader.u64()), (Ok(4), Ok(5)));
        assert!(reader.u16().is_err());
        assert_eq!((reader.peek(), reader.remaining()), (Some(9), 1));
        assert_eq!((reader.rest(), reader.is_empty()), (&[9][..], true));
    }

    #[test]
    fn null_and_an_error_are_no_length() {
        for byte in [0xFB, 0xFF] {
            assert!(Reader::new(&[byte, 0, 0], "x").lenenc_int().is_err());
        }
        assert!(
            Reader::new(&[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "x").lenenc_bytes().is_err()
        );
    }

    #[test]
    fn a_string_ends_at_its_nul_or_is_malformed() {
        let mut reader = Reader::new(b"ab\0cd", "x");
        assert_eq!(reader.nul_bytes(), Ok(&b"ab"[..]));
        assert!(reader.nul_bytes().is_err());
        assert_eq!(reader.nul_or_rest(), b"cd");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(int: u64, shift in 0..64_u32, text in prop::collection::vec(any::<u8>(), 0..300)) {
            let int = int >> shift;
            let mut out = BytesMut::new();
            out.put_lenenc_int(int);
            out.put_lenenc_bytes(&text);
            let mut reader = Reader::new(&out, "x");
            prop_assert_eq!(reader.lenenc_int(), Ok(int));
            prop_assert_eq!(reader.lenenc_bytes(), Ok(&*text));
            prop_assert!(reader.is_empty());
        }
    }
}
