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
